"""Numbers with a decimal comma, as most of Europe and South America write them: 3,5 and 1.234,5."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from matinee.media.records import Records

LOOKED_AT: Final = 2000
"""Rows by which it is decided what a comma means."""
MOSTLY: Final = 0.9

_SIGNS: Final = r"[$€£]?\s*[+-]?"
_UNIT: Final = r"\s*[%$€£]?"
_COMMA: Final = re.compile(rf"{_SIGNS}(\d{{1,3}}(\.\d{{3}})+,\d+|0?,\d+|\d+,(\d{{1,2}}|\d{{4,}})|\d{{4,}},\d+){_UNIT}")
"""Surely a decimal comma: 1,234 might be a thousand."""
_POINT: Final = re.compile(
    rf"{_SIGNS}(\d{{1,3}}(,\d{{3}})+\.\d*|0?\.\d+|\d*\.(\d{{0,2}}|\d{{4,}})|\d{{4,}}\.\d+|\d+\.?\d*e[+-]?\d+){_UNIT}",
    re.I,
)
_READ: Final = re.compile(rf"{_SIGNS}(\d{{1,3}}(\.\d{{3}})+|\d*)(,\d+)?{_UNIT}")
"""Whatever is a number where the comma is the decimal one."""


def pointed(records: Records) -> tuple[Records, tuple[str, ...]]:
    """The records with decimal points in place of decimal commas, and the columns where that was so.

    A column has decimal commas where a number surely has one, none surely has a decimal point, and most values are such
    numbers. What might be a thousand (1,234, 1.234) is read as in the other columns of the table.
    """
    some = records.rows[:: max(1, len(records.rows) // LOOKED_AT)]
    commas: list[int] = []
    unsure: list[int] = []
    points = False
    for place in range(len(records.header)):
        words = [word for row in some if (word := row[place])]
        if not any("," in word or "." in word for word in words):
            continue
        read = sum(_READ.fullmatch(word) is not None for word in words) >= MOSTLY * len(words)
        point = any(_POINT.fullmatch(word) for word in words)
        points |= point
        if read and not point:
            (commas if any(_COMMA.fullmatch(word) for word in words) else unsure).append(place)
    if not commas:
        return records, ()
    places = sorted(commas if points else commas + unsure)
    rows = [_rewritten(row, places) for row in records.rows]
    return replace(records, rows=rows), tuple(records.header[place] for place in places)


def _rewritten(row: tuple[str, ...], places: Sequence[int]) -> tuple[str, ...]:
    values = list(row)
    for place in places:
        word = values[place]
        if _READ.fullmatch(word):
            values[place] = word.replace(".", "").replace(",", ".")
    return tuple(values)
