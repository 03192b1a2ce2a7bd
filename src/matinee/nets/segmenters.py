"""Networks that give every pixel a class, by name: `build_segmenter("light", PictureShape(3, 360, 480, 11))`.

Every network takes plain pixels (N, C, H, W) from 0 to 1 and answers float32 logits (N, classes, h, w) on a grid that
is coarser than the picture, by two or four: whoever wants every pixel enlarges them. They take pictures of any size.
The state_dict keys that start with "head." are the head; everything else may be loaded from a network of other classes.

A build depends on nothing but its arguments and torch's random state, and works under `torch.device("meta")`.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate, relu

from matinee.core.errors import SettingsError
from matinee.core.quick import Quick
from matinee.nets.choices import PictureShape
from matinee.nets.pictures import Normalise, Statistics

COARSE: Final = 4
"""Pixels of a picture, each way, to one place of the logits of `constant` and `linear`."""


@dataclass(frozen=True)
class _Plan:
    """Channels at a half, a quarter, ... of the picture's side, blocks at each from the quarter on; of the decoder.

    decoder: channels at a quarter, and on the coarser grids.
    """

    widths: tuple[int, int, int, int, int]
    blocks: tuple[int, int, int, int]
    decoder: tuple[int, int]


# Multiplications for a picture of 480 x 360 pixels in 11 classes: tiny 0.1, light 2.9, strong 11 thousand million. A
# core that makes 70 to 90 thousand million a second in bfloat16 needs 2, 40 and 130 ms for them.
PLANS: Final = {
    "tiny": _Plan((12, 16, 24, 32, 48), (0, 1, 1, 0), (16, 24)),
    "light": _Plan((32, 48, 96, 160, 256), (1, 1, 2, 1), (64, 96)),
    "strong": _Plan((32, 64, 160, 256, 384), (2, 3, 3, 2), (96, 160)),
}
NAMES: Final = ("constant", "linear", *PLANS)


def _layer(channels: int, width: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, normalisation, ReLU: in this order one of them can be folded into the other for answering."""
    convolution = nn.Conv2d(channels, width, kernel, stride, kernel // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU())


class _Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut (He et al., 2015); starts as the shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(second.weight, mode="fan_out", nonlinearity="relu")
        norm = nn.BatchNorm2d(width)
        nn.init.zeros_(norm.weight)
        self.first = _layer(width, width)
        self.second = nn.Sequential(second, norm)

    def forward(self, features: Tensor) -> Tensor:
        return relu(features + self.second(self.first(features)))


class _Surroundings(nn.Module):
    """Adds to every place what its part of the picture, and all of it, look like (Zhao et al., 2016, PSPNet)."""

    grids: Final = (1, 2, 4)

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.here = nn.Conv2d(channels, width, 1, bias=False)
        self.there = nn.ModuleList(nn.Conv2d(channels, width, 1, bias=False) for _ in self.grids)
        self.after = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU())

    def forward(self, features: Tensor) -> Tensor:
        size, told = features.shape[2:], self.here(features)
        for grid, convolution in zip(self.grids, self.there, strict=True):
            means = convolution(adaptive_avg_pool2d(features, grid))
            told = told + interpolate(means, size, mode="bilinear", align_corners=False)
        out: Tensor = self.after(told)
        return out


class _Trunk(nn.Module):
    """(N, C, H, W) -> (N, decoder[0], H / 4, W / 4): down to a 32nd of the side and up again.

    The way up is that of feature pyramids (Lin et al., 2016, arXiv 1612.03144), every grid mixed by a 3x3 convolution.
    """

    def __init__(self, channels: int, plan: _Plan) -> None:
        super().__init__()
        self.stem = _layer(channels, plan.widths[0], stride=2)
        stages = []
        for before, width, blocks in zip(plan.widths, plan.widths[1:], plan.blocks, strict=False):
            stages.append(nn.Sequential(_layer(before, width, stride=2), *(_Block(width) for _ in range(blocks))))
        self.stages = nn.ModuleList(stages)
        fine, coarse = plan.decoder
        self.surroundings = _Surroundings(plan.widths[-1], coarse)
        inputs, outputs = (fine, coarse, coarse), (fine, fine, coarse)  # at a quarter, an eighth, a sixteenth
        self.sideways = nn.ModuleList(nn.Conv2d(w, i, 1) for w, i in zip(plan.widths[1:4], inputs, strict=True))
        self.upward = nn.ModuleList(_layer(i, o) for i, o in zip(inputs, outputs, strict=True))

    def forward(self, pictures: Tensor) -> Tensor:
        seen, features = [], self.stem(pictures)
        for stage in self.stages:
            features = stage(features)
            seen.append(features)
        features = self.surroundings(features)
        for place in (2, 1, 0):
            grid = seen[place]
            features = self.sideways[place](grid) + interpolate(features, grid.shape[2:], mode="nearest")
            features = self.upward[place](features)
        out: Tensor = features
        return out


class Segmenter(Quick):
    """Pixels (N, C, H, W) from 0 to 1 -> float32 logits (N, classes, H / 2, W / 2), rounded up to the next even."""

    def __init__(self, shape: PictureShape, plan: _Plan, dropout: float) -> None:
        super().__init__()
        self.normalise = Normalise(Statistics((0.5,) * shape.channels, (0.5,) * shape.channels))
        self.trunk = _Trunk(shape.channels, plan)
        # Four logits for each class and place, laid out as 2 x 2: as sharp as a layer on the finer grid (Shi et al.,
        # 2016, arXiv 1609.05158), at the cost of one on the coarser.
        last = nn.Conv2d(plan.decoder[0], 4 * shape.classes, 1)
        nn.init.normal_(last.weight, std=0.01)
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        self.head = nn.Sequential(OrderedDict(dropout=nn.Dropout2d(dropout), last=last, shuffle=nn.PixelShuffle(2)))

    def forward(self, pictures: Tensor) -> Tensor:
        logits: Tensor = self.head(self.trunk(self.normalise(pictures)))
        return logits.float()

    def quick(self, precision: torch.dtype) -> nn.Module:
        from matinee.nets.ready import ready

        return ready(self, precision)


class Places(nn.Module):
    """The same logits for every picture, (classes, h, w): what the most common class at each place would score."""

    def __init__(self, shape: PictureShape) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(shape.classes, *grid_of(shape)))

    def forward(self, pictures: Tensor) -> Tensor:
        # The sum over no pixels keeps the gradient with respect to the input defined: it is zero.
        return self.logits + pictures[:, :0].sum((1, 2, 3)).float()[:, None, None, None]


class Surface(nn.Module):
    """Softmax regression on the colours around a place and on the place itself: the simplest that learns."""

    def __init__(self, shape: PictureShape) -> None:
        super().__init__()
        self.normalise = Normalise(Statistics((0.5,) * shape.channels, (0.5,) * shape.channels))
        self.colours = nn.Conv2d(shape.channels, shape.classes, 7, padding=3)
        nn.init.zeros_(self.colours.weight)
        nn.init.zeros_(self.colours.bias)  # type: ignore[arg-type]
        self.places = nn.Parameter(torch.zeros(shape.classes, *grid_of(shape)))

    def forward(self, pictures: Tensor) -> Tensor:
        size = (-(-pictures.shape[2] // COARSE), -(-pictures.shape[3] // COARSE))
        small = adaptive_avg_pool2d(self.normalise(pictures), size)
        places = interpolate(self.places[None], size, mode="bilinear", align_corners=False)
        logits: Tensor = self.colours(small).float() + places
        return logits


def grid_of(shape: PictureShape) -> tuple[int, int]:
    """Rows and columns of the coarse grid of a picture."""
    return -(-shape.height // COARSE), -(-shape.width // COARSE)


def build_segmenter(name: str, shape: PictureShape, *, dropout: float = 0.0) -> nn.Module:
    """Builds the network called `name`. Raises SettingsError for an unknown one, or a picture it cannot take."""
    if name not in NAMES:
        raise SettingsError(f"--network {name}: the networks for masks are {', '.join(NAMES)}, or auto.")
    if min(shape.height, shape.width) < 8 or min(shape.channels, shape.classes) < 1:
        raise SettingsError(
            f"pictures of {shape.width} x {shape.height} x {shape.channels} in {shape.classes} classes: "
            "networks need at least 8 x 8 pixels, one channel and one class."
        )
    if name == "constant":
        return Places(shape)
    if name == "linear":
        return Surface(shape)
    return Segmenter(shape, PLANS[name], dropout)
