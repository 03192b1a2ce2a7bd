"""A residual network for photographs: any size from about 64 pixels a side, features averaged over the picture.

After "Deep Residual Learning" (He et al., 2015, arXiv 1512.03385) with the stem of three 3x3 convolutions and the
average-pooled shortcuts of "Bag of Tricks for Image Classification" (He et al., 2018, arXiv 1812.01187, "ResNet-D");
the last normalisation of every block starts at zero, so that each block starts as its shortcut.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from torch import Tensor, nn

from matinee.nets.plain import GlobalAverage


@dataclass(frozen=True)
class _Plan:
    """Channels and blocks of the four stages."""

    widths: tuple[int, int, int, int]
    blocks: tuple[int, int, int, int]


PLANS: Final = {
    "s": _Plan((32, 64, 128, 256), (1, 1, 1, 1)),
    "m": _Plan((64, 128, 256, 512), (2, 2, 2, 2)),
    "l": _Plan((64, 128, 256, 512), (3, 4, 6, 3)),
}


class _Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut; (N, C, H, W) -> (N, width, H / stride, W / stride), rounded up."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_normalised(channels, width, stride), nn.ReLU(), *_normalised(width, width, 1, start=0.0)
        )
        shortcut: list[nn.Module] = []
        if stride > 1:
            shortcut.append(nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False))
        if channels != width:
            shortcut += [nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width)]
        self.shortcut = nn.Sequential(*shortcut)

    def forward(self, features: Tensor) -> Tensor:
        return nn.functional.relu(self.body(features) + self.shortcut(features))


def _normalised(channels: int, width: int, stride: int, start: float = 1.0) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    convolution = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    norm = nn.BatchNorm2d(width)
    nn.init.constant_(norm.weight, start)
    return convolution, norm


def residual_trunk(channels: int, *, size: str) -> tuple[nn.Module, int]:
    """The trunk for photographs of 96 to 320 pixels a side; reduces by 32. Returns (trunk, features)."""
    plan = PLANS[size]
    stem_width = plan.widths[0] // 2
    layers: list[nn.Module] = [
        *_normalised(channels, stem_width, 2),
        nn.ReLU(),
        *_normalised(stem_width, plan.widths[0], 1),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2, padding=1),
    ]
    inputs = plan.widths[0]
    for stage, (outputs, blocks) in enumerate(zip(plan.widths, plan.blocks, strict=True)):
        for block in range(blocks):
            layers.append(_Block(inputs, outputs, 2 if stage > 0 and block == 0 else 1))
            inputs = outputs
    return nn.Sequential(*layers, GlobalAverage()), inputs
