"""Pretrained encoders of text: BERT, RoBERTa, DistilBERT and ELECTRA, in the sizes that their config.json says.

    shape = EncoderShape.of(json.loads(config_text))
    network = EncoderNetwork(shape, classes=2)
    fill(network, tensors)            # those of model.safetensors, by their published names

All four are the encoder of a Transformer with norms behind each sum (Vaswani et al., 2017; Devlin et al., 2019). Token
ids come as everywhere (see media/tokens.py): 0 behind the end of a text, the encoder's own numbers from 2 on.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, relu, scaled_dot_product_attention

from matinee.core.errors import DataError
from matinee.nets.dropping import dropped

FIRST: Final = 2
"""What is added to the encoder's own number of a token: 0 stays free for what is not there."""
SHORT: Final = 256
"""Tokens up to which attention is written out on a processor, where that learns faster than the fused one."""
FAMILIES: Final = ("bert", "roberta", "xlm-roberta", "camembert", "distilbert", "electra")
LARGEST: Final = {
    "vocabulary": 2**21, "units": 8192, "layers": 128, "heads": 256, "inner": 65536, "places": 2**16, "kinds": 64,
    "embedding": 8192,
}  # fmt: skip
ACTIVATIONS: Final = {"gelu": "none", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh", "gelu_python": "none"}

_SAID: Final = {
    "vocabulary": ("vocab_size",),
    "units": ("hidden_size", "dim"),
    "layers": ("num_hidden_layers", "n_layers"),
    "heads": ("num_attention_heads", "n_heads"),
    "inner": ("intermediate_size", "hidden_dim"),
    "places": ("max_position_embeddings",),
}
"""Our word -> what the families call it in config.json."""


@dataclass(frozen=True)
class EncoderShape:
    """Sizes of an encoder. places: rows of its table of positions. kinds: of its token types, 0: it has none.

    first_place: of the first token. padding: the encoder's number for nothing. dropout: shares of units and of
    attention.
    """

    family: str
    vocabulary: int
    units: int
    layers: int
    heads: int
    inner: int
    places: int
    kinds: int
    embedding: int
    first_place: int
    padding: int
    activation: str
    epsilon: float
    dropout: float
    attention_dropout: float

    @staticmethod
    def of(config: Mapping[str, Any]) -> EncoderShape:
        """The sizes that a published config.json says. Raises DataError for a family or a part that is not here."""
        family = str(config.get("model_type", ""))
        if family not in FAMILIES:
            raise DataError(f"config.json says model_type {family[:40]!r}; what can be read is {', '.join(FAMILIES)}.")
        for name, usual in (("position_embedding_type", "absolute"), ("is_decoder", False)):
            if config.get(name, usual) != usual:
                raise DataError(f"config.json says {name} {str(config[name])[:40]!r}; what can be read is {usual!r}.")
        sizes = {ours: _number(config, names) for ours, names in _SAID.items()}
        offset = "roberta" in family or family == "camembert"
        padding = config.get("pad_token_id", 1 if offset else 0)
        small = family == "distilbert"
        shape = EncoderShape(
            family=family,
            **sizes,
            kinds=0 if small else _number(config, ("type_vocab_size",), 1 if offset else 2),
            embedding=_number(config, ("embedding_size",), sizes["units"]) if family == "electra" else sizes["units"],
            first_place=_whole(padding) + 1 if offset else 0,
            padding=_whole(padding),
            activation=str(config.get("hidden_act", config.get("activation", "gelu"))),
            epsilon=_share(config, "layer_norm_eps", 1e-5 if offset else 1e-12) if not small else 1e-12,
            dropout=_share(config, "dropout" if small else "hidden_dropout_prob", 0.1),
            attention_dropout=_share(config, "attention_dropout" if small else "attention_probs_dropout_prob", 0.1),
        )
        return shape.checked()

    @staticmethod
    def from_text(text: str) -> EncoderShape:
        """What `to_text` wrote. Raises DataError for anything else."""
        try:
            shape = EncoderShape(**json.loads(text))
            return shape.checked()
        except (TypeError, ValueError, RecursionError):
            raise DataError("the sizes of the encoder are damaged.") from None

    def to_text(self) -> str:
        """All of it as JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @property
    def longest(self) -> int:
        """Tokens that it can read at most."""
        return self.places - self.first_place

    def checked(self) -> EncoderShape:
        """Itself, if an encoder can have these sizes. Raises DataError."""
        for name, most in LARGEST.items():
            value, least = getattr(self, name), 0 if name == "kinds" else 1
            if not isinstance(value, int) or not least <= value <= most:
                raise DataError(f"an encoder with {str(value)[:40]} {name} cannot be built (from {least} to {most:,}).")
        if self.units % self.heads:
            raise DataError(f"an encoder of {self.units} units cannot be divided among {self.heads} heads.")
        if self.activation != "relu" and self.activation not in ACTIVATIONS:
            allowed = ", ".join([*ACTIVATIONS, "relu"])
            raise DataError(f"config.json says the activation {self.activation[:40]!r}; what can be read is {allowed}.")
        if not 0 <= self.padding < self.vocabulary or not 0 <= self.first_place < self.places:
            raise DataError(f"config.json says pad_token_id {self.padding}: there is no such token or place for it.")
        return self


class EncoderNetwork(nn.Module):
    """Logits (batch, classes): the encoder, a layer with tanh over its first token, one linear layer.

    dropout: share of the head's inputs that are left out in training.
    """

    def __init__(self, shape: EncoderShape, classes: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.shape, self.share = shape, dropout
        self.body = Encoder(shape)
        self.head = nn.ModuleDict(
            {"dense": nn.Linear(shape.units, shape.units), "out": nn.Linear(shape.units, classes)}
        )
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, 0.0, 0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
        self.sharpness: Tensor
        self.register_buffer("sharpness", torch.ones(()))

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (batch, classes) of token ids (batch, longest)."""
        first = dropped(self.body(inputs)[:, 0], self.share, self.training)
        known = dropped(torch.tanh(self.head["dense"](first)), self.share, self.training)
        logits: Tensor = self.head["out"](known) * self.sharpness
        return logits


class Encoder(nn.Module):
    """Token ids (batch, longest), 0 behind the end, to states (batch, longest, units)."""

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        self.shape = shape
        self.words = nn.Embedding(shape.vocabulary, shape.embedding)
        self.places = nn.Embedding(shape.places, shape.embedding)
        self.kinds = nn.Embedding(shape.kinds, shape.embedding) if shape.kinds else None
        self.norm = nn.LayerNorm(shape.embedding, eps=shape.epsilon)
        self.into = nn.Linear(shape.embedding, shape.units) if shape.embedding != shape.units else nn.Identity()
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))

    def forward(self, inputs: Tensor) -> Tensor:
        """States after the last layer."""
        shape = self.shape
        inputs = inputs[:, : shape.longest].long()
        there = inputs > 0
        there[:, 0] |= ~there.any(1)  # a text without a token is one of padding
        ids = torch.where(inputs >= FIRST, inputs - FIRST, shape.padding)
        # RoBERTa numbers its places behind that of padding, where nothing is; the others from 0.
        places = torch.arange(ids.shape[1], device=ids.device) + shape.first_place
        states = self.words(ids) + self.places(places)
        if self.kinds is not None:
            states = states + self.kinds.weight[0]
        states = self.into(dropped(self.norm(states), shape.dropout, self.training))
        mask = there[:, None, None, :]
        for layer in self.layers:
            states = layer(states, mask)
        last: Tensor = states
        return last


class Layer(nn.Module):
    """Attention, then two linear layers; each is added to what went in, and the sum is normalised."""

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        self.shape = shape
        self.ask, self.key, self.value = (nn.Linear(shape.units, shape.units) for _ in range(3))
        self.answer = nn.Linear(shape.units, shape.units)
        self.first, self.second = (nn.LayerNorm(shape.units, eps=shape.epsilon) for _ in range(2))
        self.wide, self.narrow = nn.Linear(shape.units, shape.inner), nn.Linear(shape.inner, shape.units)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """(batch, longest, units) -> the same. mask: bool (batch, 1, 1, longest), what may be looked at."""
        batch, longest, units = states.shape
        query, key, value = (
            layer(states).view(batch, longest, self.shape.heads, -1).transpose(1, 2)
            for layer in (self.ask, self.key, self.value)
        )
        heard = self.answer(self._heard(query, key, value, mask).transpose(1, 2).reshape(batch, longest, units))
        states = self.first(states + dropped(heard, self.shape.dropout, self.training))
        wide, kind = self.wide(states), self.shape.activation
        thought = self.narrow(relu(wide) if kind == "relu" else gelu(wide, approximate=ACTIVATIONS[kind]))
        out: Tensor = self.second(states + dropped(thought, self.shape.dropout, self.training))
        return out

    def _heard(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        share = self.shape.attention_dropout if self.training else 0.0
        if query.device.type != "cpu" or query.shape[2] > SHORT or not self.training:
            return scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=share)
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
        shares = scores.masked_fill(~mask, -math.inf).softmax(-1)
        found: Tensor = dropped(shares, share, self.training).to(value.dtype) @ value
        return found


def sizes(config: dict[str, Any]) -> tuple[str, int]:
    """What config.json says as text, to be read by `EncoderShape.from_text`, and the tokens that it reads at most."""
    shape = EncoderShape.of(config)
    return shape.to_text(), shape.longest


def rate(shape: EncoderShape) -> float:
    """A learning rate to tune it with: 3e-5 at the base size, more for smaller ones (Turc et al., 2019), up to 3e-4."""
    return min(3e-4, 3e-5 * 768 / shape.units)


def recipe(shape: EncoderShape, examples: int) -> dict[str, Any]:
    """Settings for tuning all of it: few passes, a small rate that rises first (Devlin et al., 2019)."""
    return {
        "epochs": 3 if examples > 5_000 else 5 if examples > 1_000 else 10,
        "batch_size": 32 if examples > 1_000 else 16,
        "learning_rate": rate(shape),
        "optimiser": "adamw",
        "weight_decay": 0.01,
        "schedule": "linear",
        "warmup": 0.1,
        "clip": 1.0,
    }


def _number(config: Mapping[str, Any], names: tuple[str, ...], usual: int | None = None) -> int:
    value = next((config[name] for name in names if name in config), usual)
    if value is None:
        raise DataError(f"config.json does not say {' or '.join(names)}.")
    return _whole(value)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise DataError(f"config.json has {str(value)[:40]!r} where a whole number is expected.")
    return value


def _share(config: Mapping[str, Any], name: str, usual: float) -> float:
    value = config.get(name, usual)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise DataError(f"config.json says {name} {str(value)[:40]!r}; expected is a share, from 0 to 1.")
    return float(value)
