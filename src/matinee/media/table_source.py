"""A source as a table to learn from: which column is the target, what it is, and the other columns as numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final

import numpy as np

from matinee.core.errors import DataError
from matinee.core.examples import Array
from matinee.core.ledger import Entry
from matinee.media.decimal_commas import pointed
from matinee.media.records import GROUP_COLUMNS, SPLIT_COLUMNS, Records, read_records
from matinee.media.table_columns import (
    DATE,
    NUMBER,
    Schema,
    encode,
    is_missing,
    kind_of,
    learn,
    number,
    perhaps_identifiers,
    turnable,
)
from matinee.media.table_samples import SAMPLES, sample
from matinee.media.table_targets import Wanted, targets
from matinee.media.walking import printable

TARGETS: Final = (
    *("target", "label", "class", "y", "outcome", "output", "diagnosis", "price", "saleprice", "churn", "churned"),
    *("survived", "species", "quality", "num", "mpg", "medv", "income", "default", "result"),
)
"""Usual names of the column to predict; where none of them is there, the last column is."""
SHOWN: Final = 20
"""Columns that are named where there are many."""


@dataclass(frozen=True)
class TableRequest:
    """What the user wants of a table. ignore, categories: names of columns. objective: "auto", "class" or "number"."""

    target: str = ""
    group: str = ""
    ignore: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    objective: str = "auto"
    event: str = ""


@dataclass(frozen=True)
class Terms:
    """What a table was learned with, and new ones are read by.

    target: its column. classes: their names, none where it is a number. others: columns that are no inputs. named:
    whether the columns had names. repeats: equal rows are in its nature, and mean nothing.
    """

    target: str
    classes: tuple[str, ...]
    schema: Schema
    others: tuple[str, ...] = ()
    named: bool = True
    repeats: bool = False


@dataclass(frozen=True)
class Table:
    """Rows that can be used. values float32 (n, inputs); targets (n,): class numbers or numbers; groups (n,), -1: none.

    splits (n,): 0 train, 1 valid, 2 test, -1 not said. alike (n,): equal for equal rows. manifest: of every row read.
    """

    terms: Terms
    values: Array
    targets: Array
    groups: Array
    splits: Array
    alike: Array
    names: list[str]
    manifest: dict[str, str]
    entries: tuple[Entry, ...]
    facts: Mapping[str, str] = field(default_factory=dict)


def read_source(source: str, header: bool | None = None) -> tuple[Records, tuple[str, ...]]:
    """The records of a file, a folder or a well-known name, and the columns that had decimal commas (now points)."""
    if source in SAMPLES and not Path(source).exists():
        return sample(source), ()
    return pointed(read_records(source, header=header))


def contents(records: Records, repeats: bool) -> dict[str, str]:
    """Row -> SHA-256 of what it says. Where equal rows mean nothing, the second of them is told from the first."""
    manifest = records.manifest()
    if not repeats:
        return manifest
    seen: Counter[str] = Counter()
    for name, digest in manifest.items():
        seen[digest] += 1
        manifest[name] = sha256(f"{digest}#{seen[digest]}".encode()).hexdigest() if seen[digest] > 1 else digest
    return manifest


def changed_since(source: str, manifest: Mapping[str, str], known: Terms) -> dict[str, list[str]]:
    """The rows that are "changed", "missing" or "new" since the manifest was written."""
    now = contents(read_source(source, known.named)[0], known.repeats)
    return {
        "changed": sorted(name for name in manifest if name in now and now[name] != manifest[name]),
        "missing": sorted(manifest.keys() - now.keys()),
        "new": sorted(now.keys() - manifest.keys()),
    }


def read_examples(source: str, request: TableRequest, known: Terms | None = None) -> Table:
    """The examples of a source; `known` are the terms of a model whose examples they are to be.

    Raises DataError where there is no such column, no row with a target or nothing to learn from.
    """
    records, commas = read_source(source, None if known is None else known.named)
    header = _header(records, source)
    entries = list(records.entries)
    facts: dict[str, str] = {}
    if commas:
        facts["decimal commas"] = f"3,5 is read as 3.5 in {_named(commas)}"
    target, groups, others = _roles(records, header, request, known, facts)
    wanted = Wanted(target, header[target], request.objective, request.event, None if known is None else known.classes)
    kept, told, classes = targets(records, wanted, entries, facts)
    if not len(kept):
        raise DataError(f"{printable(source)}: no row has a target in the column {header[target]!r} that can be used.")
    rows = [records.rows[row] for row in kept]
    schema = known.schema if known is not None else _learned(header, rows, others, request, source, entries, facts)
    places = _places(header, schema, source)
    values, faults = encode(schema, [[row[place] for place in places] for row in rows])
    names = [records.names[row] for row in kept]
    entries += [Entry(names[fault.row], "ignored", f"{fault.why}: taken as missing") for fault in faults]
    empty = np.array([all(is_missing(row[place]) for place in places) for row in rows], bool)
    entries += [Entry(names[row], "empty", "every column but the target is empty") for row in np.flatnonzero(empty)]
    good = np.flatnonzero(~empty)
    alike, repeats = _alike(values, good)
    repeats = repeats if known is None else known.repeats
    if repeats:
        facts["equal rows"] = "as many as so few different values must give: they count as different examples"
    used = set(schema.names)
    others = tuple(name for name in header if name not in used)
    terms = known or Terms(header[target], classes, schema, others, records.named, repeats)
    number_of = (
        {word: place for place, word in enumerate(dict.fromkeys(row[groups] for row in rows))} if groups >= 0 else {}
    )
    group = np.array([number_of[row[groups]] for row in rows], np.int64) if groups >= 0 else np.full(len(rows), -1)
    return Table(
        terms, values[good], told[good], group[good], np.array(records.splits, np.int64)[kept][good],
        np.arange(len(good)) if repeats else alike, [names[row] for row in good], contents(records, repeats),
        tuple(entries), facts,
    )  # fmt: skip


def _header(records: Records, source: str) -> list[str]:
    header = [name or f"column_{place}" for place, name in enumerate(records.header)]
    if not records.named:
        _told_apart(records, source)
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice:
        raise DataError(f"{printable(source)}: several columns are called {printable(twice[0])!r}. Rename one of them.")
    return header


def _told_apart(records: Records, source: str) -> None:
    """Raises DataError where a first row was read as values that must have been names: words above numbers."""
    below = [[row[place] for row in records.rows[1:200]] for place in range(len(records.header))]
    numeric = [place for place, words in enumerate(below) if words and kind_of(words) == NUMBER]
    first = records.rows[0]
    if numeric and all(number(first[place]) is None for place in numeric):
        twice = [name for name, count in Counter(first).items() if count > 1]
        why = f"several are called {printable(twice[0])[:60]!r}" if twice else "not all of them are names"
        raise DataError(
            f"{printable(source)}: the first line seems to name the columns, but {why}. Give each a name of its own."
        )


def named_columns(header: Sequence[str], said: Sequence[str], flag: str) -> tuple[str, ...]:
    """The columns that the user named, as the header writes them. Raises DataError that says which there are."""
    lower = {name.lower(): name for name in header}
    for name in said:
        if name.lower() not in lower:
            there = ", ".join(printable(one)[:40] for one in header[:20])
            raise DataError(f"{flag}: there is no column {name!r}; there are: {there}.")
    return tuple(name if name in header else lower[name.lower()] for name in said)


def _roles(
    records: Records, header: Sequence[str], request: TableRequest, known: Terms | None, facts: dict[str, str]
) -> tuple[int, int, tuple[str, ...]]:
    """Places of the target and of the group column (-1: none), and the columns that are no inputs."""
    ignored = named_columns(header, request.ignore, "--ignore")
    lower = [name.lower() for name in header]
    split = {
        name
        for name, word in zip(header, lower, strict=True)
        if word in SPLIT_COLUMNS and any(s >= 0 for s in records.splits)
    }
    groups = records.column(request.group, GROUP_COLUMNS, flag="group_column", what="group", needed=False)
    said = known.target if known is not None else request.target
    usual = (
        [word for word in TARGETS if word in lower and header[lower.index(word)] not in ignored]
        if records.named
        else []
    )
    target = records.column(said, usual, flag="target", what="target", needed=False)
    if target < 0:
        free = [p for p, name in enumerate(header) if p != groups and name not in split and name not in ignored]
        if not free:
            raise DataError("every column is ignored: nothing is left to predict.")
        target = free[-1]
    if header[target] in ignored:
        raise DataError(f"--ignore {header[target]}: this is the column to predict.")
    facts["target"] = f"the column {printable(header[target])}" + ("" if said else " (guessed; --target names another)")
    if groups >= 0:
        facts["kept together"] = f"rows with the same {printable(header[groups])}"
    return (
        target,
        groups,
        tuple(dict.fromkeys([header[target], *([header[groups]] if groups >= 0 else []), *sorted(split), *ignored])),
    )


def _learned(
    header: Sequence[str], rows: Sequence[Sequence[str]], others: tuple[str, ...], request: TableRequest, source: str,
    entries: list[Entry], facts: dict[str, str],
) -> Schema:  # fmt: skip
    categories = named_columns(header, request.categories, "--categories")
    found = learn(header, rows, unused=others, categories=categories)
    entries += [Entry(f"column {printable(name)}", "ignored", why) for name, why in found.left_out.items()]
    if not found.schema.names:
        why = "; ".join(f"{name}: {words}" for name, words in list(found.left_out.items())[:5])
        raise DataError(f"{printable(source)}: no column is left to learn from{f' ({why})' if why else ''}.")
    counts = Counter(kind.split("-")[0] for kind in found.schema.kinds)
    plural = {"number": "numbers", "category": "categories", "date": "dates"}
    facts["columns"] = ", ".join(f"{count} of {plural[kind]}" for kind, count in counts.items())
    if found.left_out:
        facts["left out"] = _named(tuple(found.left_out))
    if unsure := perhaps_identifiers(found.schema, header, rows):
        facts["perhaps identifiers"] = (
            f"{_named(unsure)}: every row has a whole number of its own. If they say nothing: "
            f"--ignore {','.join(unsure[:5])}"
        )
    dates = [name for name, kind in zip(found.schema.names, found.schema.kinds, strict=True) if kind == DATE]
    places = {name: place for place, name in enumerate(header)}
    if turned := [name for name in dates if turnable([row[places[name]] for row in rows])]:
        facts["dates"] = f"3/4/2024 is read as the fourth of March in {_named(turned)}: no value says otherwise"
    return found.schema


def _named(names: Sequence[str]) -> str:
    """Some of the columns, where there are many."""
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(printable(name)[:40] for name in names[:SHOWN]) + more


def _places(header: Sequence[str], schema: Schema, source: str) -> list[int]:
    places = {name: place for place, name in enumerate(header)}
    missing = [name for name in schema.names if name not in places]
    if missing:
        there = ", ".join(printable(name)[:40] for name in header[:20])
        raise DataError(f"{printable(source)}: the column {missing[0]!r} is missing; there are: {there}.")
    return [places[name] for name in schema.names]


def _alike(values: Array, good: Array) -> tuple[Array, bool]:
    """A number for each of the good rows, equal for equal ones; and whether that is in the nature of the table.

    It is where the columns have so few different values that rows must be equal.
    """
    whole = np.ascontiguousarray(np.nan_to_num(values[good], nan=3.4e38))
    if not whole.shape[1]:
        return np.arange(len(good)), True
    alike = np.unique(whole.view(np.dtype((np.void, whole.shape[1] * 4))).ravel(), return_inverse=True)[1].ravel()
    combinations = sum(math.log(max(1, len(np.unique(column)))) for column in whole.T)
    return alike.astype(np.int64), combinations < math.log(10 * max(1, len(good)))
