"""The column to predict: which rows have it, whether it is a class or a number, and which class is the event."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from matinee.core.errors import DataError
from matinee.core.examples import Array
from matinee.core.ledger import Entry
from matinee.media.records import Records
from matinee.media.table_columns import MOSTLY, is_missing, number, plain
from matinee.media.walking import printable

FEW: Final = 10
"""Up to so many different whole numbers, a target is taken for classes."""
MOST_CLASSES: Final = 1000

_RULE: Final = re.compile(r"(>=|<=|>|<)\s*(\S+)")


@dataclass(frozen=True)
class Wanted:
    """What is to be told. place, name: of the column. objective: "auto", "class" or "number". event: see the flag.

    known: the classes of a model that is there, none where it tells a number; None where one is to be learned.
    """

    place: int
    name: str
    objective: str = "auto"
    event: str = ""
    known: tuple[str, ...] | None = None


def targets(
    records: Records, wanted: Wanted, entries: list[Entry], facts: dict[str, str]
) -> tuple[Array, Array, tuple[str, ...]]:
    """Rows with a target (n,), what it is for each of them (n,), and the classes; fills the ledger and the facts.

    Raises DataError for a target of which nothing can be learned.
    """
    name, event, known = wanted.name, wanted.event, wanted.known
    words = [row[wanted.place] for row in records.rows]
    given = [row for row, word in enumerate(words) if not is_missing(word)]
    entries += [
        Entry(records.names[r], "no-label", f"the target {name} is missing")
        for r, w in enumerate(words)
        if is_missing(w)
    ]
    said = [words[row] for row in given]
    asked = wanted.objective
    if known is not None:
        asked = "class" if known else "number"
    elif event:
        asked = "class"
    elif asked == "auto":
        asked = _objective(said)
        other = "number" if asked == "class" else "class"
        facts["objective"] = (
            f"{'classes' if asked == 'class' else 'a number'} (decided; --objective {other} would be the other)"
        )
    if asked == "number":
        return _as_numbers(records.names, given, said, name, entries, known is None)
    told = _with_event(said, wanted) if event else [plain(word) for word in said]
    classes = known if known is not None else _classes(told, name, event)
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


def _with_event(said: Sequence[str], asked: Wanted) -> list[str]:
    """The classes where the user says what the event is: a word, words with commas between, or a rule such as >0.

    Rows for a model that is there (`known`) need not have each of its classes.
    """
    event, name, known = asked.event, asked.name, asked.known
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
        if strangers and known is None:
            there = ", ".join(sorted(set(words))[:20])
            raise DataError(f"--event {event}: {name!r} is never {min(strangers)!r}; there are: {there}.")
        hits = [word in wanted for word in words]
        if known[0] != f"not {event}" if known is not None else len(wanted) == 1 and len(set(words)) == 2:
            return words
    if known is None and (all(hits) or not any(hits)):
        raise DataError(f"--event {event}: this is so in {'every row' if all(hits) else 'no row'}.")
    return [event if hit else f"not {event}" for hit in hits]
