"""Labelled pictures as columns: the front door of everything that reads pictures.

The first read decodes every file, in parallel, into mapped columns in the cache; the next one finds them by the names,
sizes and times of the files, and opens none of them.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from matinee.core import cache
from matinee.core.errors import DataError, SettingsError
from matinee.core.ledger import Entry
from matinee.core.task import Origin
from matinee.media.columns import make_column, write_rows
from matinee.media.decoding import Job, decode_all, worker_count
from matinee.media.named import NAMES
from matinee.media.picture_arrays import Arrays, ArraySource, hash_rows
from matinee.media.picture_changes import changed_since, list_plain
from matinee.media.picture_listing import Listing, digest, name_groups
from matinee.media.picture_shape import choose_shape, choose_size
from matinee.media.picture_sources import fits, lacks, recognise
from matinee.media.pictures import PIXEL_LIMIT, decode
from matinee.media.walking import printable

__all__ = ["NAMES", "PictureRequest", "PictureTable", "changed_since", "fits", "lacks", "list_plain", "read_pictures"]

FORMAT = 1  # of the cached folder; raised whenever what is in it changes
COLUMNS = ("image", "label", "split", "group", "sha256", "size")
ARRAY_CHUNK = 1024

Array = np.ndarray[Any, Any]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class PictureRequest:
    """How pictures are to be read and stored.

    height, width, channels: of the stored pictures; 0 chooses from the pictures (1 channel where all are grey, else 3).
    longest: bound on the stored shorter side where the size is chosen. groups: a regular expression searched in the
    relative file name; its first group, or the whole match, names what must stay on one side of a split.
    file_column, label_column: of a CSV or JSONL; "" guesses from the header. pixel_limit: pixels of one picture.
    """

    height: int = 0
    width: int = 0
    channels: int = 0
    longest: int = 160
    groups: str = ""
    file_column: str = ""
    label_column: str = ""
    pixel_limit: int = PIXEL_LIMIT


@dataclass(frozen=True)
class PictureTable:
    """A source read: one row for every picture that has a label.

    columns, mapped from files in `folder`: "image" uint8 (n, height, width, channels), "label" int32 (n,) places in
    classes, "split" int8 (n,) -1 not said, 0 train, 1 valid, 2 test, "group" int32 (n,) -1 none, "sha256" uint8 (n, 32)
    of the file's bytes or, in arrays, the pixels' (zero where the file could not be read), "size" int32 (n, 2)
    original (width, height). good: int64 places of the rows that could be decoded; the others have zero pixels and an
    entry. names: of every row, relative to the source ("train-images#17" in arrays), as the system gives them.
    entries: the ledger. stamp: hex digest of names, sizes and times. cached: nothing had to be decoded.
    """

    folder: Path
    columns: dict[str, Array]
    good: Array
    names: Sequence[str]
    classes: tuple[str, ...]
    entries: tuple[Entry, ...]
    stamp: str
    cached: bool


def read_pictures(source: str | Path, request: PictureRequest, progress: Progress | None = None) -> PictureTable:
    """Reads class folders, a zip of them, a CSV/TSV/JSONL, idx files, CIFAR batches or one of NAMES.

    progress(done, total) is called in this thread while pictures are decoded. Raises DataError where the source cannot
    be used, and SettingsError where the request makes no sense.
    """
    check(request)
    path, found = recognise(source, request.file_column, request.label_column)
    if isinstance(found, Listing) and request.groups:
        name_groups(found, request.groups)
    key = digest((str(FORMAT), path, json.dumps(asdict(request), sort_keys=True), found.stamp))[:40]
    folder = cache.find("pictures", key)
    if folder is not None:
        try:
            return _load(folder, True)
        except (OSError, ValueError, TypeError, KeyError, IndexError, EOFError, RecursionError):
            cache.discard("pictures", key)  # of the right sizes, but not what was written

    def fill(temporary: Path) -> None:
        if isinstance(found, Listing):
            _fill_files(temporary, found, request, progress)
        else:
            _fill_arrays(temporary, found, request, progress)

    return _load(cache.build("pictures", key, fill), False)


def check(request: PictureRequest) -> None:
    """Raises SettingsError where no picture can be stored as it is asked for."""
    for name, value, low, high in (
        ("height", request.height, 1, 4096),
        ("width", request.width, 1, 4096),
        ("longest", request.longest, 4, 4096),
        ("pixel_limit", request.pixel_limit, 1, 10**10),
    ):
        if value != 0 and not low <= value <= high:
            raise SettingsError(f"{name} {value}: from {low} to {high} pixels")
    if request.channels not in (0, 1, 3):
        raise SettingsError(f"channels {request.channels}: 1 (grey), 3 (colour) or 0 (chosen from the pictures)")
    if bool(request.height) != bool(request.width):
        raise SettingsError("height and width are given together, or neither is")
    if request.longest == 0 or request.pixel_limit == 0:
        raise SettingsError("longest and pixel_limit are at least 4 and 1")


def _load(folder: Path, cached: bool) -> PictureTable:
    said = json.loads((folder / "table.json").read_text(encoding="ascii"))
    names = json.loads((folder / "names.json").read_text(encoding="ascii"))
    columns = {name: _map(folder, name) for name in COLUMNS}
    if {len(column) for column in columns.values()} != {len(names)}:
        raise ValueError("columns of different lengths")
    return PictureTable(
        folder=folder,
        columns=columns,
        good=np.load(folder / "good.npy", allow_pickle=False),
        names=names,
        classes=tuple(said["classes"]),
        entries=tuple(Entry(*entry) for entry in said["entries"]),
        stamp=said["stamp"],
        cached=cached,
    )


def _map(folder: Path, name: str) -> Array:
    column: Array = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
    return column


def _fill_files(folder: Path, listing: Listing, request: PictureRequest, progress: Progress | None) -> None:
    count = len(listing.names)
    wanted = (request.height, request.width, request.channels)
    job = Job(listing.root, listing.names, wanted, request.pixel_limit, str(folder), listing.archive, listing.places)
    shape = choose_shape(job, wanted, request.longest)
    job = Job(listing.root, listing.names, shape, request.pixel_limit, str(folder), listing.archive, listing.places)
    _make_columns(folder, count, shape)
    failures = decode_all(job, progress)
    entries = list(listing.entries)
    entries += [Entry(printable(listing.names[row]), kind, reason) for row, kind, reason in failures]
    if len(failures) == count:
        kinds = ", ".join(f"{number:,} {kind}" for kind, number in Counter(kind for _, kind, _ in failures).items())
        first = f"{printable(listing.names[failures[0][0]])}: {failures[0][2]}"
        raise DataError(f"{printable(listing.root)}: none of {count:,} pictures can be read ({kinds}); {first}")
    good = np.ones(count, dtype=bool)
    good[[row for row, _, _ in failures]] = False
    _write(folder, "label", listing.labels, "int32")
    _write(folder, "split", listing.splits, "int8")
    _write(folder, "group", listing.groups or [-1] * count, "int32")
    np.save(folder / "good.npy", np.flatnonzero(good).astype(np.int64))
    _write_words(folder, listing.names, listing.classes, entries, listing.stamp)


def _fill_arrays(folder: Path, source: ArraySource, request: PictureRequest, progress: Progress | None) -> None:
    arrays = source.load()
    count, height, width = arrays.images.shape[:3]
    if request.height:
        height, width = request.height, request.width
    elif min(height, width) > request.longest:
        height, width = choose_size([(width, height)], request.longest)
    shape = (height, width, request.channels or arrays.images.shape[3])
    _make_columns(folder, count, shape)
    if shape == arrays.images.shape[1:]:
        write_rows(folder, "image", 0, arrays.images)
    else:
        _scale_arrays(folder, arrays, shape, progress)
    write_rows(folder, "sha256", 0, hash_rows(arrays.images))
    write_rows(folder, "size", 0, np.full((count, 2), (arrays.images.shape[2], arrays.images.shape[1]), np.int32))
    _write(folder, "label", arrays.labels, "int32")
    _write(folder, "split", arrays.splits, "int8")
    groups = Listing("", names=list(arrays.names))
    if request.groups:
        name_groups(groups, request.groups)
    _write(folder, "group", groups.groups or [-1] * count, "int32")
    np.save(folder / "good.npy", np.arange(count, dtype=np.int64))
    entries = [Entry(printable(name), "ignored", "not one of the data set's files") for name in source.passed_over]
    _write_words(folder, arrays.names, arrays.classes, entries, source.stamp)
    if progress is not None:
        progress(count, count)


def _scale_arrays(folder: Path, arrays: Arrays, shape: tuple[int, int, int], progress: Progress | None) -> None:
    count = len(arrays.images)

    def scale(start: int) -> int:
        rows = arrays.images[start : start + ARRAY_CHUNK]
        write_rows(folder, "image", start, np.stack([decode(row, shape) for row in rows]))
        return len(rows)

    done = 0
    with ThreadPoolExecutor(worker_count()) as pool:
        for number in pool.map(scale, range(0, count, ARRAY_CHUNK)):
            done += number
            if progress is not None:
                progress(done, count)


def _make_columns(folder: Path, count: int, shape: tuple[int, int, int]) -> None:
    make_column(folder, "image", (count, *shape), "|u1")
    make_column(folder, "sha256", (count, 32), "|u1")
    make_column(folder, "size", (count, 2), "<i4")


def _write(folder: Path, name: str, values: Sequence[int], dtype: str) -> None:
    np.save(os.path.join(folder, f"{name}.npy"), np.array(values, dtype=dtype))  # noqa: PTH118


def _write_words(
    folder: Path, names: Sequence[str], classes: Sequence[str], entries: Sequence[Entry], stamp: str
) -> None:
    """As ASCII JSON, which keeps even names that are no UTF-8."""
    said = {
        "classes": classes,
        "entries": [[entry.file, entry.kind, entry.reason] for entry in entries],
        "stamp": stamp,
    }
    (folder / "table.json").write_text(json.dumps(said), encoding="ascii")
    (folder / "names.json").write_text(json.dumps(list(names)), encoding="ascii")


class Labelled(Protocol):
    """A table of examples that are files: what its labels are numbers of."""

    @property
    def columns(self) -> Mapping[str, Array]: ...
    @property
    def classes(self) -> Sequence[str]: ...
    @property
    def good(self) -> Array: ...
    @property
    def names(self) -> Sequence[str]: ...


def renumbered(table: Labelled, classes: Sequence[str]) -> tuple[Array, list[Entry]]:
    """Labels in the numbering of `classes`; -1 and a line for the ledger where a label is none of them."""
    place = {name: number for number, name in enumerate(classes)}
    known = np.array([place.get(name, -1) for name in table.classes] + [-1], np.int64)
    labels = known[table.columns["label"]]
    lost = table.good[(labels[table.good] < 0) & (table.columns["label"][table.good] >= 0)]
    strangers = [
        Entry(
            printable(table.names[row]),
            "unknown-label",
            f"its label {table.classes[table.columns['label'][row]]!r} is none of the classes the model knows",
        )
        for row in lost
    ]
    return labels, strangers


def origin(source: str, table: PictureTable, strangers: Sequence[Entry], rows: Array) -> Origin:
    """Where the pictures at `rows` of a table came from; `strangers`: entries beside the table's own."""
    digests = table.columns["sha256"]
    # Files that could not be decoded are in the manifest too: only so can a new file be told from a broken one.
    manifest = {name: digest.tobytes().hex() for name, digest in zip(table.names, np.asarray(digests), strict=True)}
    given = frozenset(
        name for number, name in enumerate(("train", "valid", "test")) if (table.columns["split"][rows] == number).any()
    )
    sizes = table.columns["size"][rows]
    facts = {}
    if len(rows):
        low, high = sizes.min(0), sizes.max(0)
        height, width, channels = table.columns["image"].shape[1:]
        same = (low == high).all()
        facts["pictures as found"] = f"{low[0]} x {low[1]}" + ("" if same else f" to {high[0]} x {high[1]}") + " pixels"
        facts["as learned"] = f"{width} x {height} pixels, {'grey' if channels == 1 else 'colour'}"
    return Origin(source, manifest, table.names, (*table.entries, *strangers), given, facts)
