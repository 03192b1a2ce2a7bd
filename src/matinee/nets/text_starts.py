"""What a network for texts knows before the first step: published weights, word vectors, words it learned to guess."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from matinee.core.examples import Array, Examples
from matinee.core.starting import put
from matinee.core.train_settings import TrainSettings
from matinee.nets.encoder_weights import fill
from matinee.nets.encoders import EncoderNetwork
from matinee.nets.pretraining import FIRST, HiddenWords, advice, pretrained
from matinee.nets.sequences import SequenceNetwork


@dataclass(frozen=True)
class Starts:
    """Where to take it from, when it is asked for.

    weights: of an encoder, by their published names. vectors: places in the vocabulary, int64 (found,), and numbers,
    float32 (found, width); None where there are none. passes, minutes: of guessing words (0: none; 0: no bound).
    """

    weights: Callable[[], Mapping[str, Tensor]]
    vectors: Callable[[], tuple[Array, Array]] | None
    passes: int = 0
    minutes: float = 0.0


def start(network: nn.Module, starts: Starts, task: HiddenWords, examples: Examples, unlabelled: int) -> None:
    """Put in place what there is for a network of this kind.

    examples: with the columns "ids" and "label"; rows with the label `unlabelled` teach words too. Raises DataError.
    """
    if isinstance(network, EncoderNetwork):
        fill(network, starts.weights())
    elif isinstance(network, SequenceNetwork):
        if starts.vectors is not None:
            lay_vectors(network, *starts.vectors())
        if starts.passes:
            more = np.flatnonzero(np.asarray(examples.array("label")) == unlabelled)
            some = Examples({"ids": examples.columns["ids"]}, np.concatenate([examples.rows, more]))
            guess_words(network, task, some, starts.passes, starts.minutes)


def lay_vectors(network: SequenceNetwork, rows: Array, values: Array) -> None:
    """Put vectors (found, width) under the words at these places of the vocabulary.

    Words without one begin as wide as the others are spread (Kim, 2014).
    """
    with torch.no_grad():
        table = network.embed.weight
        if len(values):
            table[1:] *= float(values.std()) / max(float(table[1:].std()), 1e-9)
        table[torch.from_numpy(rows) + FIRST] = torch.from_numpy(values).to(table.device, table.dtype)


def guess_words(network: SequenceNetwork, task: HiddenWords, examples: Examples, passes: int, minutes: float) -> None:
    """Let the trunk learn to guess hidden words of these texts first. Its embedding begins as it is in the network."""
    where = next(network.parameters()).device
    seed = int(torch.randint(2**31 - 1, ()))
    given = TrainSettings(epochs=passes, seed=seed, device=str(where), threads=torch.get_num_threads())
    settings = given.advised(advice(task.network, len(examples)))
    budget = 60 * minutes if minutes else math.inf
    trunk = pretrained(task, examples, settings, budget, network.embed.weight.detach())
    put(network, {name: value.to(where) for name, value in trunk.items()}, task.head)
