"""Which network for which films, and how it is best trained. Nothing here needs torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from matinee.nets.recipes import Recipe, passes

SIZES: Final[dict[str, tuple[str, ...]]] = {
    "linear": ("m",),
    "frame": ("s", "m", "l"),
    "average": ("s", "m", "l"),
    "motion": ("s", "m", "l"),
    "r2plus1d": ("s", "m", "l"),
    "recurrent": ("s", "m", "l"),
    "attention": ("s", "m", "l"),
    "constant": ("s", "m", "l"),
}
TRUNKS: Final = {"small": True, "residual": False}
"""Trunks for pictures: whether it is the one for small pictures."""
LARGEST_SMALL: Final = 128
"""Pixels of the long side up to which the trunk for small pictures is taken."""
MOVING: Final = 8
"""Frames of a clip, from which on the difference of two of them is a movement."""
MANY: Final = 2000
"""From so many films on, `auto` takes the medium size."""
ANY_LENGTH: Final = ("average", "motion", "r2plus1d", "recurrent", "attention", "frame")
"""Networks that take clips of other lengths than they were built for."""


@dataclass(frozen=True)
class FilmShape:
    """What goes in and out: channels (1 or 3), height and width in pixels, frames of a clip, classes."""

    channels: int
    height: int
    width: int
    frames: int
    classes: int


@dataclass(frozen=True)
class FilmRecipe(Recipe):
    """As of pictures, and the share of a clip's frames that a step sees."""

    window: float = 1.0


def choose(shape: FilmShape, examples: int) -> tuple[str, str]:
    """What `auto` means: (name, size) for films of this shape and a number of training examples.

    A few frames are stages of something, an expression say, rather than a movement.
    """
    return "motion" if shape.frames >= MOVING else "average", "s" if examples < MANY else "m"


def trunk_of(shape: FilmShape) -> str:
    """The trunk for pictures that fits frames of this size."""
    return "small" if max(shape.height, shape.width) <= LARGEST_SMALL else "residual"


def recommend(name: str, shape: FilmShape, examples: int) -> FilmRecipe:
    """The recipe for a network on films of `shape`, with a number of training examples."""
    long_side = max(shape.height, shape.width)
    if name in ("linear", "constant"):
        inputs = shape.channels * shape.frames * min(long_side, 32) ** 2
        rate = min(0.03, max(1e-4, 2.0 / inputs))
        return FilmRecipe("adamw", rate, 32, passes(32, examples, steps=400), weight_decay=0.01, clip=1.0)
    varied: dict[str, Any] = {
        "clip": 1.0,
        "label_smoothing": 0.1,
        "flip": long_side >= 40,  # smaller ones may be signs, whose mirror images are others
        "crop": max(1, long_side // 20),
        "scale": 0.15,
        "rotate": 6.0 if long_side > 32 else 0.0,
        "colour": 0.2,
        "cutout": long_side // 4 if long_side > 32 else 0,
        "window": 0.75 if shape.frames >= MOVING else 1.0,
    }
    batch = 16 if examples < 2000 else 32
    # A clip of 16 frames of 112 x 64 pixels takes a core some 60 ms to learn from (motion 10); smaller ones may be seen
    # oftener.
    pixels = shape.frames * shape.height * shape.width
    enough = passes(batch, examples, steps=round(min(800, max(300, 300 * 16 * 112 * 64 / pixels))))
    if name == "r2plus1d":
        return FilmRecipe("adamw", 2e-3, batch, enough, weight_decay=0.05, **varied)
    return FilmRecipe("muon", 0.05, batch, enough, weight_decay=0.1, **varied)
