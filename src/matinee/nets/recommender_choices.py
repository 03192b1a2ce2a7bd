"""Which networks recommend, how each is built and learns, and what it learns at a look."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Sequence_
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from matinee.core.watch import Watch
from matinee.nets.rating_networks import Biases, Gaussian, Ratings, fit_biases, fit_gaussian
from matinee.nets.recommenders import Blend, Factors, Lesson, Linear, Popular, Recommender
from matinee.nets.recommenders_closed import Chosen, fit_factors, gram
from matinee.nets.recommenders_learned import Autoencoder, Graph, Pairwise, Sequence, fit_graph
from matinee.nets.recommenders_linear import Wanted, fit_linear

RANKING: Final = ("popular", "linear", "factors", "pairwise", "autoencoder", "graph", "sequence", "blend")
RATING: Final = ("mean", "biases", "gaussian")
CLOSED: Final = ("popular", "linear", "factors", *RATING)


@dataclass(frozen=True)
class Plan:
    """What a network is made of. penalty and alike None: chosen on people held back."""

    network: str
    items: int
    people: int
    size: int
    dropout: float
    length: int
    social: bool
    penalty: float | None
    power: float
    alike: float | None


ADVICE: Final[Mapping[str, Mapping[str, Any]]] = {
    "autoencoder": {"epochs": 60, "batch_size": 256, "learning_rate": 1e-3, "weight_decay": 0.0, "clip": 0.0},
    "blend": {"epochs": 50, "batch_size": 256, "learning_rate": 1e-3, "weight_decay": 0.0, "clip": 0.0},
    "pairwise": {"epochs": 60, "batch_size": 32, "learning_rate": 3e-3, "weight_decay": 0.0},
    "graph": {"epochs": 60, "batch_size": 32, "learning_rate": 3e-3, "weight_decay": 0.0},
    "sequence": {"epochs": 100, "batch_size": 32, "learning_rate": 1e-3, "weight_decay": 0.01},
}


SHARES_OF_TIME: Final = (0.7, 1.0, 1.0)
"""Of the time that is left, for each member of a blend in turn."""
FEW: Final = 2000
"""People of whom so many factors cannot be told."""


def size_of(network: str, size: int | None, people: int) -> int:
    """Factors, code or states of a network where the user names no number."""
    return size or {"autoencoder": 200, "blend": 200, "factors": factors_for(people)}.get(network, 64)


def factors_for(people: int) -> int:
    """32 for few people, else 64: the better on MovieLens-100K and on 1M, inside the training parts."""
    return 32 if people < FEW else 64


def build(plan: Plan) -> Recommender:
    """The network, initialised from torch's random state."""
    items, name = plan.items, plan.network
    if name == "popular":
        return Popular(items)
    if name == "linear":
        return Linear(items, social=plan.social)
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
        closed = {"linear": Linear(items, social=plan.social), "factors": Factors(items, factors_for(plan.people))}
        return Blend(nn.ModuleDict({**closed, "autoencoder": _autoencoder(plan)}), items)
    if name in ("mean", "biases"):
        return Biases(items, flat=name == "mean")
    return Gaussian(items)


def _autoencoder(plan: Plan) -> Autoencoder:
    return Autoencoder(plan.items, 3 * plan.size, plan.size, dropout=plan.dropout, beta=0.2)


def fit_ranking(network: nn.Module, chosen: Chosen, plan: Plan, friends: Chosen | None, watch: Watch) -> None:
    """All that a network learns of who chose what, and of what friends chose, before the first step."""
    if isinstance(network, Blend):
        for member, share in zip(network.members.values(), SHARES_OF_TIME, strict=True):
            fit_ranking(member, chosen, plan, friends, watch.part(share))
    elif isinstance(network, Popular):
        with torch.no_grad():
            network.counts.copy_(chosen.counts())
    elif isinstance(network, Linear):
        wanted = Wanted(plan.penalty, plan.power, plan.alike)
        fit_linear(network, chosen, wanted, friends if plan.social else None, watch)
    elif isinstance(network, Factors):
        fit_factors(network, chosen, passes=6, absent=0.2, penalty=0.012, watch=watch)
    elif isinstance(network, Graph):
        fit_graph(network, gram(chosen, plan.power))
    elif isinstance(network, Autoencoder):
        with torch.no_grad():  # what is popular is known before the first step
            counts = chosen.counts() + 1.0
            network.head.bias.copy_((counts / counts.sum()).log() - (counts / counts.sum()).log().mean())


def fit_rating(network: nn.Module, chosen: Chosen, kinds: Tensor, watch: Watch) -> None:
    """All that a network learns of ratings, the shares of events, NaN where there is none; kinds (items, kinds)."""
    value = chosen.share if chosen.share is not None else torch.full(chosen.item.shape, torch.nan)
    known = chosen.of(~value.isnan())
    person, item, value = (each.cpu() for each in (known.person, known.item, value[~value.isnan()]))  # quick anywhere
    ratings = Ratings(person, item, value, chosen.people, chosen.items)
    if isinstance(network, Biases):
        fit_biases(network, ratings)
    elif isinstance(network, Gaussian):
        fit_gaussian(network, ratings, kinds, watch)


def loss(lesson: Lesson) -> Tensor:
    """Cross-entropy with numbers, or with shares that need not sum to one, a mean over n; and the mean of the costs."""
    logits, wanted, cost = lesson
    if not len(logits):  # there is nothing in these histories to learn from
        return logits.sum()
    if not wanted.is_floating_point():
        return nn.functional.cross_entropy(logits.float(), wanted)
    value = -(logits.float().log_softmax(-1) * wanted).sum(-1).mean()
    return value if cost is None else value + cost.mean()


def stacked(parts: Sequence_[Tensor]) -> Tensor:
    """Rows under each other (rows, widest), zeros behind narrower ones."""
    widest = max(part.shape[1] for part in parts)
    if all(part.shape[1] == widest for part in parts):
        return torch.cat(list(parts))
    wide = [part.new_zeros(len(part), widest, *part.shape[2:]) for part in parts]
    for whole, part in zip(wide, parts, strict=True):
        whole[:, : part.shape[1]] = part
    return torch.cat(wide)
