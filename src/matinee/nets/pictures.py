"""Networks for pictures, by name: `build("small", PictureShape(3, 32, 32, 10))`.

Every network takes plain pixels (N, C, H, W) from 0 to 1 and answers float32 logits (N, classes). Its parts are
`normalise` (per-channel mean and deviation, buffers), `trunk` (pictures to features) and `head` (features to logits):
the keys of the state_dict that start with "head." are the head in every network, everything else may be loaded from a
network trained on other classes. `Constant`, the baseline that always says the majority class, has `logits` alone.

A build depends on nothing but its arguments and torch's random state, and works under `torch.device("meta")`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from matinee.core.errors import SettingsError
from matinee.core.quick import Quick
from matinee.nets.choices import PictureShape, check
from matinee.nets.plain import lenet_trunk, linear_trunk, mlp_trunk
from matinee.nets.residual import residual_trunk
from matinee.nets.small import WhiteningLayer, small_trunk

HEAD: Final = "head."
"""What the state_dict keys of the head start with, in every network."""


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of each channel over the training pictures, pixels from 0 to 1."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]


class Normalise(nn.Module):
    """(N, C, H, W) pixels from 0 to 1 -> about mean 0 and deviation 1 in each channel."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, statistics: Statistics) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(statistics.mean, dtype=torch.float32).view(-1, 1, 1))
        # A channel that never varies would otherwise divide by zero.
        deviation = tuple(max(value, 1e-3) for value in statistics.deviation)
        self.register_buffer("deviation", torch.tensor(deviation, dtype=torch.float32).view(-1, 1, 1))

    def forward(self, pictures: Tensor) -> Tensor:
        return (pictures - self.mean) / self.deviation


class PictureNetwork(Quick):
    """Pixels (N, C, H, W) from 0 to 1 -> float32 logits (N, classes): `head(trunk(normalise(pictures)))`."""

    def __init__(self, normalise: Normalise, trunk: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.normalise = normalise
        self.trunk = trunk
        self.head = head
        # Confidence is set here, in float32 and after the last product, so that calibrating moves no answer.
        self.head.register_buffer("sharpness", torch.ones(()))

    def forward(self, pictures: Tensor) -> Tensor:
        logits: Tensor = self.head(self.trunk(self.normalise(pictures))).float()
        return logits * self.head.get_buffer("sharpness")

    def quick(self, precision: torch.dtype) -> nn.Module:
        from matinee.nets.ready import ready

        return ready(self, precision)


class Constant(nn.Module):
    """The same logits (classes,) for every picture: what the majority class alone would score."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(classes))

    def forward(self, pictures: Tensor) -> Tensor:
        # The sum over no pixels keeps the gradient with respect to the input defined: it is zero.
        nothing = pictures[:, :0].sum((1, 2, 3)).float()
        return self.logits + nothing[:, None]


def build(
    name: str, shape: PictureShape, *, size: str = "m", dropout: float = 0.0, statistics: Statistics | None = None
) -> nn.Module:
    """Builds the network called `name`; without `statistics` pixels are taken to have mean 0.5 and deviation 0.5.

    Raises SettingsError for an unknown name or size, or a picture that the network cannot take.
    """
    check(name, size)
    if name == "constant":
        return Constant(shape.classes)
    if min(shape.height, shape.width, shape.channels, shape.classes) < 1 or min(shape.height, shape.width) < 4:
        raise SettingsError(
            f"pictures of {shape.width} x {shape.height} x {shape.channels} in {shape.classes} classes: "
            "networks need at least 4 x 4 pixels, one channel and one class."
        )
    channels, height, width = shape.channels, shape.height, shape.width
    statistics = statistics or Statistics((0.5,) * channels, (0.5,) * channels)
    if len(statistics.mean) != channels or len(statistics.deviation) != channels:
        raise SettingsError(f"statistics of {len(statistics.mean)} channels for pictures of {channels}.")
    if name == "linear":
        trunk, features = linear_trunk(channels, height, width)
    elif name == "mlp":
        trunk, features = mlp_trunk(channels, height, width, size=size, dropout=dropout)
    elif name == "lenet":
        trunk, features = lenet_trunk(channels, height, width, dropout=dropout)
    elif name == "small":
        trunk, features = small_trunk(channels, height, width, size=size)
        trunk = nn.Sequential(trunk, nn.Dropout(dropout))
    else:
        trunk, features = residual_trunk(channels, size=size)
        trunk = nn.Sequential(trunk, nn.Dropout(dropout))
    head = nn.Linear(features, shape.classes, bias=name != "small")
    return PictureNetwork(Normalise(statistics), trunk, head)


def whiten(network: nn.Module, images: Tensor) -> None:
    """Fits whitening layers to training pictures (N, C, H, W), pixels 0 to 1; other networks stay as they are.

    A few thousand pictures, drawn at random, are plenty. Call it once, before training and on the final device.
    """
    if not isinstance(network, PictureNetwork):
        return
    for layer in network.trunk.modules():
        if isinstance(layer, WhiteningLayer):
            with torch.no_grad():
                layer.fit(network.normalise(images.float()))
