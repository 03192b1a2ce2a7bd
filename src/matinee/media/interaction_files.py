"""Which files of a folder hold events, titles, attributes and links, and how the last three are read."""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from matinee.core.errors import DataError
from matinee.core.ledger import Entry
from matinee.media.named import RATINGS, known, place_of
from matinee.media.records import GLANCE, JSON_ENDINGS, decoded, delimiter_of, read_json, read_table
from matinee.media.walking import printable

EVENTS: Final = (
    "u.data", "ratings.dat", "ratings.csv", "ratings.tsv", "ratings.txt", "interactions.csv", "interactions.tsv",
    "user_artists.dat", "user_movies.txt", "reviews.jsonl", "reviews.json", "train.csv", "train.tsv", "trainset.txt",
)  # fmt: skip
ITEMS: Final = ("u.item", "movies.dat", "movies.csv", "artists.dat", "items.csv", "items.tsv", "items.jsonl")
LINKS: Final = ("user_friends.dat", "friends.csv", "trust.txt", "trusts.txt", "social.txt", "trust.csv", "friends.tsv")
ENDINGS: Final = (".csv", ".tsv", ".inter", *JSON_ENDINGS, ".data", ".dat", ".txt", ".base", ".test")
ID_COLUMNS: Final = ("id", "item_id", "itemid", "movieid", "movie_id", "artistid", "asin", "parent_asin", "item")
TITLE_COLUMNS: Final = ("title", "name", "movie_title", "item_title", "product_title")
ATTRIBUTE_COLUMNS: Final = ("genres", "genre", "class", "categories", "category", "main_category", "tags", "brand")
PARTS: Final = {"test": (("train", "test"), (".base", ".test")),
                "valid": (("train", "valid"), ("train", "validation"), ("train", "val"), ("train", "dev"))}  # fmt: skip
"""What stands for the word of the training file in the names of the others of a division that the source made."""


@dataclass(frozen=True)
class Place:
    """The files of a source; None where there is none of the kind."""

    events: Path
    valid: Path | None = None
    test: Path | None = None
    items: Path | None = None
    links: Path | None = None


def find(source: Path) -> Place:
    """The files of a source. Raises DataError where no file looks like events."""
    events = source = Path(place_of(str(source), RATINGS))
    if source.is_dir():
        found = _events_in(source)
        if found is None:
            raise DataError(f"{printable(str(source))}: no file here holds users and items; name the file itself.")
        events = found
    elif not source.is_file():
        raise DataError(f"{printable(str(source))}: no such file or folder.")
    folder, stem = events.parent, events.stem.removesuffix(".train")
    items = [folder / name for name in ITEMS] + [folder / f"{stem}.item"]
    links = [folder / name for name in LINKS] + [folder / f"{stem}.net"]
    return Place(
        events,
        _beside(events, "valid"),
        _beside(events, "test"),
        next((path for path in items if path.is_file() and path != events), None),
        next((path for path in links if path.is_file()), None),
    )


def _beside(events: Path, part: str) -> Path | None:
    """The file of another part, where the name of this one says that it is the training."""
    words = [(train, other) for train, other in PARTS[part] if train in events.name]
    others = (events.with_name(events.name.replace(train, other)) for train, other in words)
    return next((path for path in others if path.is_file()), None)


def recognised(source: str) -> str | None:
    """Why a source looks like events, in a few words, or None: quick."""
    try:
        if known(source, RATINGS):
            return f"the data set {source}"
        return fits(find(Path(source)).events) or None if Path(source).exists() else None
    except (DataError, OSError):
        return None


def _events_in(folder: Path) -> Path | None:
    """The file of events in a folder, or in its only folder."""
    try:
        there = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"{printable(str(folder))} cannot be read: {error}") from error
    named = {path.name: path for path in there if path.is_file()}
    usual = [named[name] for name in EVENTS if name in named and fits(named[name])]
    others = [path for path in named.values() if path.suffix == ".inter"]
    others += [path for path in named.values() if path.name not in (*ITEMS, *LINKS) and fits(path)]
    if usual or others:  # of a division that the source made, the training is where the others are found from
        return [*usual, *sorted(others, key=lambda path: "train" not in path.name)][0]
    folders = [path for path in there if path.is_dir()]
    return _events_in(folders[0]) if len(folders) == 1 and not any(fits(p) for p in named.values()) else None


def fits(path: Path) -> str:
    """Why a file looks like events, in a few words, or nothing: quick."""
    from matinee.media.interactions import ITEM_COLUMNS, USER_COLUMNS

    if path.suffix.lower() not in ENDINGS:
        return ""
    try:
        with path.open("rb") as file:
            text = file.read(GLANCE).decode("utf-8", "replace").removeprefix("\ufeff")
        text = text.rpartition("\n")[0] or text
        if is_baskets(text):
            return "lines of a user and the items of theirs"
        if path.suffix.lower() in JSON_ENDINGS:
            if not text.startswith("{"):
                return ""
            header = list(json.loads(text.split("\n", 1)[0]))
        else:
            header, rows = read_table(str(path), text, delimiter_of(text))
            if len(header) in (3, 4) and _numbers(header, rows) and path.name != "trust.txt":
                stamped = len(header) == 4 and all(values[3].isdigit() and len(values[3]) >= 9 for _, values in rows)
                known = path.name in EVENTS or path.suffix in (".base", ".test")
                return "a table of users, items and ratings" if stamped or known else ""
    except (OSError, ValueError, DataError, RecursionError):
        return ""
    lower = [bare(word).lower() for word in header]
    user = next((word for word in USER_COLUMNS if word in lower), "")
    item = next((word for word in ITEM_COLUMNS if word in lower), "")
    return f"a table with the columns {user} and {item}" if user and item else ""


def _numbers(header: Sequence[str], rows: Sequence[tuple[int, Sequence[str]]]) -> bool:
    whole = [tuple(header), *(values for _, values in rows)]
    return all(len(values) == len(header) and all(is_number(value) for value in values) for values in whole)


def is_baskets(text: str) -> bool:
    """Whether lines are whole numbers between blanks, differing in how many: a user and the items of theirs."""
    lines = text[:GLANCE].split("\n")[:50]
    lines = [line for line in (lines if len(text) < GLANCE else lines[:-1]) if line.strip()]
    counts = {len(line.split()) for line in lines}
    return len(counts) > 1 and max(counts) > 4 and all(re.fullmatch(r"\d+( \d+)+ *\r?", line) for line in lines)


def is_number(word: str) -> bool:
    """Whether a word reads as a number."""
    try:
        float(word)
    except ValueError:
        return False
    return True


def bare(word: str) -> str:
    """A column's name without the type that RecBole puts behind it: `user_id:token`."""
    return word.strip().partition(":")[0]


def read_items(place: Place, entries: list[Entry]) -> tuple[Mapping[str, str], Mapping[str, tuple[str, ...]]]:
    """Titles and attributes of items, by the item's name; MovieLens' older files are in Latin-1."""
    if place.items is None:
        return {}, {}
    text = decoded(place.items, entries, "latin-1")
    if place.items.name == "u.item":
        return _movielens_100k(place.items, text)
    if place.items.suffix.lower() in JSON_ENDINGS:
        header, rows = read_json(str(place.items), text)
    else:
        header, rows = read_table(str(place.items), text, delimiter_of(text))
    lower = [bare(word).lower() for word in header]
    columns = [next((lower.index(w) for w in usual if w in lower), -1)
               for usual in (ID_COLUMNS, TITLE_COLUMNS, ATTRIBUTE_COLUMNS)]  # fmt: skip
    if columns[0] < 0:  # no header: number, title, attributes
        rows = [(1, tuple(header)), *rows]
        columns = [0, 1 if len(header) > 1 else -1, 2 if len(header) > 2 else -1]
    name, title, attribute = columns
    titles, attributes = {}, {}
    for line, values in rows:
        if len(values) <= max(columns) or not values[name].strip():
            entries.append(Entry(f"{place.items.name}#{line}", "event", "no item, or too few values"))
            continue
        if title >= 0 and values[title].strip():
            titles[values[name].strip()] = values[title].strip()
        if attribute >= 0:
            attributes[values[name].strip()] = _words(values[attribute], lower[attribute] == "class")
    return titles, attributes


def _words(value: str, blanks: bool) -> tuple[str, ...]:
    """Drama|War, ["Drama", "War"] or, in RecBole's files, Drama War."""
    if value.startswith("["):
        try:
            value = "|".join(str(word) for word in json.loads(value.replace("'", '"')))
        except (ValueError, TypeError, RecursionError):
            value = value.strip("[]")
    words = value.split() if blanks else re.split(r"[|;]", value)
    return tuple(word.strip() for word in words if word.strip() and word.strip() != "(no genres listed)")


def _movielens_100k(path: Path, text: str) -> tuple[Mapping[str, str], Mapping[str, tuple[str, ...]]]:
    genres: list[str] = []
    if (beside := path.with_name("u.genre")).is_file():
        genres = [line.split("|")[0] for line in decoded(beside, [], "latin-1").split("\n") if "|" in line]
    titles, attributes = {}, {}
    for line in text.split("\n"):
        values = line.rstrip("\r").split("|")
        if len(values) < 5:
            continue
        titles[values[0]] = values[1]
        flags = zip(genres, values[5:], strict=False)
        attributes[values[0]] = tuple(genre for genre, flag in flags if flag == "1" and genre != "unknown")
    return titles, attributes


def read_links(place: Place, people: Container[str], entries: list[Entry]) -> Iterator[tuple[int, str, str]]:
    """Line, and the two people of each link. A first row of numbers, or of people, is no header."""
    if place.links is None:
        return
    text = decoded(place.links, entries)
    header, rows = read_table(str(place.links), text, delimiter_of(text))
    if all(is_number(word) for word in header) or all(word in people for word in header[:2]):
        rows = [(1, tuple(header)), *rows]
    for line, values in rows:
        yield line, values[0].strip(), values[1].strip() if len(values) > 1 else ""
