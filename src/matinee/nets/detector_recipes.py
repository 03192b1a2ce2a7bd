"""How detectors are best trained: by the number of pictures and their size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

SMALL_SIDE: Final = 96
"""Pixels: pictures whose longer side is no larger are learned by the small network."""


@dataclass(frozen=True)
class DetectorRecipe:
    """Settings of one training, by the names that the loop and the augmentation know them under."""

    batch_size: int
    learning_rate: float
    epochs: int
    minutes: float = 30.0
    optimiser: str = "adamw"
    weight_decay: float = 0.05
    schedule: str = "cosine"
    warmup: float = 0.05
    average: float = 0.0
    clip: float = 10.0
    zoom: float = 0.0
    shift: float = 0.0
    colour: float = 0.0


def recommend(network: str, side: int, colours: bool, examples: int) -> DetectorRecipe:
    """The recipe for pictures whose longer side has so many pixels.

    Small pictures are learned in a few hundred steps without any variation. Photographs need many passes from scratch:
    what is varied then decides whether the last half of them still teaches something. Mosaics of four are left to who
    asks for them: they show things at sizes that pictures do not have, and cost passes that a processor cannot spare.
    """
    if network in ("linear", "constant"):
        return DetectorRecipe(16, 5e-3, max(10, math.ceil(200 * 16 / max(1, examples))), minutes=2.0, weight_decay=0.01)
    if side <= SMALL_SIDE:
        return DetectorRecipe(16, 5e-3, max(12, math.ceil(300 * 16 / max(1, examples))), minutes=5.0, weight_decay=0.01)
    batch = 8 if examples < 500 else 16
    return DetectorRecipe(
        batch,
        1e-3 if batch == 8 else 2e-3,
        max(12, math.ceil(12_000 * batch / max(1, examples))),
        average=0.998,
        zoom=0.4,
        shift=0.1,
        colour=0.3 if colours else 0.2,
    )
