"""Networks that play: from an observation to the chances of the actions and the value of the position.

What must survive from one pass of training to the next lies in their buffers: the statistics of observations and
rewards, and the games under way, as seeds and the actions played since.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from matinee.core.runtime import multiplies_bfloat16
from matinee.nets.proximal import FORBIDDEN

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Shape:
    """What goes in and comes out. `places`: games under way at once; `limit`: moves of the longest.

    `values`: instead of a policy, what each choice is worth.
    """

    observation: tuple[int, ...]
    choices: int
    numbers: int
    pixels: bool
    places: int
    limit: int
    board: str = ""
    values: bool = False

    @property
    def policy(self) -> int:
        """Outputs of the policy before the value."""
        return self.choices or self.numbers


class Normalise(nn.Module):
    """Observations with mean 0 and deviation 1 by what was seen so far, within -10 and 10; pictures from 0 to 1."""

    mean: Tensor
    variance: Tensor
    count: Tensor
    offset: Tensor
    scale: Tensor

    def __init__(self, shape: tuple[int, ...], still: bool) -> None:
        super().__init__()
        self.still = still
        size = (1,) if still else shape
        self.register_buffer("mean", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("variance", torch.ones(size, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        # The same in the format of the network: what each pass through it uses.
        self.register_buffer("offset", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))

    def forward(self, inputs: Tensor) -> Tensor:
        """(batch, *shape) float32."""
        if self.still:
            return inputs.float()
        return ((inputs.float() - self.offset) * self.scale).clamp(-10, 10)

    @torch.no_grad()
    def learn(self, seen: Tensor) -> None:
        """Take observations (many, *shape) into account (Chan et al., 1979)."""
        if self.still:
            return
        seen, before, more = seen.double(), self.count.item(), len(seen)
        share, gap = more / (before + more), seen.mean(0) - self.mean
        variance = seen.var(0, correction=0)
        self.variance.mul_(1 - share).add_(share * variance + share * (1 - share) * gap.square())
        self.mean.add_(share * gap)
        self.count.add_(more)
        self.offset.copy_(self.mean)
        self.scale.copy_((self.variance + 1e-8).rsqrt())


class Memory(nn.Module):
    """Games under way: the seed of each place's game, the actions since it began, and the scale of rewards."""

    seeds: Tensor
    lengths: Tensor
    actions: Tensor
    returns: Tensor
    moments: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        kind = torch.uint8 if shape.choices else torch.float32
        size = (shape.places, shape.limit) if shape.choices else (shape.places, shape.limit, shape.numbers)
        self.register_buffer("seeds", torch.full((shape.places,), -1, dtype=torch.int64))
        self.register_buffer("lengths", torch.zeros(shape.places, dtype=torch.int64))
        self.register_buffer("actions", torch.zeros(size, dtype=kind))
        self.register_buffer("returns", torch.zeros(shape.places, dtype=torch.float64))
        # Count, mean and variance of discounted returns so far.
        self.register_buffer("moments", torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))

    def keep(self, seeds: Array, lengths: Array, actions: Array) -> None:
        """The games under way as they are now."""
        for buffer, values in ((self.seeds, seeds), (self.lengths, lengths), (self.actions, actions)):
            buffer.copy_(torch.from_numpy(values))

    def told(self) -> tuple[Array, Array, Array]:
        """Seeds, lengths and actions, as copies."""
        return self.seeds.cpu().numpy().copy(), self.lengths.cpu().numpy().copy(), self.actions.cpu().numpy().copy()


class Player(nn.Module):
    """Policy and value over a trunk. `live` holds the games themselves while the process lasts; see `Memory`.

    With `shape.values` the outputs are what each choice is worth, and last the most of them: the value of playing on.
    """

    head: nn.ModuleDict

    def __init__(self, shape: Shape, trunk: nn.Module, width: int, still: bool) -> None:
        super().__init__()
        self.shape = shape
        self.normalise = Normalise(shape.observation, still)
        self.trunk = trunk
        heads = {"policy": nn.Linear(width, shape.policy)} | ({} if shape.values else {"value": nn.Linear(width, 1)})
        self.head = nn.ModuleDict(heads)
        for name, layer in heads.items():
            nn.init.orthogonal_(layer.weight, 0.01 if name == "policy" else 1.0)
            nn.init.zeros_(layer.bias)
        self.deviation = nn.Parameter(torch.zeros(shape.numbers)) if not shape.choices else None
        self.memory = Memory(shape)
        self.live: Any = None

    def policy(self, inputs: Tensor) -> Tensor:
        """(batch, choices) logits, or (batch, 2 numbers) means and log-deviations."""
        with torch.autocast(inputs.device.type, enabled=False):
            return self._policy(inputs, self._features(inputs)[0])

    def forward(self, inputs: Tensor) -> Tensor:
        """The policy and, last, the value."""
        # A ratio of chances compares two passes of the same network: both must be exact.
        with torch.autocast(inputs.device.type, enabled=False):
            first, second = self._features(inputs)
            policy = self._policy(inputs, first)
            value = policy.amax(-1, keepdim=True) if self.shape.values else self.head["value"](second)
            return torch.cat((policy, value), -1)

    def in_units(self, outputs: Tensor) -> Tensor:
        """Outputs whose values are in the units of the game's rewards, by which they were divided for learning."""
        scale = (self.memory.moments[2] + 1e-8).sqrt().to(outputs.dtype)
        policy, value = outputs[:, :-1], outputs[:, -1:] * scale
        if self.shape.values:
            policy = torch.where(policy > FORBIDDEN, policy * scale, policy)
        return torch.cat((policy, value), -1)

    def _features(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """What the policy and the value are read from: the same, but of twins."""
        found: Tensor = self.trunk(self.normalise(inputs))
        return (found[0], found[1]) if isinstance(self.trunk, Twins) else (found, found)

    def _policy(self, inputs: Tensor, features: Tensor) -> Tensor:
        found: Tensor = self.head["policy"](features)
        if self.deviation is not None:
            return torch.cat((found, self.deviation.clamp(-5, 2).expand_as(found)), -1)
        if self.shape.board:
            return found.masked_fill(~allowed(inputs, self.shape.board), FORBIDDEN)
        return found


class Constant(nn.Module):
    """The same outputs for everything: moves by lot, all equally likely."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        size = (shape.choices or 2 * shape.numbers) + 1
        self.outputs = nn.Parameter(torch.zeros(size))

    def policy(self, inputs: Tensor) -> Tensor:
        """As a player's."""
        found: Tensor = self(inputs)[:, :-1]
        return found

    def forward(self, inputs: Tensor) -> Tensor:
        """(batch, outputs)."""
        found = self.outputs.expand(len(inputs), -1)
        if not self.shape.board:
            return found
        closed = nn.functional.pad(~allowed(inputs, self.shape.board), (0, 1))
        return found.masked_fill(closed, FORBIDDEN)


def allowed(boards: Tensor, kind: str) -> Tensor:
    """Moves that a board (batch, 2, height, width) allows: empty cells, or columns whose top is empty; bool."""
    taken = boards.sum(1) > 0.5
    return ~(taken[:, 0] if kind == "columns" else taken.flatten(1))


class Twins(nn.Module):
    """Two networks side by side, for the policy and for the value, each of two layers with tanh, in one go.

    Orthogonal weights (Saxe et al., 2013; Andrychowicz et al., 2020, arXiv 2006.05990).
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, 2 * width)
        self.second = nn.Parameter(torch.empty(2, width, width))
        self.bias = nn.Parameter(torch.zeros(2, 1, width))
        with torch.no_grad():
            for weights in (self.first.weight[:width], self.first.weight[width:], *self.second):
                nn.init.orthogonal_(weights, math.sqrt(2))
            nn.init.zeros_(self.first.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """(batch, ...) -> (2, batch, width)."""
        hidden = self.first(inputs.flatten(1)).tanh()
        apart = hidden.unflatten(-1, (2, -1)).transpose(0, 1)
        return torch.baddbmm(self.bias, apart, self.second).tanh()


def dense(inputs: int, width: int, layers: int) -> nn.Sequential:
    """Layers that are normalised, without which values learned from themselves may run away (Gallici et al., 2024)."""
    parts: list[nn.Module] = [nn.Flatten()]
    for _ in range(layers):
        layer = nn.Linear(inputs, width)
        nn.init.orthogonal_(layer.weight, math.sqrt(2))
        nn.init.zeros_(layer.bias)
        parts += [layer, nn.LayerNorm(width), nn.ReLU()]
        inputs = width
    return nn.Sequential(*parts)


def in_bfloat16(inputs: Tensor) -> torch.autocast:
    """Convolutions in the format that the hardware multiplies fast: the same one whenever the network is run."""
    return torch.autocast(inputs.device.type, torch.bfloat16, enabled=multiplies_bfloat16(inputs.device))


class Pictures(nn.Module):
    """Three convolutions and a dense layer over the last four pictures.

    As Mnih et al. (2015, Nature 518:529) have them, with half the channels: a third of the work on a processor.
    """

    def __init__(self, channels: int, width: int, normed: bool) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        for size, kernel, stride in ((16, 8, 4), (32, 4, 2), (32, 3, 1)):
            parts += [nn.Conv2d(channels, size, kernel, stride), *([nn.GroupNorm(1, size)] * normed), nn.ReLU()]
            channels = size
        dense = nn.Linear(channels * 7 * 7, width)
        self.layers = nn.Sequential(*parts, nn.Flatten(), dense, *([nn.LayerNorm(width)] * normed), nn.ReLU())
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
                nn.init.orthogonal_(layer.weight, math.sqrt(2))
                nn.init.zeros_(layer.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """(batch, channels, 84, 84) from 0 to 255 -> (batch, width)."""
        with in_bfloat16(inputs):
            found: Tensor = self.layers((inputs / 255.0).contiguous(memory_format=torch.channels_last))
        return found.float()


class Board(nn.Module):
    """Convolutions that keep the size of a board, with shortcuts, and a dense layer."""

    def __init__(self, shape: tuple[int, ...], width: int, blocks: int) -> None:
        super().__init__()
        channels = 32
        self.first = nn.Conv2d(shape[0], channels, 3, padding=1)
        self.blocks = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(blocks))
        self.last = nn.Linear(channels * shape[1] * shape[2], width)

    def forward(self, inputs: Tensor) -> Tensor:
        """(batch, 2, height, width) -> (batch, width)."""
        with in_bfloat16(inputs):
            found = self.first(inputs).relu()
            for block in self.blocks:
                found = found + block(found).relu()
            last: Tensor = self.last(found.flatten(1)).relu()
        return last.float()


def build(network: str, shape: Shape) -> Player | Constant:
    """The network called "constant", "linear", "mlp", "cnn" or "board"."""
    if network == "constant":
        return Constant(shape)
    still = shape.pixels or bool(shape.board)
    inputs = math.prod(shape.observation)
    if network == "linear":
        scaled = [nn.Flatten(), Scale()] if shape.pixels else [nn.Flatten()]
        return Player(shape, nn.Sequential(*scaled), inputs, still)
    if network == "cnn":
        return Player(shape, Pictures(shape.observation[0], 256, shape.values), 256, still)
    if network == "board":
        return Player(shape, Board(shape.observation, 128, 3), 128, still)
    if shape.values:
        return Player(shape, dense(inputs, 128, 2), 128, still)
    return Player(shape, Twins(inputs, 64), 64, still)


class Scale(nn.Module):
    """Bytes from 0 to 1."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Any shape."""
        return inputs / 255.0
