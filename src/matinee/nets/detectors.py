"""Networks that find boxes, by name: `build("pyramid", PictureShape(3, 240, 320, 3))`.

Every network takes (N, C + 1, H, W): the pixels of C channels from 0 to 1, and a plane that says how many pixels of
the picture itself one pixel here stands for, 0 where there is no picture. It answers float32 (N, places, 4 + classes):
a box (left, top, right, bottom), in pixels of the picture itself, and a logit for each class.

The trunk gives features at an eighth, a sixteenth and a thirty-second of the side; the head joins them from coarse to
fine (a feature pyramid; Lin et al., 2016, arXiv 1612.03144) and says at every place of all three how far away
the four sides of a box are (Tian et al., 2019, arXiv 1904.01355): there are no anchors to be chosen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from matinee.core.errors import SettingsError
from matinee.core.quick import Quick
from matinee.nets.choices import PictureShape
from matinee.nets.pictures import Normalise, Statistics
from matinee.nets.residual import PLANS as RESIDUAL_PLANS
from matinee.nets.residual import residual_trunk

STRIDES: Final = (8, 16, 32)
"""Pixels from one place to the next, level by level."""
CONSTANT_ROWS: Final = 100
"""Boxes that the network without eyes may tell."""
PATCH: Final = 16
"""Side in pixels of what the linear network sees of a place."""
_RARE: Final = 0.01
"""How likely a box is at any place before anything is learned: without it the first steps drown in the background."""
_FURTHEST: Final = 4.5
"""Largest logarithm of a distance, in strides of its level: 90 of them."""


@dataclass(frozen=True)
class _Plan:
    """Channels of the stem and the four stages, blocks in each stage, channels and depth of the head."""

    widths: tuple[int, int, int, int, int]
    blocks: int
    head: int
    depth: int


PLANS: Final = {
    "s": _Plan((16, 32, 64, 96, 128), 1, 48, 1),
    "m": _Plan((32, 64, 128, 192, 256), 1, 96, 1),
    "l": _Plan((48, 96, 192, 288, 384), 2, 128, 2),
}
NAMES: Final = ("linear", "pyramid", "residual", "constant")


def _unit(channels: int, width: int, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(channels, width, kernel, stride, kernel // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return [convolution, nn.BatchNorm2d(width), nn.SiLU()]


class _Block(nn.Module):
    """Two 3x3 convolutions beside the features themselves; the second starts at nothing."""

    def __init__(self, width: int) -> None:
        super().__init__()
        second = _unit(width, width)[:2]
        nn.init.zeros_(second[1].get_parameter("weight"))
        self.body = nn.Sequential(*_unit(width, width), *second)

    def forward(self, features: Tensor) -> Tensor:
        return nn.functional.silu(features + self.body(features))


class _Trunk(nn.Sequential):
    """Layers one after the other; what comes out of those numbered `taps` is the answer."""

    def __init__(self, layers: nn.Sequential, taps: tuple[int, ...]) -> None:
        super().__init__(layers)
        self.taps = taps

    def forward(self, pictures: Tensor) -> list[Tensor]:
        features, kept = pictures, []
        for number, layer in enumerate(self[0].children()):
            features = layer(features)
            if number in self.taps:
                kept.append(features)
        return kept


def _pyramid_trunk(channels: int, size: str) -> tuple[_Trunk, tuple[int, ...]]:
    plan = PLANS[size]
    stages, inputs = [nn.Sequential(*_unit(channels, plan.widths[0], stride=2))], plan.widths[0]
    for width in plan.widths[1:]:
        blocks = [_Block(width) for _ in range(plan.blocks)]
        stages.append(nn.Sequential(*_unit(inputs, width, stride=2), *blocks))
        inputs = width
    return _Trunk(nn.Sequential(*stages), (2, 3, 4)), plan.widths[2:]


def _residual_trunk(channels: int, size: str) -> tuple[_Trunk, tuple[int, ...]]:
    """That of image classification, by the same names: its weights can be started from."""
    whole, _ = residual_trunk(channels, size=size)
    layers = list(whole.children())[:-1]  # without the mean over the picture
    blocks = RESIDUAL_PLANS[size].blocks
    first = len(layers) - sum(blocks)
    ends = [first + sum(blocks[: stage + 1]) - 1 for stage in range(len(blocks))]
    return _Trunk(nn.Sequential(*layers), tuple(ends[1:])), RESIDUAL_PLANS[size].widths[1:]


def _start(layer: nn.Conv2d, bias: float) -> None:
    """Nearly nothing but this bias comes out at first."""
    nn.init.normal_(layer.weight, std=0.01)
    layer.bias = nn.Parameter(torch.full((layer.out_channels,), bias))


class _Level(nn.Module):
    """Features of one level -> (N, places, 4 + classes): logarithms of distances, and logits."""

    def __init__(self, width: int, depth: int, classes: int) -> None:
        super().__init__()
        self.sides = nn.Sequential(*(layer for _ in range(depth) for layer in _unit(width, width)))
        self.kinds = nn.Sequential(*(layer for _ in range(depth) for layer in _unit(width, width)))
        self.side = nn.Conv2d(width, 4, 1)
        self.kind = nn.Conv2d(width, classes, 1)
        _start(self.side, math.log(2.0))
        _start(self.kind, -math.log((1 - _RARE) / _RARE))

    def forward(self, features: Tensor) -> Tensor:
        both = torch.cat((self.side(self.sides(features)), self.kind(self.kinds(features))), 1)
        return both.flatten(2).transpose(1, 2).float()


class _Head(nn.Module):
    """Three levels of features, the finest first -> (N, places, 4 + classes) of all levels."""

    def __init__(self, widths: tuple[int, ...], plan: _Plan, classes: int) -> None:
        super().__init__()
        self.across = nn.ModuleList(nn.Sequential(*_unit(width, plan.head, 1)) for width in widths)
        self.smooth = nn.ModuleList(nn.Sequential(*_unit(plan.head, plan.head)) for _ in widths[1:])
        self.levels = nn.ModuleList(_Level(plan.head, plan.depth, classes) for _ in widths)

    def forward(self, features: list[Tensor]) -> Tensor:
        joined = [across(level) for across, level in zip(self.across, features, strict=True)]
        for fine in range(len(joined) - 2, -1, -1):
            coarse = nn.functional.interpolate(joined[fine + 1], size=joined[fine].shape[2:], mode="nearest")
            joined[fine] = self.smooth[fine](joined[fine] + coarse)
        return torch.cat([level(each) for level, each in zip(self.levels, joined, strict=True)], 1)


class Detector(Quick):
    """Pictures with their plane of scale (N, C + 1, H, W) -> boxes and logits (N, places, 4 + classes)."""

    def __init__(self, normalise: Normalise, trunk: nn.Module, head: nn.Module, classes: int) -> None:
        super().__init__()
        self.normalise = normalise
        self.trunk = trunk
        self.head = head
        # Confidence is set here, after training: it moves no box, and none of a class before another.
        self.head.register_buffer("slope", torch.ones(()))
        self.head.register_buffer("shift", torch.zeros(classes))

    def forward(self, pictures: Tensor) -> Tensor:
        raw: Tensor = self.head(self.trunk(self.normalise(pictures[:, :-1]))).float()
        with torch.autocast(pictures.device.type, enabled=False):
            places, strides = places_of(pictures.shape[2:], pictures.device)
            sides = raw[..., :4].clamp(max=_FURTHEST).exp() * strides[:, None]
            boxes = torch.cat((places - sides[..., :2], places + sides[..., 2:]), -1)
            logits = raw[..., 4:] * self.head.get_buffer("slope") + self.head.get_buffer("shift")
            return torch.cat((boxes * scale_of(pictures)[:, None, None], logits), -1)

    def quick(self, precision: torch.dtype) -> nn.Module:
        from matinee.nets.ready import ready

        return ready(self, precision)


class _LinearHead(nn.Module):
    """A product with the pixels of a patch around each place, (N, places, 4 + classes)."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.both = nn.Conv2d(channels, 4 + classes, PATCH, STRIDES[0], (PATCH - STRIDES[0]) // 2)
        nn.init.normal_(self.both.weight, std=0.001)
        start = torch.full((4 + classes,), -math.log((1 - _RARE) / _RARE))
        start[:4] = math.log(2.0)
        self.both.bias = nn.Parameter(start)

    def forward(self, pictures: Tensor) -> Tensor:
        answers: Tensor = self.both(pictures).flatten(2).transpose(1, 2)
        levels = [len(_grid(pictures.shape[2:], stride)) for stride in STRIDES]
        # The coarser levels have no place of their own to look at: nothing is found there.
        none = answers.new_full((1, 1, 1), 0.0).expand(len(answers), sum(levels[1:]), answers.shape[2])
        return torch.cat((answers, none - 20.0 * (torch.arange(answers.shape[2], device=answers.device) >= 4)), 1)


class Constant(nn.Module):
    """The same boxes for every picture, in shares of its sides, with the same logits."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.boxes = nn.Parameter(torch.zeros(CONSTANT_ROWS, 4))
        self.logits = nn.Parameter(torch.full((CONSTANT_ROWS, classes), -20.0))

    def forward(self, pictures: Tensor) -> Tensor:
        boxes = self.boxes * sides_of(pictures).repeat(1, 2)[:, None]
        logits = self.logits.expand(len(pictures), -1, -1)
        return torch.cat((boxes, logits), -1).float() + pictures[:, :1, 0, 0, None] * 0


def scale_of(pictures: Tensor) -> Tensor:
    """(N,): how many pixels of the picture itself one pixel of (N, C + 1, H, W) stands for."""
    return pictures[:, -1].detach().float().amax((1, 2)).clamp(min=1e-6)


def sides_of(pictures: Tensor) -> Tensor:
    """(N, 2): width and height of the pictures themselves, in their own pixels."""
    inside = pictures[:, -1].detach() > 0
    return torch.stack((inside.any(1).sum(1), inside.any(2).sum(1)), 1) * scale_of(pictures)[:, None]


def within(outputs: Tensor, pictures: Tensor) -> Tensor:
    """Outputs (N, places, 4 + classes) whose boxes end where the pictures (N, C + 1, H, W) do."""
    sides = sides_of(pictures).repeat(1, 2)[:, None].to(outputs.dtype)
    return torch.cat((torch.minimum(outputs[..., :4].clamp(min=0), sides), outputs[..., 4:]), -1)


def _grid(size: torch.Size | tuple[int, ...], stride: int, device: torch.device | None = None) -> Tensor:
    rows, columns = (-(-side // stride) for side in size)
    down, across = torch.meshgrid(
        torch.arange(rows, device=device), torch.arange(columns, device=device), indexing="ij"
    )
    return (torch.stack((across, down), -1).flatten(0, 1) + 0.5) * stride


def places_of(size: torch.Size | tuple[int, ...], device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Where the places of all levels are, (places, 2) x and y in pixels of (height, width), and their strides."""
    grids = [_grid(size, stride, device) for stride in STRIDES]
    strides = torch.cat([grid.new_full((len(grid),), stride) for grid, stride in zip(grids, STRIDES, strict=True)])
    return torch.cat(grids), strides


def build(name: str, shape: PictureShape, *, size: str = "m") -> nn.Module:
    """Builds the network called `name`. Raises SettingsError for an unknown one, or pictures that it cannot take."""
    if name not in NAMES or size not in PLANS:
        raise SettingsError(f"--network {name} --size {size}: there are {', '.join(NAMES)}, in s, m and l.")
    if min(shape.height, shape.width) < STRIDES[-1] or min(shape.channels, shape.classes) < 1:
        raise SettingsError(
            f"pictures of {shape.width} x {shape.height} pixels with {shape.classes} classes: "
            f"these networks need at least {STRIDES[-1]} pixels a side and one class. --picture-size makes them larger."
        )
    if name == "constant":
        return Constant(shape.classes)
    channels = shape.channels
    normalise = Normalise(Statistics((0.5,) * channels, (0.5,) * channels))
    if name == "linear":
        return Detector(normalise, nn.Identity(), _LinearHead(channels, shape.classes), shape.classes)
    trunk, widths = _pyramid_trunk(channels, size) if name == "pyramid" else _residual_trunk(channels, size)
    return Detector(normalise, trunk, _Head(widths, PLANS[size], shape.classes), shape.classes)
