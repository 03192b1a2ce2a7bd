"""A step of the loop on the default network for CIFAR-10, at given resolutions: milliseconds and counted operations.

    python step.py SIDE[,SIDE...] [STEPS]

Through `fit`, with its settings as advised for 50,000 pictures; a hook puts random pictures of the side in place of
each batch and takes the times. The first step is counted by torch's own counter, optimiser included, and is not timed.
The machine's bf16 (or, without such hardware, fp32) rate is measured before and after, and the better one told.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
import time
from typing import Any

import numpy as np
import torch
from rates import matrix_rate
from torch.utils.flop_counter import FlopCounterMode

from matinee.core.examples import Examples
from matinee.core.loop import Hook, Step, fit
from matinee.core.runtime import machine, seed_torch
from matinee.core.task import Batch, Data
from matinee.core.train_settings import TrainSettings
from matinee.nets import strips
from matinee.tasks.image_classification import ImageClassification

EXAMPLES = 50_000
WIDEST = strips.WIDEST
COUNTED, FIRST = 0, 2  # the step that is counted; the first one that is timed


class Watch(Hook):
    """Replaces the pictures, counts one step, times the others."""

    def __init__(self, side: int, device: torch.device) -> None:
        self.side, self.device = side, device
        self.counter = FlopCounterMode(display=False)
        self.pictures: torch.Tensor | None = None
        self.ends: list[float] = []

    def on_batch(self, step: Step) -> Batch:
        """Pictures of the side; the counter runs from here on."""
        if self.pictures is None:
            made = torch.rand(len(step.batch), 3, self.side, self.side, device=self.device)
            self.pictures = made.contiguous(memory_format=torch.channels_last)
        if step.number == COUNTED:
            strips.WIDEST = 0  # the zeros between the maps of a strip are no work that was asked for
            self.counter.__enter__()
        return Batch(self.pictures, step.batch.targets)

    def on_step(self, step: Step) -> None:
        """The step has ended."""
        if step.number == COUNTED:
            self.counter.__exit__(None, None, None)
            strips.WIDEST = WIDEST
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())


def cifar_task(examples: int) -> tuple[ImageClassification, Examples]:
    """The task as it is chosen for CIFAR-10, and as many examples of random pictures."""
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (1000, 32, 32, 3), dtype=np.uint8)
    label = np.arange(1000) % 10
    train = Examples({"image": image, "label": label}, np.arange(examples) % 1000)
    names = tuple("abcdefghij")
    task = ImageClassification(classes=names, counts=(examples // 10,) * 10, height=32, width=32, channels=3, flip=True)
    nothing = train.take(np.arange(0))
    return task.choose(Data(task, train, nothing, nothing), None), train


def timed(side: int, steps: int) -> dict[str, Any]:
    """Milliseconds and operations of a step at this many pixels a side."""
    task, train = cifar_task(EXAMPLES)
    settings = dataclasses.replace(TrainSettings().advised(task.advice(EXAMPLES)), epochs=1, minutes=None)
    size = int(settings.batch_size or 1)
    some = train.take(np.arange(size * (steps + FIRST)))
    nothing = train.take(np.arange(0))
    device = machine().device
    seed_torch(device, 0)
    watch = Watch(side, device)
    fit(Data(task, some, nothing, nothing), task.build(), settings, hooks=[watch])
    times = [1000 * (b - a) for a, b in zip(watch.ends[FIRST - 1 :], watch.ends[FIRST:], strict=False)]
    return {
        "side": side,
        "batch": size,
        "network": f"{task.network} {task.size}",
        "milliseconds": statistics.median(times),
        "all": times,
        "gflop": watch.counter.get_total_flops() / 1e9,
    }


def main() -> None:
    """One line of JSON."""
    sides = [int(word) for word in sys.argv[1].split(",")]
    steps = int(sys.argv[2]) if len(sys.argv) > 2 else 8
    where = machine()
    rates = [matrix_rate(where.precision, where.device)]
    rows = [timed(side, steps) for side in sides]
    rates.append(matrix_rate(where.precision, where.device))
    print(json.dumps({"sides": rows, "tflops": max(rates) / 1e12, "precision": str(where.precision)[6:]}))


if __name__ == "__main__":
    main()
