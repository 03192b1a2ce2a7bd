"""Tables, and the confusion matrix in the form that its number of classes allows."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np

from matinee.core.pieces import Matrix, Table
from matinee.report.pictures import heat
from matinee.report.words import decimals, number, percent, plural, safe

ROWS_IN_SIGHT = 50
MOST_ROWS = 500
MOST_COLUMNS = 60
MOST_NUMBERED_CLASSES = 30
DENSE_CLASSES = 18
MOST_PIXELS = 288
MOST_SHOWN_PIXELS = 576
CONFUSED_PAIRS = 25

# Words that are a quantity with its unit, "98.9 %" or "27 s", stand flush right as numbers do.
_QUANTITY = re.compile(r"[-−+]?\d[\d.,]*\s(%|[A-Za-z/]{1,9})")

Array = np.ndarray[Any, Any]


def _is_number(cell: object) -> bool:
    return isinstance(cell, Real) and not isinstance(cell, bool)


def _is_quantity(cell: object) -> bool:
    return _is_number(cell) or (isinstance(cell, str) and _QUANTITY.fullmatch(cell) is not None)


class _Column:
    """How the numbers of one column are written: the same decimals, the same grouping."""

    def __init__(self, cells: Sequence[object]) -> None:
        floats = [float(cell) for cell in cells if isinstance(cell, Real) and not isinstance(cell, Integral)]
        whole = [abs(int(cell)) for cell in cells if isinstance(cell, Integral)]
        self.places = decimals(floats)
        # Up to four digits stay ungrouped: 2026 is more often a year than a count.
        self.grouped = max([*whole, *(abs(real) for real in floats if math.isfinite(real))], default=0) >= 10_000
        filled = [cell for cell in cells if cell is not None]
        self.numeric = bool(filled) and all(_is_quantity(cell) for cell in filled)

    def cell(self, value: object) -> str:
        if value is None:
            return f'<td class="{"number " if self.numeric else ""}none">–</td>'
        if isinstance(value, (bool, np.bool_)):
            return f"<td>{'yes' if value else 'no'}</td>"
        if _is_number(value):
            return f'<td class="number">{number(value, self.places, self.grouped)}</td>'
        return f"<td{' class=number' if self.numeric else ''}>{safe(value, 600)}</td>"


def table(piece: Table) -> str:
    """A table in a box of its own that scrolls; beyond MOST_ROWS the rest is left out and said so."""
    rows = [tuple(row)[:MOST_COLUMNS] for row in piece.rows[:MOST_ROWS]]
    width = max([min(len(piece.columns), MOST_COLUMNS), *(len(row) for row in rows)])
    columns = [_Column([row[place] for row in rows if place < len(row)]) for place in range(width)]
    titles = [*piece.columns[:width], *[""] * (width - len(piece.columns))]
    head = "".join(
        f'<th scope="col"{" class=number" if column.numeric else ""}>{safe(title)}</th>'
        for title, column in zip(titles, columns, strict=True)
    )
    body = []
    for row in rows:
        cells = [column.cell(row[place] if place < len(row) else None) for place, column in enumerate(columns)]
        if row and isinstance(row[0], str):  # the name of the row
            cells[0] = f'<th scope="row">{safe(row[0], 600)}</th>'
        body.append(f"<tr>{''.join(cells)}</tr>")
    if not rows:
        body.append(f'<tr><td class="nothing" colspan="{max(width, 1)}">No rows.</td></tr>')
    caption = f"<caption>{safe(piece.caption, 1000)}</caption>" if piece.caption else ""
    drawn = f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
    return _box(drawn, piece.caption or "Table", tall=len(rows) > ROWS_IN_SIGHT) + _left_out(piece)


def _left_out(piece: Table) -> str:
    notes = []
    if len(piece.rows) > MOST_ROWS:
        notes.append(
            f"The first {MOST_ROWS:,} of {len(piece.rows):,} rows; {len(piece.rows) - MOST_ROWS:,} are left out."
        )
    elif len(piece.rows) > ROWS_IN_SIGHT:
        notes.append(f"{len(piece.rows):,} rows; scroll inside the table.")
    if len(piece.columns) > MOST_COLUMNS:
        notes.append(f"{plural(len(piece.columns) - MOST_COLUMNS, 'column')} left out.")
    return f'<p class="left-out">{" ".join(notes)}</p>' if notes else ""


def _box(inside: str, label: str, tall: bool = False) -> str:
    # A box that scrolls must be reachable by the keyboard, and named.
    kind = "scroll tall" if tall else "scroll"
    return f'<div class="{kind}" role="region" tabindex="0" aria-label="{safe(label)}">{inside}</div>'


def matrix(piece: Matrix) -> str:
    """Numbers up to MOST_NUMBERED_CLASSES classes; beyond, a picture and the most confused pairs."""
    counts = np.asarray(piece.counts)
    caption = f"<figcaption>{safe(piece.caption, 1000)}</figcaption>" if piece.caption else ""
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or counts.size == 0:
        return f'<figure class="matrix">{caption}<p class="nothing">No counts to draw.</p></figure>'
    size = len(counts)
    names = [
        *(str(name) for name in piece.names[:size]),
        *(f"class {place}" for place in range(len(piece.names), size)),
    ]
    filled = np.where(np.isfinite(counts), counts, 0).clip(min=0)
    totals = filled.sum(axis=1, keepdims=True)
    shares = np.divide(filled, totals, out=np.zeros(counts.shape, np.float64), where=totals > 0)
    if size <= MOST_NUMBERED_CLASSES:
        drawn = _numbered(piece, names, filled, shares)
    else:
        drawn = _pictured(piece, shares) + table(_most_confused(piece, names, filled, shares))
    return f'<figure class="matrix">{caption}{drawn}</figure>'


def _numbered(piece: Matrix, names: Sequence[str], counts: Array, shares: Array) -> str:
    size = len(names)
    labels = [safe(name, 48) for name in names]
    heads = "".join(
        f'<th scope="col" title="{safe(name)}"><span>{label}</span></th>'
        for name, label in zip(names, labels, strict=True)
    )
    rows = []
    for truth in range(size):
        cells = "".join(_cell(counts[truth, answer], shares[truth, answer], truth == answer) for answer in range(size))
        right = percent(float(shares[truth, truth]), 0) if counts[truth].any() else "–"
        name = f'<th scope="row" title="{safe(names[truth])}"><span>{labels[truth]}</span></th>'
        rows.append(f'<tr>{name}{cells}<td class="right">{right}</td></tr>')
    corner = f'<td class="corner"><span>{safe(piece.rows)} ↓</span> <span>{safe(piece.columns)} →</span></td>'
    kind = "matrix dense" if size > DENSE_CLASSES else "matrix"
    drawn = (
        f'<table class="{kind}"><thead><tr>{corner}{heads}<th scope="col" class="right"><span>right</span></th></tr>'
        f"</thead><tbody>{''.join(rows)}</tbody></table>"
    )
    key = _key(f"the deeper, the larger the share of the {piece.rows}")
    return _box(drawn, piece.caption or "Confusion matrix") + key


def _cell(count: float, share: float, hit: bool) -> str:
    if count == 0:
        return '<td class="never">0</td>' if hit else '<td class="zero">·</td>'
    # Errors on a square root scale: one in a hundred must be seen beside ninety-nine.
    level = max(1, round(9 * (share if hit else math.sqrt(share))))
    words = f"{int(count)}" if float(count).is_integer() and abs(count) < 1e15 else number(float(count))
    return f'<td class="h{level} {"hit" if hit else "miss"}">{words}</td>'


def _pictured(piece: Matrix, shares: Array) -> str:
    size = len(shares)
    right = np.diag(np.diagonal(shares))
    wrong = shares - right
    block = math.ceil(size / MOST_PIXELS)
    if block > 1:
        right, wrong = _pooled(right, block), _pooled(wrong, block)
        wrong = np.where(right > 0, 0, wrong)
    hit = float(np.diagonal(shares).mean())
    words = (
        f"Confusion matrix of {size:,} classes as a picture; on average {percent(hit)} of a class lies on the diagonal."
    )
    side = len(right)
    shown = side * max(1, MOST_SHOWN_PIXELS // side)  # whole pixels per point, so that the diagonal stays even
    source = f'src="{heat(right, wrong)}" width="{side}" height="{side}" style="max-width:{shown}px"'
    image = f'<img class="crisp" {source} alt="{safe(words)}">'
    note = f" Each point stands for {block} × {block} classes." if block > 1 else ""
    labels = f'<p class="columns">{safe(piece.columns)} →</p><p class="rows">{safe(piece.rows)} →</p>'
    return f'<div class="heat">{labels}{image}</div>' + _key(f"{size:,} classes, in their order.{note}")


def _key(words: str) -> str:
    colours = '<i class="h8 hit"></i>right <i class="h5 miss"></i>wrong'
    return f'<p class="key"><span>{colours}</span> <span>{safe(words)}</span></p>'


def _pooled(shares: Array, block: int) -> Array:
    """The largest share of each block of block x block, so that a lone error is not averaged away."""
    side = math.ceil(len(shares) / block)
    padded = np.zeros((side * block, side * block))
    padded[: len(shares), : len(shares)] = shares
    pooled: Array = padded.reshape(side, block, side, block).max(axis=(1, 3))
    return pooled


def _most_confused(piece: Matrix, names: Sequence[str], counts: Array, shares: Array) -> Table:
    errors = counts.astype(np.float64)
    np.fill_diagonal(errors, 0)
    flat = errors.ravel()
    # By count, then by share, then in the order of the classes: the same page for the same counts.
    found = np.flatnonzero(flat)
    order = np.lexsort((found, -shares.ravel()[found], -flat[found]))
    rows = []
    for place in found[order[:CONFUSED_PAIRS]]:
        truth, answer = divmod(int(place), len(names))
        count = counts[truth, answer]
        times = int(count) if float(count).is_integer() else float(count)
        rows.append((names[truth], names[answer], times, percent(float(shares[truth, answer]))))
    title = f"Most confused pairs ({min(len(found), CONFUSED_PAIRS):,} of {len(found):,})" if rows else "No confusions"
    return Table((piece.rows, piece.columns, "times", f"of this {piece.rows}"), rows, title)
