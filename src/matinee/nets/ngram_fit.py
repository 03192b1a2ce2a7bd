"""What a network over n-grams knows, found at a look: linear support vectors over weighed n-grams.

Each n-gram counts by its tf-idf, and its weight is held back the less, the more its naive-Bayes log-count ratio says
(NB-SVM: Wang and Manning, "Baselines and bigrams", 2012). The weights minimise the squared hinge loss with an L2
penalty, each class against the rest, by Newton's method with conjugate gradients (Keerthi and DeCoste, 2005; Chapelle,
2007). How much the penalty weighs is chosen on a share of the training examples that is held back meanwhile; for
aligned sequences see nets/ngram_likeness.py.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from matinee.core.examples import Array, Ragged
from matinee.core.watch import Watch
from matinee.nets.ngrams import NOTHING, PAIRS_UP_TO, NgramNetwork, NgramShape, distinct, hashes, weights_of

COSTS: Final = (0.1, 0.3, 1.0, 3.0, 10.0)
"""What a mistake may cost against the penalty."""
HELD_BACK: Final = 0.15
ROOM: Final = 60_000_000
"""N-grams of all examples that are looked at: some gigabytes."""
CHUNK: Final = 2_000_000
"""N-grams that are sorted at once."""
BLOCKS: Final = 16
"""More than any shape has."""
FEW: Final = 500
"""Below so many examples, those held back would tell the cost by luck."""
_STEPS, _PRODUCTS, _DONE = 30, 40, 1e-3


@dataclass(frozen=True)
class Table:
    """A sparse matrix (rows, columns) and its transpose, for products with dense ones."""

    straight: Tensor
    transposed: Tensor

    @staticmethod
    def of(rows: Tensor, columns: Tensor, values: Tensor, size: tuple[int, int]) -> Table:
        """From coordinates; rows in order."""
        order = torch.argsort(columns, stable=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch calls its sparse matrices a beta
            return Table(
                _compressed(rows, columns, values, size),
                _compressed(columns[order], rows[order], values[order], (size[1], size[0])),
            )


def _compressed(rows: Tensor, columns: Tensor, values: Tensor, size: tuple[int, int]) -> Tensor:
    begins = torch.searchsorted(rows.contiguous(), torch.arange(size[0] + 1))
    return torch.sparse_csr_tensor(begins, columns, values, size, check_invariants=False)


@dataclass(frozen=True)
class Found:
    """N-grams of examples in coordinates: the example, the place in `keys`, value and block of each; all (found,)."""

    keys: Tensor
    rarity: Tensor
    rows: Tensor
    places: Tensor
    values: Tensor
    blocks: Tensor
    examples: int

    def table(self, shown: Tensor | None = None) -> Table:
        """The values as a matrix (examples, keys); of some of the examples, where `shown` (examples,) says which."""
        size = (self.examples, len(self.keys))
        if shown is None:
            return Table.of(self.rows, self.places, self.values, size)
        part, number = shown[self.rows], shown.cumsum(0) - 1
        rows = number[self.rows[part]]
        return Table.of(rows, self.places[part], self.values[part], (int(shown.sum()), size[1]))


def look(batches: Iterable[Tensor], shape: NgramShape, least: int = 1) -> Found:
    """The n-grams of all examples; those in fewer than `least` of them, or beyond the room, are left out."""
    codes: list[Tensor] = []
    rows: list[Tensor] = []
    counts: list[Tensor] = []
    blocks: list[Tensor] = []
    seen = 0
    for inputs in batches:
        for place, found in enumerate(hashes(inputs, shape)):
            code, where, often = distinct(found)
            codes.append(code)
            rows.append((where + seen).int())
            counts.append(often.int())
            blocks.append(torch.full((len(code),), place, dtype=torch.int8))
        seen += len(inputs)
    every, places, documents = torch.unique(torch.cat(codes), return_inverse=True, return_counts=True)
    row, count, block = torch.cat(rows).long(), torch.cat(counts), torch.cat(blocks)
    del codes, rows, counts, blocks
    kept = documents >= least
    if int(kept.sum()) > shape.features:
        kept = torch.zeros_like(kept).index_fill_(0, documents.topk(shape.features).indices, True)
    rarity = (1 + ((1 + seen) / (1 + documents.float())).log()) * kept if not shape.places else kept.float()
    good = kept[places]
    places, row, count, block = places[good], row[good], count[good], block[good]
    values = (1 + count.float().log()) * rarity[places]
    number = row * BLOCKS + block
    squares = torch.zeros(BLOCKS * seen).index_add_(0, number, values * values)
    values *= torch.tensor(weights_of(shape))[block.long()] / squares.sqrt().clamp(min=1e-9)[number]
    order = torch.argsort(row, stable=True)
    renamed = (kept.long().cumsum(0) - 1)[places]
    return Found(every[kept], rarity[kept], row[order], renamed[order], values[order], block[order], seen)


def signs(labels: Tensor, classes: int) -> Tensor:
    """+1 and -1, (examples, outputs): one column where there are two classes."""
    if classes == 2:
        return (2.0 * labels - 1).float()[:, None]
    return 2 * torch.nn.functional.one_hot(labels, classes).float() - 1


def ratios(table: Table, truth: Tensor) -> Tensor:
    """How much each n-gram tells by naive Bayes: |log-count ratio|, (features, outputs)."""
    there = table.transposed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        once = torch.sparse_csr_tensor(
            there.crow_indices(), there.col_indices(), torch.ones_like(there.values()), there.shape
        )
    inside = 1 + once @ (truth > 0).float()
    outside = 1 + once @ (truth < 0).float()
    return ((inside / inside.sum(0)) / (outside / outside.sum(0))).log().abs()


def solve(
    table: Table, scale: Tensor, truth: Tensor, cost: Tensor, start: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """Weights (features, outputs), before `scale`, and bias (outputs,), by Newton's method for every output at once.

    cost: what a mistake costs, (examples, 1).
    """
    weight, bias = start or (torch.zeros_like(scale), torch.zeros(truth.shape[1]))
    weight, bias = weight.clone(), bias.clone()
    margin = table.straight @ (scale * weight) + bias
    first = None
    for _ in range(_STEPS):
        short = (1 - truth * margin).clamp(min=0)
        slope = -2 * cost * truth * short
        down = weight + scale * (table.transposed @ slope)
        down_bias = slope.sum(0)
        size = (down.square().sum(0) + down_bias.square()).sqrt()
        first = first if first is not None else _first(table, scale, truth, cost)
        if bool((size <= _DONE * first).all()):
            break
        active = 2 * cost * (short > 0).float()
        step, step_bias = _newton(table, scale, active, (down, down_bias))
        moved = table.straight @ (scale * step) + step_bias
        length = _length((weight, step), margin, moved, truth, cost)
        weight += length * step
        bias += length * step_bias
        margin += length * moved
    return weight, bias


def _first(table: Table, scale: Tensor, truth: Tensor, cost: Tensor) -> Tensor:
    """The length of the slope where all weights are zero."""
    slope = -2 * cost * truth
    return ((scale * (table.transposed @ slope)).square().sum(0) + slope.sum(0).square()).sqrt()


def _newton(table: Table, scale: Tensor, active: Tensor, down: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The step that the second derivatives ask for, by conjugate gradients."""
    step, step_bias = torch.zeros_like(down[0]), torch.zeros_like(down[1])
    rest, rest_bias = -down[0], -down[1]
    way, way_bias = rest.clone(), rest_bias.clone()
    left = rest.square().sum(0) + rest_bias.square()
    goal = 0.01 * left
    for _ in range(_PRODUCTS):
        bent = active * (table.straight @ (scale * way) + way_bias)
        curve = way + scale * (table.transposed @ bent)
        curve_bias = bent.sum(0)
        share = left / ((way * curve).sum(0) + way_bias * curve_bias).clamp(min=1e-30)
        share = torch.where(left > goal, share, 0.0)
        step += share * way
        step_bias += share * way_bias
        rest -= share * curve
        rest_bias -= share * curve_bias
        now = rest.square().sum(0) + rest_bias.square()
        if bool((now <= goal).all()):
            break
        turn = torch.where(left > goal, now / left.clamp(min=1e-30), 0.0)
        way = rest + turn * way
        way_bias = rest_bias + turn * way_bias
        left = torch.where(left > goal, now, left)
    return step, step_bias


def _length(weights: tuple[Tensor, Tensor], margin: Tensor, moved: Tensor, truth: Tensor, cost: Tensor) -> Tensor:
    """By how much of the step each output is best served, of a few lengths."""
    weight, step = weights
    own, both, far = weight.square().sum(0), (weight * step).sum(0), step.square().sum(0)
    lengths = torch.tensor([1.0, 0.5, 0.25, 0.125, 0.0625, 0.03, 0.01, 1.5])
    losses = []
    for length in lengths.tolist():
        short = (1 - truth * (margin + length * moved)).clamp(min=0)
        losses.append(0.5 * (own + 2 * length * both + length**2 * far) + (cost * short.square()).sum(0))
    best: Tensor = lengths[torch.stack(losses).argmin(0)]
    return best


def learn(
    network: NgramNetwork, ids: Ragged, rows: Array, labels: Array, weighs: Array, watch: Watch | None = None
) -> None:
    """Put into the network what these rows of token ids tell: all of them, or as many as there is room for.

    Which ones are left out is drawn by lot, always the same; `network.looked` is how many were not. labels, weighs:
    class numbers and weights of mistakes, (rows,).
    """
    lengths, each = ids.lengths(rows), grams_of_a_token(network.shape)
    order = np.random.default_rng(0).permutation(len(rows))
    order = order[np.cumsum(lengths[order]) * each <= max(ROOM, lengths.max(initial=0) * each)]
    order = order[np.argsort(lengths[order], kind="stable")]
    chunks = _chunks(lengths[order] * each)
    batches = (torch.from_numpy(ids.padded(rows[order[first:stop]])) for first, stop in chunks)
    fit(network, batches, torch.from_numpy(labels[order]), torch.from_numpy(weighs[order]), watch)


def grams_of_a_token(shape: NgramShape) -> int:
    """How many n-grams a token begins, roughly."""
    pairs = shape.length // 2 if shape.places and shape.length <= PAIRS_UP_TO else 0
    return max(1, shape.words, shape.letters) + pairs


def _chunks(sizes: Array) -> list[tuple[int, int]]:
    """Where chunks of rows begin and end, so that each, padded to its longest, stays small; sizes in order."""
    found, first = [], 0
    for place in range(1, len(sizes) + 1):
        if place == len(sizes) or (place + 1 - first) * int(sizes[place]) > CHUNK:
            found.append((first, place))
            first = place
    return found


def fit(
    network: NgramNetwork,
    batches: Iterable[Tensor],
    labels: Tensor,
    weighs: Tensor | None = None,
    watch: Watch | None = None,
) -> float:
    """Put into the network what the examples tell. Returns the cost that was chosen.

    Args:
        labels: class numbers (examples,).
        weighs: how much a mistake on each example weighs (examples,); None: 1.
        watch: the time there is, beside that of aligned sequences; None: all of it.
    """
    from matinee.nets import ngram_likeness

    shape, watch = network.shape, watch or Watch()
    watch.tell(f"n-grams of {len(labels):,} examples")
    if aligned := bool(shape.places) and len(labels) <= ngram_likeness.UP_TO:
        batches = list(batches)
    began = time.perf_counter()
    found = look(batches, shape, least=2 if found_often(len(labels)) else 1)
    looked = time.perf_counter() - began
    weighs = torch.ones(len(labels)) if weighs is None else weighs.float()
    if aligned:
        ids = torch.cat([pad(one[:, : shape.length], (0, max(0, shape.length - one.shape[1]))) for one in batches])
        solution = ngram_likeness.solution(ids, found, labels, weighs, shape)
    else:
        solution = _solution(found, labels, weighs, shape, watch, looked)
    with torch.no_grad():
        count = len(found.keys)
        network.keys.fill_(NOTHING)[:count] = found.keys
        network.rarity.zero_()[:count] = found.rarity
        network.weight.zero_()[:count] = solution.weight.to(network.weight.device)
        network.bias.copy_(solution.bias)
        network.sharpness.fill_(solution.sharpness)
        network.looked.fill_(found.examples)
    return solution.cost


@dataclass(frozen=True)
class Solution:
    """Weights (keys, outputs), bias (outputs,), by what the margins are to be multiplied, and the cost chosen."""

    weight: Tensor
    bias: Tensor
    sharpness: float
    cost: float


def found_often(examples: int) -> bool:
    """Whether there are so many examples that what occurs in one of them alone tells nothing."""
    return examples >= 20_000


def held_back(examples: int) -> Tensor:
    """Which examples choose the cost: bool (examples,)."""
    return torch.rand(examples, generator=torch.Generator().manual_seed(0)) < HELD_BACK


def sharpness_of(margins: Tensor, labels: Tensor, classes: int) -> float:
    """By what to multiply margins (n, outputs) of examples that were not learned from; labels (n,)."""
    from matinee.core.scores import temperature

    return 1 / temperature(torch.cat([-margins, margins], 1) / 2 if classes == 2 else margins, labels)


def answers(margins: Tensor) -> Tensor:
    """Margins (n, outputs) -> class numbers (n,)."""
    return (margins[:, 0] > 0).long() if margins.shape[1] == 1 else margins.argmax(1)


def _solution(found: Found, labels: Tensor, weighs: Tensor, shape: NgramShape, watch: Watch, looked: float) -> Solution:
    cost, sharpness = _chosen(found, labels, weighs, shape, watch, looked)
    watch.tell(f"weights of {len(found.keys):,} n-grams")
    truth, whole = signs(labels, shape.classes), found.table()
    scale = _scale(whole, truth, shape)
    weight, bias = solve(whole, scale, truth, cost * weighs[:, None])
    return Solution(scale * weight, bias, sharpness, cost)


def _scale(table: Table, truth: Tensor, shape: NgramShape) -> Tensor:
    """How freely each weight moves. At places of aligned sequences all are alike: few occur often enough to tell."""
    if shape.places:
        return torch.ones(table.straight.shape[1], truth.shape[1])
    return ratios(table, truth)


def _chosen(
    found: Found, labels: Tensor, weighs: Tensor, shape: NgramShape, watch: Watch, looked: float
) -> tuple[float, float]:
    """The cost that answers the most held-back examples rightly, and how sharp their logits should be.

    Where the time is short, of those that there is time to try beside the last solution; the first try is taken to last
    as long as the look at the n-grams did.
    """
    if len(labels) < FEW:
        return 1.0, 1.0
    if watch.left() < 2 * looked:
        watch.shortened("n-grams: the usual cost of a mistake, there was no time to try others.")
        return 1.0, 1.0
    away = held_back(len(labels))
    near, far = found.table(~away), found.table(away)
    truth, mistakes = signs(labels[~away], shape.classes), weighs[~away, None]
    scale = _scale(near, truth, shape)
    best, start, longest = (-1.0, 1.0, 1.0), None, 0.0
    for tried, cost in enumerate(COSTS):
        if watch.left() < 2.5 * longest:
            watch.shortened(
                f"n-grams: {tried} of {len(COSTS)} costs of a mistake were tried, there was no time for more."
            )
            break
        watch.tell(f"weights of n-grams, {tried} of {len(COSTS)} costs tried")
        began = time.perf_counter()
        start = solve(near, scale, truth, cost * mistakes, start)
        margins = far.straight @ (scale * start[0]) + start[1]
        right = float(((answers(margins) == labels[away]) * weighs[away]).sum())
        if right > best[0] + 1e-6:
            best = (right, cost, sharpness_of(margins, labels[away], shape.classes))
        longest = max(longest, time.perf_counter() - began)
    return best[1], best[2]
