"""Two models that answered the same examples: how much better one of them is, and whether that may be luck."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np

from matinee.core.meter import FEW, LEAST, Array, Meter, Rows, Score, affordable

SURE = 0.05  # a difference that luck alone brings less often is called sure
DRAWS = 5000  # of the test, where the examples are few enough
TELLING = 250  # draws of it that are made however long they take: fewer could not tell what is sure


def margins(meter: Meter, one: Rows, other: Rows, *, draws: int = 200, seed: int = 0) -> dict[str, Score]:
    """How much better `one` is than `other` in each score, with a 95 % interval; below 0 where it is worse.

    one, other: rows for the same examples in the same order. Both are drawn again together (paired bootstrap; Koehn,
    2004), so that examples which are hard for both widen nothing. The interval is the normal one of the draws' spread.
    """
    count, names, generator = _count(one), meter.names_of_scores(), np.random.default_rng(seed)
    drawn, value_of = [], functools.partial(_ahead, meter, one, other)
    for _ in range(affordable(_fitting(draws, one), LEAST // 2, value_of)):
        pick = generator.integers(0, count, count)
        drawn.append(_ahead(meter, *({key: column[pick] for key, column in rows.items()} for rows in (one, other))))
    found = {}
    for name, value in value_of().items():
        finite = np.array([each[name] for each in drawn if math.isfinite(each[name])])
        half = 1.959963984540054 * float(finite.std()) if len(finite) else math.nan
        if count < FEW:  # so few drawn again show no spread where there is one
            half = max(half, abs(value))
        most = 1.0 if name in meter.shares([name]) else math.inf  # no two shares are further apart
        found[name] = Score(value, max(-most, value - half), min(most, value + half))
    return {name: found[name] for name in names}


def chance(meter: Meter, name: str, one: Rows, other: Rows, *, draws: int = DRAWS, seed: int = 0) -> float:
    """How often luck alone would set two models at least so far apart under that score: a two-sided p value.

    The paired randomisation test (Fisher, 1935; for scores of a whole corpus Noreen, 1989, and Yeh, 2000): were the
    models alike, either could have given each pair of answers, so whose answer is whose is drawn again for every
    example, and the difference scored anew. The pair as it is counts as one draw (Phipson & Smyth, 2010). For a share
    of right answers this is McNemar's exact test, drawn. NaN where the score of either cannot be told.
    """
    count, generator = _count(one), np.random.default_rng(seed)
    both = {key: np.stack([one[key], other[key]]) for key in one}
    seen, places = abs(_ahead(meter, one, other)[name]), np.arange(count)
    if math.isnan(seen):
        return math.nan
    draws, extreme = affordable(_fitting(draws, one), TELLING, functools.partial(_ahead, meter, one, other)), 0
    for _ in range(draws):
        side = generator.integers(0, 2, count)
        mine, theirs = ({key: rows[of, places] for key, rows in both.items()} for of in (side, 1 - side))
        extreme += abs(_ahead(meter, mine, theirs)[name]) >= seen - 1e-12
    return (extreme + 1) / (draws + 1)


def holm(chances: Sequence[float]) -> list[float]:
    """p values of several comparisons, corrected so that all that are below a level are so together (Holm, 1979)."""
    corrected, largest = [math.nan] * len(chances), 0.0
    told = [place for place, value in enumerate(chances) if not math.isnan(value)]
    for rank, place in enumerate(sorted(told, key=lambda place: chances[place])):
        largest = max(largest, min(1.0, (len(told) - rank) * chances[place]))
        corrected[place] = largest
    return corrected


def _ahead(meter: Meter, one: Rows, other: Rows) -> dict[str, float]:
    mine, theirs = meter.score(one), meter.score(other)
    signs = {name: -1 if name in meter.lower_is_better else 1 for name in mine}
    return {name: sign * (mine[name] - theirs[name]) + 0.0 for name, sign in signs.items()}  # no minus before a zero


def _count(rows: Rows) -> int:
    column: Array = next(iter(rows.values()))
    return len(column)


def _fitting(draws: int, rows: Rows) -> int:
    """Fewer draws where each of them has more to score: from 40,000 numbers on, and a quarter at least."""
    return max(draws // 4, min(draws, 40_000 * draws // max(1, sum(column.size for column in rows.values()))))
