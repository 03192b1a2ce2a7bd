"""Gather and augment on one core, and what an index costs.

    python batches.py pictures SIDE     pictures a second: a pass over random pictures of SIDE x SIDE x 3
    python batches.py index ROWS        nanoseconds a picture: shuffling an index of ROWS rows and gathering by it

`pictures` goes through the training loop, with the augmentation that is advised for so many pictures of that size, and
a network that does not look at them. The index points into 1,000 pictures of 8 x 8 pixels, so that what grows with ROWS
is the index alone.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from itertools import islice

import numpy as np

from matinee.core.examples import Examples
from matinee.core.loop import Hook, Step, fit
from matinee.core.runtime import machine, order_of
from matinee.core.task import Batch, Data
from matinee.core.train_settings import TrainSettings
from matinee.tasks.image_classification import ImageClassification

BATCHES = 60
GATHERED = 100_000  # pictures


class Watch(Hook):
    """When each batch came, varied."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_batch(self, step: Step) -> Batch:
        """The batch as it is."""
        self.times.append(time.perf_counter())
        return step.batch


def pictures(side: int) -> dict[str, float]:
    """Pictures a second, by the mean time between two batches."""
    stored, examples = (20_000, 50_000) if side <= 64 else (2_000, 2_000)
    image = np.random.default_rng(0).integers(0, 256, (stored, side, side, 3), dtype=np.uint8)
    columns = {"image": image, "label": np.arange(stored) % 10}
    train = Examples(columns, np.arange(examples) % stored)
    nothing = train.take(np.arange(0))
    names = tuple("abcdefghij")
    task = ImageClassification(classes=names, counts=(1,) * 10, height=side, width=side, channels=3, flip=True)
    task = task.choose(Data(task, train, nothing, nothing), None)
    size = int(TrainSettings().advised(task.advice(examples)).batch_size or 1)
    blind = dataclasses.replace(task, network="constant", size="m")
    settings = TrainSettings(
        epochs=1, batch_size=size, optimiser="sgd", learning_rate=0.01, average=0.0, clip=0.0, precision="float32",
        device="cpu", threads=1,
    ).advised({})  # fmt: skip
    watch = Watch()
    # Row numbers beyond the examples are wrapped: the same pictures in other batches, where few are stored.
    train = train.at(np.arange(size * BATCHES) % stored)
    fit(Data(blind, train, nothing, nothing), blind.build(), settings, hooks=[watch])
    # From the fifth batch on: by then the two that are made ahead are as many as at the end.
    each = (watch.times[-1] - watch.times[4]) / (len(watch.times) - 5)
    return {"pictures_per_second": size / each, "batch": size}


def index(rows: int) -> dict[str, float]:
    """Nanoseconds a picture, the shuffle shared out among all rows of the index."""
    columns = {"image": np.zeros((1000, 8, 8, 3), np.uint8), "label": np.zeros(1000, np.int64)}
    train = Examples(columns, np.arange(rows) % 1000)
    task = ImageClassification(
        classes=("a", "b"), counts=(1, 1), height=8, width=8, channels=3, network="linear", size="m"
    )
    network = task.build()
    shuffle, gather = [], []
    for turn in range(5):
        began = time.perf_counter()
        order = order_of(rows, turn)
        shuffle.append((time.perf_counter() - began) / rows)
        count, began = 0, time.perf_counter()
        while count < GATHERED:  # a short index is gone through again and again
            for batch in islice(task.batches(train, network, 500, order), GATHERED // 500):
                count += len(batch)
        gather.append((time.perf_counter() - began) / count)
    best, least = 1e9 * min(shuffle), 1e9 * min(gather)
    return {"nanoseconds": best + least, "shuffle": best, "gather": least}


def main() -> None:
    """One line of JSON."""
    if "sched_setaffinity" in dir(os):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    machine("cpu", threads=1)
    kind, number = sys.argv[1], int(sys.argv[2])
    print(json.dumps(pictures(number) if kind == "pictures" else index(number)))


if __name__ == "__main__":
    main()
