"""What networks of music read frames with, from left to right: all at once to learn, one by one to compose."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, relu, scaled_dot_product_attention

from matinee.nets.sequences import rotations, turned

HEADS: Final = 32
"""Units of one head of attention."""


class Body(nn.Module):
    """Frames (batch, frames, units) -> what is known after each of them, of the same shape."""

    @abstractmethod
    def forward(self, frames: Tensor) -> Tensor:
        """All frames at once; each knows itself and those before it."""

    @abstractmethod
    def step(self, frame: Tensor, past: Any) -> tuple[Tensor, Any]:
        """One frame (batch, units) and what `step` kept of those before (None: there were none); and what is kept."""

    @abstractmethod
    def chosen(self, past: Any, rows: Tensor) -> Any:
        """What `step` kept, of these rows of the batch."""


class Recurrent(Body):
    """Layers of LSTM (Hochreiter and Schmidhuber, 1997), added to what went in."""

    def __init__(self, units: int, layers: int, share: float) -> None:
        super().__init__()
        self.share = share
        self.layers = nn.LSTM(units, units, layers, batch_first=True, dropout=share if layers > 1 else 0.0)

    def forward(self, frames: Tensor) -> Tensor:
        """As promised by `Body`."""
        return frames + dropout(self.layers(frames)[0], self.share, self.training)

    def step(self, frame: Tensor, past: Any) -> tuple[Tensor, Any]:
        """As promised by `Body`."""
        found, kept = self.layers(frame[:, None], past)
        return frame + found[:, 0], kept

    def chosen(self, past: Any, rows: Tensor) -> Any:
        """As promised by `Body`."""
        return tuple(each[:, rows] for each in past)


class Transformer(Body):
    """Blocks of causal attention that know how far apart frames are: rotary places (Su et al., 2021)."""

    def __init__(self, units: int, layers: int, share: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(units, share) for _ in range(2 * layers))
        self.last = nn.LayerNorm(units)

    def forward(self, frames: Tensor) -> Tensor:
        """As promised by `Body`."""
        turns = rotations(frames.shape[1], HEADS, frames.device)
        for layer in self.layers:
            frames = layer(frames, turns, None)[0]
        found: Tensor = self.last(frames)
        return found

    def step(self, frame: Tensor, past: Any) -> tuple[Tensor, Any]:
        """As promised by `Body`."""
        before = past[0][0].shape[2] if past else 0
        turns = rotations(before + 1, HEADS, frame.device)
        frame, kept = frame[:, None], []
        for place, layer in enumerate(self.layers):
            frame, keep = layer(frame, (turns[0][before:], turns[1][before:]), past[place] if past else ())
            kept.append(keep)
        return self.last(frame)[:, 0], kept

    def chosen(self, past: Any, rows: Tensor) -> Any:
        """As promised by `Body`."""
        return [(keys[rows], contents[rows]) for keys, contents in past]


class Layer(nn.Module):
    """Attention to what was before, then two linear layers; each is added to what went in."""

    def __init__(self, units: int, share: float) -> None:
        super().__init__()
        self.share = share
        self.before, self.between = nn.LayerNorm(units), nn.LayerNorm(units)
        self.ask, self.answer = nn.Linear(units, 3 * units), nn.Linear(units, units)
        self.wide, self.narrow = nn.Linear(units, 4 * units), nn.Linear(4 * units, units)

    def forward(self, frames: Tensor, turns: tuple[Tensor, Tensor], past: Any) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Frames (batch, n, units) -> the same, and their keys and contents; past: those of frames before them."""
        batch, count, units = frames.shape
        asked = self.ask(self.before(frames)).view(batch, count, 3, units // HEADS, HEADS).permute(2, 0, 3, 1, 4)
        query, keys, contents = turned(asked[0], turns), turned(asked[1], turns), asked[2]
        if past:
            keys, contents = torch.cat((past[0], keys), 2), torch.cat((past[1], contents), 2)
        found = scaled_dot_product_attention(query, keys, contents, is_causal=past is None)
        found = self.answer(found.transpose(1, 2).reshape(batch, count, units))
        frames = frames + dropout(found, self.share, self.training)
        thought = self.narrow(relu(self.wide(self.between(frames))))
        return frames + dropout(thought, self.share, self.training), (keys, contents)
