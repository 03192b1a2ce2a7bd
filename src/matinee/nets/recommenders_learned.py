"""Networks that recommend and learn step by step: autoencoder, pairwise factors, graph convolution, sequences."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from matinee.nets.recommenders import FRIENDS, Lesson, Recommender, alike, multi_hot, numbers, shares

ASKED: Final = 1024
"""Places of which the next item is asked in a step of the sequence network, at most."""


def _thinned(events: Tensor, share: float, training: bool) -> Tensor:
    """Events without a share of them, by lot, while learning: what is left has to tell what is missing."""
    if not training or not share:
        return events
    stays = torch.rand(events.shape[:2], device=events.device) >= share
    return events * stays[..., None]


class Autoencoder(Recommender):
    """The multinomial variational autoencoder (Liang et al., 2018), with the mean of the code when answering."""

    def __init__(self, items: int, hidden: int, size: int, *, dropout: float, beta: float) -> None:
        super().__init__(items)
        self.dropout, self.beta, self.size = dropout, beta, size
        self.first = nn.Linear(items, hidden)
        self.code = nn.Linear(hidden, 2 * size)
        self.back = nn.Linear(size, hidden)
        self.head = nn.Linear(hidden, items)
        for layer in (self.first, self.code, self.back, self.head):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.normal_(layer.bias, std=0.001)

    def _coded(self, events: Tensor) -> Tensor:
        """Mean and log variance of the code (batch, 2 * size)."""
        chosen = functional.normalize(multi_hot(events, self.items), dim=1)
        chosen = functional.dropout(chosen, self.dropout, self.training)
        coded: Tensor = self.code(torch.tanh(self.first(chosen)))
        return coded

    def _decoded(self, code: Tensor) -> Tensor:
        scores: Tensor = self.head(torch.tanh(self.back(code)))
        return scores

    def forward(self, events: Tensor) -> Tensor:
        """Logits (batch, items)."""
        return self._decoded(self._coded(events)[:, : self.size])

    def learn(self, events: Tensor) -> Lesson:
        """Logits for all of the history, counted and not as shares, so that long histories say more.

        A code costs its divergence from a standard normal one, by `beta`.
        """
        chosen = multi_hot(events, self.items)
        usual = chosen.sum(1).mean().clamp(min=1)
        mean, spread = self._coded(events).float().chunk(2, 1)
        cost = -0.5 * self.beta / usual * (1 + spread - mean**2 - spread.exp()).sum(1)
        code = mean + torch.randn_like(mean) * (0.5 * spread).exp()
        return Lesson(self._decoded(code), chosen / usual, cost)

    def contributions(self, events: Tensor, items: Tensor) -> Tensor:
        """By the likeness of what items put into the network and what makes them come out."""
        into = functional.normalize(self.first.weight.T, dim=1)
        return alike(into, events, items)


def _factors(items: int, size: int) -> tuple[nn.Embedding, nn.Linear]:
    """A vector for each item that goes in and for each that comes out, of length one or so."""
    trunk, head = nn.Embedding(items, size), nn.Linear(size, items)
    for layer in (trunk, head):
        nn.init.normal_(layer.weight, std=size**-0.5)
    nn.init.zeros_(head.bias)
    return trunk, head


class Pairwise(Recommender):
    """Factors learned so that what is chosen ranks above what is not (BPR: Rendle et al., 2009).

    A person is the mean of the factors of the history (FISM: Kabbur et al., 2013), so that strangers can be answered.
    """

    def __init__(self, items: int, size: int, *, dropout: float) -> None:
        super().__init__(items)
        self.dropout = dropout
        self.trunk, self.head = _factors(items, size)

    def forward(self, events: Tensor) -> Tensor:
        """Products (batch, items)."""
        chosen = multi_hot(events, self.items)
        code = chosen @ self.trunk.weight / chosen.sum(1, keepdim=True).clamp(min=1).sqrt()
        scores: Tensor = self.head(code)
        return scores

    def learn(self, events: Tensor) -> Lesson:
        """Log odds of each chosen item against one that was not chosen, drawn by lot, as two logits (n, 2)."""
        scores, chosen = self(_thinned(events, self.dropout, True)).float(), multi_hot(events, self.items)
        row, item = chosen.nonzero(as_tuple=True)
        other = torch.randint(0, self.items, item.shape, device=item.device)
        clean = chosen[row, other] == 0
        pairs = torch.stack([scores[row, item], scores[row, other]], 1)[clean]
        return Lesson(pairs, torch.zeros(len(pairs), dtype=torch.long, device=pairs.device))

    def contributions(self, events: Tensor, items: Tensor) -> Tensor:
        """By the products of factors."""
        return alike(self.trunk.weight, events, items, self.head.weight)


class Graph(Recommender):
    """Graph convolution over items chosen together, and over friends (after LightGCN: He et al., 2020).

    An item is itself and its neighbours; a person is the mean of the history and, by a share that is learned, of what
    friends chose. The softmax over all items takes the place of pairs.
    """

    neighbours: Tensor
    nearness: Tensor

    def __init__(self, items: int, size: int, *, neighbours: int, dropout: float, social: bool) -> None:
        super().__init__(items)
        self.dropout = dropout
        self.trunk, self.head = _factors(items, size)
        self.social = nn.Parameter(torch.zeros(1)) if social else None
        self.register_buffer("neighbours", torch.zeros(items, neighbours, dtype=torch.long))
        self.register_buffer("nearness", torch.zeros(items, neighbours))

    def _items(self) -> Tensor:
        near = (self.trunk.weight[self.neighbours] * self.nearness[..., None]).sum(1)
        return self.trunk.weight + near

    def forward(self, events: Tensor) -> Tensor:
        """Products (batch, items)."""
        return self._scores(events)

    def _scores(self, events: Tensor) -> Tensor:
        table, own = self._items(), multi_hot(events, self.items)
        code = own @ table / own.sum(1, keepdim=True).clamp(min=1).sqrt()
        if self.social is not None:
            friends = multi_hot(events, self.items, FRIENDS, weighted=True)
            near = friends @ table / friends.pow(2).sum(1, keepdim=True).clamp(min=1e-6).sqrt()
            code = code + torch.sigmoid(self.social) * near
        scores: Tensor = self.head(code)
        return scores

    def learn(self, events: Tensor) -> Lesson:
        """Logits from a thinned history, for all of it."""
        logits = self._scores(_thinned(events, self.dropout, self.training))
        return Lesson(logits, shares(multi_hot(events, self.items)))

    def contributions(self, events: Tensor, items: Tensor) -> Tensor:
        """By the products of what goes in and what comes out."""
        return alike(self._items(), events, items, self.head.weight)


class Sequence(Recommender):
    """A causal Transformer over the history, with the softmax over all items (SASRec: Kang and McAuley, 2018)."""

    def __init__(self, items: int, size: int, *, layers: int, length: int, dropout: float) -> None:
        super().__init__(items)
        self.length = length
        self.trunk = nn.Embedding(items + 1, size, padding_idx=0)
        self.place = nn.Embedding(length, size)
        self.blocks = nn.ModuleList(_Block(size, 2, dropout) for _ in range(layers))
        self.last = nn.LayerNorm(size)
        self.drop = nn.Dropout(dropout)
        self.often = nn.Parameter(torch.zeros(items))
        for table in (self.trunk, self.place):
            nn.init.normal_(table.weight, std=0.02)

    def _recent(self, events: Tensor, anywhere: bool = False) -> Tensor:
        """The last items of each history, flush right behind zeros: numbers from 1 on (batch, length).

        anywhere: of histories that are longer, a stretch by lot.
        """
        which = numbers(events)
        order = torch.argsort((which > 0).int(), dim=1, stable=True)
        width = min(self.length, order.shape[1])
        early = ((which > 0).sum(1) - width).clamp(min=0) * anywhere
        early = (torch.rand(len(which), device=which.device) * (early + 1)).long()
        places = torch.arange(order.shape[1] - width, order.shape[1], device=which.device)
        return which.gather(1, order.gather(1, places - early[:, None]))

    def _logits(self, states: Tensor) -> Tensor:
        """The items that go in are those that come out: their vectors are the same."""
        return functional.linear(states, self.trunk.weight[1:], self.often)

    def _states(self, recent: Tensor) -> Tensor:
        width = recent.shape[1]
        states = self.trunk(recent) * self.trunk.embedding_dim**0.5 + self.place.weight[-width:]
        states = self.drop(states)
        here = recent > 0
        causal = torch.ones(width, width, dtype=torch.bool, device=recent.device).tril()
        # A padding looks at itself, so that no row of the softmax is empty.
        mask = causal & (here[:, None, :] | torch.eye(width, dtype=torch.bool, device=recent.device))
        for block in self.blocks:
            states = block(states, mask[:, None])
        normal: Tensor = self.last(states)
        return normal

    def forward(self, events: Tensor) -> Tensor:
        """Logits of the next item (batch, items)."""
        return self._logits(self._states(self._recent(events))[:, -1])

    def learn(self, events: Tensor) -> Lesson:
        """Logits at places of a history (n, items), and the number of the item that came next (n,).

        Places are drawn where there are many: most of a step goes into the softmax over all items.
        """
        recent = self._recent(events, anywhere=True)
        if recent.shape[1] < 2:
            recent = functional.pad(recent, (1, 0))
        before, after = recent[:, :-1], recent[:, 1:]
        asked = (before > 0) & (after > 0)
        if not asked.any():  # histories of one item: they are guessed from nothing
            asked = after > 0
        row, place = asked.nonzero(as_tuple=True)
        if len(row) > ASKED:
            some = torch.randperm(len(row), device=row.device)[:ASKED]
            row, place = row[some], place[some]
        return Lesson(self._logits(self._states(before)[row, place]), after[row, place] - 1)

    def contributions(self, events: Tensor, items: Tensor) -> Tensor:
        """By the products of what goes in and what comes out."""
        return alike(self.trunk.weight[1:], events, items)


class _Block(nn.Module):
    """Attention and two layers, each on a normalised input and added to it."""

    def __init__(self, size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.before, self.between = nn.LayerNorm(size), nn.LayerNorm(size)
        self.asked, self.joined = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.wide = nn.Sequential(nn.Linear(size, 4 * size), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * size, size))
        self.drop = nn.Dropout(dropout)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """States (batch, length, size); mask (batch, 1, length, length), True where a place is looked at."""
        batch, length, size = states.shape
        asked = self.asked(self.before(states)).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        share = self.dropout if self.training else 0.0
        seen = functional.scaled_dot_product_attention(asked[0], asked[1], asked[2], attn_mask=mask, dropout_p=share)
        states = states + self.drop(self.joined(seen.transpose(1, 2).reshape(batch, length, size)))
        result: Tensor = states + self.drop(self.wide(self.between(states)))
        return result


def fit_graph(network: Graph, products: Tensor) -> None:
    """The items most often chosen together with each, their nearness by cosine, in sum one (items, neighbours)."""
    scale = products.diagonal().clamp(min=1).rsqrt()
    cosine = products * scale * scale[:, None]
    cosine.fill_diagonal_(0)
    near = cosine.topk(network.neighbours.shape[1], 1)
    with torch.no_grad():
        network.neighbours.copy_(near.indices)
        network.nearness.copy_(near.values / near.values.sum(1, keepdim=True).clamp(min=1e-6))
