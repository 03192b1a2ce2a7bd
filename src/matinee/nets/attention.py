"""Layers of a Transformer (Vaswani et al., 2017), with norms first (Xiong et al., 2020), and their caches."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, relu, scaled_dot_product_attention

from matinee.nets.dropping import dropped

HEAD, NARROW = 64, 32  # width of a head, at most; of networks below WIDE, which else had two heads or one
WIDE = 256
LONG = 256  # queries; for longer ones the table of all pairs would cost more than fusing does


def positions(first: int, count: int, width: int, device: torch.device) -> Tensor:
    """Sines and cosines that tell places apart, float32 (count, width), from place `first` on."""
    rates = torch.exp(torch.arange(0, width, 2, device=device, dtype=torch.float32) * (-math.log(10000.0) / width))
    angles = torch.arange(first, first + count, device=device, dtype=torch.float32)[:, None] * rates
    return torch.stack((angles.sin(), angles.cos()), -1).flatten(1)[:, :width]


def attended(query: Tensor, keys: Tensor, contents: Tensor, seen: Tensor | None = None, causal: bool = False) -> Tensor:
    """Scaled dot-product attention; on a processor written out, where the fused one takes ten times as long to learn.

    (That was measured for lengths of 15 to 500 in bfloat16 and float32: docs/tasks/translation.md.)
    """
    if query.device.type != "cpu" or query.shape[2] > LONG:
        return scaled_dot_product_attention(query, keys, contents, attn_mask=seen, is_causal=causal)
    scores = (query * query.shape[-1] ** -0.5) @ keys.transpose(-1, -2)
    # Minus infinity is added, for filling in by a mask takes five times as long, and as long again to learn.
    if causal:
        scores = scores + scores.new_full(scores.shape[-2:], -math.inf).triu(1)
    if seen is not None:
        scores = scores + scores.new_zeros(seen.shape).masked_fill(~seen, -math.inf)
    found: Tensor = scores.softmax(-1).to(contents.dtype) @ contents
    return found


class Attention(nn.Module):
    """Several heads that look from one sequence into another, or into itself."""

    def __init__(self, width: int) -> None:
        super().__init__()
        most = max(1, width // (NARROW if width < WIDE else HEAD))
        self.heads = next(heads for heads in range(most, 0, -1) if width % heads == 0)
        self.ask = nn.Linear(width, width)
        self.offer = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def offered(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of a sequence (batch, length, width): two of (batch, heads, length, width / heads)."""
        both = self.offer(values).view(*values.shape[:2], 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        return both[0], both[1]

    def asked(self, values: Tensor) -> Tensor:
        """Queries (batch, heads, length, width / heads) of a sequence (batch, length, width)."""
        found: Tensor = self.ask(values).view(*values.shape[:2], self.heads, -1).transpose(1, 2)
        return found

    def forward(
        self, values: Tensor, keys: Tensor, contents: Tensor, seen: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        """What `values` (batch, length, width) find. seen: bool (batch, 1, 1, keys), what may be looked at."""
        return self._told(attended(self.asked(values), keys, contents, seen, causal))

    def within(self, values: Tensor, seen: Tensor | None = None, causal: bool = False) -> Tensor:
        """What `values` (batch, length, width) find in themselves: as `forward`, in one multiplication."""
        weight, bias = (torch.cat(pair) for pair in zip(self.ask.parameters(), self.offer.parameters(), strict=True))
        three = linear(values, weight, bias).view(*values.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        return self._told(attended(three[0], three[1], three[2], seen, causal))

    def _told(self, found: Tensor) -> Tensor:
        out: Tensor = self.out(found.transpose(1, 2).flatten(2))
        return out

    def weights(self, values: Tensor, keys: Tensor, seen: Tensor) -> Tensor:
        """How strongly each of `values` looks at each key, mean over the heads, float32 (batch, length, keys)."""
        query = self.asked(values).float()
        scores = query @ keys.float().transpose(-1, -2) / math.sqrt(query.shape[-1])
        return scores.masked_fill(~seen, -math.inf).softmax(-1).mean(1)


class Forward(nn.Module):
    """Two linear layers with what is above zero between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = 4 * width if width < WIDE else 2 * width
        self.into, self.out = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, values: Tensor) -> Tensor:
        """(..., width) -> (..., width)."""
        out: Tensor = self.out(relu(self.into(values)))
        return out


class Reader(nn.Module):
    """A layer of the encoder: looks at the whole sequence, then thinks about each place."""

    def __init__(self, width: int, share: float) -> None:
        super().__init__()
        self.look, self.think = Attention(width), Forward(width)
        self.first, self.second, self.share = nn.LayerNorm(width), nn.LayerNorm(width), share

    def forward(self, values: Tensor, seen: Tensor) -> Tensor:
        """(batch, length, width) -> the same; seen: bool (batch, 1, 1, length)."""
        found = self.look.within(self.first(values), seen)
        values = values + dropped(found, self.share, self.training)
        return values + dropped(self.think(self.second(values)), self.share, self.training)


class Writer(nn.Module):
    """A layer of the decoder: looks at what is written, then at the source, then thinks."""

    def __init__(self, width: int, share: float) -> None:
        super().__init__()
        self.recall, self.look = Attention(width), Attention(width)
        self.think = Forward(width)
        self.first, self.second, self.third = (nn.LayerNorm(width) for _ in range(3))
        self.share = share

    def forward(self, values: Tensor, keys: Tensor, contents: Tensor, seen: Tensor) -> Tensor:
        """All places at once: each sees those before it. keys, contents: of the source, as `look.offered` made them."""
        found = self.recall.within(self.first(values), causal=True)
        values = values + dropped(found, self.share, self.training)
        return self._rest(values, keys, contents, seen)

    def _rest(self, values: Tensor, keys: Tensor, contents: Tensor, seen: Tensor) -> Tensor:
        found = self.look(self.second(values), keys, contents, seen)
        values = values + dropped(found, self.share, self.training)
        return values + dropped(self.think(self.third(values)), self.share, self.training)

    def step(
        self, values: Tensor, past: tuple[Tensor, Tensor], source: tuple[Tensor, Tensor], seen: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """One place (rows, 1, width) with what was kept of those before it; also what is kept now.

        rows: batch x beams. The beams of an example look at its source together, as a sequence of queries, so that the
        source's keys and values are never copied.
        """
        normed = self.first(values)
        keys, contents = self.recall.offered(normed)
        keys, contents = torch.cat((past[0], keys), 2), torch.cat((past[1], contents), 2)
        values = values + self.recall(normed, keys, contents)
        batch = source[0].shape[0]
        together = values.view(batch, -1, values.shape[-1])
        return self._rest(together, *source, seen).view(values.shape), (keys, contents)
