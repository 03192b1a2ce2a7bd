"""Neutral pieces of a page: what tasks and verbs want shown, without knowing who draws it.

The report and the served page draw them; a piece holds plain numbers, words and arrays, no HTML and no tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
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

    detailed: there are lines and words on it that must be told, so it is shown large. below: lines of text that stay
    where a remark takes the place of the words.
    """

    pixels: np.ndarray[Any, Any]
    words: str = ""
    detailed: bool = False
    below: Sequence[str] = ()


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

    picture: what it looks like, uint8 (height, width) or (height, width, 1 or 3), or None. below: lines of text that
    stay where a remark takes the place of the words.
    """

    samples: np.ndarray[Any, Any]
    rate: int
    words: str = ""
    picture: np.ndarray[Any, Any] | None = None
    below: Sequence[str] = ()


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


def remarked(drawn: Sequence[Piece], remarks: Sequence[str]) -> list[Piece]:
    """Pieces of one example each, and beside each what is to be said of it.

    Pictures stand side by side, tables of two columns that tell the same things become one; what has no words of its
    own gets a paragraph before it.
    """
    tables = [piece for piece in drawn if isinstance(piece, Table) and len(piece.columns) == 2]
    if tables and len({tuple(row[0] for row in piece.rows) for piece in tables}) == 1 == len(drawn) / len(tables):
        columns = ("", *(str(row[0]) for row in tables[0].rows))
        return [Table(columns, [(r, *(row[1] for row in p.rows)) for p, r in zip(tables, remarks, strict=True)])]
    if all(isinstance(piece, Gallery) and len(piece.pictures) == 1 for piece in drawn):
        told = zip((p for p in drawn if isinstance(p, Gallery)), remarks, strict=True)
        return [Gallery([replace(p.pictures[0], words=_both(p, r) or p.pictures[0].words) for p, r in told])]
    pieces: list[Piece] = []
    for piece, remark in zip(drawn, remarks, strict=True):
        match piece:
            case Film() | Sound():
                pieces.append(replace(piece, words=remark or piece.words))
            case Words():
                pieces.append(replace(piece, caption=remark or piece.caption))
            case Gallery() | Table() | Lines() | Bars() | Matrix():
                pieces.append(replace(piece, caption=_both(piece, remark)))
            case _:
                pieces += [Text(remark), piece] if remark else [piece]
    return pieces


def _both(piece: Gallery | Table | Lines | Bars | Matrix, remark: str) -> str:
    return f"{piece.caption} ({remark})" if piece.caption and remark else remark or piece.caption
