"""Trunks without tricks: linear, fully connected and the small convolutional network of every tutorial.

A trunk turns normalised pictures (N, C, H, W) into features (N, F); `nets.pictures` puts the head on it.
"""

from __future__ import annotations

import math
from typing import Final

from torch import Tensor, nn

LARGEST_FLAT_SIDE: Final = 64
"""Pixels a side up to which `linear` and `mlp` see every pixel; larger pictures are averaged down to it first."""

MLP_WIDTHS: Final = {"s": 128, "m": 512, "l": 1024}
"""Units in each of the two hidden layers."""

_LENET_SMALLEST_SIDE: Final = 16
"""Two unpadded 5x5 convolutions and two poolings need this many pixels a side."""


def linear_trunk(channels: int, height: int, width: int) -> tuple[nn.Module, int]:
    """The pixels themselves, averaged down to at most 64 a side. Returns (trunk, features)."""
    factor = max(1, math.ceil(max(height, width) / LARGEST_FLAT_SIDE))
    factor = min(factor, height, width)
    pool: nn.Module = nn.Identity() if factor == 1 else nn.AvgPool2d(factor)
    return nn.Sequential(pool, nn.Flatten()), channels * (height // factor) * (width // factor)


def mlp_trunk(channels: int, height: int, width: int, *, size: str, dropout: float) -> tuple[nn.Module, int]:
    """Two hidden layers with ReLU and dropout after each. Returns (trunk, features)."""
    pixels, features = linear_trunk(channels, height, width)
    hidden = MLP_WIDTHS[size]
    trunk = nn.Sequential(
        pixels,
        nn.Linear(features, hidden),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Dropout(dropout),
    )
    return trunk, hidden


def lenet_trunk(channels: int, height: int, width: int, *, dropout: float) -> tuple[nn.Module, int]:
    """Two 5x5 convolutions of 6 and 16 channels with max pooling, then 120 and 84 units. Returns (trunk, features).

    The layers and their initialisation are those of PyTorch's CIFAR-10 tutorial; the first fully connected layer fits
    the picture's size. Pictures under 16 pixels a side are padded by 2 at each convolution, as nothing would be left.
    """
    smallest = min(height, width)
    padding = 2 if smallest < _LENET_SMALLEST_SIDE else 0
    rows, columns = (((side + 2 * padding - 4) // 2 + 2 * padding - 4) // 2 for side in (height, width))
    trunk = nn.Sequential(
        nn.Conv2d(channels, 6, 5, padding=padding),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5, padding=padding),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * rows * columns, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Dropout(dropout),
    )
    return trunk, 84


class GlobalMaximum(nn.Module):
    """(N, C, H, W) -> (N, C): the strongest response of each channel, wherever it is."""

    def forward(self, features: Tensor) -> Tensor:
        return features.amax((2, 3))


class GlobalAverage(nn.Module):
    """(N, C, H, W) -> (N, C): the mean response of each channel."""

    def forward(self, features: Tensor) -> Tensor:
        return features.mean((2, 3))


class Scale(nn.Module):
    """Multiplies by a constant; before a linear head without bias that scales the logits."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, features: Tensor) -> Tensor:
        return features * self.factor
