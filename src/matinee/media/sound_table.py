"""Labelled sounds as columns: the front door of everything that reads sounds with labels.

The first read decodes every file, in parallel, into a mapped ragged column of 16-bit samples in the cache; the next one
finds it by the names, sizes and times of the files, and opens none of them. A recording that is longer than an example
may be becomes several, which belong together.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from matinee.core import cache
from matinee.core.errors import DataError
from matinee.core.examples import Array, Ragged
from matinee.core.ledger import Entry
from matinee.core.task import Origin
from matinee.media.decoding import worker_count
from matinee.media.picture_listing import Listing, digest
from matinee.media.sound_decoding import Heard, hear, look
from matinee.media.sound_listing import Wanted, listed
from matinee.media.sound_rows import SoundListing
from matinee.media.sound_serving import Source
from matinee.media.sounds import Header, SoundError, how_long, needs
from matinee.media.walking import printable

FORMAT: Final = 4  # of the cached folder; raised whenever what is in it changes
LOOKED_AT: Final = 512  # headers that the rate is chosen from
USUAL_RATE: Final = 16_000  # samples a second, at most, where nobody asks for more: half of them is the highest tone
USUAL_WINDOW: Final = 5.0  # seconds, at most
LONGEST_FILE: Final = 3600.0  # seconds of a recording that are read
AHEAD: Final = 2  # files being decoded, for each worker, before the oldest is written


@dataclass(frozen=True)
class SoundRequest:
    """How sounds are to be read and stored.

    rate: samples a second, 0 chooses the commonest of the files, at most 16,000. window: seconds that a network hears
    at once, 0 chooses what nearly all sounds fit in, at most 5. longest: seconds of one example; a longer recording
    becomes several. wanted: what of the source.
    """

    rate: int = 0
    window: float = 0.0
    longest: float = 30.0
    wanted: Wanted = field(default_factory=Wanted)


@dataclass(frozen=True)
class SoundTable:
    """A source read: one row for every sound that has a label, or part of a long one, that can be decoded.

    sounds: int16, ragged, `rate` samples a second. good: the rows that can be used; silent ones cannot. columns, of the
    rows: "label" places in classes, "split" -1 not said, 0 train, 1 valid, 2 test, "group" -1 none, "file" which file
    each is of. names: of the rows; digests: SHA-256, hex, of every file or part, by name. window: seconds. silent:
    whether silent files were kept, for one of the classes is silence.
    """

    folder: Path
    sounds: Ragged
    good: Array
    columns: Mapping[str, Array]
    names: Sequence[str]
    digests: Mapping[str, str]
    classes: tuple[str, ...]
    entries: tuple[Entry, ...]
    facts: Mapping[str, str]
    rate: int
    window: float
    silent: bool


def read_sounds(
    source: str | Path, request: SoundRequest, progress: Callable[[int, int], None] | None = None
) -> SoundTable:
    """Reads class folders, a zip of them, a table or named files of sounds.

    progress(done, total) is called in this thread while sounds are decoded. Raises DataError where the source cannot be
    used, SettingsError where the request makes no sense.
    """
    needs()
    listing = listed(source, request.wanted)
    key = digest((str(FORMAT), listing.of.root, json.dumps(asdict(request), sort_keys=True), listing.of.stamp))[:40]
    return cache.loaded("sounds", key, _load, lambda temporary: _fill(temporary, listing, request, progress))


def _load(folder: Path) -> SoundTable:
    said = json.loads((folder / "table.json").read_text(encoding="ascii"))
    offsets = np.load(folder / "offsets.npy", allow_pickle=False)
    values: Array = np.memmap(folder / "sound.int16", np.int16, "r")
    columns = {
        name: np.load(folder / f"{name}.npy", allow_pickle=False) for name in ("label", "split", "group", "file")
    }
    if len(values) != offsets[-1] or len(said["names"]) != len(offsets) - 1:
        raise ValueError("columns of different lengths")
    good = np.load(folder / "good.npy", allow_pickle=False)
    return SoundTable(
        folder, Ragged(values, offsets), good, columns, said["names"], said["digests"], tuple(said["classes"]),
        tuple(Entry(*entry) for entry in said["entries"]), said["facts"], said["rate"], said["window"], said["silent"],
    )  # fmt: skip


def source_of(listing: SoundListing, row: int) -> Source:
    """The sound of a row, for whoever decodes it."""
    of, start, end = listing.of, listing.starts[row], listing.ends[row]
    if of.archive:
        return Source(of.root, of.places[row], start, end)
    return Source(os.path.join(of.root, listing.files[row]), -1, start, end)  # noqa: PTH118


def _fill(
    folder: Path, listing: SoundListing, request: SoundRequest, progress: Callable[[int, int], None] | None
) -> None:
    of, count = listing.of, len(listing.files)
    with ThreadPoolExecutor(worker_count()) as pool:
        headers = _headers(pool, listing)
        rate = request.rate or _usual_rate(headers)
        writer = _Writer(folder, of, round(max(request.longest, request.window) * rate))
        work = partial(_hear, listing, rate, folder)
        for row, heard in _in_order(pool, work, count):
            writer.add(row, heard)
            if progress is not None and (row % 16 == 15 or row + 1 == count):
                progress(row + 1, count)
    rows, lengths, good = writer.finish()
    if not len(good):
        kinds = ", ".join(f"{number:,} {kind}" for kind, number in Counter(e.kind for e in writer.entries).items())
        raise DataError(
            f"{printable(of.root)}: none of {count:,} sounds can be used ({kinds}); "
            f"{writer.entries[0].file}: {writer.entries[0].reason}"
        )
    window = request.window or _usual_window(lengths[good] / rate)  # headers of damaged files promise hours
    np.save(folder / "offsets.npy", np.concatenate(([0], np.cumsum(lengths))))
    np.save(folder / "good.npy", good)
    for name, values in (("label", of.labels), ("split", of.splits), ("group", of.groups)):
        np.save(folder / f"{name}.npy", np.array(values or [-1] * count, np.int64)[rows])
    np.save(folder / "file.npy", rows)
    told = {
        "names": writer.names, "digests": writer.digests, "classes": of.classes, "rate": rate, "window": window,
        "entries": [[e.file, e.kind, e.reason] for e in (*of.entries, *writer.entries)],
        "silent": writer.keeps_silence, "facts": _facts(headers, lengths[good], (rate, window)),
    }  # fmt: skip
    (folder / "table.json").write_text(json.dumps(told), encoding="ascii")


def _hear(listing: SoundListing, rate: int, folder: Path, row: int) -> Heard:
    return hear(source_of(listing, row), rate, LONGEST_FILE, str(folder))


def _headers(pool: ThreadPoolExecutor, listing: SoundListing) -> list[Header]:
    """What a sample of the files, spread evenly, says of itself."""

    def told(row: int) -> Header | None:
        try:
            return look(source_of(listing, row))
        except SoundError:
            return None  # decoding will say what is wrong with it

    count = len(listing.files)
    rows = np.unique(np.linspace(0, count - 1, min(count, LOOKED_AT)).astype(np.int64)).tolist()
    return [header for header in pool.map(told, rows) if header is not None and header.frames]


def _usual_rate(headers: Sequence[Header]) -> int:
    counts = Counter(header.rate for header in headers)
    return min(USUAL_RATE, counts.most_common(1)[0][0]) if counts else USUAL_RATE


def _usual_window(seconds: Array) -> float:
    """Seconds in which 99 of 100 sounds have room, to a tenth; from 0.2 to 5."""
    wide = float(np.quantile(seconds, 0.99, method="lower"))
    return min(USUAL_WINDOW, max(0.2, math.ceil(10 * wide - 0.01) / 10))


def _facts(headers: Sequence[Header], lengths: Array, learned: tuple[int, float]) -> dict[str, str]:
    rate, window = learned
    rates = sorted({header.rate for header in headers})
    found = f"{rates[0]:,}" + (f" to {rates[-1]:,}" if len(rates) > 1 else "") if rates else "unknown"
    seconds = lengths / rate
    stereo = any(header.channels > 1 for header in headers)
    return {
        "sounds as found": f"{found} samples a second{', several channels' if stereo else ''}",
        "lengths": how_long(seconds),
        "as learned": f"{rate:,} samples a second, one channel, {window:g} s at once",
    }


def _in_order(pool: ThreadPoolExecutor, work: Callable[[int], Heard], count: int) -> Iterator[tuple[int, Heard]]:
    """The results in order, only a few of them ahead of whoever takes them: long recordings are large."""
    waiting: list[tuple[int, Future[Heard]]] = []
    try:
        for row in range(count):
            waiting.append((row, pool.submit(work, row)))
            if len(waiting) > AHEAD * worker_count():
                first, future = waiting.pop(0)
                yield first, future.result()
        while waiting:
            first, future = waiting.pop(0)
            yield first, future.result()
    finally:
        for _, future in waiting:
            future.cancel()


class _Writer:
    """Puts sounds one behind the other into the column, in parts no longer than an example."""

    def __init__(self, folder: Path, listing: Listing, longest: int) -> None:
        self._file = (folder / "sound.int16").open("wb")
        self._listing, self._longest = listing, longest
        self._rows: list[int] = []
        self._lengths: list[int] = []
        self._silent: dict[int, tuple[str, str]] = {}
        self.names: list[str] = []
        self.digests: dict[str, str] = {}
        self.entries: list[Entry] = []
        self.keeps_silence = False

    def add(self, row: int, heard: Heard) -> None:
        """One sound, with all of its parts."""
        name = self._listing.names[row]
        self.digests[name] = heard.digest
        if heard.event:
            self.entries.append(Entry(printable(name), "event", heard.event))
        if heard.samples is None:
            kind, reason = heard.failure or ("unreadable", "it cannot be read")
            self.entries.append(Entry(printable(name), kind, reason))
            return
        if heard.failure:
            self._silent[row] = heard.failure
        # Equal parts: the last of them would else be a fragment.
        count = max(1, -(-heard.count // self._longest))
        edges = [heard.count * number // count for number in range(count + 1)]
        with heard.samples as samples:
            for number, (first, last) in enumerate(itertools.pairwise(edges)):
                own = part_name(name, number)
                self.digests[own] = part_digest(heard.digest, number)
                self.names.append(own)
                self._rows.append(row)
                self._lengths.append(last - first)
                self._file.write(samples.read(2 * (last - first)))

    def finish(self) -> tuple[Array, Array, Array]:
        """The file and the length of each row, and which rows can be used: silence only where it is a class."""
        self._file.close()
        labels = np.array(self._listing.labels, np.int64)
        silent = np.zeros(len(labels), bool)
        silent[list(self._silent)] = True
        classes = max(1, len(self._listing.classes))
        share = np.bincount(labels, silent, classes) / np.maximum(np.bincount(labels, minlength=classes), 1)
        # Where most sounds of a class are silent, silence is what it means; one recording that failed is no class.
        meant = (share > 0.5) & (np.bincount(labels, silent, classes) > 1) if classes > 1 else np.zeros(1, bool)
        self.keeps_silence = bool(meant.any())
        lost = silent & ~meant[labels]
        self.entries += [
            Entry(printable(self._listing.names[row]), *self._silent[row]) for row in np.flatnonzero(lost).tolist()
        ]
        rows = np.array(self._rows, np.int64)
        return rows, np.array(self._lengths, np.int64), np.flatnonzero(~lost[rows]).astype(np.int64)


def part_name(name: str, number: int) -> str:
    """What the parts of a long recording are called; the first has the name of the file."""
    return f"{name}#{number + 1}" if number else name


def part_digest(digest: str, number: int) -> str:
    """The digest of a part of a file with this digest."""
    return hashlib.sha256(f"{digest} {number}".encode()).hexdigest() if number and digest else digest


def renumbered(table: SoundTable, classes: Sequence[str]) -> tuple[Array, list[Entry]]:
    """Labels in the numbering of `classes`; -1 and a line for the ledger where a label is none of them."""
    place = {name: number for number, name in enumerate(classes)}
    labels: Array = np.array([place.get(name, -1) for name in table.classes], np.int64)[table.columns["label"]]
    reason = "its label {!r} is none of the classes the model knows"
    lost = table.good[labels[table.good] < 0]
    strangers = [
        Entry(printable(table.names[row]), "unknown-label", reason.format(table.classes[table.columns["label"][row]]))
        for row in lost
    ]
    return labels, strangers


def kept_together(table: SoundTable) -> Array:
    """int64 (rows,): the group of each; parts of one recording are one even where nobody named groups. -1: alone."""
    group, file = table.columns["group"], table.columns["file"]
    many = np.bincount(file, minlength=1)[file] > 1
    own: Array = np.where((group < 0) & many, group.max(initial=0) + 1 + file, group)
    return own


def equal_files(table: SoundTable, rows: Array) -> Array:
    """A number for each of the rows, equal for those from files of equal bytes."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(table.digests[table.names[row]], len(numbers)) for row in rows], np.int64)


def origin(source: str, table: SoundTable, strangers: Sequence[Entry], rows: Array) -> Origin:
    """Where the sounds at `rows` of a table came from; `strangers`: entries beside the table's own."""
    splits = table.columns["split"][rows]
    given = frozenset(name for number, name in enumerate(("train", "valid", "test")) if (splits == number).any())
    return Origin(source, table.digests, table.names, (*table.entries, *strangers), given, table.facts)
