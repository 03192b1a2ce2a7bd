"""Which network fits a table, tried on training rows in folds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from matinee.core.examples import Array
from matinee.nets.tables import TableNetwork

FOLDS: Final = 3
SOME: Final = 1000
"""Rows that are tried."""
MANY: Final = 4000
"""Rows from which on nothing is tried: there is enough to learn an ensemble from, and too much for 1,000 landmarks."""


def fitting(
    names: Sequence[str], values: Array, targets: Array, groups: Array, trained: Callable[[str, Array], TableNetwork]
) -> str:
    """The simplest of the networks that is not surely worse than the best one.

    Args:
        names: of networks, the simplest first.
        values, targets, groups: training rows (rows, inputs), (rows,) and (rows,), -1: of no group.
        trained: a network of that name, trained on these rows.

    Told is the cross-entropy or the squared error of rows that are left out; worse is what is so by more than a
    standard error of the difference.
    """
    generator = np.random.default_rng(3)
    chosen = np.sort(generator.permutation(len(values))[:SOME])
    if len(chosen) < 10 * FOLDS:
        return names[0]
    folds = _folds(targets[chosen], groups[chosen], generator)
    losses = {name: np.empty(len(chosen)) for name in names}
    for fold in range(FOLDS):
        rest, away = chosen[folds != fold], chosen[folds == fold]
        if not len(rest) or not len(away):
            return names[0]
        for name, told in losses.items():
            told[folds == fold] = _losses(trained(name, rest), values[away], targets[away])
    best = min(names, key=lambda name: float(losses[name].mean()))
    for name in names:
        worse = losses[name] - losses[best]
        if worse.mean() <= worse.std() / np.sqrt(len(worse)):
            return name
    return best


def _folds(targets: Array, groups: Array, generator: np.random.Generator) -> Array:
    """The fold of each row: groups whole, low and high targets (or all classes) in each."""
    alone = np.where(groups < 0, -1 - np.arange(len(groups)), groups)
    _, first, member = np.unique(alone, return_index=True, return_inverse=True)
    order = generator.permutation(len(first))
    order = order[np.argsort(targets[first[order]], kind="stable")]
    fold = np.empty(len(first), np.int64)
    fold[order] = np.arange(len(order)) % FOLDS
    return fold[member.ravel()]


@torch.no_grad()
def _losses(network: TableNetwork, values: Array, targets: Array) -> Array:
    """The loss of each row (rows,)."""
    outputs = network.eval()(torch.from_numpy(values)).double()
    if not network.head.classes:
        squares: Array = (outputs[:, 0].numpy() - targets) ** 2
        return squares
    told = cross_entropy(outputs[:, : network.head.classes], torch.from_numpy(targets), reduction="none")
    losses: Array = told.numpy()
    return losses
