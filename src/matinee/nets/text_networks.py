"""Networks for texts by name, and good settings for their training."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn

from matinee.nets.ngrams import NgramNetwork, NgramShape
from matinee.nets.sequences import BODIES, SequenceNetwork, SequenceShape

NAMES: Final = ("constant", "linear", *BODIES)


class Constant(nn.Module):
    """The same logits for every text."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(classes))

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (batch, classes)."""
        return self.logits.expand(len(inputs), -1)


def build(name: str, grams: NgramShape, sequences: SequenceShape) -> nn.Module:
    """The network called `name`."""
    if name == "constant":
        return Constant(grams.classes)
    if name == "linear":
        return NgramNetwork(grams)
    return SequenceNetwork(name, sequences)


def sharpen(network: nn.Module, by: float) -> None:
    """Make the logits larger by a factor, where the network has a place for it."""
    if isinstance(network, NgramNetwork | SequenceNetwork):
        with torch.no_grad():
            network.sharpness.mul_(by)


def recipe(name: str, examples: int) -> dict[str, Any]:
    """Training settings: few examples want more passes; recurrent layers take longer steps than attention."""
    if name in ("constant", "linear"):
        return {"epochs": 0}
    passes = 6 if examples > 50_000 else 8 if examples > 5_000 else 15
    rate = 1e-3 if name == "transformer" else 2e-3
    return {
        "epochs": passes,
        "batch_size": 64 if examples > 2_000 else 32,
        "learning_rate": rate,
        "optimiser": "adamw",
        "weight_decay": 0.01,
        "schedule": "cosine",
        "warmup": 0.1,
        "clip": 1.0,
    }
