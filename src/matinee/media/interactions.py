"""Who chose what: tables of interactions in MovieLens, CSV, RecBole, Amazon, Last.fm and FilmTrust forms.

    found = read_interactions("ml-100k/")
    found.person, found.item      # int64 (events,), numbers of `people` and `items`

A row that cannot be used is in the ledger; titles, attributes and social links are taken from the files beside it.
"""

from __future__ import annotations

import datetime
import math
import re
from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from matinee.core.errors import DataError
from matinee.core.examples import Array
from matinee.core.ledger import Entry
from matinee.core.settings import flag as flag_of
from matinee.media import interaction_files as files
from matinee.media.records import JSON_ENDINGS, decoded, delimiter_of, read_json, read_table
from matinee.media.walking import printable

USER_COLUMNS: Final = (
    "user_id", "userid", "user", "reviewerid", "reviewer_id", "customer_id", "customerid", "account_id", "member_id",
    "person_id", "person", "uid",
)  # fmt: skip
ITEM_COLUMNS: Final = (
    "item_id", "itemid", "item", "movie_id", "movieid", "parent_asin", "asin", "product_id", "productid", "artist_id",
    "artistid", "book_id", "bookid", "isbn", "song_id", "track_id", "business_id", "game_id", "anime_id", "sku", "iid",
)  # fmt: skip
RATING_COLUMNS: Final = ("rating", "overall", "stars", "star_rating", "score", "value")
COUNT_COLUMNS: Final = ("weight", "plays", "playcount", "play_count", "count")
TIME_COLUMNS: Final = (
    "timestamp", "unixreviewtime", "unix_timestamp", "time", "datetime", "date", "sort_timestamp", "rated_at",
)  # fmt: skip
MOST: Final = 1e12
"""How large a rating or a count may be: squares of it are still numbers in single precision."""
TOLD_SINGLY: Final = 200
"""Refused rows of a kind that get a line of their own in the ledger; the others are counted in one."""


@dataclass(frozen=True)
class Columns:
    """Names that the user gave for the columns; empty: guessed."""

    user: str = ""
    item: str = ""
    rating: str = ""
    time: str = ""


@dataclass(frozen=True)
class Interactions:
    """Events in the order of the files.

    people, items: names. person, item: int64 (events,). rating, time: float64 (events,), NaN where not told. test: bool
    (events,), held back by the source itself. titles, attributes: of items, by their name. links: int64 (links, 2),
    pairs of people. rated: whether the values are ratings rather than counts.
    """

    file: str
    people: tuple[str, ...]
    items: tuple[str, ...]
    person: Array
    item: Array
    rating: Array
    time: Array
    test: Array
    rated: bool = False
    titles: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    links: Array = field(default_factory=lambda: np.empty((0, 2), np.int64))
    entries: tuple[Entry, ...] = ()

    def __len__(self) -> int:
        return len(self.person)


class Ledger:
    """Entries for rows: kinds are counted, and beyond a few hundred told in one line."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, file: str, line: int, reason: str) -> None:
        """One refused row."""
        self._counts[file, reason] += 1
        if self._counts[file, reason] <= TOLD_SINGLY:
            self.entries.append(Entry(f"{file}#{line}", "event", reason))

    def closed(self) -> list[Entry]:
        """All entries, with a line for those that were only counted."""
        more = [
            Entry(file, "event", f"{count - TOLD_SINGLY:,} more rows: {reason}")
            for (file, reason), count in self._counts.items()
            if count > TOLD_SINGLY
        ]
        return [*self.entries, *more]

    @property
    def count(self) -> int:
        """How many rows were refused."""
        return self._counts.total()


@dataclass
class _Rows:
    """Words of the rows of one file, as they stand, and where each column is (-1: nowhere)."""

    name: str
    rows: list[tuple[int, tuple[str, ...]]]
    places: tuple[int, int, int, int]
    rated: bool


@dataclass
class _Told:
    """What rows told so far: the number of each person and item, by name, and the events in the order of the files."""

    people: dict[str, int] = field(default_factory=dict)
    items: dict[str, int] = field(default_factory=dict)
    person: array[int] = field(default_factory=lambda: array("q"))
    item: array[int] = field(default_factory=lambda: array("q"))
    rating: array[float] = field(default_factory=lambda: array("d"))
    time: array[float] = field(default_factory=lambda: array("d"))


def read_interactions(source: str | Path, columns: Columns | None = None) -> Interactions:
    """The events of a file or folder. Raises DataError where there are none, or with the columns that there are."""
    place = files.find(Path(source))
    ledger, columns = Ledger(), columns or Columns()
    told, total, rated, held_from = _Told(), 0, False, 0
    for path in (place.events, place.valid, place.test):
        if path is not None:
            part = _rows(path, columns, ledger)
            total, rated = total + len(part.rows), rated or part.rated
            held_from = len(told.person)
            _events(part, told, ledger)
    if not told.person:
        first = f"; the first: {ledger.entries[0].reason}" if ledger.entries else ""
        raise DataError(f"{printable(str(source))}: no row names a user and an item{first}")
    if 2 * ledger.count > total:
        raise DataError(
            f"{printable(str(source))}: {ledger.count:,} of {total:,} rows cannot be used; the first: "
            f"{ledger.entries[0].file}: {ledger.entries[0].reason}"
        )
    person, item = np.array(told.person, np.int64), np.array(told.item, np.int64)
    rating, time = np.array(told.rating, np.float64), np.array(told.time, np.float64)
    held = (np.arange(len(person)) >= held_from) & (place.test is not None)
    keep = _last_of_pairs(person * len(told.items) + item, time, held, place.events.name, ledger)
    titles, attributes = files.read_items(place, ledger.entries)
    links = _links(place, told.people, ledger)
    return Interactions(
        place.events.name, tuple(told.people), tuple(told.items), person[keep], item[keep], rating[keep], time[keep],
        held[keep], rated and not np.isnan(rating).all(), titles, attributes, links, tuple(ledger.closed()),
    )  # fmt: skip


def _rows(path: Path, columns: Columns, ledger: Ledger) -> _Rows:
    """The rows of a file and the places of user, item, rating and time in them."""
    text = decoded(path, ledger.entries)
    name = path.name
    if files.is_baskets(text):
        return _Rows(name, _baskets(text), (0, 1, -1, -1), False)
    if path.suffix.lower() in JSON_ENDINGS:
        header, rows = read_json(str(path), text)
        named = True
    else:
        header, rows = read_table(str(path), text, delimiter_of(text))
        named = not (len(header) in (2, 3, 4) and _plain(header))
    if not named:
        rows = [(1, tuple(header)), *rows]
        return _Rows(name, rows, (0, 1, 2 if len(header) > 2 else -1, 3 if len(header) > 3 else -1), len(header) > 2)
    return _Rows(name, rows, *_places(path, [files.bare(word) for word in header], columns))


def _plain(header: Sequence[str]) -> bool:
    """Whether a first row is no header: none of its words is a usual name, and the third is a number."""
    usual = {*USER_COLUMNS, *ITEM_COLUMNS, *RATING_COLUMNS, *TIME_COLUMNS}
    if any(files.bare(word).lower() in usual for word in header):
        return False
    return all(files.is_number(word) for word in header[2:]) and (len(header) > 2 or files.is_number(header[0]))


def _places(path: Path, header: Sequence[str], columns: Columns) -> tuple[tuple[int, int, int, int], bool]:
    lower = [word.lower() for word in header]

    def place(said: str, usual: Sequence[str], what: str, needed: bool) -> int:
        if said and said.lower() in lower:
            return lower.index(said.lower())
        found = -1 if said else next((lower.index(word) for word in usual if word in lower), -1)
        if found < 0 and (said or needed):
            there = ", ".join(printable(word)[:40] for word in header[:20])
            wanted = f"no column {said!r}" if said else f"no column that looks like the {what}"
            flag = flag_of(f"{what}_column")
            raise DataError(f"{printable(str(path))}: there is {wanted}; there are: {there}. {flag} names one.")
        return found

    user, item = place(columns.user, USER_COLUMNS, "user", True), place(columns.item, ITEM_COLUMNS, "item", True)
    rating = place(columns.rating, RATING_COLUMNS, "rating", False)
    counts = -1 if rating >= 0 else place("", COUNT_COLUMNS, "rating", False)
    return (user, item, max(rating, counts), place(columns.time, TIME_COLUMNS, "time", False)), rating >= 0


def _baskets(text: str) -> list[tuple[int, tuple[str, ...]]]:
    """Lines of a user and all items of theirs, one pair a row."""
    rows: list[tuple[int, tuple[str, ...]]] = []
    for number, line in enumerate(text.split("\n"), 1):
        words = line.split()
        rows += [(number, (words[0], word)) for word in words[1:]]
    return rows


def _events(part: _Rows, told: _Told, ledger: Ledger) -> None:
    """Numbered events of the rows that can be used; the others go to the ledger."""
    user, item, rating, time = part.places
    needed = max(part.places) + 1
    number_of_time = _times(part)
    people, items = told.people, told.items
    for line, values in part.rows:
        if len(values) < needed:
            ledger.add(part.name, line, f"{len(values)} values where {needed} are needed")
            continue
        who, what = values[user].strip(), values[item].strip()
        if not who or not what:
            ledger.add(part.name, line, "no user" if not who else "no item")
            continue
        value = _number(values[rating], MOST) if rating >= 0 else math.nan
        when = number_of_time(values[time]) if time >= 0 else math.nan
        if value is None:
            ledger.add(part.name, line, f"the rating is no number, or beyond {MOST:g}")
        elif when is None:
            ledger.add(part.name, line, "the time is neither a number nor a date")
        else:
            told.person.append(people.setdefault(who, len(people)))
            told.item.append(items.setdefault(what, len(items)))
            told.rating.append(value)
            told.time.append(when)


def _number(word: str, most: float = math.inf) -> float | None:
    if not word.strip():
        return math.nan
    try:
        value = float(word)
    except ValueError:
        return None
    return value if math.isfinite(value) and abs(value) <= most else None


def _times(part: _Rows) -> Callable[[str], float | None]:
    """How times are written in these rows: seconds, or dates."""
    dates = any(re.search(r"\d-\d|\d/\d", values[part.places[3]]) for _, values in part.rows[:20]
                if len(values) > part.places[3] >= 0)  # fmt: skip
    return _date if dates else _number


def _date(word: str) -> float | None:
    try:
        when = datetime.datetime.fromisoformat(word.strip().replace("/", "-").replace("Z", "+00:00"))
    except ValueError:
        return _number(word)
    return (when if when.tzinfo else when.replace(tzinfo=datetime.UTC)).timestamp()


def _last_of_pairs(pairs: Array, time: Array, held: Array, file: str, ledger: Ledger) -> Array:
    """Positions of the events, each pair of a person and an item once: the latest in time, else the last in the files.

    What the source itself holds back stays held back, whatever was before.
    """
    when = np.nan_to_num(time.astype(np.float64), nan=-np.inf)
    order = np.lexsort((np.arange(len(pairs)), when, held))[::-1]
    _, first = np.unique(pairs[order], return_index=True)
    keep: Array = np.sort(order[first])
    if (again := len(pairs) - len(keep)) > 0:
        reason = f"{again:,} rows name a user and an item that another row names too; the latest one counts"
        ledger.entries.append(Entry(file, "event", reason))
    return keep


def _links(place: files.Place, people: Mapping[str, int], ledger: Ledger) -> Array:
    """Pairs of people who know or trust each other; a link to nobody known is in the ledger."""
    links = []
    for line, one, other in files.read_links(place, people, ledger.entries):
        if one in people and other in people:
            links.append((people[one], people[other]))
        else:
            stranger = one if one not in people else other
            reason = "a link to a user who chose nothing" if stranger else "a link without a user"
            ledger.add(str(place.links and place.links.name), line, reason)
    return np.array(links, np.int64).reshape(-1, 2)
