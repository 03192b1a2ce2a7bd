"""Boxes in a table: a row for each, with the picture's file, a label and four sides."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

from matinee.core.errors import DataError
from matinee.media.boxes import Box, Marked
from matinee.media.boxes_formats import FormatError
from matinee.media.picture_listing import SPLIT_WORDS
from matinee.media.picture_manifest import FILE_COLUMNS, LABEL_COLUMNS, read_manifest
from matinee.media.pictures import EXTENSIONS
from matinee.media.records import SPLIT_COLUMNS, WIDE, Row

FILES = (*FILE_COLUMNS, "image_name", "imageid", "image_id", "img")
LABELS = (*LABEL_COLUMNS, "class_name", "label_name", "labelname", "name")
EDGES = (
    ("left", "xmin", "x_min", "x1", "bbox_x1"), ("top", "ymin", "y_min", "y1", "bbox_y1"),
    ("right", "xmax", "x_max", "x2", "bbox_x2"), ("bottom", "ymax", "y_max", "y2", "bbox_y2"),
)  # fmt: skip
CORNER = (("x", "left", "bbox_x"), ("y", "top", "bbox_y"), ("width", "w", "bbox_width"), ("height", "h", "bbox_height"))
CENTRE = (
    ("x_center", "x_centre", "xcenter", "center_x", "centre_x", "cx"),
    ("y_center", "y_centre", "ycenter", "center_y", "centre_y", "cy"),
    *CORNER[2:],
)
SIZE = ("width", "height")
REGIONS = ("iscrowd", "is_crowd", "isgroupof", "is_group_of", "difficult", "ignore", "ignored")
"""Columns that say, by 1 or true, that nobody counted what is in a box."""
HEADLESS = ("file", "left", "top", "right", "bottom", "label")
"""What the columns are where no header says so, as those programs write them that need none."""
PEEK = 200  # lines that are looked at for a first impression


@dataclass(frozen=True)
class _Columns:
    """Places of the columns; -1 for one that is not there. told: EDGES, CORNER or CENTRE, what the sides are."""

    file: int
    label: int
    sides: tuple[int, ...]
    told: tuple[tuple[str, ...], ...]
    split: int
    region: int
    size: tuple[int, ...]


def looks_like_boxes(path: str, head: bytes) -> bool:
    """Whether the header of a table has a file, a label and four sides, or its first rows are such."""
    lines = head.decode("utf-16" if head[:2] in WIDE else "utf-8-sig", "ignore").splitlines()
    try:
        header, rows = _rows(path, "\n".join(lines[: min(PEEK, max(2, len(lines) - 1))]))
    except (DataError, ValueError):
        return False
    return _columns(header) is not None and bool(rows)


def _rows(path: str, text: str) -> tuple[list[str], list[Row]]:
    """Header and rows; where the first line is a box itself, the header is HEADLESS. Raises DataError."""
    header, rows = read_manifest(path, text)
    if _columns(header) is None:
        first = (1, tuple(header))
        told = [_is_box(values) for _, values in [first, *rows[:PEEK]]]
        if any(told) and all(each is not None for each in told):
            order = next(each for each in told if each)
            return [HEADLESS[place] for place in order], [first, *rows]
    return header, rows


def _is_box(values: Sequence[str]) -> tuple[int, ...] | None:
    """The places in HEADLESS of the values of a row without header; () for a picture alone, None for anything else."""
    named = os.path.splitext(values[0].strip())[1].lower() in EXTENSIONS  # noqa: PTH122
    if not named or len(values) != len(HEADLESS):
        return None
    words = [value.strip() for value in values[1:]]
    if not any(words):
        return ()
    if words[4] and not any(math.isnan(_number(word)) for word in words[:4]):
        return (0, 1, 2, 3, 4, 5)
    return (0, 5, 1, 2, 3, 4) if words[0] and not any(math.isnan(_number(word)) for word in words[1:]) else None


def _columns(header: Sequence[str]) -> _Columns | None:
    """None where the file, the label or a side is missing."""
    lower = [column.strip().lower() for column in header]

    def first(words: Sequence[str]) -> int:
        return next((lower.index(word) for word in words if word in lower), -1)

    file, label = first(FILES), first(LABELS)
    for usual in (EDGES, CENTRE, CORNER):
        sides = tuple(first(words) for words in usual)
        if min(file, label, *sides) >= 0 and len({file, label, *sides}) == 6:
            size = tuple(lower.index(word) if usual is EDGES and word in lower else -1 for word in SIZE)
            return _Columns(file, label, sides, usual, first(SPLIT_COLUMNS), first(REGIONS), size)
    return None


def table(name: str, text: str) -> tuple[list[Marked], list[str]]:
    """What a table says of each of its pictures, and what was wrong with rows of none. Raises DataError.

    Sides are pixels, or shares where none is above 1. A row with a file alone says that nothing is on it. Without a
    header the columns are file, left, top, right, bottom, label, or the label is the second.
    """
    header, rows = _rows(name, text)
    columns = _columns(header)
    if columns is None:
        raise FormatError(
            f"it needs the columns file, label, left, top, right, bottom (or x, y, width, height); it has "
            f"{', '.join(header)[:200]}"
        )
    found: dict[str, Marked] = {}
    notes: list[str] = []
    for number, values in rows:
        row = (*(value.strip() for value in values), *("" for _ in range(len(header) - len(values))))
        if not row[columns.file]:
            notes.append(f"line {number} names no picture; it is left out")
            continue
        marked = found.setdefault(row[columns.file], Marked(row[columns.file]))
        if columns.split >= 0:
            marked.split = SPLIT_WORDS.get(row[columns.split].lower(), marked.split)
        _take(marked, row, columns, number)
    spans = (
        abs(side) for marked in found.values() for box in marked.boxes for side in box.sides if math.isfinite(side)
    )
    if 0 < max(spans, default=0.0) <= 1.0:
        for marked in found.values():
            marked.size = (1.0, 1.0)
    return list(found.values()), notes


def _take(marked: Marked, row: Sequence[str], columns: _Columns, number: int) -> None:
    """The box of a row, or a note of what is wrong with it."""
    words, label = [row[side] for side in columns.sides], row[columns.label]
    if not any(words) and not label:
        return  # nothing is on the picture
    numbers = [_number(word) for word in words]
    if not label or any(math.isnan(each) for each in numbers):
        marked.notes.append(f"line {number} has no label, or not four numbers; it is left out")
        return
    x, y, third, fourth = numbers
    if columns.told is CENTRE:
        x, y = x - third / 2, y - fourth / 2
    box = (x, y, third, fourth) if columns.told is EDGES else (x, y, x + third, y + fourth)
    region = columns.region >= 0 and row[columns.region].lower() in ("1", "1.0", "true", "yes")
    marked.boxes.append(Box(label, box, region, f"line {number}"))
    if min(columns.size) >= 0:
        wide, high = (_number(row[side]) for side in columns.size)
        if wide > 0 and high > 0:
            marked.size = (wide, high)


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return math.nan
