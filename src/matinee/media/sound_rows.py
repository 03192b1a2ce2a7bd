"""The rows of a table as sounds: which file each means, and which stretch of it."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from matinee.core.errors import DataError
from matinee.core.ledger import Entry
from matinee.media.picture_listing import Listing, digest, name_classes
from matinee.media.records import GROUP_COLUMNS
from matinee.media.sound_decoding import look
from matinee.media.sound_serving import Source
from matinee.media.sound_tables import SoundRecords
from matinee.media.sounds import SoundError
from matinee.media.stretches import ENDS, STARTS, seconds_of, stretch_name
from matinee.media.walking import printable

GROUPS: Final = (*GROUP_COLUMNS, "speaker", "speaker_id", "client_id", "actor", "fold")
LOOKED_AT: Final = 16  # files whose lengths tell whether times in a table are meant of them
CLOSE: Final = 0.1  # seconds by which a file may differ from the stretch that it is

Find = Callable[[str], tuple[str, str]]
"""What a table calls a file -> (name below the folder, "") or ("", why there is none)."""


@dataclass
class SoundListing:
    """Sounds, one a row. of: names, labels, splits and groups of the rows; its `places` are those of the rows in a zip.

    files: of each row, relative to `of.root`. starts, ends: in seconds, 0 and inf for a whole file.
    """

    of: Listing
    files: list[str] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)

    def filled(self) -> SoundListing:
        """With every row a whole file."""
        count = len(self.of.names)
        return SoundListing(self.of, list(self.of.names), [0.0] * count, [math.inf] * count)


def label_by_table(listing: Listing, sounds: Sequence[str], tables: Sequence[SoundRecords]) -> SoundListing:
    """The rows of tables as sounds of a listing. Raises DataError where no row can be used."""
    rows, stamps = _Rows(listing), [listing.stamp]
    for table in tables:
        records = table.records
        columns = {
            "file": table.file,
            "label": table.label,
            "group": records.column("", GROUPS, flag="groups", what="group", needed=False),
            "start": records.column("", STARTS, flag="file_column", what="start", needed=False),
            "end": records.column("", ENDS, flag="file_column", what="end", needed=False),
        }
        listing.entries += records.entries
        why = no_stretches(listing.root, records.rows, columns, table.find)
        if why:
            columns |= {"start": -1, "end": -1}
            listing.entries.append(Entry(printable(os.path.basename(table.path)), "event", why))  # noqa: PTH119
        for values, row, split in zip(records.rows, records.names, records.splits, strict=True):
            said = {name: values[place].strip() if place >= 0 else "" for name, place in columns.items()}
            rows.take(said, table.find(said["file"]), row, split if split >= 0 else table.split)
        stamps += ["\0".join(values) for values in records.rows]
    if not rows.labels:
        first = f"; the first: {listing.entries[-1].reason}" if listing.entries else ""
        raise DataError(f"{printable(tables[0].path)} has no row with a sound that can be used{first}")
    there = set(rows.found.files)
    unnamed = [name for name in sounds if name not in there]
    listing.entries += [Entry(printable(name), "ignored", "the table does not name it") for name in unnamed]
    listing.stamp = digest(stamps)
    name_classes(listing, rows.labels)
    return rows.found


def no_stretches(root: str, rows: Sequence[tuple[str, ...]], columns: dict[str, int], find: Find) -> str:
    """Why the columns of times are no stretches of these files; "" where they are, or there are none.

    Tables of clips that were cut out of longer recordings often say where they lay in those.
    """
    start, end = columns["start"], columns["end"]
    taken = {columns["file"], columns["label"]}
    if (start < 0 and end < 0) or start in taken or end in taken:
        columns |= {"start": -1, "end": -1}
        return ""
    told = [[values[place].strip() if place >= 0 else "" for place in (columns["file"], start, end)] for values in rows]
    read = [(file, seconds_of(a, 0.0), seconds_of(b, math.inf)) for file, a, b in told]
    if sum(a is not None and b is not None and a < b for _, a, b in read) * 2 < len(read):
        return "its columns of starts and ends are not used: most say no stretch in seconds"
    later = [(file, a, b) for file, a, b in read if a and b is not None]
    strange = looked = 0
    for place in range(0, len(later), max(1, len(later) // LOOKED_AT)):
        file, a, b = later[place]
        name = find(file)[0]
        try:
            length = look(Source(os.path.join(root, name))).seconds if name else 0.0  # noqa: PTH118
        except SoundError:
            continue
        if length:
            looked += 1
            strange += a >= length or abs(length - (b - a)) < CLOSE
    if strange * 2 > looked:
        return "its columns of starts and ends are not used: the files are the stretches already, cut out"
    return ""


class _Rows:
    """The rows of tables, as they come."""

    def __init__(self, listing: Listing) -> None:
        self._listing = listing
        self._groups: dict[str, int] = {}
        self._seen: dict[str, str] = {}
        self.labels: list[str] = []
        self.found = SoundListing(listing)

    def take(self, said: Mapping[str, str], sound: tuple[str, str], line: str, split: int) -> None:
        """What a row says in each column, and the sound or why there is none; what is wrong goes to the ledger."""
        file, reason = sound
        kind, start, end = "missing", seconds_of(said["start"], 0.0), seconds_of(said["end"], math.inf)
        if not reason and not said["label"]:
            kind, reason = "no-label", "the label is empty"
        if not reason and (start is None or end is None or not start < end):
            told = f"from {said['start'] or '0'} to {said['end'] or 'the end'}"
            kind, reason = "unreadable", f"{told} is no stretch, in seconds"
        name = "" if start is None or end is None else stretch_name(file, start, end)
        if not reason and name in self._seen:
            kind, reason = "duplicate-row", f"{printable(name)} has a row already"
            if self._seen[name] != said["label"]:
                reason += f", with another label ({printable(self._seen[name])})"
        if reason or start is None or end is None:
            self._listing.entries.append(Entry(printable(line), kind, reason))
            return
        self._seen[name] = said["label"]
        self._listing.names.append(name)
        self._listing.splits.append(split)
        group = said["group"]
        self._listing.groups.append(self._groups.setdefault(group, len(self._groups)) if group else -1)
        self.labels.append(said["label"])
        self.found.files.append(file)
        self.found.starts.append(start)
        self.found.ends.append(end)
