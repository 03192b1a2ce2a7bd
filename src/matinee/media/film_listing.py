"""A source of labelled films as a list: class folders, tables with stretches, folders of frames.

films/fight/1.mp4                       class folders, also under train, val and test, or a zip of them
clips.csv: file,label,start,end         a table of films, or of stretches of them in seconds
films/fight/1/frame_0001.jpg            a folder of frames for each film, in class folders
films/fight/S01_001_0001.png            frames side by side, where `sequences` says which belong together
frames.csv: file,label,sequence         the same as a table
"""

from __future__ import annotations

import math
import os
import re
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np

from matinee.core.errors import DataError, SettingsError
from matinee.core.ledger import Entry
from matinee.core.splits import joined
from matinee.media.films import ANIMATIONS, ENDINGS, EXTENSIONS, STILLS
from matinee.media.finding import Found
from matinee.media.picture_listing import (
    SPLIT_WORDS,
    Listing,
    arrange,
    digest,
    entries_of,
    name_classes,
    name_groups,
    sift,
    steps_over,
)
from matinee.media.picture_manifest import FILE_COLUMNS, LABEL_COLUMNS, Inside
from matinee.media.pictures import EXTENSIONS as PICTURES
from matinee.media.records import GROUP_COLUMNS, WIDE, glance, read_records
from matinee.media.stretches import ENDS, STARTS, seconds_of, stretch_name
from matinee.media.walking import is_folder, natural, printable, walk

TABLES: Final = (".csv", ".tsv", ".jsonl", ".json", ".ndjson", ".parquet")
FILES: Final = (*FILE_COLUMNS, "video", "video_path", "video_id", "film", "clip_path", "frame")
LABELS: Final = (*LABEL_COLUMNS, "action", "event", "emotion", "activity")
SEQUENCES: Final = ("sequence", "sequence_id", "clip", "clip_id")
GLANCE: Final = 2_000  # entries of a folder that a first look reads
GLANCE_FOLDERS: Final = 24
FEW_FOLDERS: Final = 8  # beside a table, in which its first film is looked for
EXPECTED: Final = (
    "expected class folders with films in them, like {root}/walk/1.mp4 and {root}/run/2.avi, or with a folder of "
    "frames for each film, or the same under {root}/train, {root}/val and {root}/test, or a CSV with a file and a "
    "label column"
)
_FRAME: Final = re.compile(r"frame[ _-]?\d+", re.IGNORECASE)


@dataclass(frozen=True)
class Wanted:
    """What of a source is asked for.

    groups: regular expression, the part of a name that must stay on one side of a split. sequences: the same for the
    part that the pictures of one film have in common. file_column, label_column: of a table; "" guesses.
    """

    groups: str = ""
    sequences: str = ""
    file_column: str = ""
    label_column: str = ""


@dataclass
class FilmListing:
    """Films, one a row. of: names, labels, splits and groups of the rows; its `places` are those of all files in a zip.

    files: of each row, relative to `of.root`, one film or the frames in order. starts, ends: in seconds, 0 and inf for
    a whole film. frames: whether rows are lists of pictures.
    """

    of: Listing
    files: list[tuple[str, ...]] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    frames: bool = False


def fits(source: str | Path) -> str | None:
    """In a few words why this looks like labelled films, or None; looks at a few entries only."""
    path = os.fspath(source)
    try:
        if os.path.isdir(path):  # noqa: PTH112
            return _glance(path)
        if path.lower().endswith(".zip") and os.path.isfile(path):  # noqa: PTH113
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()[: 10 * GLANCE]
            return "a zip of films" if any(name.lower().endswith(ENDINGS) for name in names) else None
        if path.lower().endswith(TABLES) and os.path.isfile(path):  # noqa: PTH113
            return "a table of films and labels" if speaks_of_films(path) else None
    except (OSError, ValueError, DataError, zipfile.BadZipFile, NotImplementedError):
        return None
    return None


def lacks(source: str | Path) -> str | None:
    """In one line what films without classes need, or None where there are none; looks at a few entries only."""
    path = os.fspath(source)
    if path.lower().endswith(ENDINGS) and os.path.isfile(path):  # noqa: PTH113
        return "this is one film. To learn from films, name a folder with a folder of them for each class."
    try:
        with os.scandir(path) as entries:
            loose = sum(entry.name.lower().endswith(ENDINGS) for entry in islice(entries, GLANCE))
    except OSError:
        return None
    if not loose:
        return None
    name = printable(os.path.basename(os.path.normpath(path)))  # noqa: PTH119
    count = "1 film" if loose == 1 else f"{loose:,} films{' and more' if loose == GLANCE else ''}"
    return (
        f"{count} but no class folders. Put those of each class into a folder of its own ({name}/walk/1.mp4, "
        f"{name}/run/2.mp4), or name their classes in a CSV file with the columns file and label."
    )


def speaks_of_films(path: str) -> bool:
    """Whether a file that begins like this names films."""
    with open(path, "rb") as file:
        raw = file.read(65_536)
    text = raw.decode("utf-16" if raw[:2] in WIDE else "utf-8", "ignore").lower()
    return any(re.search(re.escape(ending) + r"\b", text) for ending in ENDINGS)


def listed(source: str | Path, wanted: Wanted) -> FilmListing:
    """The films of a source. Raises DataError where there are none, SettingsError for a pattern that is none."""
    path = os.path.realpath(source)
    if not os.path.exists(path):  # noqa: PTH110
        raise DataError(f"{printable(os.fspath(source))}: there is no such file or folder.")
    if os.path.isdir(path):  # noqa: PTH112
        table = _table_of(path)
        found = _of_table(table, wanted) if table else _of_folder(path, wanted)
    elif path.lower().endswith(".zip"):
        found = _of_zip(path, wanted)
    elif path.lower().endswith(TABLES):
        found = _of_table(path, wanted)
    else:
        raise DataError(f"{printable(path)} is no source of labelled films: {EXPECTED.format(root='films')}")
    if wanted.groups:
        own = found.of.groups  # what the table says belongs together: stretches of one film, say
        name_groups(found.of, wanted.groups)
        if own:
            found.of.groups = joined([np.array(own), np.array(found.of.groups)]).tolist()
    return found


def _of_folder(root: str, wanted: Wanted) -> FilmListing:
    found = walk(root)
    listing = Listing(root, entries=list(found.entries), what="film")
    listing.stamp = digest((*found.facts, *(f"{entry.file}\0{entry.kind}" for entry in found.entries)))
    return _arranged(listing, found.names, 0, wanted)


def _of_zip(path: str, wanted: Wanted) -> FilmListing:
    listing = Listing(path, archive=True, what="film")
    places = entries_of(listing)
    names = sorted(places)
    films = [name for name in names if name.lower().endswith(tuple(EXTENSIONS | PICTURES))]
    found = _arranged(listing, names, steps_over(films), wanted)
    listing.places = [places[name] for files in found.files for name in files]
    return found


def _arranged(listing: Listing, names: Sequence[str], steps: int, wanted: Wanted) -> FilmListing:
    """Films in class folders; where there is none, or `sequences` is given, the pictures as frames."""
    frames = bool(wanted.sequences)
    if not frames:
        others: list[Entry] = []
        alone = not any(name.lower().endswith(ENDINGS) for name in names)  # a film's poster is no film
        films = sift(names, others, EXTENSIONS | ANIMATIONS if alone else EXTENSIONS, "film")
        frames = alone and any(
            name.count("/") >= 2 + steps and os.path.splitext(name)[1].lower() in STILLS  # noqa: PTH122
            for name in names
        )
        if not frames:
            listing.entries += others
            arrange(listing, films, steps, EXPECTED)
            count = len(listing.names)
            return FilmListing(listing, [(name,) for name in listing.names], [0.0] * count, [math.inf] * count)
    pictures = sift(names, listing.entries, PICTURES, "picture")
    key = _pattern("sequences", wanted.sequences) if wanted.sequences else _folder_of
    rows: dict[str, list[str]] = {}
    for name in pictures:
        found = key(name)
        if found:
            rows.setdefault(found, []).append(name)
        else:
            listing.entries.append(Entry(printable(name), "no-label", "its name does not say of which film it is"))
    arrange(listing, list(rows), steps, EXPECTED)
    return _framed(listing, rows)


def _framed(listing: Listing, rows: dict[str, list[str]]) -> FilmListing:
    files = [tuple(sorted(rows[name], key=natural)) for name in listing.names]
    return FilmListing(listing, files, [0.0] * len(files), [math.inf] * len(files), frames=True)


def _folder_of(name: str) -> str:
    return name.rpartition("/")[0]


def _pattern(flag: str, expression: str) -> Callable[[str], str]:
    """What of the name of a picture, without its folder, the expression finds, behind its folder."""
    try:
        pattern = re.compile(expression)
    except (re.error, OverflowError, RecursionError) as error:
        raise SettingsError(f"--{flag} {expression!r} is not a regular expression: {error}") from error

    def key(name: str) -> str:
        folder, _, last = name.rpartition("/")
        match = pattern.search(last)
        found = match and match.group(1 if pattern.groups else 0)
        return f"{folder}/{found}" if found else ""

    return key


def _of_table(path: str, wanted: Wanted) -> FilmListing:
    """The rows of a table: films, stretches of them, or frames of sequences."""
    records = read_records(path)
    columns = {
        "file": records.column(wanted.file_column, FILES, flag="file_column", what="file name"),
        "label": records.column(wanted.label_column, LABELS, flag="label_column", what="label"),
    }
    for name, usual in (("start", STARTS), ("end", ENDS), ("sequence", SEQUENCES), ("group", GROUP_COLUMNS)):
        columns[name] = records.column("", usual, flag="file_column", what=name, needed=False)
    root = os.path.dirname(os.path.abspath(path))  # noqa: PTH100, PTH120
    table = _Table(Listing(root, entries=list(records.entries), what="film"), Inside(root), columns)
    for values, name, split in zip(records.rows, records.names, records.splits, strict=True):
        table.take(values, name.rpartition("#")[2], split)
    return table.finished(path, [*records.header, *("\0".join(values) for values in records.rows)])


class _Table:
    """The rows of a table as they come."""

    def __init__(self, listing: Listing, inside: Inside, columns: dict[str, int]) -> None:
        self._listing, self._inside, self._columns = listing, inside, columns
        self._labels: list[str] = []
        self._groups: dict[str, int] = {}
        self._facts: list[str] = []
        self._rows: dict[str, int] = {}
        self._files: Found | None = None
        self._films = FilmListing(listing, frames=columns["sequence"] >= 0)

    def take(self, values: tuple[str, ...], line: str, split: int) -> None:
        """A row of the table; what is wrong with it goes to the ledger."""
        said = {name: values[place].strip() if place >= 0 else "" for name, place in self._columns.items()}
        name, kind, reason = self._inside.check(said["file"])
        if kind == "missing" and (other := self._found(said["file"])):  # named alone, or from another folder
            name, kind, reason = self._inside.check(other)
        start, end = (seconds_of(said[which], other) for which, other in (("start", 0.0), ("end", math.inf)))
        if not kind and not said["label"]:
            kind, reason = "no-label", "the label is empty"
        if not kind and (start is None or end is None or not 0 <= start < end):
            kind, reason = "unreadable", f"from {said['start'] or '0'} to {said['end'] or 'the end'} is no stretch"
        if kind or start is None or end is None:
            self._listing.entries.append(Entry(printable(said["file"]) or "a row", kind, f"line {line}: {reason}"))
            return
        self._facts.append(reason)
        row = said["sequence"] or stretch_name(name, start, end)
        if row in self._rows:
            self._again(self._rows[row], row, name, said, line)
            return
        self._rows[row] = len(self._rows)
        self._listing.names.append(row)
        self._labels.append(said["label"])
        self._listing.splits.append(split)
        group = said["group"]
        self._listing.groups.append(self._groups.setdefault(group, len(self._groups)) if group else -1)
        self._films.files.append((name,))
        self._films.starts.append(start)
        self._films.ends.append(end)

    def _found(self, said: str) -> str:
        """The one file below the folder that is called so, with or without its ending and folders; "" for none."""
        if self._files is None:
            self._files = Found(walk(self._listing.root).names, EXTENSIONS | ANIMATIONS | PICTURES, "film")
        return self._files(said)[0]

    def _again(self, place: int, row: str, name: str, said: dict[str, str], line: str) -> None:
        if not self._films.frames:
            reason = f"line {line} names a stretch that a line before it names"
            if self._labels[place] != said["label"]:
                reason += f", which says {self._labels[place]!r} and not {said['label']!r}"
            self._listing.entries.append(Entry(printable(row), "duplicate-row", reason))
        elif self._labels[place] != said["label"]:
            reason = f"line {line}: {said['label']!r}, and a line before it says {self._labels[place]!r} of the film"
            self._listing.entries.append(Entry(printable(name), "duplicate-row", reason))
        else:
            self._films.files[place] += (name,)

    def finished(self, path: str, said: Sequence[str]) -> FilmListing:
        """All rows. Raises DataError where none can be used."""
        listing = self._listing
        if not self._labels:
            first = f"; the first: {listing.entries[0].file}: {listing.entries[0].reason}" if listing.entries else ""
            raise DataError(f"{printable(path)} has no row with a film that can be used{first}")
        told = (f"{entry.file}\0{entry.kind}" for entry in listing.entries)
        listing.stamp = digest((*said, "files", *self._facts, *told))
        name_classes(listing, self._labels)
        if not self._films.frames:  # stretches of one film are as like as its frames: they are not divided
            films = np.unique([files[0] for files in self._films.files], return_inverse=True)[1].ravel()
            listing.groups = joined([films, np.array(listing.groups)]).tolist()
        return self._films


def _table_of(root: str) -> str:
    """The table that speaks for a folder: the only one beside loose films, or one called metadata; else ""."""
    tables, loose, folders = [], False, set()
    with os.scandir(root) as entries:
        for entry in entries:
            lower = entry.name.lower()
            if is_folder(entry):
                folders.add(entry.name)
            elif lower.endswith(TABLES):
                tables.append(entry.path)
            else:
                loose = loose or lower.endswith(ENDINGS)
    tables = [path for path in tables if speaks_of_films(path) or _names_films(path, sorted(folders))]
    named = [path for path in tables if Path(path).stem.lower() == "metadata"]
    chosen = named if len(named) == 1 else tables
    speaks = named or loose or (len(folders) <= 1 and not SPLIT_WORDS.keys() & set(map(str.lower, folders)))
    return chosen[0] if len(chosen) == 1 and speaks else ""


def _names_films(path: str, folders: Sequence[str]) -> bool:
    """Whether a table calls films by their names alone: the first is one beside it, or in one of the folders there."""
    records = glance(path)
    try:
        place = records.column("", FILES, flag="file_column", what="file name") if records else -1
        if not records or records.column("", LABELS, flag="label_column", what="label") < 0:
            return False
    except DataError:
        return False
    first, root = records.rows[0][place] if records.rows else "", os.path.dirname(path)  # noqa: PTH120
    places = [os.path.join(root, folder, first) for folder in ("", *folders[:FEW_FOLDERS])]  # noqa: PTH118
    endings = (*ENDINGS, *map(str.upper, ENDINGS))
    return bool(first) and any(os.path.isfile(f"{name}{end}") for name in places for end in endings)  # noqa: PTH113


def _glance(root: str) -> str | None:
    if _table_of(root):
        return "a table of films and labels"
    todo = [(root, 0)]
    for _ in range(GLANCE_FOLDERS):
        if not todo:
            break
        folder, depth = todo.pop()
        folders: list[str] = []
        with os.scandir(folder) as entries:
            for number, entry in enumerate(entries):
                if number >= GLANCE or entry.name.startswith("."):
                    continue
                stem, ending = os.path.splitext(entry.name)  # noqa: PTH122
                if is_folder(entry):
                    folders.append(entry.path)
                elif depth >= 1 and ending.lower() in ENDINGS:
                    return "class folders of films"
                elif depth >= 2 and ending.lower() in PICTURES and _FRAME.fullmatch(stem):
                    return "class folders of folders of frames"
        todo += [(name, depth + 1) for name in sorted(folders, reverse=True)[-8:]]
    return None
