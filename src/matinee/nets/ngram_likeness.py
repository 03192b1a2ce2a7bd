"""What a network over n-grams knows of aligned sequences, found from how alike they are, each with each.

Such sequences are few, and each has thousands of k-mers and pairs of places: a matrix (examples, examples) of likeness
is far smaller than the one of n-grams, and any factor of it is as good a table for the same linear problem. So it is
cheap to choose, by cross-validation within the training examples, what a mistake costs and how much the pairs of places
weigh beside the k-mers.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from matinee.nets.ngram_fit import COSTS, Found, Solution, Table, answers, sharpness_of, signs, solve
from matinee.nets.ngrams import PAIRS_UP_TO, NgramShape, weights_of

UP_TO: Final = 5000
"""Examples for which the matrix is made: 100 MB."""
PAIRS: Final = (0.0, 0.5, 1.0)
"""How much the pairs of places may weigh where the k-mers weigh 1."""
FOLDS: Final = 5


def solution(ids: Tensor, found: Found, labels: Tensor, weighs: Tensor, shape: NgramShape) -> Solution:
    """Weights of the n-grams, and what was chosen. ids: (examples, length); labels, weighs: (examples,)."""
    kmers, both = likeness(ids, shape)
    truth, folds = signs(labels, shape.classes), _folds(labels)

    def tried(share: float, costs: tuple[float, ...]) -> list[tuple[float, float, float, float, Tensor]]:
        table = _factor(kmers + share**2 * both)
        margins = _held_out(table, truth, weighs, folds, costs)
        return [
            (*_judged(one, truth, labels, weighs), cost, share, one) for cost, one in zip(costs, margins, strict=True)
        ]

    best = min(tried(1.0, COSTS), key=lambda one: one[:2])
    for share in PAIRS[:-1] if bool(both.any()) else ():
        best = min(best, *tried(share, (best[2],)), key=lambda one: one[:2])
    _, _, cost, share, margins = best
    table = _factor(kmers + share**2 * both)
    weight, bias = solve(table, torch.ones_like(truth), truth, cost * weighs[:, None])
    each = torch.linalg.solve_triangular(table.transposed, weight, upper=True)
    freely = torch.where(found.blocks == shape.places, share**2, 1.0) * found.values
    whole = torch.zeros(len(found.keys), truth.shape[1])
    whole.index_add_(0, found.places, freely[:, None] * each[found.rows])
    return Solution(whole, bias, sharpness_of(margins, labels, shape.classes), cost)


def likeness(ids: Tensor, shape: NgramShape) -> tuple[Tensor, Tensor]:
    """Products of all pairs of examples (examples, examples): over their k-mers at places, and over pairs of places.

    They are the products that the values of `ngram_fit.look` have, counted without making an n-gram: two sequences
    that agree in m places agree in m (m - 1) / 2 pairs of them.
    """
    columns = ids.to(torch.int16 if int(ids.max()) < 2**15 else torch.int32).T.contiguous()
    small = torch.uint8 if ids.shape[1] < 256 else torch.int16
    counts = [torch.zeros(len(ids), len(ids), dtype=small) for _ in range(shape.places)]
    following: list[Tensor] = []  # for each length, where the k-mers that begin one place further on are the same
    for column in columns.flip(0):
        same = (column[:, None] == column) & (column > 0)
        following = [same, *(same & run for run in following[: shape.places - 1])]
        for count, run in zip(counts, following, strict=False):
            count += run.view(torch.uint8)
    kmers = torch.zeros(len(ids), len(ids))
    for count, weight in zip(counts, weights_of(shape), strict=False):
        kmers += weight**2 * _united(count.float())
    agree = counts[0].float()
    return kmers, _united(agree * (agree - 1) / 2 if ids.shape[1] <= PAIRS_UP_TO else torch.zeros_like(agree))


def _united(products: Tensor) -> Tensor:
    """The same, as if each example were of length one; nothing is like an example of nothing."""
    lengths = products.diagonal().sqrt().clamp(min=1e-9)
    return products / lengths / lengths[:, None]


def _factor(likeness: Tensor) -> Table:
    """A lower triangular matrix whose product with its transpose is this one."""
    slight = 1e-5 * likeness.diagonal().mean() * torch.eye(len(likeness))  # equal sequences leave it singular
    lower = torch.linalg.cholesky(likeness + slight)
    return Table(lower, lower.T)


def _folds(labels: Tensor) -> Tensor:
    """The fold of each example, by class: (examples,)."""
    luck = torch.rand(len(labels), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    order = torch.argsort(labels + luck)
    return torch.empty_like(order).index_copy_(0, order, torch.arange(len(order)) % FOLDS)


def _held_out(table: Table, truth: Tensor, weighs: Tensor, folds: Tensor, costs: tuple[float, ...]) -> list[Tensor]:
    """For each cost the margins (examples, outputs), each example's from the folds that it is not in."""
    found = [torch.zeros_like(truth) for _ in costs]
    for fold in range(FOLDS):
        out, start = folds == fold, None
        near = table.straight[~out]
        part = Table(near, near.T.contiguous())
        for cost, margins in zip(costs, found, strict=True):
            start = solve(part, torch.ones_like(truth), truth[~out], cost * weighs[~out, None], start)
            margins[out] = table.straight[out] @ start[0] + start[1]
    return found


def _judged(margins: Tensor, truth: Tensor, labels: Tensor, weighs: Tensor) -> tuple[float, float]:
    """Mistakes, and what the margins lack of one where there are as many."""
    mistakes = float(((answers(margins) != labels) * weighs).sum())
    return mistakes, float(((1 - truth * margins).clamp(min=0).square().sum(1) * weighs).sum())
