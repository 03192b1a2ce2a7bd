"""Columns of a table as numbers: which are numbers, categories or dates, what is missing, and what is left out.

schema, left_out = learn(header, rows, categories=("zip",))
values, faults = encode(schema, rows)              # float32 (rows, inputs), NaN where a number is missing
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import numpy as np

from matinee.core.examples import Array
from matinee.media.walking import printable

MISSING: Final = frozenset({"", "?", "na", "n/a", "#n/a", "nan", "null", "<na>"})
"""Words that stand for nothing anywhere; in a column of numbers, those of ABSENT do as well."""
LONGEST: Final = 8
"""Letters of the longest of them, with some blanks around it."""
ABSENT: Final = MISSING | {"none", "nil", "-", "--", ".", "missing", "unknown", "inf", "-inf", "+inf", "infinity"}
MOSTLY: Final = 0.9
"""Share of the values that must be numbers (or dates) where a column is one of numbers (or dates)."""
MOST_LEVELS: Final = 250
"""Categories of one column that are told apart; the others count as unknown."""
NUMBER, CATEGORY, DATE, DAY_FIRST = "number", "category", "date", "date-day-first"
DATE_PARTS: Final = ("days", "season sine", "season cosine", "weekday sine", "weekday cosine", "hour")
LARGEST: Final = 1e30
"""Beyond this a number is taken for a fault: sums of squares would not fit."""

_GROUPED: Final = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?")
_PARTS: Final = re.compile(r"(\d{1,4})[/.-](\d{1,2})[/.-](\d{1,4})(?:[ T](\d{1,2}:\d{2}(?::\d{2})?))?(?:\.\d+)?Z?")
_IDENTIFIER: Final = re.compile(r"(.*[_ ])?(id|ids|index|uuid|guid|rowid|nr|no)|unnamed: \d+|column_0|", re.IGNORECASE)
_EPOCH: Final = datetime(1970, 1, 1)


@dataclass(frozen=True)
class Schema:
    """The columns that are used. levels: the categories of each, empty where it is none; the place + 1 is the code."""

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    levels: tuple[tuple[str, ...], ...]

    def owners(self) -> list[str]:
        """The column of each input."""
        counts = [len(DATE_PARTS) if kind in (DATE, DAY_FIRST) else 1 for kind in self.kinds]
        return [name for name, count in zip(self.names, counts, strict=True) for _ in range(count)]

    def inputs(self) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
        """The name of each input and its categories (empty: a number); a date is several numbers."""
        names: list[str] = []
        levels: list[tuple[str, ...]] = []
        for name, kind, words in zip(self.names, self.kinds, self.levels, strict=True):
            parts = [f"{name}: {part}" for part in DATE_PARTS] if kind in (DATE, DAY_FIRST) else [name]
            names += parts
            levels += [words] * len(parts)
        return tuple(names), tuple(levels)


@dataclass(frozen=True)
class Fault:
    """A value that is not what its column holds. row: place among the rows; why: in words."""

    row: int
    why: str


@dataclass(frozen=True)
class Learned:
    """What `learn` found. left_out: column -> why it says nothing."""

    schema: Schema
    left_out: Mapping[str, str] = field(default_factory=dict)


def number(word: str) -> float | None:
    """What a word means as a number: NaN where it stands for a missing one, None where it is no number."""
    lower = word.strip().lower()
    if lower in ABSENT:
        return math.nan
    if "_" in lower:  # Python would read 1_000
        return None
    try:
        value = float(lower)
    except ValueError:
        plain = lower.lstrip("$€£").rstrip("$€£%").strip()
        if _GROUPED.fullmatch(plain):
            plain = plain.replace(",", "")
        elif plain == lower:
            return None
        try:
            value = float(plain)
        except ValueError:
            return None
    return value if abs(value) <= LARGEST else None


def plain_numbers(words: Sequence[str]) -> Array | None:
    """Words as numbers (words,) where each of them is a plain one or missing (NaN), and one at least is a number.

    Else None. This is many times faster than one by one.
    """
    try:
        values = np.array([float(word or "nan") for word in words], np.float64)
    except ValueError:
        return None
    given = values[~np.isnan(values)]
    plain = len(given) and np.abs(given).max() <= LARGEST
    return values if plain and not any("_" in word for word in words) else None


def moment(word: str, day_first: bool) -> datetime | None:
    """The date and time a word says: 2024-05-31, 2024/5/31 17:05, 31.5.2024, and 5/31/2024 or, day first, 31/5/2024."""
    found = _PARTS.fullmatch(word.strip())
    try:
        if found is None:
            return datetime.fromisoformat(word.strip()).replace(tzinfo=None) if "-" in word else None
        first, middle, last, clock = found.groups()
        if len(first) == 4:
            year, month, day = int(first), int(middle), int(last)
        elif len(last) == 4:
            day, month = (int(first), int(middle)) if day_first or "." in word[:6] else (int(middle), int(first))
            year = int(last)
        else:
            return None
        at = datetime(year, month, day)
        if clock:
            hours, minutes, seconds = (*map(int, clock.split(":")), 0)[:3]
            at += timedelta(hours=hours, minutes=minutes, seconds=seconds)
    except (ValueError, OverflowError):
        return None
    return at


def turnable(words: Sequence[str]) -> bool:
    """Whether dates with slashes are read month first although all of them can be read day first as well."""
    said = {word for word in words if not is_missing(word)}
    turned = [(moment(word, False), moment(word, True)) for word in said]
    return all(other for _, other in turned) and any(one != other for one, other in turned)


def plain(word: str) -> str:
    """A category by one name: 1, 1.0 and 1. are the same."""
    value = number(word)
    return f"{int(value)}" if value is not None and value.is_integer() else word.strip()


def is_missing(word: str) -> bool:
    """Whether a word stands for nothing, in whatever column."""
    return len(word) <= LONGEST and word.strip().lower() in MISSING


def kind_of(words: Sequence[str]) -> str:
    """What the values of a column are, missing ones left aside: numbers, dates, or else categories."""
    if plain_numbers(words) is not None:
        return NUMBER
    said = [word for word in words if not is_missing(word)]
    given = {word: count for word, count in Counter(said).items() if word.strip().lower() not in ABSENT}
    numbers = sum(count for word, count in given.items() if number(word) is not None)
    if given and numbers >= MOSTLY * sum(given.values()):
        return NUMBER
    some = said[:1000]
    for day_first in (False, True):
        dates = sum(moment(word, day_first) is not None for word in some)
        if (some and dates == len(some)) or (day_first and dates >= MOSTLY * len(some) > 0):
            return DAY_FIRST if day_first and dates > sum(moment(w, False) is not None for w in some) else DATE
    return CATEGORY


def learn(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    unused: Sequence[str] = (),
    categories: Sequence[str] = (),
) -> Learned:
    """Which columns there are to learn from.

    Args:
        unused: columns that are no inputs (the target, the groups, what the user wants ignored).
        categories: columns whose numbers are codes.

    A column that never says anything, or always the same, is left out; so is one of words of which most occur once (a
    name, a text), and one of whole numbers that counts the rows or is called an identifier.
    """
    names: list[str] = []
    kinds: list[str] = []
    levels: list[tuple[str, ...]] = []
    left_out: dict[str, str] = {}
    for place, name in enumerate(header):
        if name in unused:
            continue
        words = [row[place] for row in rows]
        said = [word for word in words if not is_missing(word)]
        kind = CATEGORY if name in categories else kind_of(words)
        why = _nothing(name, said, kind, name in categories)
        if why:
            left_out[name] = why
            continue
        names.append(name)
        kinds.append(kind)
        levels.append(_levels(said) if kind == CATEGORY else ())
    return Learned(Schema(tuple(names), tuple(kinds), tuple(levels)), left_out)


def _nothing(name: str, said: Sequence[str], kind: str, asked: bool) -> str:
    """Why a column is of no use, or ""."""
    counts = Counter(said)
    if not counts:
        return "every value is missing"
    if len(counts) == 1:
        return "constant: every value is the same" if len(said) else ""
    if kind == CATEGORY and not asked and len(said) > 20:
        once = sum(count == 1 for count in counts.values())
        if once > 0.5 * len(said):
            return f"{len(counts):,} different words in {len(said):,} rows: a name or a text, no category"
        if all(count < 2 for count in counts.values()):
            return "no category occurs twice"
    if kind == NUMBER and (whole := _of_its_own(said, counts)):
        named = _IDENTIFIER.fullmatch(name) is not None or name.endswith(("Id", "ID"))
        return "every row has a whole number of its own: an identifier" if named or _in_a_row(whole) else ""
    return ""


def _of_its_own(said: Sequence[str], counts: Mapping[str, int]) -> list[int]:
    """The whole numbers of a column, in order, where each row has another one; else none."""
    if not len(counts) == len(said) > 20 or not all((number(word) or 0.0).is_integer() for word in said[:20]):
        return []
    values = [number(word) for word in said]
    whole = sorted(int(value) for value in values if value is not None and value.is_integer())
    return whole if len(set(whole)) == len(said) else []


def _in_a_row(whole: Sequence[int]) -> bool:
    return whole[-1] - whole[0] == len(whole) - 1


def perhaps_identifiers(schema: Schema, header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns of numbers that may say nothing: each row has a whole number of its own, far from one another."""
    found, places = [], {name: place for place, name in enumerate(header)}
    for name, kind in zip(schema.names, schema.kinds, strict=True):
        if kind == NUMBER:
            said = [word for row in rows if not is_missing(word := row[places[name]])]
            whole = _of_its_own(said, Counter(said))
            if whole and whole[-1] - whole[0] > 100 * len(whole):
                found.append(name)
    return found


def _levels(said: Sequence[str]) -> tuple[str, ...]:
    """The categories, the most frequent ones where there are many, in alphabetical order."""
    counts: Counter[str] = Counter()
    for word, count in Counter(said).items():
        counts[plain(word)] += count
    often = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return tuple(sorted(word for word, _ in often[:MOST_LEVELS]))


def encode(schema: Schema, rows: Sequence[Sequence[str]]) -> tuple[Array, list[Fault]]:
    """Rows of words, one for each column of the schema, as float32 (rows, inputs); and what did not fit.

    A word where a number or date should be counts as missing and is among the faults. Categories never seen are 0.
    """
    columns: list[Array] = []
    faults: list[Fault] = []
    for place, (name, kind, levels) in enumerate(zip(schema.names, schema.kinds, schema.levels, strict=True)):
        words = [row[place] for row in rows]
        if kind == CATEGORY:
            codes = {word.casefold(): code for code, word in enumerate(levels, 1)}
            codes |= {word: code for code, word in enumerate(levels, 1)}
            places = {word: codes.get(said := plain(word), codes.get(said.casefold(), 0)) for word in set(words)}
            columns.append(np.array([places[word] for word in words], np.float32).reshape(-1, 1))
            continue
        if kind == NUMBER and (plainly := plain_numbers(words)) is not None:
            columns.append(plainly.astype(np.float32).reshape(-1, 1))
            continue
        told = {word: _numbers(word) if kind == NUMBER else _dated(word, kind == DAY_FIRST) for word in set(words)}
        width = 1 if kind == NUMBER else len(DATE_PARTS)
        if None in told.values():
            what = f"is no {'number' if kind == NUMBER else 'date'}"
            faults += [
                Fault(row, f"column {printable(name)[:60]}: {printable(word)[:60]!r} {what}")
                for row, word in enumerate(words)
                if told[word] is None
            ]
        blank = (math.nan,) * width
        known = {word: values or blank for word, values in told.items()}
        columns.append(np.array([known[word] for word in words], np.float32).reshape(-1, width))
    whole = np.concatenate(columns, 1) if columns else np.empty((len(rows), 0), np.float32)
    return np.ascontiguousarray(whole, np.float32), faults


def _numbers(word: str) -> tuple[float, ...] | None:
    value = number(word)
    return None if value is None else (value,)


def _dated(word: str, day_first: bool) -> tuple[float, ...] | None:
    """Days since 1970, where in the year and in the week as points on circles, and the hour."""
    if word.strip().lower() in ABSENT:
        return (math.nan,) * len(DATE_PARTS)
    at = moment(word, day_first)
    if at is None:
        return None
    season = 2 * math.pi * (at.timetuple().tm_yday - 1) / 365.25
    week = 2 * math.pi * at.weekday() / 7
    hour = at.hour + at.minute / 60
    days = (at - _EPOCH) / timedelta(days=1)
    return days, math.sin(season), math.cos(season), math.sin(week), math.cos(week), hour
