"""A linear network over n-grams of tokens: no vocabulary of n-grams, only hashes of them, made as tensors.

Token ids come as integers (batch, longest), 0 behind the end. Positive ones are tokens; negative ones, behind them,
are the same text spelled in characters, with `BLANK` between words. An n-gram is known by a 64-bit hash of its ids, and
the network holds the sorted hashes of those that it knows, so that two n-grams never share a weight.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from zlib import crc32

import torch
from torch import Tensor, nn

BLANK: Final = -1
"""The character between two words."""
NOTHING: Final = torch.iinfo(torch.int64).max
"""The hash of no n-gram."""

_FACTOR: Final = -7046029254386353131  # 2^64 / golden ratio, odd
_SALT: Final = 7809847782465536322
PAIRS_UP_TO: Final = 100
"""Tokens of an aligned sequence up to which each pair of places is a feature."""


@dataclass(frozen=True)
class NgramShape:
    """What the features are.

    classes: outputs. features: n-grams that are known at most. words, letters: the longest n-gram of tokens and of
    characters (0: none). places: the longest k-mer that counts with its place, for aligned sequences of `length`
    tokens, where each pair of places counts as well (0: sequences are not aligned).
    """

    classes: int
    features: int
    words: int = 3
    letters: int = 0
    places: int = 0
    length: int = 0

    @property
    def outputs(self) -> int:
        """Columns of weights: one where there are two classes."""
        return 1 if self.classes == 2 else self.classes


def hashes(inputs: Tensor, shape: NgramShape) -> Iterator[Tensor]:
    """The n-grams of token ids (batch, longest), one block after the other: int64 (batch, places), `NOTHING` between.

    Blocks are those of tokens, of characters, of k-mers at their places and of pairs of places, as far as `shape` has
    them: always the same ones, empty where there are none, and those of a text do not depend on the texts beside it.
    What an aligned sequence has beyond the length of the others has no place to be known by.
    """
    inputs = inputs.long()
    tokens = inputs[:, : int((inputs > 0).sum(1).max())] if len(inputs) else inputs
    tokens = tokens.clamp(min=0)
    if shape.places:
        tokens = tokens[:, : shape.length]
        yield from _at_places(tokens, shape.places)
        yield _pairs(tokens if shape.length <= PAIRS_UP_TO else tokens[:, :0])
    else:
        yield _grams(tokens, shape.words, "tokens")
    if shape.letters:
        spelled = inputs < 0
        first = int(spelled.int().argmax(1)[spelled.any(1)].min()) if bool(spelled.any()) else inputs.shape[1]
        yield _grams((-inputs[:, first:]).clamp(min=0), shape.letters, "characters", -BLANK)


def _grams(ids: Tensor, longest: int, what: str, blank: int = 0) -> Tensor:
    """All n-grams up to `longest`; blanks stand at their ends only."""
    found: list[Tensor] = []
    rolling = torch.zeros_like(ids)
    blanks = (ids == blank).long().cumsum(1) if blank else None
    for n in range(1, min(longest, ids.shape[1]) + 1):
        ends = ids[:, n - 1 :]
        rolling = (rolling[:, : ends.shape[1]] + ends + 1) * _FACTOR
        good = (ends > 0) & (ids[:, : ends.shape[1]] > 0)  # nothing is missing in between
        if n == 1:
            good &= ids != blank if blank else True
        elif blanks is not None:  # none strictly inside
            good &= blanks[:, n - 2 : blanks.shape[1] - 1] == blanks[:, : ends.shape[1]]
        found.append(torch.where(good, _mixed(rolling + _salt(what, n)), NOTHING))
    return torch.cat(found, 1) if found else ids[:, :0]


def _at_places(ids: Tensor, longest: int) -> Iterator[Tensor]:
    """All k-mers up to `longest`, each with its place; a block for each length."""
    rolling, places = torch.zeros_like(ids), torch.arange(ids.shape[1], device=ids.device)
    for n in range(1, longest + 1):
        ends = ids[:, n - 1 :]
        rolling = (rolling[:, : ends.shape[1]] + ends + 1) * _FACTOR
        with_place = _mixed(rolling + _salt("k-mers", n)) + (places[: ends.shape[1]] + 1) * _SALT
        yield torch.where((ends > 0) & (ids[:, : ends.shape[1]] > 0), _mixed(with_place), NOTHING)


def weights_of(shape: NgramShape) -> list[float]:
    """How much each block of `hashes` weighs.

    k-mers at their places weigh as in the weighted degree kernel (Raetsch and Sonnenburg, 2004), the longer the less;
    all of them together as much as the pairs of places.
    """
    longest = shape.places
    if not longest:
        return [1.0, 1.0]
    each = [(2 * (longest - k + 1) / (longest * (longest + 1))) ** 0.5 for k in range(1, longest + 1)]
    return [*each, 1.0, 1.0]


def _pairs(ids: Tensor) -> Tensor:
    """Each pair of places with what stands there."""
    one, other = torch.triu_indices(ids.shape[1], ids.shape[1], 1, device=ids.device)
    left, right = ids[:, one], ids[:, other]
    place = one * PAIRS_UP_TO + other + 1
    codes = _mixed(_mixed((left + 3) * _FACTOR + right + _salt("pairs", 2)) + place * _SALT)
    return torch.where((left > 0) & (right > 0), codes, NOTHING)


def _salt(what: str, n: int) -> int:
    """A number of 64 bits for the n-grams of a kind and a length: those of another kind share no hash with them."""
    whole = (crc32(what.encode()) << 8) + n
    return (whole * _SALT + 2**63) % 2**64 - 2**63


def _mixed(codes: Tensor) -> Tensor:
    """Bits spread over the whole word (the finaliser of splitmix64), never `NOTHING`."""
    codes = (codes ^ (codes >> 30)) * -4658895280553007687
    codes = (codes ^ (codes >> 27)) * -7723592293110705685
    codes = codes ^ (codes >> 31)
    return torch.where(codes == NOTHING, 0, codes)


def distinct(codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Codes (batch, places) -> the different ones of each row, their rows, how often each occurs; all (found,)."""
    width = codes.shape[1]
    ordered = codes.sort(1).values
    fresh = torch.ones_like(ordered, dtype=torch.bool)
    fresh[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    there = ordered != NOTHING
    begins = (fresh & there).flatten().nonzero()[:, 0]
    rows = begins // max(1, width)
    ends = rows * width + there.sum(1)[rows]
    following = torch.cat([begins[1:], ends[-1:]])
    return ordered.flatten()[begins], rows, torch.minimum(following, ends) - begins


class NgramNetwork(nn.Module):
    """Logits (batch, classes) of token ids (batch, longest): a weight for each n-gram that is known.

    What occurs `t` times counts (1 + log t) times its rarity, and each block has length one (tf-idf); in aligned
    sequences everything is as rare. All it knows is put in by `ngram_fit.fit`; nothing is left for steps.
    """

    def __init__(self, shape: NgramShape) -> None:
        super().__init__()
        self.shape = shape
        self.keys: Tensor
        self.rarity: Tensor
        self.sharpness: Tensor
        self.looked: Tensor  # how many examples it learned from
        self.register_buffer("keys", torch.full((shape.features,), NOTHING))
        self.register_buffer("rarity", torch.zeros(shape.features))
        self.register_buffer("sharpness", torch.ones(()))
        self.register_buffer("looked", torch.zeros((), dtype=torch.long))
        # A parameter, so that the network is seen to be somewhere, but one that no step moves.
        self.weight = nn.Parameter(torch.zeros(shape.features, shape.outputs), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(shape.outputs), requires_grad=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (batch, classes)."""
        sums = self.bias.float().expand(len(inputs), -1).clone()
        for codes, weight in zip(hashes(inputs, self.shape), weights_of(self.shape), strict=False):
            rows, places, values = self.known(codes)
            values = values * weight
            sums.index_add_(0, rows, values[:, None] * self.weight[places].float())
        return self.as_logits(sums) * self.sharpness

    def as_logits(self, sums: Tensor) -> Tensor:
        """Margins (batch, outputs) as logits (batch, classes)."""
        return torch.cat([-sums, sums], 1) / 2 if self.shape.classes == 2 else sums

    def known(self, codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The n-grams of a block (batch, places) that are known: rows, places in the table, values."""
        found, rows, counts = distinct(codes)
        places = torch.searchsorted(self.keys, found).clamp(max=len(self.keys) - 1)
        good = self.keys[places] == found
        rows, places, counts = rows[good], places[good], counts[good]
        values = (1 + counts.float().log()) * self.rarity[places].float()
        squares = torch.zeros(len(codes), device=values.device).index_add_(0, rows, values * values)
        return rows, places, values / squares.sqrt().clamp(min=1e-9)[rows]
