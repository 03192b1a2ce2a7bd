"""Varying pictures and their masks alike: zoomed, moved, mirrored and cut to a part, as tensor work on the batch."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from matinee.core.moment import Moment
from matinee.media.augment import Policy, augment
from matinee.media.mask_classes import VOID

PARTS = ((0.75, 0.5),)
"""Until which share of the training which share of each side is learned at a time."""
MOST_AROUND = 0.8
"""A picture is shrunk no further than to this share of what is cut out: what is around it costs time for nothing."""
SMALLEST_PART = 64
"""Pixels: of pictures with a shorter side than twice this, all is learned from the start."""
_MULTIPLE = 32  # of the sides of a part: grids then halve without a rest


@dataclass(frozen=True)
class MaskPolicy:
    """How far pictures are varied. flip: every other one is mirrored left to right, at random.

    zoom: factor by which they are enlarged or shrunk at most (1: not at all), see `zooms`; what is beyond the picture
    then has no class. colour: share by which brightness, contrast and saturation vary at most.
    """

    flip: bool = False
    zoom: float = 1.0
    colour: float = 0.0


def part_at(share: float) -> float:
    """The share of each side that is learned when so much of the training is behind."""
    return next((side for until, side in PARTS if share < until), 1.0)


def part_of(size: tuple[int, int], share: float) -> tuple[int, int]:
    """Height and width of the part that is learned, multiples of 32; all of a small picture."""
    if share == 1.0 or min(size) < 2 * SMALLEST_PART:
        return size
    height, width = (max(_MULTIPLE, _MULTIPLE * round(share * side / _MULTIPLE)) for side in size)
    return min(height, size[0]), min(width, size[1])


def zooms(size: tuple[int, int], part: tuple[int, int], zoom: float) -> tuple[float, float]:
    """The factors between which pictures are enlarged, so that `part` pixels of it (height and width) are cut out.

    Whole pictures by the root of `zoom` either way. Parts mostly shrink: a small picture of much of the scene teaches
    more than a large one of little at the same cost, and a training ends with whole pictures as they are.
    """
    fits = max(one / other for one, other in zip(part, size, strict=True))
    if part == size:
        return max(zoom**-0.5, min(1.0, MOST_AROUND)), zoom**0.5
    return min(1.0, max(1 / zoom, 0.95 * fits)), zoom**0.25


def vary(
    pictures: Tensor, masks: Tensor, policy: MaskPolicy, moment: Moment, share: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Float pictures (N, C, H, W) from 0 to 1 and uint8 masks (N, H, W), varied alike, `share` of their sides.

    Pictures are sampled bilinearly, masks at the nearest pixel. The same moment gives the same batch.
    """
    count, _, height, width = pictures.shape
    size = part_of((height, width), share)
    if policy.flip or policy.zoom > 1 or size != (height, width):
        device = pictures.device
        low, high = map(math.log, zooms((height, width), size, policy.zoom))
        zoom = torch.exp(moment.uniform("zoom", count, 1, device=device) * (high - low) + low)
        place = moment.uniform("place", count, 2, 1, device=device)
        rows = _window(height, size[0], zoom, place[:, 0])
        columns = _window(width, size[1], zoom, place[:, 1])
        if policy.flip:
            mirrored = moment.uniform("flip", count, 1, device=device) < 0.5
            columns = torch.where(mirrored, width - columns, columns)
        pictures, masks = _sampled(pictures, rows, columns), _nearest(masks, rows, columns)
    if policy.colour:
        pictures = augment(pictures, Policy(colour=policy.colour), moment)
    return pictures, masks


def _window(length: int, wanted: int, zoom: Tensor, place: Tensor) -> Tensor:
    """Where the middles of `wanted` pixels lie along a side, in pixels from its beginning, (N, wanted)."""
    seen = wanted / zoom
    steps = (torch.arange(wanted, device=zoom.device) + 0.5) / zoom
    # A window smaller than the picture lies anywhere in it, a larger one anywhere around it.
    return place * (length - seen) + steps


def _sampled(pictures: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    down, across = rows * (2 / pictures.shape[2]) - 1, columns * (2 / pictures.shape[3]) - 1
    zeros = torch.zeros_like
    # Added as complex numbers: nine times as fast as pairs, on a processor.
    lines = torch.view_as_complex(torch.stack((zeros(down), down), -1))[:, :, None]
    grid = torch.view_as_real(lines + torch.view_as_complex(torch.stack((across, zeros(across)), -1))[:, None])
    sampled = torch.nn.functional.grid_sample(
        pictures.float().contiguous(), grid, padding_mode="reflection", align_corners=False
    )
    return sampled.to(pictures.dtype).contiguous(memory_format=torch.channels_last)


def _nearest(masks: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    count, height, width = masks.shape
    down, across = rows.floor().long(), columns.floor().long()
    outside = ((down < 0) | (down >= height))[:, :, None] | ((across < 0) | (across >= width))[:, None]
    within = down.clamp(0, height - 1)[:, :, None] * width + across.clamp(0, width - 1)[:, None]
    found = masks.reshape(count, -1).gather(1, within.view(count, -1)).view(within.shape)
    return found.masked_fill_(outside, VOID)
