"""Networks that choose sentences of a document: those worth keeping, or simply the first ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from matinee.nets.attention import Reader, positions
from matinee.nets.dropping import dropped
from matinee.nets.searching import END, PAD

STOP = 3
FEATURES = 10
MOST = 512  # sentences of a document that are looked at


def sentence_of(source: Tensor) -> Tensor:
    """The number of the sentence of each piece, int64 (batch, n); every sentence of `source` (batch, n) ends with 3."""
    ends = (source == STOP).long()
    return (ends.cumsum(1) - ends).clamp(max=MOST - 1)


def gathered(values: Tensor, sentence: Tensor, count: int) -> Tensor:
    """Sums of values (batch, n, width) over the pieces of each sentence: (batch, count, width)."""
    sums = values.new_zeros(len(values), count, values.shape[-1])
    return sums.scatter_add(1, sentence[..., None].expand_as(values), values)


def sentence_lengths(source: Tensor) -> Tensor:
    """Pieces of each sentence of source (batch, n), float32 (batch, sentences); 0 where there is none."""
    count = max(1, min(MOST, int((source == STOP).sum(1).max())))
    real = ((source != PAD) & (source != END) & (source != STOP)).float()
    return gathered(real[..., None], sentence_of(source).clamp(max=count - 1), count)[..., 0]


def extracted(source: Tensor, chosen: Tensor) -> Tensor:
    """The pieces of the chosen sentences, bool (batch, sentences), in a row: (batch, longest), zeros behind."""
    kept = chosen.gather(1, sentence_of(source).clamp(max=chosen.shape[1] - 1)) & (source != PAD) & (source != END)
    order = (~kept).long().argsort(dim=1, stable=True)
    longest = max(1, int(kept.sum(1).max()))
    return (source * kept).gather(1, order)[:, :longest]


def as_long_as(shares: Tensor, lengths: Tensor, budget: Tensor) -> Tensor:
    """Which sentences to keep, bool (batch, sentences): the likeliest, in all as near to the budget as they come.

    shares: how likely each belongs to the summary; lengths: pieces of each, 0 where there is none; budget: pieces of
    the summary (batch,). At least one sentence is kept.
    """
    ordered = shares.masked_fill(lengths <= 0, -1.0).sort(dim=1, descending=True, stable=True)
    taken = lengths.gather(1, ordered.indices).cumsum(1)
    last = (taken - budget[:, None]).abs().argmin(1)
    first = torch.arange(shares.shape[1], device=shares.device)[None] <= last[:, None]
    return torch.zeros_like(first).scatter(1, ordered.indices, first) & (lengths > 0)


class Words(nn.Module):
    """What is known of each piece: a vector, learned, and how rare it is, counted."""

    rarity: Tensor

    def __init__(self, pieces: int, width: int) -> None:
        super().__init__()
        self.vectors = nn.Embedding(pieces, width, padding_idx=PAD)
        nn.init.normal_(self.vectors.weight, std=0.3)
        # The logarithm of documents over documents that have it; set by a look at the training documents.
        self.register_buffer("rarity", torch.ones(pieces))


class Extract(nn.Module):
    """Scores each sentence of a document by its words, its place, and what else the document says.

    The words of a sentence are weighed and added up; layers of a Transformer then compare the sentences.
    """

    budget: Tensor

    def __init__(self, pieces: int, width: int, layers: int, share: float) -> None:
        super().__init__()
        self.tables = Words(pieces, width)
        self.weigh = nn.Linear(width, 1)
        self.enter = nn.Linear(width + FEATURES, width)
        self.readers = nn.ModuleList(Reader(width, share) for _ in range(layers))
        self.norm, self.width, self.share = nn.LayerNorm(width), width, share
        self.head = nn.Linear(width + FEATURES, 1)
        # How long a summary is: so many pieces, and such a share of the document's; one of them is 0.
        self.register_buffer("budget", torch.tensor([0.0, 0.3]))

    def forward(self, source: Tensor) -> Tensor:
        """Logits (batch, sentences) that a sentence belongs to the summary; far below zero where there is none."""
        count = max(1, min(MOST, int((source == STOP).sum(1).max())))
        sentence = sentence_of(source).clamp(max=count - 1)
        real = ((source != PAD) & (source != END) & (source != STOP)).float()
        features, lengths = self._features(source, sentence, real, count)
        values = dropped(self.tables.vectors(source), self.share, self.training)
        weights = torch.sigmoid(self.weigh(values)) * real[..., None]
        sums = gathered((values * weights).float(), sentence, count)
        mean = sums / gathered(weights.float(), sentence, count).clamp(min=1e-3)
        mixed = self.enter(torch.cat((mean, features), -1)) + positions(0, count, self.width, source.device)
        there = lengths > 0
        seen = there[:, None, None] | (torch.arange(count, device=source.device) == 0)
        for reader in self.readers:
            mixed = reader(mixed, seen)
        logits: Tensor = self.head(torch.cat((self.norm(mixed).float(), features), -1))[..., 0]
        return logits.float().masked_fill(~there, -30.0)

    def choose(self, source: Tensor, shares: Tensor) -> Tensor:
        """Which sentences to keep, bool (batch, sentences), by how likely each belongs to the summary."""
        lengths = sentence_lengths(source)
        return as_long_as(shares, lengths, self.budget[0] + self.budget[1] * lengths.sum(1))

    def _features(self, source: Tensor, sentence: Tensor, real: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """What is known of each sentence without learning, (batch, sentences, 10), and how many pieces it has."""
        rare = self.tables.rarity[source] * real
        table = torch.zeros(len(source), len(self.tables.rarity), device=source.device)
        often = table.scatter_add(1, source, real).gather(1, source)
        title = torch.zeros_like(table).scatter_add(1, source, (sentence == 0) * real).gather(1, source) > 0
        spread = torch.stack(
            (real, rare, rare * often.log1p(), rare * (often > 1), rare * title, rare * (sentence == 0)), -1
        )
        sums = gathered(spread, sentence, count)
        lengths = sums[..., 0]
        each, total = lengths.clamp(min=1), sums[..., 1].clamp(min=1e-3)
        there = (lengths > 0).float()
        number = there.sum(1, keepdim=True).clamp(min=1)
        place = torch.arange(count, device=source.device, dtype=torch.float32)[None].expand(len(source), -1)
        found = (
            place / number, 1 / (1 + place), (place == 0).float(), (place == number - 1).float(),
            lengths.log1p() / 5, sums[..., 1] / each / 5, sums[..., 2] / total, sums[..., 3] / total,
            sums[..., 4] / total * (place > 0), number.log().expand_as(place) / 5,
        )  # fmt: skip
        return torch.stack(found, -1) * there[..., None], lengths


class Lead(nn.Module):
    """The first sentences of a document: a number of them, or a share of its pieces; its headline may be left out."""

    rule: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("rule", torch.tensor([3.0, 0.0, 0.0]))  # sentences, share of the pieces, left out

    def forward(self, source: Tensor) -> Tensor:
        """The pieces of the summary (batch, longest) of source (batch, n)."""
        return extracted(source, self.chosen(source))

    def chosen(self, source: Tensor) -> Tensor:
        """Which sentences, bool (batch, sentences)."""
        lengths = sentence_lengths(source)
        number, share, out = self.rule.tolist()
        there, place = lengths > 0, torch.arange(lengths.shape[1], device=source.device)[None]
        left = there & ((place >= out) | (there.sum(1, keepdim=True) <= out))
        before = (lengths * left).cumsum(1) - lengths * left
        few = before < share * lengths.sum(1, keepdim=True) if share > 0 else left.long().cumsum(1) <= number
        chosen: Tensor = left & few
        return chosen
