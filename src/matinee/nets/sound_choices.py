"""Which network for which sounds, and how it is best trained: names, sizes, recipes. Nothing here needs torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from matinee.core.errors import SettingsError

NAMES: Final[tuple[str, ...]] = ("linear", "cnn", "attention")
SIZES: Final[tuple[str, ...]] = ("s", "m", "l")
LONG: Final = 2.5
"""Seconds from which on a window is looked at in longer frames: what happens in it is slower, and there is more."""
MANY: Final = 20_000
"""Examples from which on `auto` takes the medium size."""


@dataclass(frozen=True)
class SoundShape:
    """rate: samples a second. samples: of the window that the network hears at once. bands: of the spectrogram."""

    rate: int
    samples: int
    bands: int
    classes: int

    @property
    def seconds(self) -> float:
        """Length of the window."""
        return self.samples / self.rate

    @property
    def hop(self) -> float:
        """Seconds from one frame to the next."""
        return 0.02 if self.seconds > LONG else 0.01


@dataclass(frozen=True)
class SoundRecipe:
    """Settings of one training, by the names that the loop, the optimisers and the task know them under."""

    optimiser: str
    learning_rate: float
    batch_size: int
    epochs: int
    weight_decay: float = 0.05
    schedule: str = "cosine"
    warmup: float = 0.1
    average: float = 0.0
    label_smoothing: float = 0.0
    speed: float = 0.0
    tilt: float = 0.0
    noise: float = 0.0
    mix: float = 0.0
    hide: float = 0.0


def usual_bands(seconds: float) -> int:
    """Mel bands for windows of this length: fewer for words, so that how high a voice is shows less in them."""
    return 64 if seconds > LONG else 40


def check(name: str) -> None:
    """Raises SettingsError for a network that does not exist."""
    if name not in NAMES:
        raise SettingsError(f"--network {name}: the networks for sounds are {', '.join(NAMES)}, or auto.")


def recommend(name: str, shape: SoundShape, examples: int) -> SoundRecipe:
    """The recipe for a network on sounds of this shape, with a number of training examples."""
    check(name)
    if name == "linear":
        return SoundRecipe("adamw", 1e-3, 64, 0, 0.01)  # solved at a look
    # Short sounds are words: mixing two of them makes none. Scenes and events do mix in the world.
    scene = shape.seconds > LONG
    rate, steps = (2e-3, 1000) if name == "cnn" else (1e-3, 1500)
    return SoundRecipe(
        "adamw",
        rate,
        32,
        _passes(32, examples, steps=steps, least=12),
        label_smoothing=0.1,
        speed=0.1 if scene else 0.15,
        tilt=0.3,
        noise=0.03,
        mix=0.5 if scene else 0.0,
        hide=0.2,
    )


def _passes(batch: int, examples: int, *, steps: int, least: int) -> int:
    """How many passes make about so many steps."""
    return max(least, math.ceil(steps * batch / max(1, examples)))
