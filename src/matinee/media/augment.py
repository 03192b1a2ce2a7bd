"""Varying whole batches of pictures: tensor work on the batch's own device, no Python per picture.

    policy = Policy(flip=True, crop=2)
    pictures = augment(pictures, policy, moment)

The same moment gives the same pictures, on every device. A policy that asks for nothing draws nothing and returns its
input.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from matinee.core.errors import SettingsError
from matinee.core.moment import Moment

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

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < 0:
                raise SettingsError(f"--{field.name} {getattr(self, field.name)}: {field.name} cannot be negative.")
        if self.colour > 1:
            raise SettingsError(f"--colour {self.colour}: colour is a share, from 0 to 1.")


def augment(images: Tensor, policy: Policy, moment: Moment, flips: Tensor | None = None) -> Tensor:
    """Varies float pictures (N, C, H, W), pixels 0 to 1; the same shape, type and memory format come back.

    `flips` (N,) bool says which pictures to mirror, instead of chance, where the policy flips at all.
    """
    count = images.shape[0]
    if count == 0 or policy == Policy():
        return images
    if not policy.flip:
        flips = None
    elif flips is None:
        flips = moment.uniform("flip", count) < 0.5
    if policy.scale or policy.rotate:
        images = _warp(images, policy, moment, flips)
    elif policy.crop or flips is not None:
        images = _move(images, policy.crop, moment, flips)
    if policy.colour:
        images = _recolour(images, policy.colour, moment)
    if policy.cutout:
        images = _cut_out(images, policy.cutout, moment)
    return images


def mixup(images: Tensor, targets: Tensor, alpha: float, moment: Moment) -> tuple[Tensor, Tensor]:
    """Mixes each picture and its target with another's, by a share from Beta(alpha, alpha).

    images (N, C, H, W), targets (N, classes) one-hot or probabilities, in float; both come back mixed. After Zhang et
    al., 2017 (arXiv 1710.09412), with a share for each picture. alpha 0 mixes nothing.
    """
    if alpha < 0:
        raise SettingsError(f"--mixup {alpha}: mixup cannot be negative.")
    count = images.shape[0]
    if alpha == 0 or count < 2:
        return images, targets
    chance = moment.numpy("mixup")
    partner = torch.from_numpy(chance.permutation(count)).to(images.device)
    drawn = chance.beta(alpha, alpha, count)
    share = torch.from_numpy(np.maximum(drawn, 1 - drawn)).to(images.device, images.dtype)
    mixed = torch.lerp(images[partner], images, share[:, None, None, None])
    return _like(mixed, images), torch.lerp(targets[partner], targets, share[:, None].to(targets.dtype))


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
        columns = torch.where(flips.to(device)[:, None], width - 1 - columns, columns)
    within = (rows[:, :, None] * width + columns[:, None, :]).view(count, 1, height * width)
    if channels > 1 and images.is_contiguous(memory_format=torch.channels_last):
        pixels = images.permute(0, 2, 3, 1).reshape(count * height * width, channels)
        start = torch.arange(count, device=device)[:, None] * (height * width)
        moved = pixels.index_select(0, (within[:, 0] + start).view(-1))
        return moved.view(count, height, width, channels).permute(0, 3, 1, 2)
    flat = images.reshape(count, channels, height * width)
    moved = flat.gather(2, within.expand(count, channels, height * width)).view(count, channels, height, width)
    return _like(moved, images)


def _warp(images: Tensor, policy: Policy, moment: Moment, flips: Tensor | None) -> Tensor:
    """Scaling, rotation, translation and mirroring in one bilinear resampling with reflected borders."""
    count, _, height, width = images.shape
    device = images.device
    angle = _within(math.radians(policy.rotate), "rotate", moment, images)
    zoom = torch.exp(_within(math.log1p(policy.scale), "scale", moment, images))
    shift = _within(2 * policy.crop, "crop", moment, images, 2).T
    mirror = torch.ones(count, device=device)
    if flips is not None:
        mirror = torch.where(flips.to(device), -mirror, mirror)
    cosine, sine = torch.cos(angle) / zoom, torch.sin(angle) / zoom
    # The grid runs from -1 to 1 both ways, so turning a picture that is not square takes its proportions.
    across = torch.stack((cosine * mirror, -sine * (height / width), shift[0] / width), 1)
    down = torch.stack((sine * mirror * (width / height), cosine, shift[1] / height), 1)
    grid = torch.nn.functional.affine_grid(torch.stack((across, down), 1), list(images.shape), align_corners=False)
    plain = images.float().contiguous()
    warped = torch.nn.functional.grid_sample(plain, grid, padding_mode="reflection", align_corners=False)
    return _like(warped.to(images.dtype), images)


def _recolour(images: Tensor, share: float, moment: Moment) -> Tensor:
    """Brightness and contrast, and saturation where there is colour, each by a factor from 1 - share to 1 + share."""
    factors = 1 + _within(share, "colour", moment, images, 3, 1, 1, 1)
    brightness, contrast, saturation = factors.to(images.dtype).unbind(1)
    mean = images.mean((1, 2, 3), keepdim=True)
    images = (images - mean) * contrast + mean * brightness
    if images.shape[1] == 3:
        weights = torch.tensor(_GREY, dtype=images.dtype, device=images.device).view(1, 3, 1, 1)
        images = torch.lerp((images * weights).sum(1, keepdim=True), images, saturation)
    return images.clamp(0, 1)


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
