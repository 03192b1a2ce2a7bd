"""What closed forms know: counts, the weights of the linear network, the factors of the factorisation.

All take histories as two int64 tensors, the person and the item of every event, both from 0 on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from matinee.nets.recommenders import USUAL, Blend, Factors, Linear, folded

PENALTIES: Final = (50.0, 100.0, 200.0, 350.0, 500.0, 700.0, 1000.0, 1500.0, 2500.0, 5000.0)
"""What is tried for the linear network's penalty where the user names none."""
BLOCK: Final = 2048
"""People whose rows are dense at once."""
PANEL: Final = 512
"""Items whose products with all that come behind them are made at once."""
ALIKE: Final = (0.0, 0.5, 1.0, 2.0, 4.0)
"""What is tried for the share of people alike in it."""
KIN: Final = (0.0, 0.05, 0.1, 0.2, 0.4)
"""What is tried for the share of what friends chose."""
EVEN: Final = 2.0
"""By how much its penalty is larger."""
SCALED_ON: Final = 512
"""People on whose scores both kinds of weights are brought to one scale."""
TRIED_ON: Final = 2000
"""People at most that they are tried on."""
ITEMS_TRIED: Final = 2000
AT: Final = 10


@dataclass(frozen=True)
class Chosen:
    """Who chose what: person and item of every event, int64 (events,), ordered by person; how many there are.

    share: how much each event counts, float32 (events,); None: one each.
    """

    person: Tensor
    item: Tensor
    people: int
    items: int
    share: Tensor | None = None

    def dense(self, first: int, last: int) -> Tensor:
        """Rows of the people from `first` to before `last`, float32 (last - first, items)."""
        bounds = torch.searchsorted(self.person, torch.tensor([first, last], device=self.person.device))
        begin, end = bounds.tolist()
        rows = torch.zeros(last - first, self.items, device=self.item.device)
        rows[self.person[begin:end] - first, self.item[begin:end]] = 1.0
        return rows

    def rows(self, people: Tensor) -> Tensor:
        """Rows of some people, float32 (people asked for, items)."""
        place = torch.full((self.people,), -1, device=self.item.device)
        place[people] = torch.arange(len(people), device=self.item.device)
        here = place[self.person] >= 0
        rows = torch.zeros(len(people), self.items, device=self.item.device)
        rows[place[self.person[here]], self.item[here]] = 1.0 if self.share is None else self.share[here]
        return rows

    def first(self, items: int) -> Chosen:
        """The events of the first items alone: those that are chosen most often."""
        return dataclasses.replace(self.of(self.item < items), items=items)

    def counts(self) -> Tensor:
        """How many people chose each item (items,)."""
        return torch.bincount(self.item, minlength=self.items).float()

    def lengths(self) -> Tensor:
        """How many items each person chose (people,)."""
        return torch.bincount(self.person, minlength=self.people).float()

    def weight(self, power: float) -> Tensor:
        """What each person counts (people,): the length of the history, in mean lengths, to the power of -power."""
        lengths = self.lengths().clamp(min=1)
        return (lengths / lengths.mean()) ** -power

    def of(self, keep: Tensor) -> Chosen:
        """Some of the events, by a mask."""
        share = None if self.share is None else self.share[keep]
        return Chosen(self.person[keep], self.item[keep], self.people, self.items, share)


def gram(chosen: Chosen, power: float) -> Tensor:
    """How often two items were chosen by one person (items, items).

    power: a person with n items counts n to the power of -power, so that those who chose nearly all say less.
    """
    weight = chosen.weight(power)
    whole = torch.zeros(chosen.items, chosen.items, device=chosen.item.device)
    panels = range(0, chosen.items, PANEL)
    for first in range(0, chosen.people, BLOCK):
        last = min(first + BLOCK, chosen.people)
        rows = chosen.dense(first, last)
        weighed = rows * weight[first:last, None]
        for left in panels:  # the products are symmetric: what is left of the panel is known already
            whole[left : left + PANEL, left:].addmm_(rows[:, left : left + PANEL].T, weighed[:, left:])
    for left in panels:
        whole[left + PANEL :, left : left + PANEL] = whole[left : left + PANEL, left + PANEL :].T
    return whole


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


def ndcg(scores: Tensor, seen: Tensor, wanted: Tensor, at: int = AT) -> Tensor:
    """NDCG of the first items, those seen left out, for each person (batch,); NaN where nothing is wanted.

    scores (batch, items); seen and wanted: 1 or 0 (batch, items).
    """
    gains = 1 / torch.log2(torch.arange(at, device=scores.device) + 2.0)
    top = scores.masked_fill(seen > 0, -torch.inf).topk(min(at, scores.shape[1]), 1).indices
    hits = wanted.gather(1, top) * gains[: top.shape[1]]
    count = wanted.sum(1).long()
    ideal = gains.cumsum(0)[count.clamp(1, at) - 1]
    return torch.where(count > 0, hits.sum(1) / ideal, torch.nan)


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
    network: Linear,
    chosen: Chosen,
    penalty: float | None,
    power: float,
    alike: float | None,
    friends: Chosen | None = None,
) -> None:
    """Fill the weights; what is None is chosen on people held back, and so is how much friends count."""
    kin = 0.0
    if penalty is None or alike is None or friends is not None:
        penalty, alike, kin = best_linear(chosen, penalty, power, alike, friends)
    weights = _joined(Pair(chosen, power, alike > 0).weights(penalty), alike)
    with torch.no_grad():
        network.weights.copy_(weights)
        if kin and friends is not None:
            some = torch.arange(min(SCALED_ON, chosen.people), device=chosen.item.device)
            near = nn.functional.normalize(friends.rows(some), dim=1)
            network.kin.fill_(kin * float(_brought(chosen.rows(some) @ weights, near)))


def _joined(parts: Sequence[Tensor], alike: float) -> Tensor:
    return parts[0].add_(parts[1], alpha=alike) if len(parts) > 1 else parts[0]


def best_linear(
    chosen: Chosen, penalty: float | None, power: float, alike: float | None, friends: Chosen | None = None
) -> tuple[float, float, float]:
    """The penalty, the share of people alike and that of friends which rank best a fifth of all events, held back.

    Tried on 2,000 people at most, and on items that are chosen often: the rest changes little.
    """
    chosen = chosen.first(min(chosen.items, ITEMS_TRIED))
    generator, device = torch.Generator().manual_seed(0), chosen.item.device
    hidden = torch.rand(len(chosen.item), generator=generator).to(device) < 0.2
    asked = torch.randperm(chosen.people, generator=generator)[:TRIED_ON].to(device)
    known, wanted = chosen.of(~hidden), chosen.of(hidden).rows(asked)
    seen, pair = known.rows(asked), Pair(known, power, alike != 0)
    best: dict[float, float] = {}

    def score(value: float) -> float:
        first, *second = (seen @ weights for weights in pair.weights(value))
        trials = [alike] if alike is not None else ALIKE
        told = {share: float(ndcg(first + share * second[0] if second else first, seen, wanted).nanmean())
                for share in trials}  # fmt: skip
        best[value] = max(told, key=lambda share: told[share])
        return told[best[value]]

    penalty = penalty if penalty is not None else _highest(score, PENALTIES)
    if penalty not in best:
        score(penalty)
    if friends is None:
        return penalty, best[penalty], 0.0
    scores = seen @ _joined(pair.weights(penalty), best[penalty])
    near = nn.functional.normalize(friends.first(chosen.items).rows(asked), dim=1)
    near *= _brought(scores, near)
    plain = ndcg(scores, seen, wanted)
    gains = {kin: ndcg(scores + kin * near, seen, wanted) - plain for kin in KIN}
    kin = max(KIN, key=lambda kin: float(gains[kin].nanmean()))
    gain = gains[kin][~gains[kin].isnan()]
    sure = float(gain.mean()) > 2 * float(gain.std()) / len(gain) ** 0.5  # little more is luck
    return penalty, best[penalty], kin if sure else 0.0


def _highest(score: Callable[[float], float], values: Sequence[float]) -> float:
    """Where a score that rises and then falls is highest: from the middle uphill."""
    known: dict[int, float] = {}

    def at(place: int) -> float:
        if not 0 <= place < len(values):
            return float("-inf")
        if place not in known:
            known[place] = score(values[place])
        return known[place]

    here = len(values) // 2
    step = 1 if at(here + 1) > at(here) else -1
    while at(here + step) > at(here):
        here += step
    return values[here]


def fit_factors(network: Factors, chosen: Chosen, *, passes: int, absent: float, penalty: float) -> None:
    """Alternating least squares with a penalty that grows with what is known (Hu et al., 2008; Rendle et al., 2021)."""
    device, size = chosen.item.device, network.table.shape[1]
    generator = torch.Generator().manual_seed(1)
    table = (0.1 / size**0.5 * torch.randn(chosen.items, size, generator=generator)).to(device)
    order = torch.argsort(chosen.item, stable=True)
    turned = Chosen(chosen.item[order], chosen.person[order], chosen.items, chosen.people)
    settled = torch.tensor([absent, penalty], device=device)
    for _ in range(passes):
        table = _half(turned, _half(chosen, table, settled), settled)
    with torch.no_grad():
        network.table.copy_(table)
        network.settled.copy_(settled)


def _half(chosen: Chosen, table: Tensor, settled: Tensor) -> Tensor:
    """Factors of all people, those of the items given, in batches of like length."""
    lengths = chosen.lengths().long()
    begins = lengths.cumsum(0) - lengths
    found = torch.zeros(chosen.people, table.shape[1], device=table.device)
    padded = torch.cat([table, table.new_zeros(1, table.shape[1])])
    order = torch.argsort(lengths)
    order = order[lengths[order] > 0]
    for part in torch.split(order, 128):
        longest = int(lengths[part].max())
        reach = torch.arange(longest, device=table.device)
        inside = reach < lengths[part, None]
        which = chosen.item[(begins[part, None] + reach).clamp(max=len(chosen.item) - 1)]
        own = padded[torch.where(inside, which, len(table))]
        found[part] = folded(own, table, settled[0], settled[1])
    return found


def fit_shares(network: Blend, parts: Tensor, seen: Tensor, wanted: Tensor) -> None:
    """The shares of the members that rank validation people best, by coordinate search on a coarse grid.

    parts (people, members, items); seen, wanted: 1 or 0 (people, items).
    """
    grid = (0.0, 0.2, 0.4, 0.6, 1.0, 1.5)

    def score(shares: Tensor) -> float:
        return float(ndcg(torch.einsum("bmi,m->bi", parts, shares), seen, wanted).nanmean())

    best = torch.tensor(USUAL[: len(network.shares)], device=parts.device)
    value = score(best)
    for _ in range(2):
        for member in range(1, len(best)):
            for share in grid:
                trial = best.clone()
                trial[member] = share
                if (now := score(trial)) > value + 2e-3:  # little more is luck: what is usual stays
                    best, value = trial, now
    with torch.no_grad():
        network.shares.copy_(best)
