"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def table_text(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Columns set apart by two spaces, numbers flush right. Names that would break a line are spelled out."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(title), *(len(row[i]) for row in cells), 0) for i, title in enumerate(columns)]
    lines = ["  ".join(_set(t, w, i > 0) for i, (t, w) in enumerate(zip(columns, widths, strict=True)))]
    lines += ["  ".join(_set(c, w, i > 0) for i, (c, w) in enumerate(zip(row, widths, strict=True))) for row in cells]
    return "\n".join(line.rstrip() for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    text = str(value)
    return text if text.isprintable() else repr(text)


def _set(text: str, width: int, right: bool) -> str:
    return text.rjust(width) if right else text.ljust(width)
