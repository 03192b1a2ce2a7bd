"""Networks that recommend from a history alone: what they share, and those with a closed form.

Input: events (batch, length, 3), float32: the item from 1 on (0: padding), a value (rating, count), a role.
Output: a score for every item (batch, items). Nobody's name is known to a network: a person is a history.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn

OWN: Final = 0
"""The role of what the person chose."""
FRIENDS: Final = 1
"""What friends chose; the value is the share of friends who did."""
NEW: Final = 2
"""An attribute (its number from 1 on) of an item that nobody knows yet; the value is the item's place."""

TOGETHER: Final = 32
"""Rows of like length that are computed at once, and how many squares of their lengths."""
SQUARES: Final = 1 << 24

USUAL: Final = (1.0, 0.4, 0.6)
"""Shares of a blend's members: linear, factors, autoencoder; the best for MovieLens-1M pairs held back in training.

With EASE as the linear one.
"""


class Lesson(NamedTuple):
    """What a step makes of histories.

    logits (n, choices); wanted: what they should be, shares (n, choices) or numbers (n,); cost: what each of the rows
    costs beside that, (rows,), or None.
    """

    logits: Tensor
    wanted: Tensor
    cost: Tensor | None = None


class Recommender(nn.Module):
    """Events (batch, length, 3) -> scores (batch, items)."""

    def __init__(self, items: int) -> None:
        super().__init__()
        self.items = items

    @abstractmethod
    def forward(self, events: Tensor) -> Tensor:
        """Scores of all items, those of the history included."""

    def learn(self, events: Tensor) -> Lesson:
        """What a step makes of histories. Default: the shares of the history in the scores."""
        return Lesson(self(events), shares(multi_hot(events, self.items)))

    @abstractmethod
    def contributions(self, events: Tensor, items: Tensor) -> Tensor:
        """How much each event speaks for each of some items, numbers from 0 on (batch, k): (batch, k, length)."""


def told(which: Tensor, values: Tensor, role: int) -> Tensor:
    """Numbers of items and their values (batch, length) as events of one role."""
    return torch.stack([which.float(), values.float(), torch.full(which.shape, float(role), device=which.device)], -1)


def numbers(events: Tensor, role: int = OWN) -> Tensor:
    """Numbers of items from 1 on in one role, 0 elsewhere, int64 (batch, length)."""
    return (events[..., 0] * (events[..., 2] == role)).long()


def multi_hot(events: Tensor, items: int, role: int = OWN, weighted: bool = False) -> Tensor:
    """1 (or the value) for every item there is in a role, float32 (batch, items)."""
    which = numbers(events, role)
    values = events[..., 1].float() if weighted else torch.ones_like(events[..., 1], dtype=torch.float32)
    return values.new_zeros(len(events), items + 1).scatter_(1, which, values * (which > 0))[:, 1:]


def shares(chosen: Tensor) -> Tensor:
    """Rows that sum to one (batch, items), or to nothing."""
    return chosen / chosen.sum(1, keepdim=True).clamp(min=1)


def reasons(network: nn.Module, events: Tensor, items: Tensor) -> Tensor:
    """The item of the history that speaks most for each of some items, from 0 on (batch, k); -1 where none does."""
    which, found = numbers(events), torch.full_like(items, -1)
    for rows, places in by_length(events):
        told = network.contributions(events[rows, places], items[rows[:, 0]])  # type: ignore[operator]
        some = which[rows, places]
        strongest = told.masked_fill((some == 0)[:, None, :], -torch.inf).max(-1)
        because = some.gather(1, strongest.indices) - 1
        found[rows[:, 0]] = because.masked_fill(strongest.values <= 0, -1)
    return found


def alike(table: Tensor, events: Tensor, items: Tensor, other: Tensor | None = None) -> Tensor:
    """Products of the vectors of each event and of some items (batch, k, length); table (items, size)."""
    which = numbers(events)
    own = table[(which - 1).clamp(min=0)] * (which > 0)[..., None]
    return torch.einsum("bld,bkd->bkl", own, (table if other is None else other)[items])


def by_length(events: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows of like length, a few at a time, and the places where any of them has an item: (rows, 1) and (places,).

    What costs the square or the cube of a length would else cost as much for all as for the longest.
    """
    there = numbers(events) > 0
    lengths = there.sum(1)
    order = lengths.argsort(descending=True, stable=True)
    while len(order):
        longest = max(1, int(lengths[order[0]]))
        rows, order = order.tensor_split([max(1, min(TOGETHER, SQUARES // longest**2))])
        places = there[rows].any(0).nonzero()[:, 0]
        yield rows[:, None], places if len(places) else torch.zeros(1, dtype=torch.long, device=events.device)


class Popular(Recommender):
    """The same for everyone: how many people chose an item."""

    counts: Tensor

    def __init__(self, items: int) -> None:
        super().__init__(items)
        self.register_buffer("counts", torch.zeros(items))

    def forward(self, events: Tensor) -> Tensor:
        """Counts (batch, items)."""
        return self.counts.expand(len(events), -1).clone()

    def contributions(self, events: Tensor, items: Tensor) -> Tensor:
        """None: nothing depends on the history."""
        return events.new_zeros(len(events), items.shape[1], events.shape[1])


class Linear(Recommender):
    """Every item is the weighted sum of the others in the history, in closed form (EASE: Steck, 2019).

    With `social`, what friends chose is added by one weight, whatever else there is to go by.
    """

    weights: Tensor
    kin: Tensor

    def __init__(self, items: int, *, social: bool = False) -> None:
        super().__init__(items)
        self.social = social
        self.register_buffer("weights", torch.zeros(items, items))
        self.register_buffer("kin", torch.zeros(1))

    def forward(self, events: Tensor) -> Tensor:
        """History times weights (batch, items)."""
        scores = multi_hot(events, self.items) @ self.weights
        if not self.social:
            return scores
        friends = multi_hot(events, self.items, FRIENDS, weighted=True)
        return scores + self.kin * nn.functional.normalize(friends, dim=1)

    def contributions(self, events: Tensor, items: Tensor) -> Tensor:
        """The weight from each item of the history to each of those items."""
        which = numbers(events)
        rows = (which - 1).clamp(min=0)
        return self.weights[rows[:, None, :], items[:, :, None]] * (which > 0)[:, None, :]


class Factors(Recommender):
    """Implicit matrix factorisation (Hu et al., 2008): a person's factors are solved from the history when asked."""

    table: Tensor
    settled: Tensor

    def __init__(self, items: int, size: int) -> None:
        super().__init__(items)
        self.register_buffer("table", torch.zeros(items, size))
        self.register_buffer("settled", torch.tensor([0.1, 1.0]))  # weight of what was not chosen, regularisation

    def forward(self, events: Tensor) -> Tensor:
        """Factors of the person, by least squares over all items, times those of the items."""
        which = numbers(events)
        found = self.table.new_zeros(len(events), self.table.shape[1])
        for rows, places in by_length(events):
            some = which[rows, places]
            own = self.table[(some - 1).clamp(min=0)] * (some > 0)[..., None]
            found[rows[:, 0]] = folded(own, self.table, self.settled[0], self.settled[1])
        return found @ self.table.T

    def contributions(self, events: Tensor, items: Tensor) -> Tensor:
        """By the products of factors."""
        return alike(self.table, events, items)


def folded(own: Tensor, table: Tensor, absent: Tensor, penalty: Tensor) -> Tensor:
    """Factors (batch, size) that best explain a history.

    own: the factors of what was chosen (batch, length, size), zeros behind shorter histories. The penalty grows with
    the length of the history and the number of items (Rendle et al., 2021).
    """
    size = table.shape[1]
    counts = (own != 0).any(-1).sum(1)
    system = own.transpose(1, 2) @ own + absent * (table.T @ table)
    ridge = penalty * (counts + absent * len(table)) + 1e-6
    system = system + ridge[:, None, None] * torch.eye(size, device=own.device)
    found: Tensor = torch.linalg.solve(system, own.sum(1)[..., None])[..., 0]
    return found


class Blend(Recommender):
    """Several networks as one: the sum of their scores, each brought to mean 0 and deviation 1 over the items."""

    shares: Tensor

    def __init__(self, members: nn.ModuleDict, items: int) -> None:
        super().__init__(items)
        self.members = members
        self.register_buffer("shares", torch.tensor(USUAL[: len(members)]))

    def parts(self, events: Tensor) -> Tensor:
        """The standard scores of every member (batch, members, items)."""
        whole = torch.stack([member(events).float() for member in self.members.values()], 1)
        return (whole - whole.mean(-1, keepdim=True)) / whole.std(-1, keepdim=True).clamp(min=1e-6)

    def forward(self, events: Tensor) -> Tensor:
        """Their weighted sum (batch, items)."""
        return self.joined(self.parts(events))

    def joined(self, parts: Tensor) -> Tensor:
        """The standard scores of the members as one."""
        return torch.einsum("bmi,m->bi", parts, self.shares)

    def learn(self, events: Tensor) -> Lesson:
        """As the last member learns; the others have a closed form."""
        last = list(self.members.values())[-1]
        learned: Lesson = last.learn(events)  # type: ignore[operator]
        return learned

    def contributions(self, events: Tensor, items: Tensor) -> Tensor:
        """Those of the first member, which is linear."""
        first = next(iter(self.members.values()))
        told: Tensor = first.contributions(events, items)  # type: ignore[operator]
        return told
