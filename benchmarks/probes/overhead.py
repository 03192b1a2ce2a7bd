"""The loop with a trivial network against a bare PyTorch loop over the same gathers, in turn: milliseconds a step."""

from __future__ import annotations

import dataclasses
import json
import statistics
import time

import numpy as np
import torch

from matinee.core.loop import fit
from matinee.core.registry import task_class
from matinee.core.runtime import order_of
from matinee.core.train_settings import TrainSettings

PAIRS, EPOCHS, SIZE = 7, 20, 32
STEPS = 100  # of a pass, about as many as a pass over CIFAR-10 has: some of the loop's costs come once a pass


def main() -> None:
    """One line of JSON."""
    toy = task_class("image-classification")(network="linear", size="m").toy()  # type: ignore[call-arg]
    again = np.arange(STEPS * SIZE) % len(toy.train)
    toy = dataclasses.replace(toy, train=toy.train.take(again), valid=toy.valid.take(again[:1]))
    task = toy.task.choose(toy, None)
    settings = TrainSettings(
        epochs=EPOCHS, batch_size=SIZE, optimiser="sgd", learning_rate=1e-3, weight_decay=0.0, average=0.0, clip=0.0,
        precision="float32",
    ).advised({})  # fmt: skip
    steps = task.steps(toy.train, SIZE) * EPOCHS

    def ours() -> float:
        began = time.perf_counter()
        fit(dataclasses.replace(toy, task=task), task.build(), settings)
        return 1000 * (time.perf_counter() - began) / steps

    def bare() -> float:
        network = task.build()
        optimiser = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, nesterov=True, fused=True)
        began = time.perf_counter()
        for epoch in range(EPOCHS):
            order = order_of(len(toy.train), epoch)
            for first in range(0, len(order) // SIZE * SIZE, SIZE):
                batch = task.collate(toy.train.gather(order[first : first + SIZE]))
                loss = task.loss(network(batch.inputs), batch)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()
        return 1000 * (time.perf_counter() - began) / steps

    ours(), bare()
    pairs = [(ours(), bare()) for _ in range(PAIRS)]
    answer = {
        "ours": [a for a, _ in pairs],
        "bare": [b for _, b in pairs],
        "overhead": [a - b for a, b in pairs],
        "overhead_median": statistics.median(a - b for a, b in pairs),
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
