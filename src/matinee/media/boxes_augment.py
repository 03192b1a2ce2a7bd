"""Varying whole batches of pictures whose boxes move along: zoom, shift, mirroring, mosaics, colour.

One resampling of each picture, on the batch's own device; no Python per picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from matinee.core.moment import Moment
from matinee.media.augment import Policy, augment
from matinee.media.pictures import PAPER

LAST = 0.85  # of the training: from here on pictures are whole again
VISIBLE = 0.3  # share of a box that must be left of it; with less it is a region where nothing is asked
SIDE = 2.0  # pixels: the shorter side of the smallest box that is asked for


@dataclass(frozen=True)
class BoxPolicy:
    """How far pictures and their boxes are varied; the default is not at all.

    mirror: "sideways" mirrors every other picture left to right, "both" also top to bottom. zoom: share by which a
    picture is enlarged or shrunk at most. shift: share of its sides by which it is moved at most. mosaic: share of the
    pictures that are made of four (Bochkovskiy et al., 2020, arXiv 2004.10934). colour: share by which brightness,
    contrast and saturation vary.
    """

    mirror: str = "none"
    zoom: float = 0.0
    shift: float = 0.0
    mosaic: float = 0.0
    colour: float = 0.0

    @staticmethod
    def of(settings: object) -> BoxPolicy:
        """The policy of anything that has its fields; None there means nothing."""
        asked: dict[str, Any] = {name: getattr(settings, name) or 0.0 for name in ("zoom", "shift", "mosaic", "colour")}
        return BoxPolicy(mirror=getattr(settings, "mirror") or "none", **asked)  # noqa: B009 - it may be any object


NOTHING = BoxPolicy()
Boxed = tuple[Tensor, Tensor, Tensor]


def vary(inputs: Tensor, boxes: Tensor, labels: Tensor, policy: BoxPolicy, moment: Moment) -> Boxed:
    """Varied pictures (N, C + 1, H, W), boxes (N, m, 4) and labels (N, m), m as many as there are now.

    The last plane says how many pixels of the picture itself one pixel stands for; `boxes` are in those. What comes
    back is a picture of its own: its plane says 1, and the boxes are in the pixels that it has. labels: class + 1, 0
    for none, negative for regions where nothing is asked.
    """
    count, _, height, width = inputs.shape
    if policy == NOTHING or count == 0:
        return inputs, boxes, labels
    pixels = inputs[:, :-1].contiguous()
    boxes = boxes / inputs[:, -1].amax((1, 2)).clamp(min=1e-6)[:, None, None]
    if policy.zoom or policy.shift or policy.mosaic or policy.mirror != "none":
        pixels, boxes, labels = _moved(pixels, boxes, labels, policy, moment)
    if policy.colour:
        pixels = augment(pixels, Policy(colour=policy.colour), moment)
    return torch.cat((pixels, pixels.new_ones(count, 1, height, width)), 1), boxes, labels


def _moved(pixels: Tensor, boxes: Tensor, labels: Tensor, policy: BoxPolicy, moment: Moment) -> Boxed:
    """All movement as one window on each picture, or on four of them side by side."""
    count, _, height, width = pixels.shape
    device = pixels.device
    share = policy.mosaic if moment.share < LAST else 0.0
    four = (moment.uniform("mosaic", count, device=device) < share) if share else None
    mosaic = torch.zeros(count, dtype=torch.bool, device=device) if four is None else four
    factor = torch.exp((moment.uniform("zoom", count, device=device) * 2 - 1) * _log(policy.zoom))
    # A window on four pictures shows between one and all of them; else it is about as large as the picture.
    among = 1 + moment.uniform("four", count, device=device)
    extent = torch.where(mosaic, among, 1 / factor)
    room = torch.where(mosaic, 2.0, 1.0) - extent
    place = moment.uniform("shift", count, 2, device=device)
    start = torch.where(mosaic[:, None], place * room[:, None], room[:, None] / 2 + (place * 2 - 1) * policy.shift)
    flips = moment.uniform("flip", count, 2, device=device) < 0.5
    flips &= torch.tensor([policy.mirror in ("sideways", "both"), policy.mirror == "both"], device=device)
    sides = torch.tensor([width, height], dtype=torch.float32, device=device)
    start, step = start * sides, extent
    windows = start, step, flips
    pixels = pixels - PAPER / 255  # what lies beside a picture is paper: nought for the resampling
    if four is None or not bool(four.any()):
        return (_seen(pixels, windows), *_boxes(boxes, labels, windows, sides))
    partners = torch.from_numpy(_partners(count, moment)).to(device)
    others = torch.cat((torch.arange(count, device=device)[None], partners))
    varied = torch.empty_like(pixels)
    varied[four] = _seen(_joined(pixels, others[:, four]), tuple(part[four] for part in windows), 2)
    if not bool(four.all()):
        varied[~four] = _seen(pixels[~four], tuple(part[~four] for part in windows))
    corners = torch.tensor([[0, 0], [1, 0], [0, 1], [1, 1]], device=device) * sides
    moved = torch.cat([boxes[row] + corner.repeat(2) for row, corner in zip(others, corners, strict=True)], 1)
    kinds = torch.cat([labels[row] * (four | (number == 0))[:, None] for number, row in enumerate(others)], 1)
    return (varied, *_boxes(moved, kinds, windows, sides))


def _partners(count: int, moment: Moment) -> Any:
    """int64 (3, count): who stands beside whom."""
    import numpy as np

    chance = moment.numpy("mosaic partners")
    return np.stack([chance.permutation(count) for _ in range(3)])


def _joined(pixels: Tensor, four: Tensor) -> Tensor:
    """Four pictures as one of twice the sides, (k, C, 2H, 2W), of those numbered in (4, k)."""
    _, channels, height, width = pixels.shape
    joined = pixels.new_empty(four.shape[1], channels, 2 * height, 2 * width)
    for number, row in enumerate(four):
        top, left = height * (number // 2), width * (number % 2)
        joined[:, :, top : top + height, left : left + width] = pixels[row]
    return joined


def _log(share: float) -> float:
    import math

    return math.log1p(share)


def _seen(pixels: Tensor, windows: tuple[Tensor, ...], size: int = 1) -> Tensor:
    """What is seen through windows of (start, extent, flips); pixels may have `size` times the sides of the answer."""
    start, step, flips = windows
    height, width = (side // size for side in pixels.shape[2:])
    lines = []
    for axis, length in enumerate((width, height)):
        centres = torch.arange(length, device=pixels.device) + 0.5
        centres = torch.where(flips[:, axis, None], length - centres, centres)
        lines.append((start[:, axis, None] + centres * step[:, None]) * (2 / (length * size)) - 1)
    columns, rows = lines
    grid = torch.stack((columns[:, None].expand(-1, height, -1), rows[:, :, None].expand(-1, -1, width)), -1)
    return torch.nn.functional.grid_sample(pixels, grid, align_corners=False).add_(PAPER / 255)


def _boxes(boxes: Tensor, labels: Tensor, windows: tuple[Tensor, ...], sides: Tensor) -> tuple[Tensor, Tensor]:
    """The boxes as they lie in the windows, cut at their edges; the least possible number of columns comes back."""
    start, step, flips = windows
    corners = (boxes.view(*boxes.shape[:2], 2, 2) - start[:, None, None]) / step[:, None, None, None]
    corners = torch.where(flips[:, None, None], sides - corners, corners)
    low, high = corners.amin(2), corners.amax(2)
    before = (high - low).prod(-1)
    low, high = torch.minimum(low.clamp(min=0), sides), torch.minimum(high.clamp(min=0), sides)
    shown = (high - low).clamp(min=0)
    left = shown.prod(-1) / before.clamp(min=1e-6)
    labels = torch.where((left > 0) & (labels != 0), labels, 0)
    # Too little of it is left to ask for, too much to call it background.
    labels = torch.where((left < VISIBLE) | (shown.amin(-1) < SIDE), -labels.abs(), labels)
    most = max(1, int((labels != 0).sum(1).max()))
    order = (labels == 0).to(torch.int8).argsort(dim=1, stable=True)[:, :most]
    moved = torch.cat((low, high), -1).gather(1, order[..., None].expand(-1, -1, 4))
    return moved, labels.gather(1, order)
