"""Published weights of encoders, by their published names, put into ours: all that are needed, of the right shapes.

The names are those of the families' own files: `bert.encoder.layer.0.attention.self.query.weight`, with or without the
family's word in front. What a file holds for other ends (the head of a language model, of another classifier) is left.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

from matinee.core.errors import DataError
from matinee.nets.encoders import EncoderNetwork, EncoderShape

_PREFIX: Final = re.compile(r"^(?:module\.)?(?:(?:bert|roberta|xlm_roberta|camembert|distilbert|electra|model)\.)?")
_OLD: Final = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
"""How BERT's first files called the parts of a norm."""
_OTHER_ENDS: Final = re.compile(
    r"^(?:cls|lm_head|classifier|pre_classifier|pooler|qa_outputs|score|vocab_\w+|generator_\w+|sequence_summary|"
    r"discriminator_\w+)\.|(?:^|\.)position_ids$|(?:^|\.)token_type_ids$"
)
_LAYER: Final = {
    "ask": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "answer": "attention.output.dense",
    "first": "attention.output.LayerNorm",
    "wide": "intermediate.dense",
    "narrow": "output.dense",
    "second": "output.LayerNorm",
}
_SMALL_LAYER: Final = {
    "ask": "attention.q_lin",
    "key": "attention.k_lin",
    "value": "attention.v_lin",
    "answer": "attention.out_lin",
    "first": "sa_layer_norm",
    "wide": "ffn.lin1",
    "narrow": "ffn.lin2",
    "second": "output_layer_norm",
}
POOLER: Final = {"head.dense.weight": "pooler.dense.weight", "head.dense.bias": "pooler.dense.bias"}
"""What BERT learned to make of its first token, where the file has it."""


def names(shape: EncoderShape) -> dict[str, str]:
    """Name of each of our weights -> its published name, without the family's word in front."""
    small = shape.family == "distilbert"
    stem, layer = ("transformer.layer", _SMALL_LAYER) if small else ("encoder.layer", _LAYER)
    found = {
        "body.words.weight": "embeddings.word_embeddings.weight",
        "body.places.weight": "embeddings.position_embeddings.weight",
        "body.norm.weight": "embeddings.LayerNorm.weight",
        "body.norm.bias": "embeddings.LayerNorm.bias",
    }
    if shape.kinds:
        found["body.kinds.weight"] = "embeddings.token_type_embeddings.weight"
    if shape.embedding != shape.units:
        found |= {f"body.into.{part}": f"embeddings_project.{part}" for part in ("weight", "bias")}
    for number in range(shape.layers):
        for ours, theirs in layer.items():
            for part in ("weight", "bias"):
                found[f"body.layers.{number}.{ours}.{part}"] = f"{stem}.{number}.{theirs}.{part}"
    return found


def fill(network: EncoderNetwork, tensors: Mapping[str, Tensor]) -> int:
    """Put published weights into the network; its head stays fresh, but for BERT's pooler. Returns how many were put.

    Raises DataError that names what is missing, what is too much, and shapes that differ.
    """
    given = {_plain(name): value for name, value in tensors.items()}
    own, wanted = network.state_dict(), names(network.shape)
    missing = [theirs for theirs in wanted.values() if theirs not in given]
    strange = sorted(given.keys() - set(wanted.values()))
    strange = [name for name in strange if not _OTHER_ENDS.search(name)]
    odd = [
        f"{theirs} {tuple(given[theirs].shape)} instead of {tuple(own[ours].shape)}"
        for ours, theirs in wanted.items()
        if theirs in given and given[theirs].shape != own[ours].shape
    ]
    for words, found in (("missing", missing), ("of another shape", odd), ("unknown", strange)):
        if found:
            more = f" and {len(found) - 3} more" if len(found) > 3 else ""
            raise DataError(
                f"the weights do not fit what config.json says ({network.shape.family}): {words}: "
                f"{', '.join(found[:3])}{more}."
            )
    wanted |= {
        ours: theirs for ours, theirs in POOLER.items() if theirs in given and given[theirs].shape == own[ours].shape
    }
    with torch.no_grad():
        for ours, theirs in wanted.items():
            if not given[theirs].is_floating_point():
                raise DataError(f"{theirs} is of {given[theirs].dtype}; quantised weights cannot be tuned.")
            own[ours].copy_(given[theirs])
    return len(wanted)


def _plain(name: str) -> str:
    plain = _PREFIX.sub("", name)
    for old, new in _OLD.items():
        plain = plain.replace(old, new)
    return plain
