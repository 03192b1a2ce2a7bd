"""Which networks recommend, how each is built and learns, and what it learns at a look."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Sequence_
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from matinee.nets.rating_networks import Biases, Gaussian, Ratings, fit_biases, fit_gaussian
from matinee.nets.recommenders import Blend, Factors, Linear, Popular, Recommender
from matinee.nets.recommenders_closed import Chosen, fit_factors, fit_linear, gram
from matinee.nets.recommenders_learned import Autoencoder, Graph, Pairwise, Sequence, fit_graph

RANKING: Final = ("popular", "linear", "factors", "pairwise", "autoencoder", "graph", "sequence", "blend")
RATING: Final = ("mean", "biases", "gaussian")
CLOSED: Final = ("popular", "linear", "factors", *RATING)


@dataclass(frozen=True)
class Plan:
    """What a network is made of. penalty None: chosen on people held back."""

    network: str
    items: int
    size: int
    dropout: float
    length: int
    social: bool
    penalty: float | None
    power: float


ADVICE: Final[Mapping[str, Mapping[str, Any]]] = {
    "autoencoder": {"epochs": 60, "batch_size": 256, "learning_rate": 1e-3, "weight_decay": 0.0, "clip": 0.0},
    "blend": {"epochs": 50, "batch_size": 256, "learning_rate": 1e-3, "weight_decay": 0.0, "clip": 0.0},
    "pairwise": {"epochs": 60, "batch_size": 32, "learning_rate": 3e-3, "weight_decay": 0.0},
    "graph": {"epochs": 60, "batch_size": 32, "learning_rate": 3e-3, "weight_decay": 0.0},
    "sequence": {"epochs": 100, "batch_size": 32, "learning_rate": 1e-3, "weight_decay": 0.01},
}


def size_of(network: str, size: int | None) -> int:
    """Factors, code or states of a network where the user names no number."""
    return size or {"autoencoder": 200, "blend": 200, "sequence": 64}.get(network, 64)


def build(plan: Plan) -> Recommender:
    """The network, initialised from torch's random state."""
    items, name = plan.items, plan.network
    if name == "popular":
        return Popular(items)
    if name == "linear":
        return Linear(items)
    if name == "factors":
        return Factors(items, plan.size)
    if name == "pairwise":
        return Pairwise(items, plan.size, dropout=plan.dropout)
    if name == "autoencoder":
        return _autoencoder(plan)
    if name == "graph":
        near = max(1, min(20, items - 1))
        return Graph(items, plan.size, neighbours=near, dropout=plan.dropout, social=plan.social)
    if name == "sequence":
        return Sequence(items, plan.size, layers=2, length=plan.length, dropout=plan.dropout)
    if name == "blend":
        members = nn.ModuleDict(
            {"linear": Linear(items), "factors": Factors(items, 64), "autoencoder": _autoencoder(plan)}
        )
        return Blend(members, items)
    if name in ("mean", "biases"):
        return Biases(items, flat=name == "mean")
    return Gaussian(items)


def _autoencoder(plan: Plan) -> Autoencoder:
    return Autoencoder(plan.items, 3 * plan.size, plan.size, dropout=plan.dropout, beta=0.2)


def fit_ranking(network: nn.Module, chosen: Chosen, plan: Plan) -> None:
    """All that a network learns of who chose what before the first step."""
    if isinstance(network, Blend):
        for member in network.members.values():
            fit_ranking(member, chosen, plan)
    elif isinstance(network, Popular):
        with torch.no_grad():
            network.counts.copy_(chosen.counts())
    elif isinstance(network, Linear):
        fit_linear(network, chosen, plan.penalty, plan.power)
    elif isinstance(network, Factors):
        fit_factors(network, chosen, passes=6, absent=0.2, penalty=0.012)
    elif isinstance(network, Graph):
        fit_graph(network, gram(chosen, plan.power))
    elif isinstance(network, Autoencoder):
        with torch.no_grad():  # what is popular is known before the first step
            counts = chosen.counts() + 1.0
            network.head.bias.copy_((counts / counts.sum()).log() - (counts / counts.sum()).log().mean())


def fit_rating(network: nn.Module, chosen: Chosen, value: Tensor, kinds: Tensor) -> None:
    """All that a network learns of the values of events (events,), NaN where there is none; kinds (items, kinds)."""
    known = ~value.isnan()
    ratings = Ratings(chosen.person[known], chosen.item[known], value[known], chosen.people, chosen.items)
    if isinstance(network, Biases):
        fit_biases(network, ratings)
    elif isinstance(network, Gaussian):
        fit_gaussian(network, ratings, kinds)


def loss(logits: Tensor, wanted: Tensor) -> Tensor:
    """Cross-entropy (n, items) with numbers (n,), or with shares (n, items) that need not sum to one; a mean over n."""
    if not wanted.is_floating_point():
        return nn.functional.cross_entropy(logits.float(), wanted)
    return -(logits.float().log_softmax(-1) * wanted).sum(-1).mean()


def divergence(network: nn.Module) -> Tensor:
    """What a variational code costs: its divergence from a standard normal one, by its weight; else nothing."""
    members = network.members.values() if isinstance(network, Blend) else [network]
    costs = [member.cost for member in members if isinstance(member, Autoencoder) and member.cost is not None]
    return torch.stack(costs).sum() if costs else torch.zeros(())


def stacked(parts: Sequence_[Tensor]) -> Tensor:
    """Rows under each other (rows, widest), zeros behind narrower ones."""
    widest = max(part.shape[1] for part in parts)
    if all(part.shape[1] == widest for part in parts):
        return torch.cat(list(parts))
    wide = [part.new_zeros(len(part), widest, *part.shape[2:]) for part in parts]
    for whole, part in zip(wide, parts, strict=True):
        whole[:, : part.shape[1]] = part
    return torch.cat(wide)
