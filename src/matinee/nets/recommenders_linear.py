"""The linear network: item weights in closed form, of two kinds, with settings chosen on people held back."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from matinee.core.watch import Watch
from matinee.nets.pace import products_a_second
from matinee.nets.recommenders import Linear
from matinee.nets.recommenders_closed import Chosen, gram, ndcg

PENALTIES: Final = (50.0, 100.0, 200.0, 350.0, 500.0, 700.0, 1000.0, 1500.0, 2500.0, 5000.0)
"""What is tried for the penalty where the user names none."""
ALIKE: Final = (0.0, 0.5, 1.0, 2.0, 4.0)
"""What is tried for the share of people alike in it."""
KIN: Final = (0.0, 0.05, 0.1, 0.2, 0.4)
"""What is tried for the share of what friends chose."""
EVEN: Final = 2.0
"""By how much the penalty of the second kind is larger."""
SCALED_ON: Final = 512
"""People on whose scores both kinds of weights are brought to one scale."""
TRIED_ON: Final = 2000
"""People at most that settings are tried on."""
ITEMS_TRIED: Final = 2000
UNTRIED: Final = (500.0, 1.0)
"""Penalty and share of people alike where there is no time to try any: what MovieLens' sets come to, or near it."""
LEAST: Final = 200
"""Items that are weighed however little time there is."""
CAUTION: Final = 2.0
"""By how much longer than products of its size alone this may take."""


@dataclass(frozen=True)
class Wanted:
    """Settings of the linear network. penalty and alike None: chosen on people held back. power: as in `gram`."""

    penalty: float | None
    power: float
    alike: float | None


class ByItems:
    """The two kinds of weights, solved for an unknown of each item."""

    def __init__(self, chosen: Chosen, power: float, alike: bool) -> None:
        self.products = gram(chosen, power)
        self.even = gram(chosen, 1.0) if alike else None
        self.root = self.products if power == 0.5 or not alike else gram(chosen, 0.5)

    def item_weights(self, penalty: float) -> Tensor:
        """The weights that best make each item of the others (Steck, 2019)."""
        inverse = torch.cholesky_inverse(_factor(self.products, penalty))
        return inverse.div_(-inverse.diagonal().clone()).fill_diagonal_(0)

    def people_weights(self, penalty: float) -> Tensor | None:
        """The weights by which people alike tell a history, where those were asked for.

        Kernel ridge regression over people: histories of unit length are asked what else their people chose, and answer
        by their cosine with the one that asks. With a linear kernel it is ridge regression over items, so that nobody's
        history need be kept.
        """
        if self.even is None:
            return None
        return torch.cholesky_solve(self.root, _factor(self.even, penalty)).fill_diagonal_(0)


class ByPeople:
    """The same weights, solved for an unknown of each person: the quicker way where there are fewer people than items.

    With rows Y of the histories, (Y'Y + p)^-1 is (1 - Y' (YY' + p)^-1 Y) / p, and (Y'Y + p)^-1 Y' is Y' (YY' + p)^-1.
    """

    def __init__(self, chosen: Chosen, power: float, alike: bool) -> None:
        self.rows = chosen.dense(0, chosen.people)
        self.near = self.rows @ self.rows.T
        self.weight = chosen.weight(power).sqrt()
        self.even = chosen.weight(1.0).sqrt() if alike else None
        self.root = chosen.weight(0.5)

    def item_weights(self, penalty: float) -> Tensor:
        """As `ByItems` has them."""
        own = self.rows * self.weight[:, None]
        weights = own.T @ torch.cholesky_solve(own, self._system(self.weight, penalty))
        return weights.div_((1 - weights.diagonal()).clamp(min=1e-6)).fill_diagonal_(0)

    def people_weights(self, penalty: float) -> Tensor | None:
        """As `ByItems` has them."""
        if self.even is None:
            return None
        right = self.rows * (self.root / self.even)[:, None]
        right = torch.cholesky_solve(right, self._system(self.even, penalty))
        return ((self.rows * self.even[:, None]).T @ right).fill_diagonal_(0)

    def _system(self, scale: Tensor, penalty: float) -> Tensor:
        return _factor(self.near * scale * scale[:, None], penalty)


def _factor(products: Tensor, penalty: float) -> Tensor:
    """The Cholesky factor of the products with a penalty on the diagonal."""
    system = products.clone()
    system.diagonal().add_(penalty)
    factor: Tensor = torch.linalg.cholesky(system)
    return factor


class Pair:
    """The two kinds of weights of the linear network, of one set of histories, solved in the quicker way."""

    def __init__(self, chosen: Chosen, power: float, alike: bool) -> None:
        self.chosen = chosen
        self.solver = (ByPeople if chosen.people < chosen.items else ByItems)(chosen, power, alike)

    def weights(self, penalty: float) -> list[Tensor]:
        """Both (items, items), the second brought to where scores made of it deviate as much as of the first."""
        first, second = self.solver.item_weights(penalty), self.solver.people_weights(EVEN * penalty)
        if second is None:
            return [first]
        some = self.chosen.dense(0, min(SCALED_ON, self.chosen.people))
        return [first, second.mul_(_brought(some @ first, some @ second))]


def _brought(scores: Tensor, others: Tensor) -> Tensor:
    """By what others (people, items) are to be multiplied to deviate over the items as much as the scores do.

    People of whom the others say nothing do not count.
    """
    some = others.any(1)
    return (
        scores[some].std(1).mean() / others[some].std(1).mean().clamp(min=1e-12) if some.any() else scores.new_ones(())
    )


def fit_linear(
    network: Linear, chosen: Chosen, wanted: Wanted, friends: Chosen | None = None, watch: Watch | None = None
) -> None:
    """Fill the weights; what is None is chosen on people held back, and so is how much friends count.

    Where the watch leaves too little time, fewer settings are tried, and rare items have no weights.
    """
    watch, kin = watch or Watch(), 0.0
    penalty, alike = wanted.penalty, wanted.alike
    if penalty is None or alike is None or friends is not None:
        penalty, alike, kin = best_linear(chosen, wanted, friends, watch)
    few = affordable(chosen, alike > 0, watch.left())
    if few < chosen.items:
        watch.shortened(
            f"linear network: {few:,} of {chosen.items:,} items are weighed, there was no time for rarer ones."
        )
    watch.tell(f"item weights for {few:,} items")
    chosen = chosen.first(few)
    weights = _joined(Pair(chosen, wanted.power, alike > 0).weights(penalty), alike)
    with torch.no_grad():
        network.weights.zero_()[:few, :few] = weights
        if kin and friends is not None:
            some = torch.arange(min(SCALED_ON, chosen.people), device=chosen.item.device)
            near = nn.functional.normalize(friends.rows(some), dim=1)
            network.kin.fill_(kin * float(_brought(chosen.rows(some) @ weights, near)))


def affordable(chosen: Chosen, alike: bool, time_left: float) -> int:
    """How many items, those chosen most often, can be weighed in so many seconds."""
    items = chosen.items
    while items > LEAST and _time_for(chosen, items, alike) > time_left:
        items = max(LEAST, int(0.8 * items))
    return items


def _time_for(chosen: Chosen, items: int, alike: bool) -> float:
    """Seconds, with caution, for the weights of so many items."""
    people, kinds, scaled = chosen.people, 1 + alike, 4 * SCALED_ON * items**2 * alike
    if people < items:
        work: float = (2 + 2 * kinds) * people**2 * items + 2 * kinds * people * items**2
    else:
        work = (1 + 2 * alike) * people * items**2 + items**3 + alike * 7 / 3 * items**3
    return CAUTION * (work + scaled) / products_a_second(chosen.item.device)


def _joined(parts: Sequence[Tensor], alike: float) -> Tensor:
    return parts[0].add_(parts[1], alpha=alike) if len(parts) > 1 else parts[0]


def best_linear(
    chosen: Chosen, given: Wanted, friends: Chosen | None = None, watch: Watch | None = None
) -> tuple[float, float, float]:
    """The penalty, the share of people alike and that of friends which rank best a fifth of all events, held back.

    Tried on 2,000 people at most, and on items that are chosen often: the rest changes little. As many are tried as the
    watch has time for beside the weights themselves.
    """
    watch, alike = watch or Watch(), given.alike
    whole = 0.0 if math.isinf(watch.left()) else _time_for(chosen, chosen.items, alike != 0)
    chosen = chosen.first(min(chosen.items, ITEMS_TRIED))
    trial = 0.0 if math.isinf(watch.left()) else _time_for(chosen, chosen.items, alike != 0)
    if watch.left() < whole + 2 * trial:
        usual = (given.penalty or UNTRIED[0], alike if alike is not None else UNTRIED[1])
        watch.shortened(
            f"linear network: no settings were tried, there was no time; taken are --regularisation {usual[0]:g} "
            f"--alike {usual[1]:g}{' --no-social' * (friends is not None)}."
        )
        return *usual, 0.0
    trials = _Trials(chosen, given, watch, whole)
    penalty = given.penalty if given.penalty is not None else _highest(trials.score, PENALTIES, trials.enough)
    share = trials.best[penalty] if penalty in trials.best else trials.share(penalty)
    kin = trials.kin(penalty, share, friends) if friends is not None else 0.0
    return penalty, share, kin


class _Trials:
    """Settings tried on a fifth of all events, held back. best: penalty -> the best share of people alike with it.

    whole: seconds that are to be left for the weights themselves.
    """

    def __init__(self, chosen: Chosen, given: Wanted, watch: Watch, whole: float) -> None:
        generator, device = torch.Generator().manual_seed(0), chosen.item.device
        hidden = torch.rand(len(chosen.item), generator=generator).to(device) < 0.2
        self.asked = torch.randperm(chosen.people, generator=generator)[:TRIED_ON].to(device)
        known, self.wanted = chosen.of(~hidden), chosen.of(hidden).rows(self.asked)
        self.seen, self.pair = known.rows(self.asked), Pair(known, given.power, given.alike != 0)
        self.shares = [given.alike] if given.alike is not None else ALIKE
        self.watch, self.whole, self.longest = watch, whole, 0.0
        self.best: dict[float, float] = {}

    def enough(self) -> bool:
        """Whether there is time for one more penalty."""
        if self.watch.left() > self.whole + 1.2 * self.longest:
            return True
        self.watch.shortened(
            f"linear network: {len(self.best)} of {len(PENALTIES)} penalties were tried, there was no time."
        )
        return False

    def score(self, penalty: float) -> float:
        """How well it ranks with the best share of people alike."""
        self.watch.tell(f"settings of the linear network, {len(self.best)} tried")
        began = time.perf_counter()
        first, *second = (self.seen @ weights for weights in self.pair.weights(penalty))
        told = {share: float(ndcg(first + share * second[0] if second else first, self.seen, self.wanted).nanmean())
                for share in self.shares}  # fmt: skip
        self.best[penalty] = max(told, key=lambda share: told[share])
        self.longest = max(self.longest, time.perf_counter() - began)
        return told[self.best[penalty]]

    def share(self, penalty: float) -> float:
        """The best share of people alike with a penalty."""
        self.score(penalty)
        return self.best[penalty]

    def kin(self, penalty: float, share: float, friends: Chosen) -> float:
        """The share of friends that surely ranks better than none, or 0."""
        self.watch.tell("how much friends tell")
        scores = self.seen @ _joined(self.pair.weights(penalty), share)
        near = nn.functional.normalize(friends.first(self.pair.chosen.items).rows(self.asked), dim=1)
        near *= _brought(scores, near)
        plain = ndcg(scores, self.seen, self.wanted)
        gains = {kin: ndcg(scores + kin * near, self.seen, self.wanted) - plain for kin in KIN}
        kin = max(KIN, key=lambda kin: float(gains[kin].nanmean()))
        gain = gains[kin][~gains[kin].isnan()]
        sure = float(gain.mean()) > 2 * float(gain.std()) / len(gain) ** 0.5  # little more is luck
        return kin if sure else 0.0


def _highest(score: Callable[[float], float], values: Sequence[float], go_on: Callable[[], bool]) -> float:
    """Where a score that rises and then falls is highest, from the middle uphill, or as far as `go_on` allows."""
    known: dict[int, float] = {}
    stopped = False

    def at(place: int) -> float:
        nonlocal stopped
        if not 0 <= place < len(values):
            return float("-inf")
        if place not in known:
            stopped = stopped or (bool(known) and not go_on())
            if stopped:
                return float("-inf")
            known[place] = score(values[place])
        return known[place]

    here = len(values) // 2
    middle = at(here)
    step = 1 if at(here + 1) > middle else -1
    while at(here + step) > at(here):
        here += step
    return values[here]
