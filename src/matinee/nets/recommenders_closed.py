"""What closed forms know: counts, the weights of the linear network, the factors of the factorisation.

All take histories as two int64 tensors, the person and the item of every event, both from 0 on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from matinee.nets.recommenders import USUAL, Blend, Factors, Linear, folded

PENALTIES: Final = (50.0, 100.0, 200.0, 350.0, 500.0, 700.0, 1000.0, 1500.0, 2500.0, 5000.0)
"""What is tried for the linear network's penalty where the user names none."""
BLOCK: Final = 512
"""People whose rows are dense at once."""
TRIED_ON: Final = 2000
"""People at most that a penalty is tried on."""
ITEMS_TRIED: Final = 4000
AT: Final = 10


@dataclass(frozen=True)
class Chosen:
    """Who chose what: person and item of every event, int64 (events,), ordered by person; how many there are."""

    person: Tensor
    item: Tensor
    people: int
    items: int

    def dense(self, first: int, last: int) -> Tensor:
        """Rows of the people from `first` to before `last`, float32 (last - first, items)."""
        bounds = torch.searchsorted(self.person, torch.tensor([first, last], device=self.person.device))
        begin, end = bounds.tolist()
        rows = torch.zeros(last - first, self.items, device=self.item.device)
        rows[self.person[begin:end] - first, self.item[begin:end]] = 1.0
        return rows

    def counts(self) -> Tensor:
        """How many people chose each item (items,)."""
        return torch.bincount(self.item, minlength=self.items).float()

    def lengths(self) -> Tensor:
        """How many items each person chose (people,)."""
        return torch.bincount(self.person, minlength=self.people).float()

    def of(self, keep: Tensor) -> Chosen:
        """Some of the events, by a mask."""
        return Chosen(self.person[keep], self.item[keep], self.people, self.items)


def gram(chosen: Chosen, power: float) -> Tensor:
    """How often two items were chosen by one person (items, items).

    power: a person with n items counts n to the power of -power, so that those who chose nearly all say less.
    """
    weight = chosen.lengths().clamp(min=1) ** -power
    weight = weight / weight.mean()
    whole = torch.zeros(chosen.items, chosen.items, device=chosen.item.device)
    for first in range(0, chosen.people, BLOCK):
        last = min(first + BLOCK, chosen.people)
        rows = chosen.dense(first, last)
        whole.addmm_(rows.T, rows * weight[first:last, None])
    return whole


def linear_weights(products: Tensor, penalty: float) -> Tensor:
    """The weights (items, items), with zeros on the diagonal, that best make each item of the others (Steck, 2019)."""
    system = products.clone()
    system.diagonal().add_(penalty)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(system))
    weights = inverse.div_(-inverse.diagonal().clone())
    weights.fill_diagonal_(0)
    return weights


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


def fit_linear(network: Linear, chosen: Chosen, penalty: float | None, power: float) -> float:
    """Fill the weights; a penalty of None is chosen on people held back. Returns the penalty."""
    if penalty is None:
        penalty = best_penalty(chosen, power)
    with torch.no_grad():
        network.weights.copy_(linear_weights(gram(chosen, power), penalty))
    return penalty


def best_penalty(chosen: Chosen, power: float) -> float:
    """The penalty that ranks best a fifth of all events, held back, for 2,000 people at most."""
    few = min(chosen.items, ITEMS_TRIED)  # numbered from the most often chosen on: the rest changes little
    here = chosen.item < few
    chosen = Chosen(chosen.person[here], chosen.item[here], chosen.people, few)
    generator = torch.Generator().manual_seed(0)
    device = chosen.item.device
    hidden = torch.rand(len(chosen.item), generator=generator).to(device) < 0.2
    products = gram(chosen.of(~hidden), power)
    asked = torch.randperm(chosen.people, generator=generator)[:TRIED_ON].to(device)
    place = torch.zeros(chosen.people, dtype=torch.long, device=device)
    place[asked] = torch.arange(len(asked), device=device)
    apart = torch.isin(chosen.person, asked)
    seen, wanted = torch.zeros(2, len(asked), chosen.items, device=device)
    seen[place[chosen.person[apart & ~hidden]], chosen.item[apart & ~hidden]] = 1
    wanted[place[chosen.person[hidden]], chosen.item[hidden]] = 1

    def score(penalty: float) -> float:
        return float(ndcg(seen @ linear_weights(products, penalty), seen, wanted).nanmean())

    return _highest(score, PENALTIES)


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
