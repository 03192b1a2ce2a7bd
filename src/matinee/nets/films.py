"""Networks for films, by name: `build("motion", FilmShape(3, 64, 112, 16, 2))`.

Every network takes plain pixels (N, clips, frames, C, H, W) from 0 to 1 and answers float32 logits for each moment that
it looks at, (N, clips x moments, classes), in the order of time; the mean over the moments is the answer to the film.
Its parts are `normalise`, `trunk` and `head` as in networks for pictures (nets/pictures.py): a trunk that has learned
from pictures fits those networks that look at frames.

    frame       the middle frame of a clip alone
    average     every frame by itself, averaged over time (Wang et al., 2016, arXiv 1608.00859)
    motion      what changes from one frame to the next, in grey, a 2D trunk, averaged over time
    r2plus1d    convolutions over space and time by turns
    recurrent   a 2D trunk, then a recurrent layer over time in both directions
    attention   a 2D trunk, then attention over time
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor, nn

from matinee.core.errors import SettingsError
from matinee.core.quick import Quick
from matinee.nets.attention import Reader, positions
from matinee.nets.choices import check
from matinee.nets.film_choices import SIZES, TRUNKS, FilmShape
from matinee.nets.pictures import Normalise, Statistics
from matinee.nets.plain import linear_trunk
from matinee.nets.ready import ready
from matinee.nets.residual import residual_trunk
from matinee.nets.small import WhiteningLayer, small_trunk

LINEAR_SIDE: Final = 32  # pixels: frames are averaged down to it for the linear network
GREY: Final = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)
SOME: Final = 4  # moments of a clip that a step of the training looks at: neighbours are much alike
CUT: Final = 0.5  # correlation of two frames, below which they may be of different scenes
ODD: Final = 5.0  # and they are where they differ so many times as much as half of the neighbours of the clip do
UNITS: Final = {"s": 64, "m": 128, "l": 192}
"""Of what looks over time: recurrent units in each direction, the width of attention."""
WIDTHS: Final = {"s": (24, 48, 96), "m": (32, 64, 128), "l": (48, 96, 192)}
"""Channels of the stages of convolutions over space and time."""

Seen = Callable[[Tensor], Tensor]
Features = Callable[[nn.Module, Tensor], Tensor]


class FilmNetwork(Quick):
    """Pixels (N, clips, frames, C, H, W) -> float32 logits (N, clips x moments, classes).

    seen: clips (clips, frames, C, H, W) -> what is looked at (clips, moments, channels, H, W). features: the trunk and
    that, normalised -> (clips, moments, features). some: in training, so many moments of each clip are looked at, one
    of each of as many equal parts (Wang et al., 2016); 0: all.
    """

    def __init__(
        self,
        normalise: Normalise,
        trunk: nn.Module,
        head: nn.Module,
        seen: Seen,
        features: Features,
        some: int = 0,
    ) -> None:
        super().__init__()
        self.some = some
        self.normalise = normalise
        self.trunk = trunk
        self.head = head
        self.seen, self.features = seen, features
        # Confidence is set here, in float32 and after the last product, so that calibrating moves no answer.
        self.head.register_buffer("sharpness", torch.ones(()))

    def forward(self, films: Tensor) -> Tensor:
        seen = self.seen(films.flatten(0, 1))
        if self.training and 0 < self.some < seen.shape[1]:
            seen = _spread(seen, self.some)
        features = self.features(self.trunk, self.normalise(seen))
        logits: Tensor = self.head(features).float()
        return logits.reshape(films.shape[0], -1, logits.shape[-1]) * self.head.get_buffer("sharpness")

    def quick(self, precision: torch.dtype) -> nn.Module:
        return ready(self, precision)


def _every(clips: Tensor) -> Tensor:
    """All frames."""
    return clips


def _middle(clips: Tensor) -> Tensor:
    """The middle frames alone."""
    middle = clips.shape[1] // 2
    return clips[:, middle : middle + 1]


def _changes(clips: Tensor) -> Tensor:
    """The differences of grey frames to the one before, one channel: what stands still is not seen, nor is a cut."""
    grey = (clips * clips.new_tensor(GREY)[:, None, None]).sum(2, keepdim=True) if clips.shape[2] == 3 else clips
    if clips.shape[1] < 2:
        return torch.zeros_like(grey)
    changes = grey[:, 1:] - grey[:, :-1]
    # Where the camera is changed, everything changes and nothing has moved: the moment before stands for it.
    before = torch.cat((changes[:, 1:2], changes[:, :-1]), 1) if clips.shape[1] > 2 else changes
    return torch.where(_cuts(grey)[..., None, None, None], before, changes)


def _cuts(grey: Tensor) -> Tensor:
    """Whether a frame (clips, frames, 1, H, W) is of another scene than the one before, bool (clips, frames - 1)."""
    flat = grey.flatten(2).float()
    flat = flat - flat.mean(2, keepdim=True)
    unlike = 1 - nn.functional.cosine_similarity(flat[:, 1:], flat[:, :-1], dim=2)
    usual = unlike.sort(1).values[:, unlike.shape[1] // 2, None]
    return (unlike > 1 - CUT) & (unlike > ODD * usual)


def _spread(seen: Tensor, some: int) -> Tensor:
    """A moment of each of so many equal parts of a clip, drawn for each clip (clips, some, channels, H, W)."""
    clips, moments = seen.shape[:2]
    parts = torch.arange(some, device=seen.device) * moments / some
    drawn = (parts + torch.rand(clips, some, device=seen.device) * (moments / some)).long().clamp(max=moments - 1)
    return seen[torch.arange(clips, device=seen.device)[:, None], drawn]


def _each(trunk: nn.Module, seen: Tensor) -> Tensor:
    """A trunk for pictures on every moment by itself."""
    found: Tensor = trunk(seen.flatten(0, 1).contiguous(memory_format=torch.channels_last))
    return found.view(*seen.shape[:2], -1)


def _at_once(trunk: nn.Module, seen: Tensor) -> Tensor:
    """All frames of a clip as channels: one moment."""
    found: Tensor = trunk(seen.flatten(1, 2))
    return found[:, None]


def _through_time(trunk: nn.Module, seen: Tensor) -> Tensor:
    """Convolutions over space and time; the mean over the picture at each of the moments that are left."""
    found: Tensor = trunk(seen.transpose(1, 2))
    return found.mean((3, 4)).transpose(1, 2)


class Constant(nn.Module):
    """The same logits (classes,) for every film: what the majority class alone would score."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(classes))

    def forward(self, films: Tensor) -> Tensor:
        # The sum over no pixels keeps the gradient with respect to the input defined: it is zero.
        nothing = films[:, :0].sum((1, 2, 3, 4, 5)).float()
        return (self.logits + nothing[:, None])[:, None]


class _Recurrent(nn.Module):
    """A gated recurrent layer (Cho et al., 2014) over the moments in both directions, then logits."""

    def __init__(self, features: int, units: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(features)
        self.over_time = nn.GRU(features, units, batch_first=True, bidirectional=True)
        self.drop = nn.Dropout(dropout)
        self.out = nn.Linear(2 * units, classes)

    def forward(self, features: Tensor) -> Tensor:
        # In float32: the steps are small, and not every processor has recurrent layers in half precision.
        with torch.autocast(features.device.type, enabled=False):
            states, _ = self.over_time(self.norm(features.float()))
        logits: Tensor = self.out(self.drop(states))
        return logits


class _Attention(nn.Module):
    """A layer of attention over the moments, which know their place, then logits."""

    def __init__(self, features: int, units: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(features)
        self.into = nn.Linear(features, units)
        self.layer = Reader(units, dropout)
        self.last = nn.LayerNorm(units)
        self.out = nn.Linear(units, classes)

    def forward(self, features: Tensor) -> Tensor:
        values = self.into(self.norm(features))
        values = values + positions(0, values.shape[1], values.shape[2], values.device).to(values.dtype)
        everything = torch.ones(1, 1, 1, values.shape[1], dtype=torch.bool, device=values.device)
        logits: Tensor = self.out(self.last(self.layer(values, everything)))
        return logits


class _Turns(nn.Module):
    """A convolution over space, one over time, beside a shortcut; (N, C, T, H, W), half of H, W (and T) by its strides.

    After "A Closer Look at Spatiotemporal Convolutions" (Tran et al., 2018, arXiv 1711.11248), R(2+1)D.
    """

    def __init__(self, channels: int, width: int, stride: int, time_stride: int) -> None:
        super().__init__()
        strides = (time_stride, stride, stride)
        last = nn.BatchNorm3d(width)
        nn.init.zeros_(last.weight)  # each block starts as its shortcut
        self.body = nn.Sequential(
            nn.Conv3d(channels, width, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False),
            nn.BatchNorm3d(width),
            nn.ReLU(),
            nn.Conv3d(width, width, (3, 1, 1), (time_stride, 1, 1), (1, 0, 0), bias=False),
            last,
        )
        pool: nn.Module = nn.Identity() if strides == (1, 1, 1) else nn.AvgPool3d(strides, ceil_mode=True)
        join = [nn.Conv3d(channels, width, 1, bias=False), nn.BatchNorm3d(width)] if channels != width else []
        self.shortcut = nn.Sequential(pool, *join)

    def forward(self, films: Tensor) -> Tensor:
        return nn.functional.relu(self.body(films) + self.shortcut(films))


def _space_time_trunk(shape: FilmShape, size: str, dropout: float) -> tuple[nn.Module, int]:
    """Three stages of two blocks; from the second on space is halved, and time where eight frames or more are left."""
    first, *rest = WIDTHS[size]
    stride = 2 if min(shape.height, shape.width) > 24 else 1
    layers: list[nn.Module] = [
        nn.Conv3d(shape.channels, first, (1, 5, 5), (1, stride, stride), (0, 2, 2), bias=False),
        nn.BatchNorm3d(first),
        nn.ReLU(),
        _Turns(first, first, 1, 1),
    ]
    inputs, frames = first, shape.frames
    for width in rest:
        time_stride = 2 if frames >= 8 else 1
        layers += [_Turns(inputs, width, 2, time_stride), _Turns(width, width, 1, 1)]
        inputs, frames = width, -(-frames // time_stride)
    return nn.Sequential(*layers, nn.Dropout(dropout)), inputs


def build(name: str, shape: FilmShape, *, size: str = "m", trunk: str = "small", dropout: float = 0.0) -> nn.Module:
    """Builds the network called `name`, those that look at frames on a trunk for pictures, small or residual.

    Raises SettingsError for an unknown name or size, or films that the network cannot take.
    """
    check(name, size, SIZES, "films")
    if name == "constant":
        return Constant(shape.classes)
    if min(shape.height, shape.width) < 4 or min(shape.channels, shape.classes, shape.frames) < 1:
        raise SettingsError(
            f"films of {shape.frames} frames of {shape.width} x {shape.height} x {shape.channels} in {shape.classes} "
            "classes: networks need a frame, at least 4 x 4 pixels, one channel and one class."
        )
    if name == "linear":
        side = -(-max(shape.height, shape.width) // LINEAR_SIDE)
        layers, features = linear_trunk(shape.channels * shape.frames, shape.height // side, shape.width // side)
        pool: nn.Module = nn.Identity() if side == 1 else nn.AvgPool2d(side)
        head = nn.Linear(features, shape.classes)
        return FilmNetwork(_unknown(shape.channels), nn.Sequential(pool, layers), head, _every, _at_once)
    if name == "r2plus1d":
        layers, features = _space_time_trunk(shape, size, dropout)
        head = nn.Linear(features, shape.classes)
        return FilmNetwork(_unknown(shape.channels), layers, head, _every, _through_time)
    channels = 1 if name == "motion" else shape.channels
    if TRUNKS[trunk]:
        layers, features = small_trunk(channels, shape.height, shape.width, size=size)
    else:
        layers, features = residual_trunk(channels, size=size)
    layers = nn.Sequential(layers, nn.Dropout(dropout))
    if name == "recurrent":
        over_time: nn.Module = _Recurrent(features, UNITS[size], shape.classes, dropout)
    elif name == "attention":
        over_time = _Attention(features, UNITS[size], shape.classes, dropout)
    else:
        over_time = nn.Linear(features, shape.classes, bias=trunk != "small")
    seen = {"motion": _changes, "frame": _middle}.get(name, _every)
    return FilmNetwork(_unknown(channels), layers, over_time, seen, _each, SOME if name == "motion" else 0)


def _unknown(channels: int) -> Normalise:
    return Normalise(Statistics((0.5,) * channels, (0.5,) * channels))


def prepare(network: nn.Module, films: Tensor) -> None:
    """Sets brightness and contrast, and whitening where there is such a layer, from training films (N, clips, ...)."""
    if not isinstance(network, FilmNetwork):
        return
    with torch.no_grad():
        seen = network.seen(films.flatten(0, 1).float()).flatten(0, 1)
        network.normalise.mean.copy_(seen.mean((0, 2, 3))[:, None, None])
        network.normalise.deviation.copy_(seen.std((0, 2, 3)).clamp(min=1e-3)[:, None, None])
        for layer in network.trunk.modules():
            if isinstance(layer, WhiteningLayer):
                layer.fit(network.normalise(seen))


__all__ = ["SIZES", "FilmNetwork", "FilmShape", "build", "prepare"]
