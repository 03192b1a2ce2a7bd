"""Neutral pieces of a page: what tasks and verbs want shown, without knowing who draws it.

The report and the served page draw them; a piece holds plain numbers, words and arrays, no HTML and no tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Text:
    """A paragraph. `tone` is "plain", "good" or "warning"."""

    words: str
    tone: str = "plain"


@dataclass(frozen=True)
class Table:
    """Rows under column titles; cells are words or numbers (numbers are set flush right)."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str | int | float | None]]
    caption: str = ""


@dataclass(frozen=True)
class Lines:
    """Curves: name -> points (x, y). `diagonal` draws y = x for comparison (calibration)."""

    series: Mapping[str, Sequence[tuple[float, float]]]
    x_label: str = ""
    y_label: str = ""
    caption: str = ""
    diagonal: bool = False


@dataclass(frozen=True)
class Bars:
    """Named values, with an interval where there is one: (low, high) per bar, or None."""

    names: Sequence[str]
    values: Sequence[float]
    intervals: Sequence[tuple[float, float] | None] = ()
    caption: str = ""
    percent: bool = False


@dataclass(frozen=True)
class Matrix:
    """Counts of truth (rows) against answer (columns): (n, n) for n names."""

    names: Sequence[str]
    counts: np.ndarray[Any, Any]
    rows: str = "truth"
    columns: str = "answer"
    caption: str = ""


@dataclass(frozen=True)
class Picture:
    """An image, uint8 (height, width) or (height, width, 1 or 3), with words under it.

    detailed: there are lines and words on it that must be told, so it is shown large.
    """

    pixels: np.ndarray[Any, Any]
    words: str = ""
    detailed: bool = False


@dataclass(frozen=True)
class Gallery:
    """Pictures side by side."""

    pictures: Sequence[Picture]
    caption: str = ""


@dataclass(frozen=True)
class Film:
    """Pictures that follow each other, each uint8 (height, width, 1 or 3), with words under them.

    over_time: shares from 0 to 1 at evenly spaced moments, such as how sure an answer was. Where they are given the
    film is drawn as a strip, some of its frames side by side, with the shares below them; otherwise it moves.
    """

    frames: Sequence[np.ndarray[Any, Any]]
    words: str = ""
    per_second: float = 15.0
    over_time: Sequence[float] = ()


@dataclass(frozen=True)
class Sound:
    """A recording to listen to, int16 (samples,) at `rate` samples a second, with words under it.

    picture: what it looks like, uint8 (height, width) or (height, width, 1 or 3), or None.
    """

    samples: np.ndarray[Any, Any]
    rate: int
    words: str = ""
    picture: np.ndarray[Any, Any] | None = None


@dataclass(frozen=True)
class Code:
    """Commands or a log, set in a fixed width, to be copied."""

    words: str


@dataclass(frozen=True)
class Words:
    """A text in its words, with how much each spoke for the answer (-1 to 1; empty: unknown) and a caption."""

    words: Sequence[str]
    weights: Sequence[float] = ()
    caption: str = ""
    between: str = " "


Piece = Text | Table | Lines | Bars | Matrix | Gallery | Film | Sound | Code | Words


@dataclass(frozen=True)
class Section:
    """A titled part of a page; `folded` starts closed."""

    title: str
    pieces: Sequence[Piece] = field(default_factory=tuple)
    folded: bool = False
