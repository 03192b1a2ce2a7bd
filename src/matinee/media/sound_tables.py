"""Which tables of a folder speak of its sounds, and in which of their columns."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Final

from matinee.core.errors import DataError
from matinee.media.finding import Found
from matinee.media.picture_listing import TRAIN
from matinee.media.picture_manifest import LABEL_COLUMNS
from matinee.media.records import Records, read_records, split_of
from matinee.media.walking import printable

TABLES: Final = (".csv", ".tsv", ".jsonl", ".json", ".ndjson", ".parquet")
FILE_COLUMNS: Final = (
    *("file", "filename", "file_name", "path", "audio", "audio_filepath", "audio_path", "filepath", "file_path"),
    *("wav", "sound", "clip", "fname", "slice_file_name"),
)
LABELS: Final = (
    *("category", "class_name", "class", "emotion", "genre", "event_label", *LABEL_COLUMNS, "classid"),
    *("primary_label", "species", "instrument", "command"),
)
DEEPEST: Final = 2  # folders above a table that speaks for a source
FIRST: Final = 100  # rows that tell which column names the sounds
FOLDERS: Final = 16  # called like a table, at most, that its sounds are looked for in


@dataclass(frozen=True)
class SoundRecords:
    """A table of sounds. path: of it. file, label: places of those columns. split: what its own name says, or -1.

    found: the sounds of the folder; beside: folders in which those of the table are looked for first.
    """

    path: str
    records: Records
    file: int
    label: int
    split: int
    found: Found
    beside: tuple[str, ...]

    def find(self, said: str) -> tuple[str, str]:
        """(name below the folder, "") or ("", why there is none)."""
        return self.found(said, *self.beside)


def read_table(path: str, root: str, found: Found, named: tuple[str, str]) -> SoundRecords:
    """A table with its columns of files and of labels; named: what the user calls them, "" guesses.

    Where no column is called as usual, the one is taken whose values are names of sounds. Raises DataError.
    """
    records, split, beside = (
        read_records(path),
        split_of_table(os.path.relpath(path, root)),
        _beside(path, root, found.names),
    )
    label = records.column(named[1], LABELS, flag="label_column", what="label")
    file = -1 if named[0] else _naming(records, found, beside, label)
    if file < 0:
        file = records.column(named[0], FILE_COLUMNS, flag="file_column", what="file name")
    return SoundRecords(path, records, file, label, split, found, beside)


def tables_of(names: Sequence[str], root: str, found: Found, named: tuple[str, str]) -> tuple[list[SoundRecords], str]:
    """The tables that speak for a folder of files `names`, and what one lacks that nearly does, else "".

    One near the top that names sounds: rather one called train, or in a folder called so, than another, else the one
    that names most. Beside one called train, those called valid and test. What a contest shows as an example of an
    answer is none.
    """
    ranked: list[tuple[tuple[bool, int, int, str], SoundRecords]] = []
    lacking = ""
    for name in sorted(names):
        if name.count("/") > DEEPEST or not name.lower().endswith(TABLES) or "submission" in name.lower():
            continue
        path = os.path.join(root, name)  # noqa: PTH118
        try:
            table = read_table(path, root, found, named)
        except DataError as error:
            if (not lacking or split_of_table(name) == TRAIN) and _may_name(path, root, found):
                lacking = f"{printable(name)}: {error}"
            continue
        files = [table.find(values[table.file])[0] for values in table.records.rows]
        if sum(map(bool, files[:FIRST])) * 2 <= len(files[:FIRST]):
            continue
        rank = (table.split != TRAIN, -len(set(files)), name.count("/"), name)
        ranked.append((rank, table))
    if not ranked:
        return [], lacking
    chosen = [table for _, table in sorted(ranked, key=lambda each: each[0])]
    best, parts = chosen[0], {chosen[0].split: chosen[0]}
    for table in chosen[1:]:
        if best.split == TRAIN and table.split >= 0 and _shelf(table.path, root) == _shelf(best.path, root):
            parts.setdefault(table.split, table)
    if len(parts) == 1:
        return [replace(best, split=-1)], ""
    return list(parts.values()), ""


def _naming(records: Records, found: Found, beside: Sequence[str], label: int) -> int:
    """The column whose first values are names of sounds, rather one that is called as usual; -1 where there is none."""
    lower = [name.strip().lower() for name in records.header]
    usual = [lower.index(name) for name in FILE_COLUMNS if name in lower]
    others = [place for place in range(len(lower)) if place not in usual and place != label]
    rows = records.rows[:FIRST]
    for place in (*usual, *others):
        known = [values[place] for values in rows if not found(values[place], *beside)[1]]
        # Many rows, many sounds: numbers of classes may also be names of a few files.
        if len(known if place in usual else set(known)) * 2 > len(rows):
            return place
    return -1


def _beside(table: str, root: str, sounds: Sequence[str]) -> tuple[str, ...]:
    """Its own folder, and those that are called like it: train.csv means the sounds of train/."""
    below = os.path.relpath(os.path.dirname(table), root).replace(os.sep, "/")  # noqa: PTH120
    own, split = ("" if below == "." else f"{below}/"), split_of_table(os.path.relpath(table, root))
    folders = dict.fromkeys(name.rpartition("/")[0] for name in sounds) if split >= 0 else {}
    return (own, *(f"{folder}/" for folder in folders if split in map(split_of, folder.split("/"))))[:FOLDERS]


def split_of_table(name: str) -> int:
    """The split that a table's own name says, or the folder it lies in: train.csv, train/metadata.csv; -1 for none."""
    *folders, last = PurePath(name).parts
    own = split_of(os.path.splitext(last)[0])  # noqa: PTH122
    return own if own >= 0 or not folders else split_of(folders[-1])


def _shelf(table: str, root: str) -> str:
    """The folder that the tables of one set share: theirs, or the one above where each has a folder of its split."""
    folder = os.path.dirname(table)  # noqa: PTH120
    return os.path.dirname(folder) if folder != root and split_of(os.path.basename(folder)) >= 0 else folder  # noqa: PTH119, PTH120


def _may_name(path: str, root: str, found: Found) -> bool:
    try:
        return _naming(read_records(path), found, _beside(path, root, found.names), -1) >= 0
    except DataError:
        return False
