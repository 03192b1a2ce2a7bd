"""Pictures with masks as columns: decoded once, in parallel, into mapped files in the cache.

A mask is kept as the numbers that stand in it; which number is which class is for the task to say, so that other
classes of the same files need no second reading.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from matinee.core import cache
from matinee.core.errors import DataError
from matinee.core.ledger import Entry
from matinee.media.columns import make_column
from matinee.media.decoding import Job, Reader
from matinee.media.mask_classes import ClassList, find_list, parse_list, published, read_list
from matinee.media.mask_files import MOST_COLOURS, mask_colours
from matinee.media.mask_names import Pairs, has_masks, pair, zip_has_masks
from matinee.media.mask_reading import MaskJob, decode_pairs, tile_counts
from matinee.media.picture_listing import SPLIT_WORDS, Listing, digest, entries_of, name_groups
from matinee.media.picture_shape import choose_shape
from matinee.media.pictures import PIXEL_LIMIT, PictureError
from matinee.media.walking import printable, walk

FORMAT = 2  # of the cached folder
LONGEST = 512  # pixels of the shorter side at which larger pictures are kept
COLUMNS = ("image", "mask", "split", "group", "sha256", "mask_sha256", "size", "numbers", "owner")
TEXT_LIMIT = 16 * 2**20  # bytes of a list of names or classes
NO_COLOUR = "#1000000"  # of a number that is no class: no pixel has it
_LISTS = "imagesets/segmentation"  # Pascal VOC
SAMPLE = 32  # masks whose colours are collected where no list says them
EXPECTED = (
    "expected pictures and masks of the same names, like images/1.jpg and masks/1.png, train/1.jpg and "
    "trainannot/1.png, or 1.jpg and 1_mask.png"
)

Array = np.ndarray[Any, Any]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class MaskRequest:
    """How pairs are to be read. height, width, channels: as kept; 0 chooses. longest: bound on the shorter side.

    colours: of masks in colours, where they are known already. groups: as in `PictureRequest`. tile: side of the tiles
    into which pictures are cut, 0 for none.
    """

    height: int = 0
    width: int = 0
    channels: int = 0
    longest: int = LONGEST
    pixel_limit: int = PIXEL_LIMIT
    groups: str = ""
    colours: tuple[str, ...] = ()
    tile: int = 0


@dataclass(frozen=True)
class MaskTable:
    """A source read: one row for every picture with a mask, or for every tile of one.

    columns, mapped from `folder`: "image" uint8 (n, height, width, channels), "mask" uint8 (n, height, width) numbers
    as found, "split" int8, "group" int32, "sha256" and "mask_sha256" uint8 (n, 32), "size" int32 (n, 2) width and
    height as found, "numbers" int32 (n, 256) how many pixels of the whole mask, or tile, have each, "owner" int32 (n,)
    place in `pictures` and `masks`. good: rows that could be read. colours: where masks are in colours, the colour of
    each number. listed: the classes, where source or layout say.
    """

    folder: Path
    columns: dict[str, Array]
    good: Array
    pictures: Sequence[str]
    masks: Sequence[str]
    entries: tuple[Entry, ...]
    colours: tuple[str, ...]
    listed: ClassList | None

    @property
    def names(self) -> list[str]:
        """The picture of each row."""
        return [self.pictures[pair] for pair in self.columns["owner"].tolist()]


@dataclass
class Found:
    """A source, listed and not yet read. places: where it is a zip, the place of each of its entries."""

    root: str
    pairs: Pairs
    stamp: str
    places: dict[str, int] | None = None
    listed: ClassList | None = None
    groups: list[int] = field(default_factory=list)

    def job(self, colours: Sequence[str] = (), pixel_limit: int = PIXEL_LIMIT) -> MaskJob:
        """What is to be decoded of it, not said yet into which shape."""
        names = [*self.pairs.pictures, *self.pairs.masks]
        archive = self.places is not None
        places = [self.places[name] for name in names] if self.places is not None else []
        return MaskJob(self.root, names, (0, 0, 0), pixel_limit, colours, "", archive, places)

    def text(self, name: str) -> str:
        """The words of one of its files. Raises PictureError or UnicodeDecodeError."""
        job = Job(self.root, [name], (0, 0, 0), 0, "")
        if self.places is not None:
            job = replace(job, archive=True, places=[self.places[name]])
        reader = Reader(job)
        try:
            return reader.read(0)[:TEXT_LIMIT].decode("utf-8-sig")
        finally:
            reader.close()


def fits(source: str) -> str | None:
    """In a few words why this looks like pictures with masks, or None; looks at names only, and not at all of them."""
    try:
        if os.path.isdir(source):  # noqa: PTH112
            return "pictures and masks by name" if has_masks(source) else None
        return "a zip of pictures and masks by name" if zip_has_masks(source) else None
    except (OSError, ValueError):
        return None


def read_masks(source: str, request: MaskRequest, classes: str = "", progress: Progress | None = None) -> MaskTable:
    """Reads a folder of pictures with masks. classes: a file that lists them, "" looks for one.

    progress(done, total) is called in this thread. Raises DataError where there is not one pair that can be read.
    """
    found = listed(source, classes)
    if request.groups:
        listing = Listing("", names=list(found.pairs.pictures))
        name_groups(listing, request.groups)
        found.groups = listing.groups
    colours = request.colours or _colours(found, request.pixel_limit)
    said = json.dumps([asdict(request), colours, asdict(found.listed) if found.listed else None], sort_keys=True)
    key = digest((str(FORMAT), found.root, said, found.stamp))[:40]

    def fill(temporary: Path) -> None:
        _fill(temporary, found, request, colours, progress)

    return cache.loaded("masks", key, lambda folder: _load(folder, found), fill)


def listed(source: str, classes: str = "") -> Found:
    """The pairs of a folder or zip, and what is said of their classes; nothing is decoded. Raises DataError."""
    root = os.path.realpath(source)
    if os.path.isdir(root):  # noqa: PTH112
        below = walk(root)
        names, entries, stamp, places = below.names, below.entries, below.facts, None
    elif os.path.isfile(root) and source.lower().endswith(".zip"):  # noqa: PTH113
        listing = Listing(root, archive=True)
        places = entries_of(listing)
        names, entries, stamp = sorted(places), listing.entries, [listing.stamp]
    else:
        raise DataError(f"{printable(source)}: there is no such folder or zip; {EXPECTED}.")
    pairs = pair(names)
    pairs.entries += entries
    if not pairs.pictures:
        what = f"{len(pairs.entries):,} files, but no picture with a mask" if pairs.entries else "no pictures"
        lonely = {entry.kind: entry.file for entry in reversed(pairs.entries)}
        both = [lonely[kind] for kind in ("no-label", "no-picture") if kind in lonely]
        alone = f" ({' and '.join(both)} have no counterpart of their name)" if len(both) == 2 else ""
        raise DataError(f"{printable(source)} has {what}{alone}: {EXPECTED}.")
    found = Found(root, pairs, digest((*stamp, *(f"{e.file}\0{e.kind}" for e in entries))), places)
    _divide_by_lists(found, names)
    there = find_list(names)
    if classes:
        found.listed = read_list(classes)
    elif there:
        path = printable(os.path.join(root, there))  # noqa: PTH118
        try:
            found.listed = parse_list(found.text(there), path)
        except (PictureError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: this list of classes cannot be read ({error}).") from None
    else:
        found.listed = published(pairs.masks)
    return found


def _divide_by_lists(found: Found, names: Sequence[str]) -> None:
    """Splits from train.txt, val.txt and test.txt, at the top or in ImageSets/Segmentation as Pascal VOC has them."""
    pairs = found.pairs
    if any(split >= 0 for split in pairs.splits):
        return
    said: dict[str, int] = {}
    for name in names:
        path = PurePosixPath(name)
        top = path.parent.as_posix().lower()
        split = SPLIT_WORDS.get(path.stem.lower(), -1)
        if path.suffix.lower() != ".txt" or split < 0 or not (top == "." or top.endswith(_LISTS) or "/" not in top):
            continue
        try:
            lines = found.text(name).splitlines()
        except (PictureError, UnicodeDecodeError):
            continue
        for line in filter(str.strip, lines):  # a name, a path, or those of picture and mask; names may have spaces
            said.update((PurePosixPath(words.strip()).stem, split) for words in (line, line.split()[0]))
    places = [said.get(PurePosixPath(name).stem, -1) for name in pairs.pictures]
    if not any(place >= 0 for place in places):
        return
    rows = [row for row, place in enumerate(places) if place >= 0]
    lost = [pairs.pictures[row] for row, place in enumerate(places) if place < 0]
    pairs.entries += [Entry(printable(name), "ignored", "in none of the lists train, val and test") for name in lost]
    pairs.pictures = [pairs.pictures[row] for row in rows]
    pairs.masks = [pairs.masks[row] for row in rows]
    pairs.splits = [places[row] for row in rows]
    # Beside lists, pictures without a mask were never meant: Pascal VOC has six of seven for other tasks.
    for place, entry in enumerate(pairs.entries):
        if entry.kind == "no-label":
            pairs.entries[place] = Entry(entry.file, "ignored", "no mask of this name, and in none of the lists")


def _colours(found: Found, pixel_limit: int) -> tuple[str, ...]:
    """The colours of masks in colours: those of the list of classes, or all that some of the masks have; else none."""
    collected, coloured = set[int](), list[bool]()
    count, reader = len(found.pairs.masks), found.job().reader()
    try:
        for place in np.unique(np.linspace(0, count - 1, min(SAMPLE, count)).astype(int)).tolist():
            try:
                some = mask_colours(reader.read(count + place), pixel_limit)
            except PictureError:
                continue
            if some is not None:
                collected |= some
                coloured.append(bool(some))
            if len(collected) > MOST_COLOURS:
                break
    finally:
        reader.close()
    if found.listed and found.listed.colours:
        wanted = [NO_COLOUR] * (max(found.listed.ids) + 1)
        for number, colour in zip(found.listed.ids, found.listed.colours, strict=True):
            wanted[number] = colour
        return tuple(wanted)
    if 2 * sum(coloured) <= len(coloured):  # a stray one among masks in numbers: reading it will say so
        return ()
    if found.listed and not found.listed.guessed:
        raise DataError(
            f"{printable(found.root)}: the masks are in colours, and the list of classes does not say which colour is "
            "which class. Write it with the columns name,r,g,b."
        )
    if len(collected) > MOST_COLOURS:
        raise DataError(
            f"{printable(found.root)}: the masks have more than {MOST_COLOURS} colours, such as photographs do, and "
            "nothing says which colour is which class. Put a class_dict.csv there with the columns name,r,g,b."
        )
    return tuple(f"#{code:06x}" for code in sorted(collected))


def _load(folder: Path, found: Found) -> MaskTable:
    said = json.loads((folder / "table.json").read_text(encoding="ascii"))
    columns = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in COLUMNS}
    if len({len(column) for column in columns.values()}) != 1 or columns["owner"].max() >= len(found.pairs.pictures):
        raise ValueError("columns of different lengths")
    return MaskTable(
        folder, columns, np.load(folder / "good.npy", allow_pickle=False), found.pairs.pictures, found.pairs.masks,
        tuple(Entry(*entry) for entry in said["entries"]), tuple(said["colours"]), found.listed,
    )  # fmt: skip


def _fill(
    folder: Path, found: Found, request: MaskRequest, colours: tuple[str, ...], progress: Progress | None
) -> None:
    pairs, count = found.pairs, len(found.pairs.pictures)
    job = replace(found.job(colours, request.pixel_limit), folder=str(folder))
    wanted = (request.tile or request.height, request.tile or request.width, request.channels)
    pictures = Job(job.root, pairs.pictures, wanted, request.pixel_limit, "", job.archive, job.places[:count])
    job = replace(job, shape=choose_shape(pictures, wanted, request.longest))
    tiles = np.array(tile_counts(job) if request.tile else [1] * count, np.int64)
    owner = np.repeat(np.arange(count, dtype=np.int32), tiles)
    if request.tile:
        job = replace(job, firsts=np.concatenate(([0], np.cumsum(tiles))).tolist())
    for name, sides, dtype in (
        ("image", job.shape, "|u1"), ("mask", job.shape[:2], "|u1"), ("sha256", (32,), "|u1"),
        ("mask_sha256", (32,), "|u1"), ("size", (2,), "<i4"), ("numbers", (256,), "<i4"),
    ):  # fmt: skip
        make_column(folder, name, (len(owner), *sides), dtype)
    names = [printable(name) for name in job.names]
    failures = decode_pairs(job, progress)
    entries = [*pairs.entries, *(Entry(names[row], kind, reason) for row, kind, reason in failures)]
    bad = {row % count for row, kind, _ in failures if kind != "event"}
    if len(bad) == count:
        kinds = ", ".join(f"{n:,} {kind}" for kind, n in Counter(e.kind for e in entries).items())
        first = next(entry for entry in entries if entry.kind not in ("ignored", "event"))
        raise DataError(
            f"{printable(found.root)}: none of {count:,} pictures with masks can be read ({kinds}); "
            f"{first.file}: {first.reason}"
        )
    # The tiles of a picture are on one side of a split.
    group = np.array(found.groups or (range(count) if request.tile else [-1] * count), np.int32)
    np.save(folder / "split.npy", np.array(pairs.splits, np.int8)[owner])
    np.save(folder / "group.npy", group[owner])
    np.save(folder / "owner.npy", owner)
    np.save(folder / "good.npy", np.flatnonzero(~np.isin(owner, list(bad))))
    order = {name: place for place, name in enumerate(names)}
    entries.sort(key=lambda entry: (order.get(entry.file, -1), entry.file))
    table = {"entries": [[e.file, e.kind, e.reason] for e in entries], "colours": colours}
    (folder / "table.json").write_text(json.dumps(table), encoding="ascii")
