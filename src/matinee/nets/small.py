"""A fast network for small pictures: frozen whitening, three groups of convolutions, a scaled head.

After "94% on CIFAR-10 in 3.29 Seconds on a Single GPU" (Keller Jordan, 2024, arXiv 2404.00498): a first layer that
whitens patches and learns nothing but a bias, convolutions that start as the identity, batch normalisation without a
trained scale, max pooling and a bias-free head whose logits are scaled down. The depth of pooling fits the picture.
SiLU where the paper has GELU: as accurate here, at two thirds of the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from matinee.nets.plain import GlobalMaximum, Scale
from matinee.nets.strips import Convolution


@dataclass(frozen=True)
class _Plan:
    """Channels of the three groups and convolutions in each."""

    widths: tuple[int, int, int]
    depth: int


PLANS: Final = {
    "s": _Plan((32, 64, 128), 2),
    "m": _Plan((64, 256, 256), 2),
    "l": _Plan((128, 384, 512), 3),
}
LOGIT_SCALE: Final = 1 / 9
_SMALLEST_POOLED_SIDE: Final = 4
"""A group pools only where at least this many pixels a side go in, so that two or more come out."""
_STRIDED_FROM: Final = 40
"""Pictures with a longer side than this are halved by the whitening layer itself."""
_WHITENING_FLOOR: Final = 5e-4
"""Added to the eigenvalues, so that directions without signal are not blown up into noise."""
_LARGEST_SAMPLE: Final = 5000
_AT_ONCE: Final = 256  # pictures: all their patches in double precision take hundreds of megabytes


class WhiteningLayer(nn.Module):
    """A convolution whose filters are the patch eigenvectors, each with both signs, at unit variance.

    The weight is a buffer: only the bias is trained. Until `fit` has seen pictures it holds random filters.
    """

    weight: Tensor

    def __init__(self, channels: int, *, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.padding = kernel // 2 if kernel % 2 else 0
        dimensions = channels * kernel * kernel
        self.channels_out = 2 * dimensions
        # In place: on the meta device, where bundles are planned, torch imports its compiler for anything else.
        self.register_buffer("weight", torch.empty(2 * dimensions, channels, kernel, kernel))
        half = self.weight[:dimensions].normal_(std=dimensions**-0.5)
        self.weight[dimensions:].copy_(half).mul_(-1)
        self.bias = nn.Parameter(torch.zeros(2 * dimensions))

    def forward(self, pictures: Tensor) -> Tensor:
        return nn.functional.conv2d(pictures, self.weight, self.bias, self.stride, self.padding)

    @torch.no_grad()
    def fit(self, pictures: Tensor) -> None:
        """Computes the filters from normalised pictures (N, C, H, W); up to 5,000 of them are looked at."""
        dimensions = self.channels_out // 2
        moments, count = torch.zeros(dimensions, dimensions, dtype=torch.float64, device=pictures.device), 0
        for some in torch.split(pictures[:_LARGEST_SAMPLE].float(), _AT_ONCE):
            patches = some.unfold(2, self.kernel, self.stride).unfold(3, self.kernel, self.stride)
            rows = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, dimensions).double()
            moments += rows.T @ rows
            count += len(rows)
        eigenvalues, eigenvectors = torch.linalg.eigh(moments / count)
        filters = eigenvectors.T / (eigenvalues.clamp_min(0) + _WHITENING_FLOOR).sqrt()[:, None]
        half = filters.flip(0).reshape(dimensions, -1, self.kernel, self.kernel)
        self.weight.copy_(torch.cat((half, -half)))


class _Group(nn.Module):
    """Convolution, pooling where the picture is large enough, then further convolutions; each normalised, with SiLU."""

    def __init__(self, channels: int, width: int, *, depth: int, pool: bool) -> None:
        super().__init__()
        self.first = _convolution(channels, width)
        self.pool: nn.Module = nn.MaxPool2d(2) if pool else nn.Identity()
        self.first_norm = _norm(width)
        self.convolutions = nn.ModuleList(_convolution(width, width) for _ in range(depth - 1))
        self.norms = nn.ModuleList(_norm(width) for _ in range(depth - 1))

    def forward(self, features: Tensor) -> Tensor:
        features = nn.functional.silu(self.first_norm(self.pool(self.first(features))))
        shortcut = features
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            features = norm(convolution(features))
            if convolution is self.convolutions[-1] and len(self.convolutions) > 1:
                features = features + shortcut
            features = nn.functional.silu(features)
        return features


def _convolution(channels: int, width: int) -> Convolution:
    convolution = Convolution(channels, width)
    with torch.no_grad():
        # The first filters pass their input on, so that depth costs nothing at the start.
        nn.init.dirac_(convolution.weight[: min(channels, width)])
    return convolution


def _norm(width: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(width)
    norm.weight.requires_grad_(False)  # the next convolution scales as well; only the bias is trained
    return norm


def small_trunk(channels: int, height: int, width: int, *, size: str) -> tuple[nn.Module, int]:
    """The trunk for pictures of 8 to about 64 pixels a side. Returns (trunk, features)."""
    plan = PLANS[size]
    stride = 2 if max(height, width) > _STRIDED_FROM else 1
    # A grey 2x2 patch has 4 directions only, too few to tell strokes apart.
    kernel = 2 if channels >= 3 and stride == 1 else 3
    whitening = WhiteningLayer(channels, kernel=kernel, stride=stride)
    side = (min(height, width) + 2 * whitening.padding - kernel) // stride + 1
    layers: list[nn.Module] = [whitening, nn.SiLU()]
    inputs = whitening.channels_out
    for outputs in plan.widths:
        pool = side >= _SMALLEST_POOLED_SIDE
        layers.append(_Group(inputs, outputs, depth=plan.depth, pool=pool))
        side, inputs = side // 2 if pool else side, outputs
    return nn.Sequential(*layers, GlobalMaximum(), Scale(LOGIT_SCALE)), inputs
