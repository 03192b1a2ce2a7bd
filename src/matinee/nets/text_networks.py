"""Networks for texts by name, and good settings for their training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from matinee.core.errors import DataError
from matinee.nets.encoders import FIRST, EncoderNetwork, EncoderShape
from matinee.nets.encoders import recipe as tuning
from matinee.nets.ngrams import NgramNetwork, NgramShape
from matinee.nets.sequences import BODIES, SequenceNetwork, SequenceShape

BLEND: Final = "ensemble"
BESIDE: Final = ("cnn", "gru")
"""What reads beside the n-grams."""
NAMES: Final = ("constant", "linear", BLEND, *BODIES, "encoder")


class Ensemble(nn.Module):
    """Support vectors over n-grams and networks that read, each on its own; their answers are joined.

    In training, the logits are those of the networks that read, (members, batch, classes): each learns as if it were
    alone. Afterwards they are the sum of the log-probability of the n-grams and the mean one of the others (a product
    of experts; Hinton, 2002): the n-grams know what is rare, the others what is alike.
    """

    def __init__(self, linear: NgramNetwork, learned: Sequence[SequenceNetwork]) -> None:
        super().__init__()
        self.linear, self.learned = linear, nn.ModuleList(learned)
        self.sharpness: Tensor
        self.register_buffer("sharpness", torch.ones(()))

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (batch, classes), or those of each member (members, batch, classes) in training."""
        learned = torch.stack([member(inputs) for member in self.learned])
        if self.training:
            return learned
        both: Tensor = self.linear(inputs).float().log_softmax(-1) + learned.float().log_softmax(-1).mean(0)
        return both.mul(self.sharpness)


class Constant(nn.Module):
    """The same logits for every text."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(classes))

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (batch, classes)."""
        return self.logits.expand(len(inputs), -1)


def build(name: str, grams: NgramShape, sequences: SequenceShape, encoder: str = "") -> nn.Module:
    """The network called `name`. encoder: the sizes of a pretrained one, as `EncoderShape.to_text` says them."""
    if name == "constant":
        return Constant(grams.classes)
    if name == "linear":
        return NgramNetwork(grams)
    if name == "encoder":
        shape = EncoderShape.from_text(encoder)
        if sequences.tokens > shape.vocabulary + FIRST:
            raise DataError(f"the tokenizer has {sequences.tokens - FIRST:,} tokens, the encoder {shape.vocabulary:,}.")
        return EncoderNetwork(shape, sequences.classes)
    if name == BLEND:
        return Ensemble(NgramNetwork(grams), [SequenceNetwork(body, sequences) for body in BESIDE])
    return SequenceNetwork(name, sequences)


def room(ngrams: int, classes: int) -> int:
    """How many different n-grams to know where a training set has so many in all: a power of two."""
    most = int(math.log2(max(2**12, 2**24 // max(1, classes))))
    return 1 << min(21, most, max(8, math.ceil(math.log2(1 + ngrams))))


def ngrams_of(network: nn.Module) -> NgramNetwork | None:
    """The part of a network that learns from n-grams at a look, where it has one."""
    return next((part for part in network.modules() if isinstance(part, NgramNetwork)), None)


def lay_counts(network: nn.Module, counts: np.ndarray[Any, Any]) -> nn.Module:
    """The network called "constant", saying how often each class occurs: counts (classes,)."""
    shares = (counts + 1e-3) / (counts + 1e-3).sum()
    with torch.no_grad():
        network.get_parameter("logits").copy_(torch.from_numpy(np.log(shares)))
    return network


def sharpen(network: nn.Module, by: float) -> None:
    """Make the logits larger by a factor, where the network has a place for it."""
    if isinstance(network, NgramNetwork | SequenceNetwork | EncoderNetwork | Ensemble):
        with torch.no_grad():
            network.sharpness.mul_(by)


def recipe(name: str, examples: int, encoder: str = "") -> dict[str, Any]:
    """Training settings: few examples want more passes; recurrent layers take longer steps than attention."""
    if name == "encoder":
        return tuning(EncoderShape.from_text(encoder), examples)
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
