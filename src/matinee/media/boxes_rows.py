"""Boxes in a table: a row for each, with the picture's file, a label and four sides."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matinee.core.errors import DataError
from matinee.media.boxes import Box, Marked
from matinee.media.boxes_formats import FormatError
from matinee.media.picture_listing import SPLIT_WORDS
from matinee.media.picture_manifest import FILE_COLUMNS, LABEL_COLUMNS, read_manifest
from matinee.media.records import SPLIT_COLUMNS

FILES = (*FILE_COLUMNS, "image_name", "imageid", "image_id", "img")
LABELS = (*LABEL_COLUMNS, "class_name", "label_name", "labelname", "name")
EDGES = (
    ("left", "xmin", "x_min", "x1", "bbox_x1"), ("top", "ymin", "y_min", "y1", "bbox_y1"),
    ("right", "xmax", "x_max", "x2", "bbox_x2"), ("bottom", "ymax", "y_max", "y2", "bbox_y2"),
)  # fmt: skip
CORNER = (("x", "left", "bbox_x"), ("y", "top", "bbox_y"), ("width", "w", "bbox_width"), ("height", "h", "bbox_height"))
SIZE = ("width", "height")


def looks_like_boxes(path: str, head: bytes) -> bool:
    """Whether the header of a table has a file, a label and four sides."""
    lines = head.decode("utf-8-sig", "ignore").splitlines()[:3]
    try:
        header, rows = read_manifest(path, "\n".join(lines))
        columns = _columns(header)
    except (DataError, ValueError):
        return False
    return columns is not None and bool(rows)


def _columns(header: Sequence[str]) -> tuple[int, int, list[int], bool] | None:
    """Places of the file, the label and the four sides, and whether those are edges; None where one is missing."""
    lower = [column.strip().lower() for column in header]

    def first(words: Sequence[str]) -> int:
        return next((lower.index(word) for word in words if word in lower), -1)

    file, label = first(FILES), first(LABELS)
    for usual, edges in ((EDGES, True), (CORNER, False)):
        sides = [first(words) for words in usual]
        if min(file, label, *sides) >= 0 and len({file, label, *sides}) == 6:
            return file, label, sides, edges
    return None


def table(name: str, text: str) -> list[Marked]:
    """What a table says of each of its pictures. Raises FormatError.

    Sides are pixels, or shares where none is above 1. A row with a file alone says that nothing is on it.
    """
    header, rows = read_manifest(name, text)
    columns = _columns(header)
    if columns is None:
        raise FormatError(
            f"it needs the columns file, label, left, top, right, bottom (or x, y, width, height); it has "
            f"{', '.join(header)[:200]}"
        )
    file, label, sides, edges = columns
    lower = [column.strip().lower() for column in header]
    split = next((lower.index(word) for word in SPLIT_COLUMNS if word in lower), -1)
    wide = [lower.index(word) if edges and word in lower else -1 for word in SIZE]
    found: dict[str, Marked] = {}
    largest = 0.0
    for number, values in rows:
        if not values[file]:
            continue
        marked = found.setdefault(values[file], Marked(values[file]))
        if split >= 0:
            marked.split = SPLIT_WORDS.get(values[split].strip().lower(), marked.split)
        words = [values[side].strip() for side in sides]
        if not any(words) and not values[label].strip():
            continue
        numbers = [_number(word) for word in words]
        if not values[label].strip() or any(math.isnan(each) for each in numbers):
            marked.notes.append(f"line {number} has no label, or not four numbers; it is left out")
            continue
        x, y, third, fourth = numbers
        box = (x, y, third, fourth) if edges else (x, y, x + third, y + fourth)
        largest = max(largest, *(abs(each) for each in box if math.isfinite(each)), 0.0)
        marked.boxes.append(Box(values[label].strip(), box, where=f"line {number}"))
        if min(wide) >= 0:
            size = [_number(values[side]) for side in wide]
            marked.size = (size[0], size[1]) if min(size) > 0 else marked.size
    if 0 < largest <= 1.0:
        for marked in found.values():
            marked.size = (1.0, 1.0)
    return list(found.values())


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return math.nan
