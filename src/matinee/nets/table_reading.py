"""What can be read off networks for tables: answers in words, weights, and how much each column matters."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor

from matinee.core.meter import Meter
from matinee.core.pieces import Bars, Piece, Table
from matinee.core.task import Batch
from matinee.nets.tables import Plain, TableNetwork

RUNNERS_UP: Final = 4
SHOWN: Final = 40
"""Weights and columns in the report."""
SOME: Final = 1000
WORK: Final = 40_000
"""Rows times columns that are looked at, where there are many columns."""
TRIED: Final = 100
"""Columns whose values are mixed up, where there are more."""
REPEATS: Final = 3


def answers(outputs: Tensor, classes: Sequence[str]) -> list[dict[str, Any]]:
    """The number and its range; or the class, its probability, the runners-up, and the threshold of an event."""
    outputs = outputs.float()
    if not classes:
        return [
            {"value": value, **({"from": value - margin, "to": value + margin} if margin else {})}
            for value, margin in outputs.tolist()
        ]
    two = len(classes) == 2
    limits = outputs[:, 2].sigmoid().tolist() if two else [0.5] * len(outputs)
    events = (outputs[:, 1] - outputs[:, 0] > outputs[:, 2]).tolist() if two else [False] * len(outputs)
    shares, order = outputs[:, : len(classes)].softmax(-1).topk(min(1 + RUNNERS_UP, len(classes)))
    told = []
    for row, places, limit, event in zip(shares.tolist(), order.tolist(), limits, events, strict=True):
        named = [{"label": classes[p], "probability": round(s, 6)} for s, p in zip(row, places, strict=True)]
        if two and abs(limit - 0.5) > 1e-6:
            if (places[0] == 1) != event:
                named.reverse()
            told.append({**named[0], "threshold": round(limit, 6), "others": named[1:]})
        else:
            told.append({**named[0], "others": named[1:]})
    return told


def weights(network: TableNetwork, features: Sequence[str], classes: Sequence[str]) -> list[Piece]:
    """The largest weights of a linear network, for features with mean 0 and deviation 1; none of another network."""
    if not isinstance(network.trunk, Plain):
        return []
    weight = network.head.weight[0].detach().float().cpu()
    if not classes:
        weight = weight * network.head.spread.cpu()
    order = weight.abs().amax(1).argsort(descending=True)[:SHOWN].tolist()
    rows = [(features[place], *weight[place].tolist()) for place in order if weight[place].abs().max() > 0]
    columns = classes if len(classes) > 2 else [f"towards {classes[-1]!r}" if classes else "change of the answer"]
    words = (
        "For one deviation more of a number, or for having a category: how much the answer changes"
        f"{' in log-odds' if classes else ''}. L2 penalty: {float(network.head.penalty):.4g}. Weights are no causes."
    )
    return [Table(("feature", *columns), rows, words)]


@torch.inference_mode()
def importance(network: TableNetwork, batch: Batch, names: Sequence[str], make: Callable[[], Meter]) -> list[Piece]:
    """By how much a score falls when the values of a column are mixed up among examples (Breiman, 2001).

    The score is AUROC, where there is one, since it tells of every change of an answer, else the first one. names: the
    column of each input; a column may have several.
    """
    every = list(dict.fromkeys(names))
    count = min(len(batch), SOME, max(200, WORK // max(1, min(TRIED, len(every)))))
    if count < 10:
        return []
    generator, known = torch.Generator().manual_seed(0), make().names_of_scores()
    batch = Batch(batch.inputs[:count], batch.targets[:count])

    def scores(inputs: Tensor) -> Mapping[str, float]:
        meter = make()
        meter.update(network(inputs.to(network.head.bias.device)).cpu(), batch)
        return meter.score(meter.rows())

    before = scores(batch.inputs)
    first = "auroc" if "auroc" in known and not math.isnan(before["auroc"]) else known[0]
    sign = -1.0 if first in make().lower_is_better else 1.0
    falls = []
    for column in every if len(every) <= TRIED else _promising(network, batch.inputs, names):
        places, lost = [place for place, name in enumerate(names) if name == column], 0.0
        for _ in range(REPEATS):
            mixed, order = batch.inputs.clone(), torch.randperm(count, generator=generator)
            mixed[:, places] = batch.inputs[order][:, places]
            lost += sign * (before[first] - scores(mixed)[first]) / REPEATS
        falls.append((lost, column))
    falls = sorted(falls, key=lambda pair: -pair[0])[:SHOWN]
    name = first.upper() if first in ("auroc", "r2") else first.replace("_", " ")
    words = f"How much {name} is lost where the values of a column are mixed up among {count:,} of the examples."
    if len(every) > TRIED:
        words += f" Tried were those {TRIED} of {len(every):,} columns that go most with the answers."
    return [Bars([name for _, name in falls], [lost for lost, _ in falls], caption=words)]


def _promising(network: TableNetwork, inputs: Tensor, names: Sequence[str]) -> list[str]:
    """The TRIED columns of which a feature is most correlated with an answer."""
    inputs, intake = inputs.to(network.head.bias.device), network.intake
    features, answers_ = intake(inputs).double(), network.members(inputs).double().mean(1)
    apart = [(each - each.mean(0)) / each.std(0, correction=0).clamp(min=1e-9) for each in (features, answers_)]
    leaning = (apart[0].T @ apart[1]).abs().amax(1).tolist()
    places = [place for place, size in zip(intake.categories, intake.sizes, strict=True) for _ in range(size)]
    best: dict[str, float] = {}
    for place, found in zip([*intake.numbers, *intake.numbers, *places], leaning, strict=True):
        best[names[place]] = max(found, best.get(names[place], 0.0))
    return sorted(best, key=lambda name: -best[name])[:TRIED]
