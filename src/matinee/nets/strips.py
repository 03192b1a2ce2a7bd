"""Convolutions over narrow feature maps, several pictures side by side.

Processors with matrix tiles (Intel AMX) multiply 32 neighbouring pixels of a row at once. A row of 7 leaves most of
such a tile empty, above all in the gradient of the weights, which takes four times as long as the forward pass. Here
the maps of several pictures are laid into one wide strip, with zeros between them, so that one convolution serves them
all: the same products, summed alike. docs/decisions/strips.md has the figures.
"""

from __future__ import annotations

import functools
from typing import Any, Final

import torch
from torch import Tensor, nn

WIDEST: Final = 9
"""Outputs of more pixels a row fill the tiles well enough by themselves, given the cost of the copies."""
_TILE: Final = 32
_MOST: Final = 32
"""Pictures in one strip."""


class Convolution(nn.Conv2d):
    """A convolution of 3 x 3 without bias, its input padded by one pixel."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__(channels, width, 3, padding=1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        width = features.shape[3]
        if width <= WIDEST and _has_tiles(features):
            count = _side_by_side(features.shape[0], width)
            if count > 1:
                small = features.bfloat16(), self.weight.bfloat16()
                outputs: Tensor = _Strips.apply(*small, count)  # type: ignore[no-untyped-call]
                return outputs
        return super().forward(features)


def _has_tiles(features: Tensor) -> bool:
    """Whether these are multiplied in bfloat16 by a processor with matrix tiles."""
    if features.device.type != "cpu" or not torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling():
        return False
    return _amx() and torch.get_autocast_dtype("cpu") == torch.bfloat16


@functools.cache
def _amx() -> bool:
    return bool(torch.cpu._is_amx_tile_supported())


@functools.cache
def _side_by_side(batch: int, width: int) -> int:
    """How many pictures share a strip: the divisor of the batch that leaves the least of a row's tiles empty."""
    counts = [count for count in range(1, _MOST + 1) if batch % count == 0]
    return min(counts, key=lambda count: -(-count * (width + 1) // _TILE) / count)


def _strip(maps: Tensor, count: int, pitch: int) -> Tensor:
    """(N, C, H, W) -> (N / count, C, H, count * pitch), channels-last, zeros where no picture is."""
    pictures, channels, height, width = maps.shape
    strip = maps.new_zeros(pictures // count, height, count, pitch, channels)
    rows = maps.permute(0, 2, 3, 1).reshape(-1, count, height, width, channels)
    strip[:, :, :, :width].copy_(rows.transpose(1, 2))
    return strip.flatten(2, 3).permute(0, 3, 1, 2)


def _maps(strip: Tensor, count: int, width: int) -> Tensor:
    """The reverse of `_strip`: what stands between the pictures is left out."""
    strips, channels, height, _ = strip.shape
    pixels = strip.permute(0, 2, 3, 1).reshape(strips, height, count, width + 1, channels)[:, :, :, :width]
    return pixels.transpose(1, 2).flatten(0, 1).permute(0, 3, 1, 2)


class _Strips(torch.autograd.Function):
    """The convolution of `Convolution`, computed on strips in both directions."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, count: int) -> Tensor:
        width = features.shape[3]
        # Windows reach one pixel beyond a picture on either side, where they must find zeros.
        strip = _strip(features, count, width + 1)
        ctx.save_for_backward(strip, weight)
        ctx.layout = (count, width)
        return _maps(torch.nn.functional.conv2d(strip, weight, padding=1), count, width)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        strip, weight = ctx.saved_tensors
        count, width = ctx.layout
        gradient = _strip(gradients[0], count, width + 1)
        of_features, of_weight, _ = torch.ops.aten.convolution_backward(
            gradient, strip, weight, None, (1, 1), (1, 1), (1, 1), False, (0, 0), 1,
            (ctx.needs_input_grad[0], ctx.needs_input_grad[1], False),
        )  # fmt: skip
        if of_features is not None:
            of_features = _maps(of_features, count, width)
        return of_features, of_weight, None
