"""Which network fits a table, tried on training rows in folds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from matinee.core.examples import Array, Examples
from matinee.core.loop import fit
from matinee.core.task import Data, Task
from matinee.core.train_settings import TrainSettings
from matinee.nets.linear_solvers import folds_of
from matinee.nets.tables import TableNetwork

FOLDS: Final = 3
SOME: Final = 1000
"""Rows that are tried."""
MANY: Final = 4000
"""Rows from which on nothing is tried: there is enough to learn an ensemble from, and too much for 1,000 landmarks."""
WIDE: Final = 2000
"""Features beyond which only the linear network is fitted in a time that people wait; the kernel up to a quarter."""


@dataclass(frozen=True)
class Trial:
    """Training rows to try networks on. values (rows, inputs), targets (rows,), groups (rows,), -1: of no group.

    weights (rows,): what each row counts. absolute: errors of numbers count as they are, not squared.
    """

    values: Array
    targets: Array
    groups: Array
    weights: Array
    absolute: bool = False


def fitting(names: Sequence[str], trial: Trial, trained: Callable[[str, Array], TableNetwork]) -> str:
    """The simplest of the networks that is not surely worse than the best one.

    Args:
        names: of networks, the simplest first.
        trained: a network of that name, trained on these rows.

    Told is the cross-entropy or the error of rows that are left out; worse is what is so by more than a standard error
    of the difference. A network that is not ahead of a simpler one is out of the race after any fold: it would have to
    be surely ahead in the end, and the dearest ones are tried the least often so.
    """
    generator = np.random.default_rng(3)
    chosen = np.sort(generator.permutation(len(trial.values))[:SOME])
    if len(chosen) < 10 * FOLDS:
        return names[0]
    folds = folds_of(trial.targets[chosen], trial.groups[chosen], FOLDS, generator)
    left = list(names)
    losses = {name: np.empty(len(chosen)) for name in names}
    for fold in range(FOLDS):
        rest, away = chosen[folds != fold], chosen[folds == fold]
        if not len(rest) or not len(away):
            return names[0]
        for name in left:
            losses[name][folds == fold] = _losses(trained(name, rest), trial, away)
        means = [float(losses[name][folds <= fold].mean()) for name in left]
        left = [name for place, name in enumerate(left) if all(means[place] < mean for mean in means[:place])]
        if len(left) == 1:
            return left[0]
    best = left[-1]
    for name in left:
        worse = losses[name] - losses[best]
        if worse.mean() <= worse.std() / np.sqrt(len(worse)):
            return name
    return best


def trained(task: Task, part: Examples) -> Any:
    """The network of a task, trained on these examples with the settings that the task advises."""
    settings = TrainSettings(precision="float32", device="cpu").advised(task.advice(len(part)))
    torch.manual_seed(0)
    network = task.build()
    task.prepare(network, part)
    if settings.epochs:
        none = part.take(np.arange(0))
        fit(Data(task, part, none, none), network, settings)
    return network


@torch.no_grad()
def _losses(network: TableNetwork, trial: Trial, rows: Array) -> Array:
    """The loss of each of these rows, times its weight (rows,)."""
    outputs, targets = network.eval()(torch.from_numpy(trial.values[rows])).double(), trial.targets[rows]
    if network.head.classes:
        logits = outputs[:, : network.head.classes]
        told: Array = cross_entropy(logits, torch.from_numpy(targets), reduction="none").numpy()
        return told * trial.weights[rows]
    errors: Array = np.abs(outputs[:, 0].numpy() - targets)
    return (errors if trial.absolute else errors**2) * trial.weights[rows]
