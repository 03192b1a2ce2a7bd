"""What "sensible without any setting" means for pictures: how each network is best trained, by experiment."""

from __future__ import annotations

from dataclasses import dataclass

from matinee.core.errors import SettingsError
from matinee.nets.pictures import PictureShape


@dataclass(frozen=True)
class Recipe:
    """Settings of one training, by the names that the loop, the optimisers and the augmentation know them under.

    `epochs` is how many passes reach the measured accuracy; flip .. cutout are the fields of an augmentation policy.
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


def recommend(name: str, size: str, shape: PictureShape, examples: int) -> Recipe:
    """The recipe for a network on pictures of `shape`, with a number of training examples.

    Raises SettingsError for a network that has none.
    """
    if name == "small":
        return Recipe("muon", 0.1, 500, 8, weight_decay=0.1, label_smoothing=0.2, flip=shape.channels == 3, crop=2)
    if name == "residual":
        return Recipe("adamw", 2e-3, 32, 60, weight_decay=0.05, label_smoothing=0.1, flip=True, crop=12, scale=0.2)
    if name == "lenet":
        return Recipe("sgd", 0.001, 4, 2, schedule="constant", warmup=0.0)
    if name in ("linear", "mlp", "constant"):
        return Recipe("adamw", 1e-3, 128, 20, weight_decay=0.01)
    raise SettingsError(f"--network {name}: there is no recipe for it.")
