"""Matinee's own `small` network in a plain PyTorch loop: fp32, contiguous memory, one tensor of pictures.

    python plain_small.py [FOLDER] [--epochs 8] [--steps N] [--side 32] [--batch 500]

Runs in Matinee's environment, for the network. With FOLDER (train/<class>, test/<class>) it learns the pictures and is
scored; without, it is timed on random ones of `side` pixels. SGD with Nesterov momentum, label smoothing 0.2, mirror
images and shifts by 2, a linear fall of the rate.
"""
# ruff: noqa: E402, I001

from __future__ import annotations

import time

BEGAN = time.perf_counter()  # before the imports: they are part of what a user waits for

import argparse
import statistics

import torch
from matinee.nets.choices import PictureShape
from matinee.nets.pictures import build, whiten
from pictures import load_all, share_right, tell
from torch import Tensor
from torch.nn import functional

UNTIMED = 1  # first steps
RATE = 0.5


def varied(pictures: Tensor) -> Tensor:
    """Mirror images and shifts, the same shift for the batch."""
    side, (down, across) = pictures.shape[2], torch.randint(0, 5, (2,)).tolist()
    padded = functional.pad(pictures, (2,) * 4, "reflect")
    moved = padded[:, :, down : down + side, across : across + side]
    return torch.where(torch.rand(len(moved), 1, 1, 1) < 0.5, moved.flip(3), moved)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--steps", type=int, default=None, help="stop after so many steps")
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--size", default="m")
    asked = parser.parse_args()
    torch.manual_seed(0)
    if asked.folder:
        (train, labels), (test, test_labels) = (load_all(asked.folder, split) for split in ("train", "test"))
        train, test = (pictures.contiguous().float().div_(255) for pictures in (train, test))
    else:
        train = torch.rand(4 * asked.batch, 3, asked.side, asked.side)
        labels = torch.randint(0, 10, (len(train),))
    # The network is built for 32 pixels whatever comes in: that is how Matinee trains it at other resolutions, too.
    network = build("small", PictureShape(3, 32, 32, 10), size=asked.size)
    whiten(network, train[torch.randperm(len(train))[:4096]])
    learned = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(learned, lr=RATE, momentum=0.9, nesterov=True, weight_decay=5e-4)
    per_epoch = len(train) // asked.batch
    total = asked.epochs * per_epoch if asked.folder else asked.steps or 10
    stop = min(total, asked.steps or total)
    times: list[float] = []
    began = last = time.perf_counter()
    while len(times) < stop:
        network.train()
        order = torch.randperm(len(train))
        for chosen in order[: per_epoch * asked.batch].split(asked.batch):
            optimiser.param_groups[0]["lr"] = (
                RATE * min(1.0, (len(times) + 1) / (0.2 * total)) * (1 - len(times) / total)
            )
            loss = functional.cross_entropy(network(varied(train[chosen])), labels[chosen], label_smoothing=0.2)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            times.append(time.perf_counter() - last)
            last = time.perf_counter()
            if len(times) == stop:
                break
    training = time.perf_counter() - began
    accuracy = None
    if asked.folder and stop == total:
        accuracy = share_right(network, zip(test.split(500), test_labels.split(500), strict=True))
    per_step = statistics.median(times[UNTIMED:] or times)
    tell(
        seconds_training=training,
        seconds_whole=time.perf_counter() - BEGAN,
        accuracy=accuracy,
        examples_per_second=asked.batch / per_step,
        milliseconds_a_step=1000 * per_step,
        milliseconds=[1000 * t for t in times],
        steps=len(times),
        side=train.shape[2],
    )


if __name__ == "__main__":
    main()
