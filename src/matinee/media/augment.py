"""Varying whole batches of pictures: tensor work on the batch's own device, no Python per picture.

    policy = Policy(flip=True, crop=2)
    pictures = augment(pictures, policy, moment)

The same moment gives the same pictures, on every device. A policy that asks for nothing draws nothing and returns its
input.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from matinee.core.errors import SettingsError
from matinee.core.moment import Moment

GROWTH = ((0.375, 0.625), (0.625, 0.75), (0.75, 0.875))
"""Until which share of the training pictures are learned at which share of their side."""
SMALLEST_GROWN = 16
"""Pixels: smaller pictures are not shrunk any further."""
_GREY = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the perceived brightness (ITU-R BT.601)."""


@dataclass(frozen=True)
class Policy:
    """How far pictures are varied; the default is not at all.

    flip: mirrors every other picture, at random, left to right.
    crop: pixels by which a picture is moved at most, up, down and sideways; what comes in is the reflected border.
    scale: share by which a picture is enlarged or shrunk at most: 0.1 is a factor between 1 / 1.1 and 1.1.
    rotate: degrees by which it is turned at most, either way.
    colour: share by which brightness, contrast and saturation vary at most, each by itself.
    cutout: side in pixels of a square, anywhere in the picture, painted over with the picture's mean colour
        (DeVries and Taylor, 2017, arXiv 1708.04552).
    """

    flip: bool = False
    crop: int = 0
    scale: float = 0.0
    rotate: float = 0.0
    colour: float = 0.0
    cutout: int = 0

    @staticmethod
    def of(settings: object) -> Policy:
        """The policy of anything that has its fields; None there means nothing."""
        asked: dict[str, Any] = {field.name: getattr(settings, field.name) or 0 for field in fields(Policy)}
        return Policy(**asked)

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < 0:
                raise SettingsError(f"--{field.name} {getattr(self, field.name)}: {field.name} cannot be negative.")
        if self.colour > 1:
            raise SettingsError(f"--colour {self.colour}: colour is a share, from 0 to 1.")


NOTHING = Policy()


def augment(images: Tensor, policy: Policy, moment: Moment, flips: Tensor | None = None, factor: float = 1.0) -> Tensor:
    """Varies float pictures (N, C, H, W), pixels 0 to 1; the same type and memory format come back.

    `flips` (N,) bool says which pictures to mirror, instead of chance, where the policy flips at all. `factor`: the
    share of their sides that comes back, see `grown`; 1 is the same shape.
    """
    count, size = images.shape[0], _shrunk(images, factor)
    if count == 0 or (policy == NOTHING and size == images.shape[2:]):
        return images
    if not policy.flip:
        flips = None
    elif flips is None:
        flips = moment.uniform("flip", count) < 0.5
    varied = images
    if policy.scale or policy.rotate:
        varied = _warp(images, policy, moment, flips, size)
    else:
        if policy.crop or flips is not None:
            varied = _move(images, policy.crop, moment, flips)
        if size != images.shape[2:]:
            varied = _resize(varied, size)
    if policy.colour:
        varied = _recolour(varied, policy.colour, moment)
    if policy.cutout:
        varied = _cut_out(varied, round(policy.cutout * size[1] / images.shape[3]), moment)
    return _like(varied, images)


def grown(share: float) -> float:
    """The side at which pictures are learned, as a share of the whole, when so much of the training is behind.

    Small first: most of what there is to learn shows in small pictures, at a fraction of the cost (Howard, 2018, in
    the fast.ai entry to DAWNBench). The last quarter sees them whole.
    """
    return next((side for until, side in GROWTH if share < until), 1.0)


def _shrunk(images: Tensor, factor: float) -> tuple[int, int]:
    """Height and width at a share of the sides, multiples of four; as they are where little would be left."""
    height, width = images.shape[2:]
    if factor == 1.0 or factor * min(height, width) < SMALLEST_GROWN:
        return height, width
    return 4 * round(height * factor / 4), 4 * round(width * factor / 4)


def _resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Smoothed, not picked: each pixel is a mean of those it covers. Contiguous pictures come back."""
    sides = (images.shape[3], size[1]), (images.shape[2], size[0])
    across, down = (_weights(old, new, images.device, images.dtype) for old, new in sides)
    # Two products with matrices of weights: three to five times as fast as `interpolate`, on a processor.
    return down @ (images.contiguous() @ across.T)


@functools.cache
@torch.inference_mode(False)
def _weights(old: int, new: int, device: torch.device, kind: torch.dtype) -> Tensor:
    """(new, old): how much of each old pixel is in each new one, bilinear with antialiasing; copied there once."""
    one = torch.eye(old)[None, None]
    return torch.nn.functional.interpolate(one, (new, old), mode="bilinear", antialias=True)[0, 0].to(device, kind)


@functools.cache
@torch.inference_mode(False)
def _grey(device: torch.device, kind: torch.dtype) -> Tensor:
    """(3, 3): what makes a colour grey; copied there once."""
    return torch.tensor(_GREY, dtype=kind, device=device).expand(3, 3)


def views(images: Tensor, named: str) -> list[tuple[Tensor, float]]:
    """The pictures ("one"), also mirrored ("two"), and also shifted to two corners ("six"), each with its share.

    The shares are those of Keller Jordan (2024, arXiv 2404.00498): half for the pictures where they are.
    """
    seen = [(images, 0.5 if named == "six" else 1.0)]
    if named == "six":
        height, width = images.shape[2:]
        padded = torch.nn.functional.pad(images, (1, 1, 1, 1), mode="reflect")
        seen += [(padded[:, :, at : at + height, at : at + width], 0.25) for at in (0, 2)]
    if named != "one":
        seen = [(view, share / 2) for one, share in seen for view in (one, one.flip(3))]
    return [(_like(view, images), share) for view, share in seen]


def mixup(images: Tensor, targets: Tensor, classes: int, alpha: float, moment: Moment) -> tuple[Tensor, Tensor]:
    """Mixes each picture and its target with another's, by a share from Beta(alpha, alpha).

    images (N, C, H, W), targets (N,) class numbers; the mixed ones come back as probabilities (N, classes). After Zhang
    et al., 2017 (arXiv 1710.09412), with a share for each picture. alpha 0 mixes nothing.
    """
    if alpha < 0:
        raise SettingsError(f"--mixup {alpha}: mixup cannot be negative.")
    count = images.shape[0]
    if alpha == 0 or count < 2:
        return images, targets
    chance = moment.numpy("mixup")
    partner = torch.from_numpy(chance.permutation(count)).to(images.device, non_blocking=True)
    drawn = chance.beta(alpha, alpha, count)
    share = torch.from_numpy(np.maximum(drawn, 1 - drawn)).to(images.device, images.dtype, non_blocking=True)
    mixed = torch.lerp(images[partner], images, share[:, None, None, None])
    certain = torch.nn.functional.one_hot(targets, classes).to(share.dtype)
    return _like(mixed, images), torch.lerp(certain[partner], certain, share[:, None])


def _like(images: Tensor, original: Tensor) -> Tensor:
    """The pictures in the memory format of the original."""
    channels_last = original.is_contiguous(memory_format=torch.channels_last) and not original.is_contiguous()
    return images.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def _within(limit: float, purpose: str, moment: Moment, images: Tensor, *shape: int) -> Tensor:
    """Uniform from -limit to limit, (N, *shape)."""
    return moment.uniform(purpose, images.shape[0], *shape, device=images.device) * (2 * limit) - limit


def _reflected(positions: Tensor, length: int) -> Tensor:
    """Positions beyond 0 .. length - 1 folded back at the border pixels."""
    positions = positions.abs()
    return (length - 1) - ((length - 1) - positions).abs()


def _move(images: Tensor, crop: int, moment: Moment, flips: Tensor | None) -> Tensor:
    """Translation with reflected borders and mirroring in one gather: every output pixel is one input pixel."""
    count, channels, height, width = images.shape
    device = images.device
    crop_rows, crop_columns = min(crop, height - 1), min(crop, width - 1)
    rows = torch.arange(height, device=device).expand(count, height)
    columns = torch.arange(width, device=device).expand(count, width)
    if crop:
        drawn = moment.uniform("crop", count, 2, 1, device=device)
        rows = _reflected(rows + (drawn[:, 0] * (2 * crop_rows + 1)).floor().long() - crop_rows, height)
        columns = _reflected(columns + (drawn[:, 1] * (2 * crop_columns + 1)).floor().long() - crop_columns, width)
    if flips is not None:
        columns = torch.where(flips.to(device, non_blocking=True)[:, None], width - 1 - columns, columns)
    within = (rows[:, :, None] * width + columns[:, None, :]).view(count, 1, height * width)
    if channels > 1 and images.is_contiguous(memory_format=torch.channels_last):
        pixels = images.permute(0, 2, 3, 1).reshape(count * height * width, channels)
        start = torch.arange(count, device=device)[:, None] * (height * width)
        moved = pixels.index_select(0, (within[:, 0] + start).view(-1))
        return moved.view(count, height, width, channels).permute(0, 3, 1, 2)
    flat = images.reshape(count, channels, height * width)
    moved = flat.gather(2, within.expand(count, channels, height * width)).view(count, channels, height, width)
    return _like(moved, images)


def _warp(images: Tensor, policy: Policy, moment: Moment, flips: Tensor | None, size: tuple[int, int]) -> Tensor:
    """Scaling, rotation, translation and mirroring in one bilinear resampling with reflected borders, to this size."""
    count, _, height, width = images.shape
    device = images.device
    angle = _within(math.radians(policy.rotate), "rotate", moment, images)
    zoom = torch.exp(_within(math.log1p(policy.scale), "scale", moment, images))
    shift = _within(2 * policy.crop, "crop", moment, images, 2).T
    mirror = torch.ones(count, device=device)
    if flips is not None:
        mirror = torch.where(flips.to(device, non_blocking=True), -mirror, mirror)
    cosine, sine = torch.cos(angle) / zoom, torch.sin(angle) / zoom
    # The grid runs from -1 to 1 both ways, so turning a picture that is not square takes its proportions.
    by_column = torch.stack((cosine * mirror, sine * mirror * (width / height)), 1)
    by_row = torch.stack((-sine * (height / width), cosine), 1)
    start = torch.stack((shift[0] / width, shift[1] / height), 1)
    columns = by_column[:, None] * _centres(size[1], device) + start[:, None]
    rows = by_row[:, None] * _centres(size[0], device)
    # Added as complex numbers: nine times as fast as pairs, on a processor.
    grid = torch.view_as_real(torch.view_as_complex(rows)[:, :, None] + torch.view_as_complex(columns)[:, None])
    warped = torch.nn.functional.grid_sample(
        images.float().contiguous(), grid, padding_mode="reflection", align_corners=False
    )
    return warped.to(images.dtype)


def _centres(length: int, device: torch.device) -> Tensor:
    """(length, 1): the centres of so many pixels, from -1 to 1."""
    return ((torch.arange(length, device=device) * 2 + 1) / length - 1)[:, None]


def _recolour(images: Tensor, share: float, moment: Moment) -> Tensor:
    """Brightness and contrast, and saturation where there is colour, each by a factor from 1 - share to 1 + share.

    All three are linear in a pixel's channels, so they are one small matrix and one offset for each picture.
    """
    count, channels, height, width = images.shape
    factors = 1 + _within(share, "colour", moment, images, 3, 1, 1)
    brightness, contrast, saturation = factors.to(images.dtype).unbind(1)
    matrix = torch.eye(channels, dtype=images.dtype, device=images.device).expand(count, -1, -1)
    if channels == 3:
        grey = _grey(images.device, images.dtype)
        matrix = torch.lerp(grey.expand(count, -1, -1), matrix, saturation)
    offset = images.mean((1, 2, 3)).view(-1, 1, 1) * (brightness - contrast)
    mixed = torch.baddbmm(offset.expand(-1, channels, 1), matrix * contrast, images.reshape(count, channels, -1))
    return mixed.clamp_(0, 1).view(count, channels, height, width)


def _cut_out(images: Tensor, side: int, moment: Moment) -> Tensor:
    """A square around a random pixel, cut off at the border, becomes the picture's mean colour."""
    count, _, height, width = images.shape
    drawn = moment.uniform("cutout", count, 2, 1, device=images.device)
    top = (drawn[:, 0] * height).floor() - side // 2
    left = (drawn[:, 1] * width).floor() - side // 2
    row = torch.arange(height, device=images.device)
    column = torch.arange(width, device=images.device)
    rows = (row >= top) & (row < top + side)
    columns = (column >= left) & (column < left + side)
    hidden = (rows[:, :, None] & columns[:, None, :])[:, None]
    return torch.where(hidden, images.mean((2, 3), keepdim=True), images)
