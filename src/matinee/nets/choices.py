"""Which network for which pictures: names, sizes and what `auto` means. Nothing here needs torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from matinee.core.errors import SettingsError

NAMES: Final[tuple[str, ...]] = ("linear", "mlp", "lenet", "small", "residual")
SIZES: Final[dict[str, tuple[str, ...]]] = {
    "linear": ("m",),
    "mlp": ("s", "m", "l"),
    "lenet": ("m",),
    "small": ("s", "m", "l"),
    "residual": ("s", "m", "l"),
    "constant": ("s", "m", "l"),
}
ANY_SIDE: Final = ("small", "residual")
"""Networks that take pictures of other sizes than they were built for."""
PASSES: Final = 2.0
MANY_PASSES: Final = 27.0
"""With time for fewer passes of the medium network for small pictures, at their whole size, `auto` means the small one;
with time for MANY_PASSES of many pictures the large one, which makes a third as many. 3 passes of 40,000 CIFAR-10
pictures, growing ones, that are two thirds of the work, caught up with 9 of the small one."""
MANY: Final = 20_000
"""From this many examples a few passes suffice, in large batches."""

LARGEST_SMALL_SIDE: Final = 64
"""Pixels: up to this long side `auto` takes the network for small pictures, above it the one for photographs."""

LARGEST_PHOTOGRAPH_SIDE: Final = 160
"""Pixels: what `stored_size` brings the long side of larger pictures down to."""


@dataclass(frozen=True)
class PictureShape:
    """What goes in and out: channels (1 or 3), height and width in pixels, number of classes."""

    channels: int
    height: int
    width: int
    classes: int


def check(name: str, size: str, sizes: Mapping[str, Sequence[str]] = SIZES, what: str = "pictures") -> None:
    """Raises SettingsError, naming what is allowed, unless the network exists in that size."""
    if name not in sizes:
        names = ", ".join(each for each in sizes if each != "constant")
        raise SettingsError(f"--network {name}: the networks for {what} are {names}, or auto.")
    if size not in sizes[name]:
        raise SettingsError(f"--size {size}: {name} comes in {', '.join(sizes[name])}.")


def check_growing(name: str, asked: bool) -> None:
    """Raises SettingsError where pictures are to grow and the network takes one size only."""
    if asked and name not in ANY_SIDE:
        raise SettingsError(f"--progressive: {name} takes one size only. Those that can: {', '.join(ANY_SIDE)}.")


def choose(shape: PictureShape, examples: int, pixels: Callable[[], float] | None = None) -> tuple[str, str]:
    """What `auto` means: (name, size) for pictures of this (stored) shape and a number of training examples.

    pixels: from how many the medium network for small pictures can learn in the time there is; asked only where the
    choice depends on it.
    """
    if max(shape.height, shape.width) > LARGEST_SMALL_SIDE:
        return "residual", "s" if examples < 5000 else "m"
    if shape.channels == 3:
        if examples < 2000 or pixels is None:
            return "small", "s" if examples < 2000 else "m"
        passes = pixels() / (examples * shape.height * shape.width)
        return "small", "s" if passes < PASSES else "l" if passes >= MANY_PASSES and examples >= MANY else "m"
    # Grey pictures do nearly as well with the narrow network; the wider one is worth it where a pass costs nothing.
    return "small", "m" if examples < 500 and max(shape.height, shape.width) >= 32 else "s"


def stored_size(height: int, width: int, channels: int, examples: int) -> tuple[int, int]:
    """The (height, width) in pixels to keep pictures at, with the proportions they have.

    Photographs keep at most 160 pixels a side. Grey pictures of up to 128, where there are few (faces, scans), are
    brought down to 64: the network for small pictures learns more from a few hundred than the one for photographs.
    """
    long_side = max(height, width)
    few_grey = channels == 1 and long_side <= 2 * LARGEST_SMALL_SIDE and examples < 5000
    if few_grey and long_side > LARGEST_SMALL_SIDE:
        # Halving is exact: each stored pixel is the mean of four.
        return height // 2, width // 2
    factor = min(1.0, LARGEST_PHOTOGRAPH_SIDE / long_side)
    return max(4, round(height * factor)), max(4, round(width * factor))
