"""Networks that predict ratings from a history of ratings alone: the mean, biases, and a Gaussian over all items."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from typing import Final

import torch
from torch import Tensor

from matinee.core.watch import Watch
from matinee.nets.pace import products_a_second
from matinee.nets.recommenders import Recommender, by_length, numbers

COVERED: Final = 4000
"""Items, the most often rated first, between which covariances are kept; the others have a mean and a deviation."""
LEAST: Final = 200
"""Items whose directions are looked for however little time there is."""


class Biases(Recommender):
    """Mean, what an item is above it, and what the person is above that; the person's part is solved when asked.

    With `flat`, the mean alone.
    """

    mean: Tensor
    above: Tensor
    pull: Tensor

    def __init__(self, items: int, *, flat: bool = False) -> None:
        super().__init__(items)
        self.flat = flat
        self.register_buffer("mean", torch.zeros(1))
        self.register_buffer("above", torch.zeros(items))
        self.register_buffer("pull", torch.full((1,), 5.0))

    def forward(self, events: Tensor) -> Tensor:
        """Ratings (batch, items)."""
        if self.flat:
            return self.mean.expand(len(events), self.items).clone()
        return self.mean + self.above + self.person(events)[:, None]

    def person(self, events: Tensor) -> Tensor:
        """How much more a person gives than others (batch,), drawn to nothing where few ratings tell."""
        which, values = rated(events)
        rest = (values - self.mean - self.above[(which - 1).clamp(min=0)]) * (which > 0)
        return rest.sum(1) / ((which > 0).sum(1) + self.pull)

    def contributions(self, events: Tensor, items: Tensor) -> Tensor:
        """None: all items gain alike."""
        return events.new_zeros(len(events), items.shape[1], events.shape[1])


class Gaussian(Recommender):
    """One Gaussian over the ratings of all items, conditioned on those that a person gave (kriging, kernel ridge).

    Every person is a draw from it, seen through noise. The covariance is in closed form: what ratings of one person
    have in common, what items of like kinds have in common, and the main directions of the shrunk covariances of items
    rated by the same people. A rating is predicted exactly, from whatever is known, for anyone.
    """

    mean: Tensor
    covariance: Tensor
    noise: Tensor
    bounds: Tensor
    offset: Tensor

    def __init__(self, items: int) -> None:
        super().__init__(items)
        self.covered = min(items, COVERED)
        self.register_buffer("mean", torch.zeros(items))
        self.register_buffer("covariance", torch.zeros(self.covered, self.covered))
        self.register_buffer("noise", torch.ones(1))
        self.register_buffer("bounds", torch.tensor([0.0, 5.0]))
        self.register_buffer("offset", torch.zeros(1))  # what any two items share: how generous people differ

    def _solved(self, events: Tensor) -> tuple[Tensor, Tensor]:
        """Places of the covered items in the history (0 where there is none), and the weights of their ratings."""
        which, values = rated(events)
        inside = (which > 0) & (which <= self.covered)
        rows = (which - 1).clamp(0, self.covered - 1)
        rest = (values - self.mean[rows]) * inside
        weights = torch.zeros_like(rest)
        for part in by_length(events):
            here, there = rows[part], inside[part]
            system = self.covariance[here[:, :, None], here[:, None, :]] * (there[:, :, None] & there[:, None, :])
            system = system + torch.diag_embed(torch.where(there, self.noise, 1.0))
            weights[part] = torch.cholesky_solve(rest[part][..., None], torch.linalg.cholesky(system))[..., 0] * there
        return rows, weights

    def forward(self, events: Tensor) -> Tensor:
        """Expected ratings (batch, items), within the range of ratings."""
        rows, weights = self._solved(events)
        whole = weights.new_zeros(len(events), self.covered).scatter_add_(1, rows, weights)
        above = whole @ self.covariance
        if self.items > self.covered:
            rare = (weights.sum(1, keepdim=True) * self.offset).expand(-1, self.items - self.covered)
            above = torch.cat([above, rare], 1)
        return (self.mean + above).clamp(self.bounds[0], self.bounds[1])

    def contributions(self, events: Tensor, items: Tensor) -> Tensor:
        """What each rating adds to each prediction: exact, they sum to it."""
        rows, weights = self._solved(events)
        chosen = items.clamp(max=self.covered - 1)
        return self.covariance[chosen[:, :, None], rows[:, None, :]] * weights[:, None, :]


def rated(events: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers of the rated items of the history (0: none), and their ratings (batch, length)."""
    values = events[..., 1].float()
    which = numbers(events) * ~values.isnan()
    return which, torch.nan_to_num(values)


class Ratings:
    """All ratings of the training: person, item (int64, from 0 on) and value of each, ordered by person."""

    def __init__(self, person: Tensor, item: Tensor, value: Tensor, people: int, items: int) -> None:
        self.person, self.item, self.value = person, item, value
        self.people, self.items = people, items

    def of(self, keep: Tensor) -> Ratings:
        """Some of the ratings, by a mask."""
        return Ratings(self.person[keep], self.item[keep], self.value[keep], self.people, self.items)


def fit_biases(network: Biases, ratings: Ratings, pull: float = 5.0) -> Tensor:
    """Mean and biases by a few rounds of ridge regression, one side after the other. Returns those of the people."""
    mean = ratings.value.mean()
    per_item = torch.bincount(ratings.item, minlength=ratings.items)
    per_person = torch.bincount(ratings.person, minlength=ratings.people)
    above, person = torch.zeros(ratings.items), torch.zeros(ratings.people)
    for _ in range(10):
        rest = ratings.value - mean - person[ratings.person]
        above = torch.zeros(ratings.items).index_add_(0, ratings.item, rest) / (per_item + pull)
        rest = ratings.value - mean - above[ratings.item]
        person = torch.zeros(ratings.people).index_add_(0, ratings.person, rest) / (per_person + pull)
    with torch.no_grad():
        network.mean.fill_(mean)
        network.above.copy_(above)
        network.pull.fill_(pull)
    return person


@dataclass(frozen=True)
class Kernel:
    """Of what the covariance is made, in shares of the variance of what items and people do not explain.

    noise: what nothing explains. kinds: what items of like kinds share. own: what an item has for itself. rank: main
    directions that are kept. shrinking: people who must have rated two items both until their covariance is believed by
    half.
    """

    noise: float = 1.0
    kinds: float = 0.03
    own: float = 0.03
    rank: int = 20
    shrinking: float = 100.0


TRIED: Final = {
    "shrinking": (30.0, 100.0, 300.0, 1000.0),
    "rank": (5, 10, 20, 40, 80),
    "noise": (0.5, 0.7, 1.0, 1.4, 2.0),
    "kinds": (0.0, 0.03, 0.1, 0.3),
    "own": (0.01, 0.03, 0.1, 0.3),
}
"""What is tried for each, the others as they are: round numbers, each about as far from the next."""


def fit_gaussian(network: Gaussian, ratings: Ratings, kinds: Tensor, watch: Watch) -> Kernel:
    """Choose the kernel on a tenth of the ratings, held back, then fill the network from all of them.

    kinds: 1 for what an item is, float32 (items, kinds). Returns the kernel: the best of those there is time to try.
    Where there is not even time for all directions, those of the items rated most often are looked for alone.
    """
    main, best = network.covered, Kernel()
    need = 0.0 if math.isinf(watch.left()) else _time_for(ratings, main)
    away = torch.rand(len(ratings.item), generator=torch.Generator().manual_seed(0)) < 0.1
    away &= ratings.item < network.covered
    if watch.left() < 3 * need:
        watch.shortened("gaussian: the usual kernel, there was no time to try others.")
    elif away.any() and not away.all():
        best = _best_kernel(ratings.of(~away), ratings.of(away), kinds, network.covered, watch, need)
    while main > LEAST and need > watch.left():
        main = max(LEAST, int(0.8 * main))
        need = _time_for(ratings, main)
    if main < network.covered:
        watch.shortened(f"gaussian: directions of {main:,} items, there was no time for the rarer ones.")
    watch.tell(f"what ratings of {main:,} items have in common")
    _Known(ratings, kinds, network.covered, main).fill(network, best)
    return best


def _time_for(ratings: Ratings, items: int) -> float:
    """Seconds, with caution, for the directions of so many items: as long as ten products of their size."""
    return 2 * (20 * items**3 + 4 * ratings.people * items**2) / products_a_second(ratings.item.device)


def _best_kernel(known: Ratings, asked: Ratings, kinds: Tensor, covered: int, watch: Watch, need: float) -> Kernel:
    """The kernel that predicts the ratings asked for best; each thing is tried alone while `need` seconds stay left."""
    best, least, longest = Kernel(), math.inf, 0.0
    watch.tell("what ratings have in common")
    base, trial = _Known(known, kinds, covered, covered), Gaussian(known.items)
    tried = list(dict.fromkeys([("rank", best.rank), *((n, value) for n, values in TRIED.items() for value in values)]))
    for count, (name, value) in enumerate(tried):
        other = Kernel(**{**asdict(best), name: value})
        if other == best and count:
            continue
        if watch.left() < need + 1.2 * longest:
            watch.shortened(f"gaussian: {count} of {len(tried)} kernels were tried, there was no time for more.")
            break
        watch.tell(f"kernels of the Gaussian, {count} of {len(tried)} tried")
        began = time.perf_counter()
        base.fill(trial, other)
        if (now := _error(trial, known, asked)) < least:
            best, least = other, now
        longest = max(longest, time.perf_counter() - began)
    return best


class _Known:
    """What ratings tell of items, whatever the kernel: biases, covariances of residuals, kinds.

    main: among how many of them, the first, directions are looked for.
    """

    def __init__(self, ratings: Ratings, kinds: Tensor, covered: int, main: int) -> None:
        self.main = main
        start = Biases(ratings.items)
        person = fit_biases(start, ratings)
        self.mean, self.bounds = start.mean + start.above, torch.stack([ratings.value.min(), ratings.value.max()])
        inside = ratings.item < covered
        who, item = ratings.person[inside], ratings.item[inside]
        rest = (ratings.value - self.mean[ratings.item] - person[ratings.person])[inside]
        self.variance, self.generosity = max(float(rest.var()), 1e-6), max(float(person.var()), 1e-6)
        self.products, self.both = torch.zeros(2, covered, covered)
        for first in range(0, ratings.people, 1024):
            some = (who >= first) & (who < first + 1024)
            rows, ones = torch.zeros(2, min(1024, ratings.people - first), covered)
            rows[who[some] - first, item[some]] = rest[some]
            ones[who[some] - first, item[some]] = 1.0
            self.products.addmm_(rows.T, rows)
            self.both.addmm_(ones.T, ones)
        self.directions: dict[float, tuple[Tensor, Tensor]] = {}
        self.kinds = kinds[:covered] / kinds[:covered].sum(1, keepdim=True).clamp(min=1).sqrt()

    def fill(self, network: Gaussian, kernel: Kernel) -> None:
        """Mean, covariance and noise of a network."""
        if kernel.shrinking not in self.directions:
            shrunk = (self.products / (self.both + kernel.shrinking)).fill_diagonal_(0)
            values, vectors = torch.linalg.eigh(shrunk[: self.main, : self.main])
            wide = torch.nn.functional.pad(vectors, (0, 0, 0, len(shrunk) - self.main))
            self.directions[kernel.shrinking] = values, wide
        values, vectors = self.directions[kernel.shrinking]
        rank = min(kernel.rank, len(values))
        main = vectors[:, -rank:] * values[-rank:].clamp(min=0).sqrt()
        whole = main @ main.T + kernel.kinds * self.variance * (self.kinds @ self.kinds.T) + self.generosity
        whole.diagonal().add_(kernel.own * self.variance)
        with torch.no_grad():
            network.mean.copy_(self.mean)
            network.covariance.copy_(whole)
            network.noise.fill_(kernel.noise * self.variance)
            network.offset.fill_(self.generosity)
            network.bounds.copy_(self.bounds)


def _error(network: Gaussian, known: Ratings, asked: Ratings) -> float:
    """Root mean squared error of the ratings asked for, from those known."""
    lengths = torch.bincount(known.person, minlength=known.people)
    begins = lengths.cumsum(0) - lengths
    events = torch.stack([known.item + 1.0, known.value, torch.zeros(len(known.item))], 1)
    said = torch.zeros(len(asked.item))
    people = torch.unique(asked.person)
    for part in torch.split(people[torch.argsort(lengths[people])], 64):
        reach = torch.arange(max(1, int(lengths[part].max())))
        inside = reach < lengths[part, None]
        padded = events[(begins[part, None] + reach).clamp(max=len(events) - 1)] * inside[..., None]
        ratings = network(padded)
        row = torch.full((known.people,), -1)
        row[part] = torch.arange(len(part))
        here = row[asked.person] >= 0
        said[here] = ratings[row[asked.person[here]], asked.item[here]]
    return float(((said - asked.value) ** 2).mean().sqrt())
