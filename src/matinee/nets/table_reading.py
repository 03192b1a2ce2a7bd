"""What can be read off networks for tables: answers in words, weights, and how much each column matters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
REPEATS: Final = 3


def answers(outputs: Tensor, classes: Sequence[str]) -> list[dict[str, Any]]:
    """The number and its range; or the class, its probability, the runners-up, and the threshold of an event."""
    outputs = outputs.float()
    if not classes:
        return [
            {"value": value, **({"from": value - margin, "to": value + margin} if margin else {})}
            for value, margin in outputs.tolist()
        ]
    limits = outputs[:, 2].sigmoid().tolist() if len(classes) == 2 else [0.5] * len(outputs)
    shares, order = outputs[:, : len(classes)].softmax(-1).topk(min(1 + RUNNERS_UP, len(classes)))
    told = []
    for row, places, limit in zip(shares.tolist(), order.tolist(), limits, strict=True):
        named = [{"label": classes[p], "probability": round(s, 6)} for s, p in zip(row, places, strict=True)]
        if len(classes) == 2 and abs(limit - 0.5) > 1e-6:
            if (places[0] == 1) != (row[places.index(1)] > limit):
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
    columns = classes if len(classes) > 2 else [f"towards {classes[1]!r}" if classes else "change of the answer"]
    words = (
        "For one deviation more of a number, or for having a category: how much the answer changes"
        f"{' in log-odds' if classes else ''}. L2 penalty: {float(network.head.penalty):.4g}. Weights are no causes."
    )
    return [Table(("feature", *columns), rows, words)]


@torch.inference_mode()
def importance(network: TableNetwork, batch: Batch, names: Sequence[str], make: Callable[[], Meter]) -> list[Piece]:
    """By how much the first score falls when the values of a column are mixed up among examples (Breiman, 2001).

    names: the column of each input; a column may have several.
    """
    columns = list(dict.fromkeys(names))
    count = min(len(batch), SOME, max(200, WORK // max(1, len(columns))))
    if count < 10:
        return []
    generator, first = torch.Generator().manual_seed(0), make().names_of_scores()[0]
    batch = Batch(batch.inputs[:count], batch.targets[:count])
    sign = -1.0 if first in make().lower_is_better else 1.0

    def score(inputs: Tensor) -> float:
        meter = make()
        meter.update(network(inputs.to(network.head.bias.device)).cpu(), batch)
        return sign * meter.score(meter.rows())[first]

    whole, falls = score(batch.inputs), []
    for column in columns:
        places, lost = [place for place, name in enumerate(names) if name == column], 0.0
        for _ in range(REPEATS):
            mixed, order = batch.inputs.clone(), torch.randperm(count, generator=generator)
            mixed[:, places] = batch.inputs[order][:, places]
            lost += (whole - score(mixed)) / REPEATS
        falls.append((lost, column))
    falls = sorted(falls, key=lambda pair: -pair[0])[:SHOWN]
    words = f"How much {first.replace('_', ' ')} is lost where the values of a column are mixed up among the examples."
    return [Bars([name for _, name in falls], [lost for lost, _ in falls], caption=words)]
