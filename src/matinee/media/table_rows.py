"""Rows of tables to answer for: those of files, JSON objects, and mappings from Python."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matinee.core.errors import DataError
from matinee.core.pieces import Piece, Table
from matinee.media.records import glance
from matinee.media.table_columns import encode
from matinee.media.table_samples import SAMPLES
from matinee.media.table_source import Terms, read_source
from matinee.media.walking import printable


@dataclass(frozen=True)
class TableRow:
    """One row to answer for: its name, and column -> word; or what is wrong with it."""

    name: str
    values: Mapping[str, Any] = field(default_factory=dict)
    wrong: str = ""

    def __str__(self) -> str:
        return self.name


def rows_of(places: Sequence[str], terms: Terms) -> Iterator[TableRow]:
    """The rows of the files named (or of a sample, or of a JSON object written out), in order.

    A row that could not be read is among them, with what is wrong; so is a file.
    """
    for place in places:
        if place.lstrip().startswith("{"):
            yield _written(place)
            continue
        try:
            known = place in SAMPLES and not Path(place).exists()
            records = read_source(place, None if known else _headed(place, terms))[0]
        except DataError as error:
            yield TableRow(place, wrong=str(error))
            continue
        header: Sequence[str] = [name or f"column_{number}" for number, name in enumerate(records.header)]
        if not records.named and len(header) == len(terms.schema.names):
            header = terms.schema.names  # without names, the inputs alone, in their order
        for name, values in zip(records.names, records.rows, strict=True):
            yield TableRow(name, dict(zip(header, values, strict=True)))
        for entry in records.entries:
            yield TableRow(entry.file, wrong=entry.reason)


def _headed(place: str, terms: Terms) -> bool | None:
    """Whether a file's first line names columns: one row of numbers may look as if it did."""
    if not terms.named or Path(place).suffix.lower() in (".json", ".jsonl", ".ndjson", ".parquet"):
        return terms.named
    seen = glance(place)
    plain = seen is not None and not seen.named and len(seen.header) == len(terms.schema.names)
    return None if plain else True


def _written(text: str) -> TableRow:
    name = text if len(text) <= 200 else f"{text[:200]} ..."
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        return TableRow(name, wrong=f"not a JSON object: {error}")
    return TableRow(name, values)


def encode_rows(raws: Sequence[Any], terms: Terms) -> tuple[Any, dict[int, DataError]]:
    """The values float32 (rows that can be used, inputs), and by their places what is wrong with the others."""
    errors: dict[int, DataError] = {}
    rows: list[list[str]] = []
    places: list[int] = []
    for place, raw in enumerate(raws):
        row = (
            raw
            if isinstance(raw, TableRow)
            else TableRow(f"row {place + 1}", raw)
            if isinstance(raw, Mapping)
            else None
        )
        if row is None:
            errors[place] = DataError(f"{str(raw)[:80]!r}: expected a row, as a mapping of column names to values.")
        elif why := row.wrong or _misfit(row.values, terms):
            errors[place] = DataError(f"{printable(row.name)}: {why}")
        else:
            rows.append([_word(row.values[name]) for name in terms.schema.names])
            places.append(place)
    values, faults = encode(terms.schema, rows)
    for fault in faults:
        why = f"{fault.why}; leave it empty where it is not known"
        errors.setdefault(places[fault.row], DataError(f"{printable(str(raws[places[fault.row]]))[:80]}: {why}"))
    return values[[place not in errors for place in places]], errors


def _misfit(values: Mapping[str, Any], terms: Terms) -> str:
    """Why a row's columns are not those of the model, or ""."""
    wanted = dict.fromkeys(terms.schema.names)
    missing = [name for name in wanted if name not in values]
    if missing:
        there = ", ".join(printable(str(name))[:40] for name in list(values)[:20])
        words = f"columns {', '.join(map(repr, missing[:20]))} are" if len(missing) > 1 else f"column {missing[0]!r} is"
        return f"the {words} missing (null says that a value is not known); there are: {there}"
    strangers = [str(name) for name in values if name not in wanted and name not in terms.others]
    if strangers:
        there = ", ".join(printable(name)[:40] for name in terms.schema.names[:20])
        return f"the model knows no column {strangers[0]!r}; it knows: {there}"
    return ""


def _word(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def described(terms: Terms, values: Any) -> list[list[tuple[str, str]]]:
    """Encoded rows (rows, inputs) back in words: (column, value) of each input."""
    names, levels = terms.schema.inputs()
    told = []
    for row in values.tolist():
        words = []
        for name, known, value in zip(names, levels, row, strict=True):
            if known:
                words.append((name, known[int(value) - 1] if 0 < value <= len(known) else "(unknown)"))
            else:
                words.append((name, "(missing)" if value != value else f"{value:.6g}"))
        told.append(words)
    return told


def shown(terms: Terms, values: Any, answers: Sequence[Mapping[str, Any]]) -> list[Piece]:
    """Encoded rows (rows, inputs), each as a table with its answer first."""
    told = [
        answer["label"] + f" ({100 * answer['probability']:.0f} %)" if terms.classes else f"{answer['value']:.6g}"
        for answer in answers
    ]
    return [
        Table(("column", "value"), [(f"{terms.target} (answer)", answer), *words])
        for words, answer in zip(described(terms, values), told, strict=True)
    ]
