"""The classes of all pixels of a picture larger than a network learned from: in tiles, without seams or much memory.

Tiles overlap, and where they do their logits are mixed, each tile's the less the nearer its edge is. Only one line of
tiles is held at a time, so that memory grows with the width of a picture and not with its area.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import interpolate

OVERLAP = 0.25  # of a tile's side
AT_ONCE = 2**20  # pixels that go through the network together


def tiled(logits: Callable[[Tensor], Tensor], picture: Tensor, side: int) -> Tensor:
    """uint8 (H, W): the likeliest class of each pixel of a picture uint8 (C, H, W), in tiles of `side` x `side`.

    logits: float pictures (N, C, side, side) from 0 to 1 -> logits (N, classes, h, w), of any grid over the same tile.
    """
    height, width = picture.shape[1:]
    down, across = (_mirrored(length, side, picture.device) for length in (height, width))
    tops, lefts = _starts(len(down), side), _starts(len(across), side)
    answer = torch.empty(len(down), len(across), dtype=torch.uint8, device=picture.device)
    weight = _weight(side, picture.device)
    mixed: Tensor | None = None
    for top, following in zip(tops, [*tops[1:], len(down)], strict=True):
        line = picture[:, down[top : top + side]][:, :, across]
        parts = [line[:, :, left : left + side] for left in lefts]
        for first in range(0, len(parts), max(1, AT_ONCE // side**2)):
            some = range(first, min(first + max(1, AT_ONCE // side**2), len(parts)))
            told = logits(torch.stack([parts[place] for place in some]).float().div_(255)).float()
            if mixed is None:
                mixed = told.new_zeros(told.shape[1], side, len(across))
            for place, each in zip(some, told, strict=True):
                whole = interpolate(each[None], (side, side), mode="bilinear", align_corners=False)[0]
                mixed[:, :, lefts[place] : lefts[place] + side].addcmul_(whole, weight)
        if mixed is None:
            break
        done = following - top  # no tile below reaches these lines
        answer[top:following] = mixed[:, :done].argmax(0).to(torch.uint8)
        if following < len(down):
            mixed = torch.cat((mixed[:, done:], torch.zeros_like(mixed[:, :done])), 1)
    return answer[:height, :width]


def _mirrored(length: int, side: int, device: torch.device) -> Tensor:
    """Places 0 .. length - 1, and on to `side` by turning round at the end of a picture that is smaller than a tile."""
    places = torch.arange(max(length, side), device=device) % (2 * length)
    return torch.minimum(places, 2 * length - 1 - places)


def _starts(length: int, side: int) -> list[int]:
    """Where tiles begin that cover a side evenly, each sharing at least OVERLAP with the next."""
    step = side - int(OVERLAP * side)
    count = 1 - (side - length) // step if length > side else 1
    return [round(place * (length - side) / max(1, count - 1)) for place in range(count)]


def _weight(side: int, device: torch.device) -> Tensor:
    """(side, side): one within a tile, falling to little over the overlap at its edges."""
    places = torch.arange(side, device=device)
    edge = (torch.minimum(places, side - 1 - places) + 1) / max(1, int(OVERLAP * side))
    slope = edge.clamp(max=1.0)
    return slope[:, None] * slope
