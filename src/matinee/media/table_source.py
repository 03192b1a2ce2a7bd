"""A source as a table to learn from: which column is the target, what it is, and the other columns as numbers."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final

import numpy as np

from matinee.core.errors import DataError
from matinee.core.examples import Array
from matinee.core.ledger import Entry
from matinee.media.records import GROUP_COLUMNS, SPLIT_COLUMNS, Records, read_records
from matinee.media.table_columns import MOSTLY, NUMBER, Schema, encode, is_missing, kind_of, learn, number, plain
from matinee.media.table_samples import SAMPLES, sample
from matinee.media.walking import printable

TARGETS: Final = (
    *("target", "label", "class", "y", "outcome", "output", "diagnosis", "price", "saleprice", "churn", "churned"),
    *("survived", "species", "quality", "num", "mpg", "medv", "income", "default", "result"),
)
"""Usual names of the column to predict; where none of them is there, the last column is."""
FEW: Final = 10
"""Up to so many different whole numbers, a target is taken for classes."""
MOST_CLASSES: Final = 1000

_RULE: Final = re.compile(r"(>=|<=|>|<)\s*(\S+)")


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


def read_source(source: str, header: bool | None = None) -> Records:
    """The records of a file, a folder or a well-known name."""
    return sample(source) if source in SAMPLES and not Path(source).exists() else read_records(source, header=header)


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
    now = contents(read_source(source, known.named), known.repeats)
    return {
        "changed": sorted(name for name in manifest if name in now and now[name] != manifest[name]),
        "missing": sorted(manifest.keys() - now.keys()),
        "new": sorted(now.keys() - manifest.keys()),
    }


def read_examples(source: str, request: TableRequest, known: Terms | None = None) -> Table:
    """The examples of a source; `known` are the terms of a model whose examples they are to be.

    Raises DataError where there is no such column, no row with a target or nothing to learn from.
    """
    records = read_source(source, None if known is None else known.named)
    header = _header(records, source)
    entries = list(records.entries)
    facts: dict[str, str] = {}
    target, groups, others = _roles(records, header, request, known, facts)
    kept, told, classes = _targets(records, target, header[target], request, known, entries, facts)
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
    others = tuple(name for name in header if name not in schema.names)
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
        facts["left out"] = ", ".join(printable(name) for name in found.left_out)
    return found.schema


def _places(header: Sequence[str], schema: Schema, source: str) -> list[int]:
    missing = [name for name in schema.names if name not in header]
    if missing:
        there = ", ".join(printable(name)[:40] for name in header[:20])
        raise DataError(f"{printable(source)}: the column {missing[0]!r} is missing; there are: {there}.")
    return [header.index(name) for name in schema.names]


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


# -- the target


def _targets(
    records: Records, place: int, name: str, request: TableRequest, known: Terms | None, entries: list[Entry],
    facts: dict[str, str],
) -> tuple[Array, Array, tuple[str, ...]]:  # fmt: skip
    """Rows with a target, what it is for each of them, and the classes."""
    words = [row[place] for row in records.rows]
    given = [row for row, word in enumerate(words) if not is_missing(word)]
    entries += [
        Entry(records.names[r], "no-label", f"the target {name} is missing")
        for r, w in enumerate(words)
        if is_missing(w)
    ]
    said = [words[row] for row in given]
    asked = request.objective
    if known is not None:
        asked = "class" if known.classes else "number"
    elif request.event:
        asked = "class"
    elif asked == "auto":
        asked = _objective(said)
        other = "number" if asked == "class" else "class"
        facts["objective"] = (
            f"{'classes' if asked == 'class' else 'a number'} (decided; --objective {other} would be the other)"
        )
    if asked == "number":
        return _as_numbers(records.names, given, said, name, entries, known is None)
    told = _with_event(said, request.event, name) if request.event else [plain(word) for word in said]
    classes = known.classes if known is not None else _classes(told, name, request.event)
    code = {word: number for number, word in enumerate(classes)}
    kept = [position for position, word in enumerate(told) if word in code]
    entries += [
        Entry(records.names[given[position]], "unknown-label", f"{printable(word)[:60]!r}: not a class of the model")
        for position, word in enumerate(told)
        if word not in code
    ]  # fmt: skip
    return np.array(given, np.int64)[kept], np.array([code[told[p]] for p in kept], np.int64), classes


def _objective(said: Sequence[str]) -> str:
    numbers = [value for word in said if (value := number(word)) is not None and not math.isnan(value)]
    if len(numbers) < MOSTLY * len(said):
        return "class"
    distinct = set(numbers)
    few = len(distinct) <= FEW and all(value.is_integer() for value in distinct)
    return "class" if len(distinct) <= 2 or (few and len(numbers) >= 5 * len(distinct)) else "number"


def _as_numbers(
    names: Sequence[str], given: Sequence[int], said: Sequence[str], name: str, entries: list[Entry], learning: bool
) -> tuple[Array, Array, tuple[str, ...]]:
    told = [number(word) for word in said]
    kept = [p for p, value in enumerate(told) if value is not None and not math.isnan(value)]
    entries += [
        Entry(names[given[p]], "not-a-number", f"the target {name}: {printable(said[p])[:60]!r} is no number")
        for p in sorted(set(range(len(told))) - set(kept))
    ]
    if 2 * len(kept) < len(told):
        raise DataError(
            f"--objective number: of {len(told):,} values of {name!r}, {len(told) - len(kept):,} are no numbers."
        )
    values = np.array([told[p] for p in kept], np.float64)
    if learning and len(values) and values.min() == values.max():
        raise DataError(f"the target {name!r} is {values[0]:g} in every row: there is nothing to learn.")
    return np.array(given, np.int64)[kept], values.astype(np.float32), ()


def _classes(told: Sequence[str], name: str, event: str) -> tuple[str, ...]:
    """The classes in order: of two, the event (the one named, else the rarer) comes last."""
    counts = Counter(told)
    if len(counts) > max(2, min(MOST_CLASSES, len(told) // 2)):
        raise DataError(
            f"the target {name!r} has {len(counts):,} different words in {len(told):,} rows: no classes to learn. "
            "--target names another column; --objective number takes it as a number."
        )
    values = {word: number(word) for word in counts}
    if all(value is not None for value in values.values()):
        classes = sorted(counts, key=lambda word: (values[word], word))
    else:
        classes = sorted(counts)
    if len(classes) == 2:
        last = event if event in classes else min(classes, key=lambda word: (counts[word], -classes.index(word)))
        classes.sort(key=lambda word: word == last)
    return tuple(classes)


def _with_event(said: Sequence[str], event: str, name: str) -> list[str]:
    """The classes where the user says what the event is: a word, words with commas between, or a rule such as >0."""
    rule = _RULE.fullmatch(event.strip())
    words = [plain(word) for word in said]
    if rule is not None:
        bound = number(rule[2])
        values = [number(word) for word in said]
        if bound is None or math.isnan(bound) or any(value is None for value in values):
            raise DataError(f"--event {event}: this compares numbers, and {name!r} has others than numbers.")
        compare: dict[str, Callable[[float], bool]] = {
            ">": lambda v: v > bound, "<": lambda v: v < bound, ">=": lambda v: v >= bound, "<=": lambda v: v <= bound,
        }  # fmt: skip
        hits = [compare[rule[1]](value) for value in values if value is not None]
    else:
        wanted = {plain(word.strip()) for word in event.split(",")}
        strangers = wanted - set(words)
        if strangers:
            there = ", ".join(sorted(set(words))[:20])
            raise DataError(f"--event {event}: {name!r} is never {min(strangers)!r}; there are: {there}.")
        hits = [word in wanted for word in words]
        if len(wanted) == 1 and len(set(words)) == 2:
            return words
    if all(hits) or not any(hits):
        raise DataError(f"--event {event}: this is so in {'every row' if all(hits) else 'no row'}.")
    return [event if hit else f"not {event}" for hit in hits]
