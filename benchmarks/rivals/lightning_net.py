"""What a step costs with lightning's Trainer and its defaults.

    python lightning_net.py [--network linear|small] [--steps 1000] [--batch 32]

`small` is the network of airbench.py, of whose kind Matinee's `small` network is as well, on random 32 px pictures;
`linear` is one matrix on 144 numbers, where all that is timed is the loop. Both over a TensorDataset in memory, and
`linear` also in a bare PyTorch loop over the same loader, in turn, so that the Trainer's own share is told.
"""
# ruff: noqa: E402

from __future__ import annotations

import time

BEGAN = time.perf_counter()  # before the imports: they are part of what a user waits for

import argparse
import statistics
import tempfile
import warnings

import lightning
import torch
from airbench import Airbench
from pictures import tell
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Module(lightning.LightningModule):
    """A network with cross-entropy and SGD."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.times = network, []

    def training_step(self, batch, number):
        pictures, labels = batch
        loss = nn.functional.cross_entropy(self.network(pictures), labels)
        self.log("loss", loss)
        return loss

    def on_train_batch_end(self, outputs, batch, number) -> None:
        self.times.append(time.perf_counter())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-3, momentum=0.9, nesterov=True)


def bare(network: nn.Module, loader: DataLoader) -> list[float]:
    """The same without a Trainer: the moments at which steps ended."""
    optimiser, times = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, nesterov=True), []
    for pictures, labels in loader:
        loss = nn.functional.cross_entropy(network(pictures), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        times.append(time.perf_counter())
    return times


def per_step(times: list[float]) -> float:
    """Milliseconds, the mean without the first steps."""
    rest = times[min(20, len(times) // 4) :]
    return 1000 * (rest[-1] - rest[0]) / (len(rest) - 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", choices=("linear", "small"), default="linear")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    shape = (144,) if asked.network == "linear" else (3, 32, 32)
    count = asked.steps * asked.batch if asked.network == "linear" else 4 * asked.batch
    pictures, labels = torch.rand(count, *shape), torch.randint(0, 4, (count,))
    pairs, began = [], time.perf_counter()
    for _ in range(asked.rounds):

        def build() -> nn.Module:
            return nn.Linear(144, 4) if asked.network == "linear" else Airbench()

        loader = DataLoader(TensorDataset(pictures, labels), batch_size=asked.batch, shuffle=True)
        module = Module(build())
        with tempfile.TemporaryDirectory() as room:
            trainer = lightning.Trainer(max_steps=asked.steps, default_root_dir=room)
            trainer.fit(module, loader)
        other = per_step(bare(build(), loader)) if asked.network == "linear" else None
        pairs.append((per_step(module.times), other))
    ours = statistics.median(a for a, _ in pairs)
    tell(
        seconds_training=time.perf_counter() - began,
        seconds_whole=time.perf_counter() - BEGAN,
        accuracy=None,
        examples_per_second=1000 * asked.batch / ours,
        milliseconds_a_step=ours,
        overhead_milliseconds=statistics.median(a - b for a, b in pairs) if pairs[0][1] is not None else None,
        lightning=lightning.__version__,
    )


if __name__ == "__main__":
    main()
