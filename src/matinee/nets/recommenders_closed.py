"""What closed forms know: who chose what, how often together, the factors of the factorisation, shares of a blend.

All take histories as two int64 tensors, the person and the item of every event, both from 0 on.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from matinee.core.watch import Watch
from matinee.nets.recommenders import USUAL, Blend, Factors, folded

BLOCK: Final = 2048
"""People whose rows are dense at once."""
PANEL: Final = 512
"""Items whose products with all that come behind them are made at once."""
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


def fit_factors(network: Factors, chosen: Chosen, *, passes: int, absent: float, penalty: float, watch: Watch) -> None:
    """Alternating least squares with a penalty that grows with what is known (Hu et al., 2008; Rendle et al., 2021)."""
    device, size = chosen.item.device, network.table.shape[1]
    generator = torch.Generator().manual_seed(1)
    table = (0.1 / size**0.5 * torch.randn(chosen.items, size, generator=generator)).to(device)
    order = torch.argsort(chosen.item, stable=True)
    turned = Chosen(chosen.item[order], chosen.person[order], chosen.items, chosen.people)
    settled = torch.tensor([absent, penalty], device=device)
    for done in range(passes):
        watch.tell(f"factors of {chosen.items:,} items, pass {done + 1} of {passes}")
        before = watch.left()
        table = _half(turned, _half(chosen, table, settled), settled)
        if done + 1 < passes and watch.left() < 1.2 * (before - watch.left()):
            watch.shortened(f"factors: {done + 1} of {passes} passes, there was no time for more.")
            break
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
