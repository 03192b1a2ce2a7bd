"""Meters: what is kept of each example while a model is scored, and the scores made of it.

One row of a few numbers is kept per example, never its outputs, so that scoring needs little memory and intervals can
be computed by drawing the rows again.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from matinee.core.pieces import Piece

if TYPE_CHECKING:
    import torch

    from matinee.core.task import Batch

FEW = 10  # examples: of fewer nothing is said to be sure
SECONDS = 15.0  # of a processor, within which rows are drawn again for an interval or a test
LEAST = 100  # draws of an interval, however long they take
Array = np.ndarray[Any, Any]
Rows = Mapping[str, Array]


class Meter(ABC):
    """Collects rows batch by batch; `score` turns rows into scores, the selecting one first."""

    proportions: ClassVar[frozenset[str]] = frozenset()
    """Scores that are the share of examples for which something holds: they get a Wilson interval."""
    lower_is_better: ClassVar[frozenset[str]] = frozenset()
    biased: ClassVar[frozenset[str]] = frozenset()
    """Scores that come out higher on examples drawn again than on fresh ones, and have no `gaps` that tell how much."""

    plain: ClassVar[frozenset[str]] = frozenset()
    """Scores that are no share of a whole, such as points, moves or areas: never told as so much of 100 %."""
    meanings: ClassVar[Mapping[str, str]] = {}
    """Name of a score -> what it is, in the words of someone who has not heard of it."""

    def __init__(self) -> None:
        self._kept: dict[str, list[torch.Tensor]] = {}

    @abstractmethod
    def collect(self, outputs: Any, batch: Batch) -> dict[str, torch.Tensor]:
        """What is kept of each example: name -> (batch,) or (batch, few)."""

    @abstractmethod
    def score(self, rows: Rows) -> dict[str, float]:
        """The scores of these rows."""

    @abstractmethod
    def names_of_scores(self) -> Sequence[str]:
        """The names that `score` gives, the selecting one first."""

    def gaps(self, rows: Rows) -> dict[str, Array]:
        """Name of a score that is a sum of sizes, too high by chance alone -> the numbers whose sizes add up to it."""
        return {}

    def detail(self, rows: Rows) -> dict[str, Any]:
        """What else a program may want to know (per-class scores, confusion), as JSON."""
        return {}

    def pieces(self, rows: Rows) -> Sequence[Piece]:
        """What a person should see of it in the report."""
        return ()

    def worth_seeing(self, rows: Rows) -> dict[str, Array]:
        """Titles -> positions of examples that a person should look at, the most telling first."""
        return {}

    def remark(self, rows: Rows, position: int) -> str:
        """What to say of one of them."""
        return ""

    @classmethod
    def shares(cls, names: Iterable[str]) -> frozenset[str]:
        """Those of the scores that are told as so much of 100 %."""
        return frozenset(names) - cls.lower_is_better - cls.plain

    def update(self, outputs: Any, batch: Batch) -> None:
        """Keep the rows of a batch. Nothing is copied from the device before `rows`."""
        for name, values in self.collect(outputs, batch).items():
            self._kept.setdefault(name, []).append(values.detach())

    def keep(self, rows: Rows) -> None:
        """These rows in place of those so far: where several processes each scored a part."""
        import torch

        self._kept = {name: [torch.from_numpy(values)] for name, values in rows.items()}

    def rows(self) -> dict[str, Array]:
        """All rows so far, in the order in which they came."""
        import torch

        return {name: torch.cat(parts).float().cpu().numpy() for name, parts in self._kept.items()}

    def better(self, name: str, new: float, old: float | None) -> bool:
        """Whether `new` is a better score than `old` under that name."""
        if old is None or math.isnan(old):
            return not math.isnan(new)
        return new < old if name in self.lower_is_better else new > old


@dataclass(frozen=True)
class Score:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


def wilson(share: float, count: int) -> tuple[float, float]:
    """95 % interval of a share of `count` examples (Wilson, 1927): honest at 0 % and 100 %, where others shrink."""
    z = 1.959963984540054
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return (0.0 if share == 0 else low), (1.0 if share == 1 else high)  # exact where rounding is not


def affordable(draws: int, least: int, score: Callable[[], object], seconds: float = SECONDS) -> int:
    """So many draws, or as many halves of them as it takes to score them all within the seconds; `least` at least.

    By the time of the processor, which does not depend on what else a machine does; the first call may load much, so
    that where it is slow a second one is believed.
    """
    if draws * (each := _cost(score)) > seconds:
        each = min(each, _cost(score))
    while draws > least and draws * each > seconds:
        draws = max(least, draws // 2)
    return draws


def _cost(score: Callable[[], object]) -> float:
    began = time.process_time()
    score()
    return time.process_time() - began


def intervals(meter: Meter, rows: Rows, *, draws: int = 1000, seed: int = 0) -> dict[str, Score]:
    """Each score with a 95 % interval: Wilson for shares, else the percentile bootstrap over examples (Efron, 1979).

    A sum of sizes (`Meter.gaps`) is too high by chance alone, and higher still on examples drawn again. Its interval
    reaches down by what chance makes of such a sum where there is no gap, and up by how far the draws scatter.
    """
    values = meter.score(rows)
    count = len(next(iter(rows.values()))) if rows else 0
    if count == 0:
        return {name: Score(math.nan, math.nan, math.nan) for name in values}
    draws = affordable(max(LEAST, min(draws, 20_000_000 // count)), LEAST, lambda: meter.score(rows))
    generator = np.random.default_rng(seed)
    drawn: dict[str, list[float]] = {name: [] for name in values if name not in meter.proportions}
    gaps = meter.gaps(rows)
    chance: dict[str, list[float]] = {name: [] for name in gaps}
    for _ in range(draws if drawn else 0):
        pick = generator.integers(0, count, count)
        picked = {name: column[pick] for name, column in rows.items()}
        again = meter.score(picked)
        for name, sample in drawn.items():
            sample.append(again[name])
        for name, other in meter.gaps(picked).items():
            chance[name].append(float(np.abs(other - gaps[name]).sum()))
    scores = {}
    for name, value in values.items():
        if name in meter.proportions:
            low, high = wilson(value, count)
        else:
            low, high = _percentiles(drawn[name])
            if name in chance:
                low = max(0.0, value - _percentiles(chance[name])[1])
                high = value + high - float(np.mean(drawn[name]))
            elif name in meter.biased:  # drawn values lie too high: the interval is their mirror image (Efron, 1979)
                low, high = max(0.0, 2 * value - high), max(0.0, 2 * value - low)
            elif low == high and 0 <= value <= 1 and meter.shares([name]):
                low, high = wilson(value, count)  # all right or all wrong: drawing again never shows anything else
        scores[name] = Score(value, min(low, value), max(high, value))
    return scores


def _percentiles(sample: Sequence[float]) -> tuple[float, float]:
    finite = [x for x in sample if not math.isnan(x)]
    if not finite:
        return math.nan, math.nan
    low, high = np.percentile(finite, [2.5, 97.5])
    return float(low), float(high)
