"""Pretrained encoders: the published equations, written out here once more, and the published names."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from matinee.core.errors import DataError
from matinee.nets.encoder_weights import fill, names
from matinee.nets.encoders import FIRST, EncoderNetwork, EncoderShape

BERT: dict[str, Any] = {
    "model_type": "bert", "vocab_size": 50, "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3,
    "intermediate_size": 20, "max_position_embeddings": 16, "type_vocab_size": 2, "hidden_act": "gelu",
}  # fmt: skip
SMALL: dict[str, Any] = {
    "model_type": "distilbert", "vocab_size": 50, "dim": 12, "n_layers": 2, "n_heads": 3, "hidden_dim": 20,
    "max_position_embeddings": 16, "activation": "gelu",
}  # fmt: skip
CONFIGS = {
    "bert": BERT,
    "roberta": {**BERT, "model_type": "roberta", "type_vocab_size": 1, "pad_token_id": 1, "layer_norm_eps": 1e-5},
    "distilbert": SMALL,
    "electra": {**BERT, "model_type": "electra", "embedding_size": 8},
}


def published(shape: EncoderShape, prefix: str = "") -> dict[str, Tensor]:
    """Random weights under the published names."""
    generator = torch.Generator().manual_seed(1)
    own = EncoderNetwork(shape, 2).state_dict()
    weights = {theirs: torch.randn(own[ours].shape, generator=generator) * 0.3 for ours, theirs in names(shape).items()}
    return {prefix + name: value for name, value in weights.items()}


def norm(values: Tensor, weights: dict[str, Tensor], name: str, epsilon: float) -> Tensor:
    centred = values - values.mean(-1, keepdim=True)
    spread = (centred.square().mean(-1, keepdim=True) + epsilon).sqrt()
    return centred / spread * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def linear(values: Tensor, weights: dict[str, Tensor], name: str) -> Tensor:
    return values @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def by_hand(family: str, weights: dict[str, Tensor], ids: list[int], heads: int) -> Tensor:
    """States (tokens, units) of one text without padding, as Devlin et al. (2019) and Liu et al. (2019) write it."""
    w, small, epsilon = weights, family == "distilbert", 1e-5 if family == "roberta" else 1e-12
    first = 2 if family == "roberta" else 0  # behind the place of padding, number 1
    x = w["embeddings.word_embeddings.weight"][ids]
    x = x + w["embeddings.position_embeddings.weight"][first : first + len(ids)]
    if not small:
        x = x + w["embeddings.token_type_embeddings.weight"][0]
    x = norm(x, w, "embeddings.LayerNorm", epsilon)
    if family == "electra":
        x = linear(x, w, "embeddings_project")
    for number in range(2):
        stem = f"transformer.layer.{number}." if small else f"encoder.layer.{number}."
        parts = (
            ("attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin", "sa_layer_norm", "ffn.lin1",
             "ffn.lin2", "output_layer_norm")
            if small
            else ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
                  "attention.output.LayerNorm", "intermediate.dense", "output.dense", "output.LayerNorm")
        )  # fmt: skip
        q, k, v, out, after, wide, narrow, last = (stem + part for part in parts)
        width = x.shape[1] // heads
        heard = []
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            query, key, value = (linear(x, w, name)[:, part] for name in (q, k, v))
            heard.append(torch.softmax(query @ key.T / math.sqrt(width), -1) @ value)
        x = norm(x + linear(torch.cat(heard, 1), w, out), w, after, epsilon)
        hidden = linear(x, w, wide)
        hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
        x = norm(x + linear(hidden, w, narrow), w, last, epsilon)
    return x


@pytest.mark.parametrize("family", CONFIGS)
def test_states_are_those_of_the_published_equations(family: str) -> None:
    shape = EncoderShape.of(CONFIGS[family])
    weights = published(shape)
    network = EncoderNetwork(shape, 2).eval()
    fill(network, {f"{family}.{name}": value for name, value in weights.items()})
    texts = [[5, 9, 30, 7, 2, 11, 4], [8, 3], [6]]
    inputs = torch.zeros(3, 9, dtype=torch.int32)
    for row, ids in enumerate(texts):
        inputs[row, : len(ids)] = torch.tensor(ids) + FIRST
    with torch.no_grad():
        states = network.body(inputs)
    for row, ids in enumerate(texts):
        assert torch.allclose(states[row, : len(ids)], by_hand(family, weights, ids, 3), atol=2e-6)


def test_learning_sees_what_answering_sees() -> None:
    shape = dataclasses.replace(EncoderShape.of(BERT), dropout=0.0, attention_dropout=0.0)
    network = EncoderNetwork(shape, 2, dropout=0.0)
    fill(network, published(shape, "bert."))
    inputs = torch.tensor([[7, 8, 9, 0], [4, 5, 0, 0], [0, 0, 0, 0]])
    learning, answering = network.train()(inputs), network.eval()(inputs)
    assert torch.allclose(learning, answering, atol=1e-5) and torch.isfinite(answering).all()


def test_old_names_and_other_ends_are_understood() -> None:
    shape = EncoderShape.of(BERT)
    weights = {
        f"bert.{name}".replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
        for name, value in published(shape).items()
    }
    weights |= {"cls.predictions.bias": torch.zeros(50), "bert.embeddings.position_ids": torch.arange(16)}
    weights |= {"bert.pooler.dense.weight": torch.eye(12), "bert.pooler.dense.bias": torch.ones(12)}
    network = EncoderNetwork(shape, 2)
    fill(network, {name: value.half() if value.is_floating_point() else value for name, value in weights.items()})
    state = network.state_dict()
    assert torch.equal(state["head.dense.weight"], torch.eye(12)) and state["head.dense.bias"].dtype == torch.float32
    assert not state["head.out.bias"].any()


def test_weights_that_do_not_fit_are_named() -> None:
    shape = EncoderShape.of(BERT)
    weights, network = published(shape), EncoderNetwork(shape, 2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    name = "encoder.layer.1.output.dense.weight"
    for wrong, words in (
        ({k: v for k, v in weights.items() if k != name}, rf"missing: {name}"),
        ({**weights, name: torch.zeros(12, 21)}, r"another shape: .*\(12, 21\) instead of \(12, 20\)"),
        ({**weights, "encoder.layer.2.output.dense.bias": torch.zeros(12)}, "unknown: encoder.layer.2"),
        ({**weights, name: torch.zeros(12, 20, dtype=torch.int8)}, "quantised"),
    ):
        with pytest.raises(DataError, match=words):
            fill(network, wrong)
    assert all(torch.equal(before[key], value) or "body" in key for key, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "gpt2"}, "model_type 'gpt2'.*bert, roberta"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ({"is_decoder": True}, "is_decoder"),
        ({"hidden_act": "swish"}, "activation 'swish'"),
        ({"num_attention_heads": 5}, "12 units cannot be divided among 5"),
        ({"vocab_size": 10**12}, "vocabulary cannot be built"),
        ({"vocab_size": "many"}, "whole number"),
        ({"pad_token_id": 50}, "pad_token_id 50"),
        ({"layer_norm_eps": float("nan")}, "layer_norm_eps"),
    ],
)
def test_a_config_that_cannot_be_built_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        EncoderShape.of({**BERT, **change})


def test_sizes_that_are_missing_or_damaged_are_told() -> None:
    with pytest.raises(DataError, match="does not say hidden_size or dim"):
        EncoderShape.of({key: value for key, value in BERT.items() if key != "hidden_size"})
    shape = EncoderShape.of(BERT)
    assert EncoderShape.from_text(shape.to_text()) == shape and shape.longest == 16
    assert EncoderShape.of(CONFIGS["roberta"]).longest == 14
    for text in ("[]", "{", '{"family": "bert"}', shape.to_text().replace("12", '"12"')):
        with pytest.raises(DataError):
            EncoderShape.from_text(text)
