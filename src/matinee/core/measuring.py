"""Running a network over examples without training it: to score it and to make its confidence honest."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from matinee.core import evaluation, processes
from matinee.core.errors import SettingsError
from matinee.core.examples import Examples
from matinee.core.meter import Meter
from matinee.core.prefetch import ahead
from matinee.core.runtime import Machine, order_of
from matinee.core.sharding import is_sharded
from matinee.core.task import Task


def selecting(meter: Meter, wanted: str) -> str:
    """The name of the score that selects the model. Raises SettingsError for one the task does not have."""
    have = meter.names_of_scores()
    if wanted and wanted not in have:
        raise SettingsError(f"--select {wanted}: this task has the scores {', '.join(have)}.")
    return wanted or have[0]


def figure(meter: Meter, name: str, value: float) -> str:
    """A score in a few characters: a share of 100 %, unless less is better or it has a unit of its own."""
    return evaluation.figure(value, bool(meter.shares([name])))


def luck(meter: Meter, name: str, best: float, examples: int) -> float:
    """How much worse than the best the weights at the end of the schedule may score and still be kept.

    A share of few examples is mostly luck, and the last weights are the settled ones: one standard error (Breiman et
    al., 1984). Nothing for scores that are no share.
    """
    return math.sqrt(max(0.0, best * (1.0 - best)) / examples) if name in meter.proportions else 0.0


@torch.inference_mode()
def collect(task: Task, network: nn.Module, examples: Examples, where: Machine) -> Meter:
    """A meter that has seen every example once, wherever: several processes each score a part, all get all rows."""
    group, meter, size = processes.current(), task.meter(), max(1, task.at_once())
    network.eval()
    # In whole batches, so that each of them has the same examples however many processes there are.
    batches = -(-len(examples) // size)
    first, end = group.part(batches)
    mine = examples if group.alone else examples.at(examples.rows[first * size : end * size])
    part = mine if group.alone or len(mine) else examples.at(examples.rows[:size])
    for batch in ahead(task.batches(part, network, size, None), task.prefetch):
        batch = batch.to(where.device)
        with where.autocast():
            outputs = task.infer(network, batch.inputs)
        meter.update(outputs, batch)
    if not group.alone:
        if is_sharded(network):  # the others may have a batch more, and need this process's weights for it
            for _ in range(max(1, end - first), -(-batches // group.size)):
                with where.autocast():
                    task.infer(network, batch.inputs)
        meter.keep({name: group.gathered(rows[: len(mine)]) for name, rows in meter.rows().items()})
    return meter


@torch.no_grad()
def calibrate(task: Task, network: nn.Module, examples: Examples, where: Machine) -> None:
    """Let the task make the network's confidence honest, by the outputs for some of the validation examples."""
    network.eval()
    some, outputs, targets = order_of(len(examples), 0)[: task.calibrated_on()], list[Any](), list[Any]()
    for first in range(0, len(some), size := max(1, task.at_once())):
        batch = task.collate(examples.gather(some[first : first + size])).to(where.device)
        with where.autocast():
            outputs.append(task.infer(network, batch.inputs))
        targets.append(batch.targets)
    if outputs:
        task.calibrate(network, task.concatenate(outputs), task.concatenate(targets))


def measure(task: Task, network: nn.Module, examples: Examples, where: Machine) -> dict[str, float]:
    """The scores of a network on examples."""
    meter = collect(task, network, examples, where)
    return meter.score(meter.rows())
