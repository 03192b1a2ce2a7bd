"""What "sensible without any setting" means for pictures: how each network is best trained, by experiment."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

from matinee.nets.choices import MANY, PictureShape, check

_SMALLEST_FLIPPED_GREY: Final = 40
"""Grey pictures with a shorter long side, in pixels, are not mirrored."""


@dataclass(frozen=True)
class Recipe:
    """Settings of one training, by the names that the loop, the optimisers and the augmentation know them under.

    `epochs` is how many passes reach the measured accuracy; flip .. progressive vary the pictures.
    """

    optimiser: str
    learning_rate: float
    batch_size: int
    epochs: int
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: str = "linear"
    warmup: float = 0.1
    average: float = 0.0
    clip: float = 0.0
    label_smoothing: float = 0.0
    flip: bool = False
    crop: int = 0
    scale: float = 0.0
    rotate: float = 0.0
    colour: float = 0.0
    cutout: int = 0
    mixup: float = 0.0
    progressive: bool = False


def recommend(name: str, size: str, shape: PictureShape, examples: int) -> Recipe:
    """The recipe for a network on pictures of `shape`, with a number of training examples.

    Raises SettingsError for a network or size that does not exist.
    """
    check(name, size)
    if name == "small":
        return _small(size, shape, max(1, examples))
    if name == "residual":
        return Recipe(
            "adamw",
            2e-3,
            32,
            passes(32, examples, steps=1000, least=20),
            weight_decay=0.05,
            label_smoothing=0.1,
            flip=True,
            crop=max(shape.height, shape.width) // 16,
            scale=0.2,
            rotate=5,
            colour=0.2 if shape.channels == 3 else 0.0,
        )
    if name == "lenet":
        # PyTorch's CIFAR-10 tutorial: 2 passes over 50,000 pictures; the same number of steps for fewer.
        return Recipe("sgd", 0.001, 4, passes(4, examples, steps=25_000, least=2), schedule="constant", warmup=0.0)
    # The step of a linear network shrinks with the number of its inputs: .03 for 64 pixels, .0026 for 784.
    inputs = shape.channels * shape.height * shape.width
    rate = min(0.03, max(5e-4, 2.0 / inputs)) if name == "linear" else 1e-3
    return Recipe("adamw", rate, 128, passes(128, examples, steps=600, least=10), weight_decay=0.01)


def _small(size: str, shape: PictureShape, examples: int) -> Recipe:
    """Muon with a linear fall; larger batches and a longer step where there are many examples."""
    long_side = max(shape.height, shape.width)
    # Small grey pictures are mostly characters, whose mirror images are others or none.
    flip = shape.channels == 3 or long_side >= _SMALLEST_FLIPPED_GREY
    if examples >= MANY:
        common: dict[str, Any] = {
            "batch_size": 512,  # divisible by every number of pictures that a strip of the network may hold
            "label_smoothing": 0.2,
            "flip": flip,
            "crop": 2,
            "cutout": long_side // 4 if size == "l" else 0,  # it learns the training pictures by heart otherwise
            "progressive": True,
        }
        if shape.channels == 3:  # Keller Jordan's settings
            return Recipe("muon-unit", 0.24, epochs=8, momentum=0.6, weight_decay=0.0025, warmup=0.0, **common)
        return Recipe("muon", 0.1, epochs=6, weight_decay=0.1, **common)
    batch = 50 if examples < 500 else 64 if examples < 1000 else 100
    faces_or_things = flip and long_side > 32
    return Recipe(
        "muon",
        0.05,
        batch,
        passes(batch, examples, steps=360, least=12),
        weight_decay=0.1,
        label_smoothing=0.2,
        flip=flip,
        crop=3 if long_side > 32 else 2 if long_side > 16 else 1,
        scale=0.1,
        rotate=8 if long_side > 32 else 10,
        colour=0.2 if faces_or_things else 0.0,
        cutout=long_side // 4 if faces_or_things and examples >= 500 else 0,
    )


def passes(batch: int, examples: int, *, steps: int, least: int = 10) -> int:
    """How many passes in batches make about so many steps, at least so many."""
    return max(least, math.ceil(steps * batch / max(1, examples)))
