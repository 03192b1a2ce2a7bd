"""A source of labelled sounds as a list of files with label, split and group.

sounds/dog/1.wav, sounds/rain/2.ogg       class folders, also under train, val and test, or a zip of them
meta/clips.csv beside audio/1.wav         a table of file names and labels; the files are looked for below
clips.csv: file,start,end,label           a table of stretches of them, in seconds
recordings/7_anna_3.wav                   names that say it: `label_pattern` finds the label in them
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from matinee.core.errors import DataError, SettingsError
from matinee.core.ledger import Entry
from matinee.core.settings import flag
from matinee.core.splits import joined
from matinee.media.picture_listing import (
    TEST,
    Listing,
    arrange,
    digest,
    entries_of,
    name_classes,
    name_groups,
    sift,
    steps_over,
)
from matinee.media.records import WIDE, read_records
from matinee.media.sound_rows import FILE_COLUMNS, LABELS, SoundListing, label_by_tables, split_of_table
from matinee.media.sounds import EXTENSIONS
from matinee.media.walking import is_folder, natural, printable, walk

TABLES: Final = (".csv", ".tsv", ".jsonl", ".json", ".ndjson", ".parquet")
SPOKEN: Final = (".txt", ".lab", ".scp", ".trn", ".textgrid")
"""Beside sounds, these hold what is said in them: then they are something else than examples of classes."""
GLANCE: Final = 2_000  # entries of a folder that a first look reads
GLANCE_FOLDERS: Final = 24
DEEPEST: Final = 2  # folders above a table that speaks for a source
MOST_TABLES: Final = 16
EXPECTED: Final = (
    "expected class folders with sounds in them, like {root}/dog/1.wav and {root}/rain/2.ogg, or the same under "
    "{root}/train, {root}/val and {root}/test, or a CSV with a file and a label column"
)


@dataclass(frozen=True)
class Wanted:
    """What of a source is asked for.

    groups: regular expression, the part of a name that must stay on one side of a split. label_pattern: that is the
    label. test_pattern: names that it fits are the test. file_column, label_column: of a table; "" guesses.
    """

    groups: str = ""
    label_pattern: str = ""
    test_pattern: str = ""
    file_column: str = ""
    label_column: str = ""


def fits(source: str | Path) -> str | None:
    """In a few words why this looks like labelled sounds, or None; looks at a few entries only."""
    path = Path(source)
    try:
        if path.is_dir():
            return _glance(path)
        if path.suffix.lower() == ".zip":
            return "a zip of sounds" if _zip_has_sounds(path) else None
        if path.suffix.lower() in TABLES and path.is_file() and _speaks_of_sounds(path):
            return "a table of sound files and labels"
    except (OSError, ValueError, DataError):
        return None
    return None


def listed(source: str | Path, wanted: Wanted) -> SoundListing:
    """The sounds of a source. Raises DataError where there are none, SettingsError for a pattern that is none."""
    path = os.path.realpath(source)
    if not os.path.exists(path):  # noqa: PTH110
        raise DataError(f"{printable(os.fspath(source))}: there is no such file or folder.")
    if path.lower().endswith(".zip"):
        found = _of_zip(path, wanted)
    elif os.path.isdir(path):  # noqa: PTH112
        found = _of_folder(path, "", wanted)
    elif path.lower().endswith(TABLES):
        root = os.path.dirname(path)  # noqa: PTH120
        if not sift(walk(root).names, [], EXTENSIONS):
            root = os.path.dirname(root)  # noqa: PTH120 - meta/clips.csv beside audio/
        found = _of_folder(root, path, wanted)
    else:
        raise DataError(f"{printable(path)} is no source of labelled sounds: {EXPECTED.format(root='sounds')}")
    listing = found.of
    if wanted.test_pattern:
        pattern = _pattern("test_pattern", wanted.test_pattern)
        listing.splits = [
            TEST if pattern.search(name) else said for name, said in zip(listing.names, listing.splits, strict=True)
        ]
        if TEST not in listing.splits:
            raise DataError(f"--test-pattern {wanted.test_pattern}: none of {len(listing.names):,} file names fits it.")
    if wanted.groups:
        name_groups(listing, wanted.groups)
    if listing.names != found.files:
        # Stretches of one recording are more alike than recordings are: they are not divided.
        files = np.unique(found.files, return_inverse=True)[1].ravel()
        listing.groups = joined([files, np.array(listing.groups)]).tolist()
    return found


def _of_zip(path: str, wanted: Wanted) -> SoundListing:
    listing = Listing(path, archive=True, what="sound")
    places = entries_of(listing)
    sounds = sift(sorted(places), listing.entries, EXTENSIONS, "sound")
    _label(listing, sounds, wanted, steps_over(sounds))
    listing.places = [places[name] for name in listing.names]
    return SoundListing(listing).filled()


def _of_folder(root: str, table: str, wanted: Wanted) -> SoundListing:
    found = walk(root)
    listing = Listing(root, entries=list(found.entries), what="sound")
    others: list[Entry] = []
    sounds = sift(found.names, others, EXTENSIONS, "sound")
    told = (f"{entry.file}\0{entry.kind}" for entry in found.entries)
    listing.stamp = digest((*found.facts, *told))
    tables = [table] if table else []
    if not table and not wanted.label_pattern:
        tables = _tables_of(root, found.names, sounds, wanted)
    listing.entries += [entry for entry in others if os.path.join(root, entry.file) not in tables]  # noqa: PTH118
    if tables:
        return label_by_tables(listing, sounds, tables, (wanted.file_column, wanted.label_column))
    _label(listing, sounds, wanted, 0)
    return SoundListing(listing).filled()


def _label(listing: Listing, sounds: Sequence[str], wanted: Wanted, steps: int) -> None:
    """Labels by folder, or by a part of the name."""
    if not wanted.label_pattern:
        folders = {name.rpartition("/")[0] for name in sounds}
        if len(folders) == 1 and len(sounds) > 1:
            raise DataError(f"{printable(listing.root)}: {_one_folder(sounds)}")
        arrange(listing, sounds, steps, EXPECTED)
        return
    pattern, labels = _pattern("label_pattern", wanted.label_pattern), []
    for name in sounds:
        match = pattern.search(name.rpartition("/")[2]) or pattern.search(name)
        label = match and match.group(1 if pattern.groups else 0)
        if label:
            listing.names.append(name)
            listing.splits.append(-1)
            labels.append(label)
        else:
            listing.entries.append(Entry(printable(name), "no-label", "--label-pattern finds no label in its name"))
    if not labels:
        first = f", such as {printable(sounds[0])}" if sounds else ""
        raise DataError(
            f"--label-pattern {wanted.label_pattern}: there is no label in any of {len(sounds):,} names{first}."
        )
    name_classes(listing, labels)


def _one_folder(sounds: Sequence[str]) -> str:
    """What to say of sounds that lie all in one folder, whose names may tell their labels."""
    words = {re.split(r"[_\-. ]", name.rpartition("/")[2])[0] for name in sounds}
    told = f"its {len(sounds):,} sounds lie in one folder, so no folder says what they are. "
    if 2 <= len(words) <= len(sounds) // 2:
        some = ", ".join(map(printable, sorted(words, key=natural)[:5]))
        return (
            f"{told}Their names may: --label-pattern '^([^_. -]+)' would take what they begin with "
            f"({len(words):,} classes: {some}{', ...' if len(words) > 5 else ''})."
        )
    return f"{told}Put each class into a folder, write a CSV with a file and a label column, or give --label-pattern."


def _pattern(field: str, expression: str) -> re.Pattern[str]:
    try:
        return re.compile(expression)
    except (re.error, OverflowError, RecursionError) as error:
        raise SettingsError(f"{flag(field)} {expression!r} is not a regular expression: {error}") from error


# -- tables


def _tables_of(root: str, names: Sequence[str], sounds: Sequence[str], wanted: Wanted) -> list[str]:
    """The tables that speak for a folder: near the top, their first rows name sounds of it.

    Of several those whose names or folders say train, valid or test; else the one with most rows.
    """
    known = {name.rpartition("/")[2] for name in sounds}
    found: list[tuple[str, int]] = []
    for name in sorted(names, key=lambda name: (name.count("/"), name)):
        if name.count("/") > DEEPEST or not name.lower().endswith(TABLES) or len(found) == MOST_TABLES:
            continue
        path = os.path.join(root, name)  # noqa: PTH118
        try:
            records = read_records(path)
            column = records.column(wanted.file_column, FILE_COLUMNS, flag="file_column", what="file name")
            records.column(wanted.label_column, LABELS, flag="label_column", what="label")
        except DataError:
            continue
        first = [values[column].replace("\\", "/").rpartition("/")[2] for values in records.rows[:100]]
        if sum(word in known or any(f"{word}{end}" in known for end in EXTENSIONS) for word in first) * 2 > len(first):
            found.append((name, len(records.rows)))
    divided = [name for name, _ in found if split_of_table(name) >= 0]
    chosen = divided or [name for name, rows in found if rows == max(count for _, count in found)][:1]
    return [os.path.join(root, name) for name in chosen]  # noqa: PTH118


# -- a first look


def _glance(root: Path) -> str | None:
    todo, spoken, tables, shelves, loose = [(root, 0)], False, [], 0, False
    for _ in range(GLANCE_FOLDERS):
        if not todo:
            break
        folder, depth = todo.pop()
        sounds = False
        with os.scandir(folder) as entries:
            for number, entry in enumerate(entries):
                if number >= GLANCE:
                    break
                ending = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122
                if entry.name.startswith("."):
                    continue
                if is_folder(entry):
                    todo.append((Path(entry.path), depth + 1))
                elif ending in EXTENSIONS:
                    sounds = True
                elif ending in TABLES:
                    tables.append(Path(entry.path))
                elif ending in SPOKEN and (depth > 0 or ending == ".scp"):
                    spoken = True
        shelves += sounds and depth > 0
        loose = loose or (sounds and depth == 0)
    if not shelves and not loose:
        return None
    if any(_speaks_of_sounds(table) for table in tables[:8]):
        return "a table of sound files and labels"
    if spoken or (tables and shelves < 2):
        return None
    return "class folders of sounds" if shelves > 1 and not loose else "a folder of sounds"


def _speaks_of_sounds(path: Path) -> bool:
    """Whether a table has a column of sound files and one of labels; reads only the beginning of it."""
    if path.suffix.lower() == ".parquet":
        return False
    with path.open("rb") as file:
        raw = file.read(65_536)
    text = raw.decode("utf-16" if raw[:2] in WIDE else "utf-8", "ignore").lower()
    words = set(re.split(r"[^a-z_]+", text.partition("\n")[0]))
    return (
        bool(words & {name.lower() for name in FILE_COLUMNS})
        and bool(words & {name.lower() for name in LABELS})
        and any(f"{ending}{end}" in text for ending in EXTENSIONS for end in (",", "\t", ";", '"', "\n", "\r"))
    )


def _zip_has_sounds(path: Path) -> bool:
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()[: 10 * GLANCE]
    except (zipfile.BadZipFile, NotImplementedError):
        return False  # whoever reads any zip says what is wrong with it
    return any(os.path.splitext(name)[1].lower() in EXTENSIONS for name in names)  # noqa: PTH122
