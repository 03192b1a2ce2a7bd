"""An airbench94-style recipe, written from the paper: the fastest known way to 94 % on CIFAR-10's own pixels.

    python airbench.py FOLDER [--epochs 8] [--resolutions 20,20,20,24,24,28,32,32] [--batch 1000]

Keller Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU" (2024, arXiv 2404.00498), with Muon on the filters as
in its later version: a frozen 2x2 whitening convolution whose bias learns for 3 epochs, three groups of two
convolutions (64, 256, 256) with batch norm and GELU, filters that start as the identity, logits scaled by 1/9, label
smoothing 0.2, alternating flip, shifts by 2 pixels. bfloat16, channels-last, all pictures in one tensor, batches of
1000 where the paper has 2000 (faster here). Accuracy is told without and with test-time augmentation (mirror, shift).
"""
# ruff: noqa: E402

from __future__ import annotations

import time

BEGAN = time.perf_counter()  # before the imports: they are part of what a user waits for

import argparse
import itertools

import torch
from pictures import DEVIATION, MEAN, load_all, tell
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (64, 256, 256)
SCALE = 1 / 9
SMOOTHING = 0.2
SHIFT = 2
WHITENING_EPOCHS = 3
# Rates for the SUM of the losses of a batch, as in the paper's scripts.
BIAS_RATE = 0.053
HEAD_RATE = 0.67 * (9 / 256) ** 2  # the script scales by 1/256 a head 256 / 9 times as large: the same steps
FILTER_RATE, FILTER_MOMENTUM, MOMENTUM = 0.24, 0.6, 0.85
DECAY = 2e-6  # of each weight, a step, per example of the batch


def conv(inputs: int, outputs: int) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, 3, padding="same", bias=False)
    nn.init.dirac_(layer.weight.data[:inputs])
    return layer


def norm(width: int) -> nn.BatchNorm2d:
    layer = nn.BatchNorm2d(width, eps=1e-12, momentum=0.4)
    layer.weight.requires_grad = False
    return layer


class Group(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = conv(inputs, outputs), norm(outputs)
        self.conv2, self.norm2 = conv(outputs, outputs), norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.gelu(self.norm1(functional.max_pool2d(self.conv1(x), 2)))
        return functional.gelu(self.norm2(self.conv2(x)))


class Airbench(nn.Module):
    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.whiten = nn.Conv2d(3, 24, 2)
        self.whiten.weight.requires_grad = False
        nn.init.zeros_(self.whiten.bias)
        widths = (24, *WIDTHS)
        self.groups = nn.Sequential(*(Group(a, b) for a, b in itertools.pairwise(widths)))
        self.head = nn.Linear(widths[-1], classes, bias=False)
        self.head.weight.data /= 256 / 9 * self.head.weight.data.std()

    def forward(self, x: Tensor) -> Tensor:
        x = self.groups(functional.gelu(self.whiten(x)))
        return self.head(x.amax((2, 3))) * SCALE

    @torch.no_grad()
    def fit_whitening(self, pictures: Tensor, floor: float = 5e-4) -> None:
        patches = pictures.unfold(2, 2, 1).unfold(3, 2, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, 12).double()
        values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
        filters = (vectors / (values + floor).sqrt()).T.flip(0).reshape(12, 3, 2, 2).float()
        self.whiten.weight.data = torch.cat((filters, -filters)).to(memory_format=torch.channels_last)


def orthogonal(gradient: Tensor, steps: int = 3) -> Tensor:
    """Newton-Schulz iterations towards the nearest orthogonal matrix (Jordan et al., 2024, Muon)."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = gradient.bfloat16() / (gradient.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    def __init__(self, parameters, lr: float, momentum: float) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                memory = self.state[p].setdefault("momentum", torch.zeros_like(p.grad))
                memory.mul_(group["momentum"]).add_(p.grad)
                gradient = p.grad.add(memory, alpha=group["momentum"])
                p.mul_(len(p) ** 0.5 / p.norm())
                p.add_(orthogonal(gradient.reshape(len(p), -1)).view_as(p), alpha=-group["lr"])


def varied(padded: Tensor, side: int) -> Tensor:
    """A crop of `side` pixels of each picture, each at its own place."""
    shifts = torch.randint(0, 2 * SHIFT + 1, (2, len(padded)))
    out = torch.empty((len(padded), 3, side, side), memory_format=torch.channels_last)
    for down in range(2 * SHIFT + 1):
        for across in range(2 * SHIFT + 1):
            chosen = (shifts[0] == down) & (shifts[1] == across)
            out[chosen] = padded[chosen, :, down : down + side, across : across + side]
    return out


@torch.no_grad()
def logits(network: nn.Module, pictures: Tensor, augmented: bool) -> Tensor:
    """Plain logits, or the mean over mirror images and shifts by one pixel (the paper's level 2)."""

    def mirrored(x: Tensor) -> Tensor:
        return (network(x) + network(x.flip(3))) / 2

    network.eval()
    out = []
    for part in pictures.split(500):
        with torch.autocast("cpu", torch.bfloat16):
            if not augmented:
                out.append(network(part).float())
                continue
            side = part.shape[2]
            padded = functional.pad(part, (1,) * 4, "reflect").contiguous(memory_format=torch.channels_last)
            moved = [padded[:, :, k : k + side, k : k + side] for k in (0, 2)]
            out.append(((2 * mirrored(part) + sum(mirrored(x) for x in moved)) / 4).float())
    return torch.cat(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch", type=int, default=1000)
    parser.add_argument("--resolutions", default="", help="pixels a side in each epoch; the last holds for the rest")
    parser.add_argument("--steps", type=int, default=None, help="stop after so many steps (to try the script)")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.manual_seed(asked.seed)
    sides = [int(side) for side in asked.resolutions.split(",") if side]
    mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, DEVIATION))

    def ready(split: str) -> tuple[Tensor, Tensor]:
        pictures, labels = load_all(asked.folder, split)
        plain = (pictures.float().div_(255) - mean) / deviation
        return plain.contiguous(memory_format=torch.channels_last), labels

    (pictures, labels), (test_pictures, test_labels) = ready("train"), ready("test")
    read = time.perf_counter() - BEGAN
    began = time.perf_counter()
    network = Airbench().to(memory_format=torch.channels_last)
    network.fit_whitening(pictures[torch.randperm(len(pictures))[:5000]])
    filters = [p for p in network.parameters() if p.dim() == 4 and p.requires_grad]
    biases = [p for name, p in network.named_parameters() if "norm" in name and p.requires_grad]
    decay = DECAY * asked.batch
    plain = [
        {"params": [network.whiten.bias], "lr": BIAS_RATE, "weight_decay": decay / BIAS_RATE},
        {"params": biases, "lr": BIAS_RATE, "weight_decay": decay / BIAS_RATE},
        {"params": [network.head.weight], "lr": HEAD_RATE, "weight_decay": decay / HEAD_RATE},
    ]
    optimisers = [
        torch.optim.SGD(plain, lr=BIAS_RATE, momentum=MOMENTUM, nesterov=True),
        Muon(filters, FILTER_RATE, FILTER_MOMENTUM),
    ]
    peaks = [[group["lr"] for group in optimiser.param_groups] for optimiser in optimisers]
    per_epoch = len(pictures) // asked.batch
    total, step = asked.epochs * per_epoch, 0
    padded = functional.pad(pictures, (SHIFT,) * 4, "reflect").contiguous(memory_format=torch.channels_last)
    flipped = torch.rand(len(pictures)) < 0.5
    full = pictures.shape[2]
    for epoch in range(asked.epochs):
        network.train()
        network.whiten.bias.requires_grad = epoch < WHITENING_EPOCHS
        side = sides[min(epoch, len(sides) - 1)] if sides else full
        order = torch.randperm(len(pictures))
        for first in range(0, per_epoch * asked.batch, asked.batch):
            chosen = order[first : first + asked.batch]
            batch = varied(padded[chosen], full)
            mirror = flipped[chosen] ^ bool(epoch % 2)  # every picture is seen the other way round in the next epoch
            batch[mirror] = batch[mirror].flip(3)
            if side != full:
                batch = functional.interpolate(batch, (side, side), mode="bilinear", antialias=True)
            for optimiser, starts in zip(optimisers, peaks, strict=True):
                for group, start in zip(optimiser.param_groups, starts, strict=True):
                    group["lr"] = start * (1 - step / total)
            optimisers[0].param_groups[0]["lr"] = BIAS_RATE * max(0.0, 1 - step / (WHITENING_EPOCHS * per_epoch))
            with torch.autocast("cpu", torch.bfloat16):
                answers = network(batch)
            loss = functional.cross_entropy(answers.float(), labels[chosen], label_smoothing=SMOOTHING, reduction="sum")
            network.zero_grad(set_to_none=True)
            loss.backward()
            for optimiser in optimisers:
                optimiser.step()
            step += 1
            if step == asked.steps:
                break
        print(f"epoch {epoch + 1}, {side} pixels, {time.perf_counter() - began:.1f} s", flush=True)
        if step == asked.steps:
            break
    training = time.perf_counter() - began
    plain_right = (logits(network, test_pictures, False).argmax(1) == test_labels).float().mean().item()
    scored = time.perf_counter() - BEGAN  # a user need not wait for the second way of scoring
    augmented = (logits(network, test_pictures, True).argmax(1) == test_labels).float().mean().item()
    tell(
        seconds_training=training,
        seconds_reading=read,
        seconds_whole=scored,
        accuracy=plain_right,
        accuracy_augmented=augmented,
        examples_per_second=step * asked.batch / training,
        steps=step,
        epochs=asked.epochs,
    )


if __name__ == "__main__":
    main()
