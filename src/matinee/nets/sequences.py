"""Networks that read token ids (batch, longest): convolutions, recurrent layers, a transformer, under one embedding.

0 is padding and is never seen: masks, not luck, keep it out of every sum and maximum. Ids below zero (a text spelled in
characters, see nets/ngrams.py) are passed over.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, gelu, pad, scaled_dot_product_attention

BODIES: Final = ("cnn", "rnn", "lstm", "gru", "transformer")
SIZES: Final = {"s": (64, 64, 1), "m": (128, 128, 2), "l": (256, 256, 4)}
"""Numbers of an embedding, units of a body, layers."""
WIDTHS: Final = (2, 3, 4, 5)
"""Tokens that the filters of `cnn` see."""
STRETCH: Final = 100
"""Tokens that recurrent layers read in a row."""


@dataclass(frozen=True)
class SequenceShape:
    """classes: outputs. tokens: ids are below this. size: s, m or l. dropout: share of units left out in training.

    word_dropout: share of tokens that a step does not see. numbers: of the embedding, where the size does not say it.
    """

    classes: int
    tokens: int
    size: str = "m"
    dropout: float = 0.3
    word_dropout: float = 0.1
    numbers: int = 0


class SequenceNetwork(nn.Module):
    """Logits (batch, classes): embedding, body, the maximum and the mean over the tokens, one linear layer."""

    def __init__(self, body: str, shape: SequenceShape) -> None:
        super().__init__()
        numbers, units, layers = SIZES[shape.size]
        self.shape, numbers = shape, shape.numbers or numbers
        self.embed = nn.Embedding(shape.tokens, numbers, padding_idx=0)
        with torch.no_grad():
            self.embed.weight.normal_(0, 0.1)
            self.embed.weight[0].zero_()
        self.body: Body = _BODIES[body](numbers, units, layers, shape.dropout)
        self.head = nn.Linear(2 * self.body.units, shape.classes)
        self.sharpness: Tensor
        self.register_buffer("sharpness", torch.ones(()))

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (batch, classes) of token ids (batch, longest)."""
        ids = tokens_of(inputs)
        if self.training and self.shape.word_dropout:
            ids = ids * (torch.rand(ids.shape, device=ids.device) >= self.shape.word_dropout)
        there = ids > 0
        there[:, 0] |= ~there.any(1)  # a text without a token is one of padding
        vectors = dropout(self.embed(ids), self.shape.dropout, self.training)
        states = self.body(vectors, there)
        pooled = dropout(pool(states, there), self.shape.dropout, self.training)
        logits: Tensor = self.head(pooled) * self.sharpness
        return logits


def tokens_of(inputs: Tensor) -> Tensor:
    """The tokens (batch, longest of them) without what is spelled behind them."""
    ids = inputs.long().clamp(min=0)
    return ids[:, : max(1, int((ids > 0).sum(1).max()))] if len(ids) else ids


def pool(states: Tensor, there: Tensor) -> Tensor:
    """Maximum and mean over the tokens that are there: (batch, longest, units) -> (batch, 2 units)."""
    mask = there[:, :, None]
    highest = states.masked_fill(~mask, -torch.inf).amax(1)
    mean = states.masked_fill(~mask, 0).sum(1) / mask.sum(1)
    return torch.cat([highest, mean], 1)


class Body(nn.Module):
    """Vectors (batch, longest, numbers) and which are there -> states (batch, longest, units)."""

    units: int


class Convolutions(Body):
    """Filters of several widths side by side (Kim, 2014), so many units of each."""

    def __init__(self, numbers: int, units: int, layers: int, share: float) -> None:
        super().__init__()
        self.units = units * len(WIDTHS)
        self.filters = nn.ModuleList(nn.Conv1d(numbers, units, width, padding=width // 2) for width in WIDTHS)

    def forward(self, vectors: Tensor, there: Tensor) -> Tensor:
        """Each width's answers, cut to the tokens."""
        across = vectors.masked_fill(~there[:, :, None], 0).transpose(1, 2)
        found = [filters(across)[:, :, : vectors.shape[1]] for filters in self.filters]
        return torch.cat(found, 1).transpose(1, 2).relu()


class Recurrent(Body):
    """Recurrent layers in both directions: plain, LSTM (Hochreiter and Schmidhuber, 1997) or GRU (Cho et al., 2014)."""

    def __init__(
        self, kind: type[nn.RNN] | type[nn.LSTM] | type[nn.GRU], numbers: int, units: int, layers: int, share: float
    ) -> None:
        super().__init__()
        self.units = 2 * units
        depth = max(1, layers // 2)
        self.layers = kind(
            numbers, units, depth, batch_first=True, bidirectional=True, dropout=share if depth > 1 else 0.0
        )

    def forward(self, vectors: Tensor, there: Tensor) -> Tensor:
        """The states of both directions; what is behind the end is not read by the one that begins there.

        Longer texts are read in stretches side by side, each from a fresh state: what is pooled over all of them needs
        no longer memory, and it is several times as fast (Johnson and Zhang, 2016).
        """
        batch, longest, numbers = vectors.shape
        if longest > STRETCH:
            beyond = -longest % STRETCH
            vectors = pad(vectors, (0, 0, 0, beyond)).reshape(-1, STRETCH, numbers)
            there = pad(there, (0, beyond)).reshape(-1, STRETCH)
        # In training, word dropout leaves holes: the length is the place of the last token.
        lengths = (there * torch.arange(1, there.shape[1] + 1, device=there.device)).amax(1)
        some = lengths > 0
        found = self._read(vectors[some], lengths[some])
        states = found.new_zeros(len(vectors), *found.shape[1:])
        states[some] = found
        return states.reshape(batch, -1, self.units)[:, :longest]

    def _read(self, vectors: Tensor, lengths: Tensor) -> Tensor:
        """Vectors (batch, longest, numbers) of so many tokens each (batch,) -> states (batch, longest, units)."""
        if isinstance(self.layers, nn.LSTM) and vectors.device.type == "cpu":
            return both_ways(self.layers, vectors, lengths)
        packed = nn.utils.rnn.pack_padded_sequence(vectors, lengths.cpu(), True, enforce_sorted=False)
        return nn.utils.rnn.pad_packed_sequence(self.layers(packed)[0], True, total_length=vectors.shape[1])[0]


def both_ways(layers: nn.LSTM, vectors: Tensor, lengths: Tensor) -> Tensor:
    """What `layers`, read in both directions, answer to packed vectors: (batch, longest, numbers) -> (..., 2 units).

    A processor's fused kernels take no packed vectors. So the second direction reads each text turned round within its
    length: what is behind the end then comes last in both, where it changes nothing before it.
    """
    places = torch.arange(vectors.shape[1])
    there = places < lengths[:, None]
    turn = torch.where(there, lengths[:, None] - 1 - places, places)[:, :, None]
    states = vectors
    for layer in range(layers.num_layers):
        if layer:
            states = dropout(states, layers.dropout, layers.training)
        found = []
        for end in ("", "_reverse"):
            read = states.gather(1, turn.expand_as(states)) if end else states
            names = (f"{kind}_l{layer}{end}" for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
            began = states.new_zeros(1, len(states), layers.hidden_size)
            weights = tuple(layers.get_parameter(name) for name in names)
            told = torch.lstm(read, (began, began), weights, True, 1, 0.0, layers.training, False, True)[0]
            found.append(told.gather(1, turn.expand_as(told)) if end else told)
        states = torch.cat(found, 2) * there[:, :, None]
    return states


class Transformer(Body):
    """Blocks of attention and a gated layer, normalised before each, with rotary places (Su et al., 2021)."""

    def __init__(self, numbers: int, units: int, layers: int, share: float) -> None:
        super().__init__()
        self.units = units
        self.into = nn.Linear(numbers, units) if numbers != units else nn.Identity()
        self.blocks = nn.ModuleList(Block(units, max(1, units // 32), share) for _ in range(layers))
        self.last = nn.LayerNorm(units)

    def forward(self, vectors: Tensor, there: Tensor) -> Tensor:
        """States after all blocks."""
        states = self.into(vectors)
        turns = rotations(vectors.shape[1], 32 if self.units >= 32 else self.units, vectors.device)
        mask = there[:, None, None, :]
        for block in self.blocks:
            states = block(states, mask, turns)
        last: Tensor = self.last(states)
        return last


class Block(nn.Module):
    """Attention, then two linear layers; each is added to what went in."""

    def __init__(self, units: int, heads: int, share: float) -> None:
        super().__init__()
        self.heads, self.share = heads, share
        self.before, self.between = nn.LayerNorm(units), nn.LayerNorm(units)
        self.ask = nn.Linear(units, 3 * units, bias=False)
        self.answer = nn.Linear(units, units)
        self.wide, self.narrow = nn.Linear(units, 4 * units), nn.Linear(4 * units, units)

    def forward(self, states: Tensor, mask: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
        """(batch, longest, units) -> the same."""
        batch, longest, units = states.shape
        asked = self.ask(self.before(states)).view(batch, longest, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        query, key = turned(asked[0], turns), turned(asked[1], turns)
        heard = scaled_dot_product_attention(query, key, asked[2], attn_mask=mask)
        heard = self.answer(heard.transpose(1, 2).reshape(batch, longest, units))
        states = states + dropout(heard, self.share, self.training)
        thought = self.narrow(gelu(self.wide(self.between(states))))
        return states + dropout(thought, self.share, self.training)


def rotations(longest: int, numbers: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosine and sine of each place's turn, (longest, numbers / 2) each."""
    speeds = torch.exp(-math.log(10_000.0) * torch.arange(0, numbers, 2, device=device) / numbers)
    angles = torch.arange(longest, device=device)[:, None] * speeds
    return angles.cos(), angles.sin()


def turned(vectors: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
    """Vectors (..., longest, numbers) turned by their places."""
    cosine, sine = (turn.to(vectors.dtype) for turn in turns)
    one, other = vectors.chunk(2, -1)
    return torch.cat([one * cosine - other * sine, one * sine + other * cosine], -1)


_BODIES: Final[dict[str, Callable[[int, int, int, float], Body]]] = {
    "cnn": Convolutions,
    "rnn": partial(Recurrent, nn.RNN),
    "lstm": partial(Recurrent, nn.LSTM),
    "gru": partial(Recurrent, nn.GRU),
    "transformer": Transformer,
}
