"""Pictures with masks as columns: decoded once, in parallel, into mapped files in the cache.

A mask is kept as the numbers that stand in it; which number is which class is for the task to say, so that other
classes of the same files need no second reading.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from matinee.core import cache
from matinee.core.errors import DataError
from matinee.core.ledger import Entry
from matinee.media.columns import make_column, write_rows
from matinee.media.decoding import Job, worker_count
from matinee.media.mask_classes import ClassList, find_list, published, read_list
from matinee.media.mask_files import MOST_COLOURS, mask_colours, mask_numbers, shrunk, stretched
from matinee.media.mask_names import Pairs, has_masks, pair
from matinee.media.picture_listing import SPLIT_WORDS, Listing, digest, name_groups
from matinee.media.picture_shape import choose_shape
from matinee.media.pictures import PIXEL_LIMIT, PictureError, read_bytes
from matinee.media.walking import printable, walk

FORMAT = 1  # of the cached folder
LONGEST = 512  # pixels of the shorter side at which larger pictures are kept
COLUMNS = ("image", "mask", "split", "group", "sha256", "mask_sha256", "size", "numbers")
CHUNK = 8  # pairs that a thread decodes at a time
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

    colours: of masks in colours, where they are known already. groups: as in `PictureRequest`.
    """

    height: int = 0
    width: int = 0
    channels: int = 0
    longest: int = LONGEST
    pixel_limit: int = PIXEL_LIMIT
    groups: str = ""
    colours: tuple[str, ...] = ()


@dataclass(frozen=True)
class MaskTable:
    """A source read: one row for every picture with a mask.

    columns, mapped from `folder`: "image" uint8 (n, height, width, channels), "mask" uint8 (n, height, width) numbers
    as found, "split" int8, "group" int32, "sha256" and "mask_sha256" uint8 (n, 32), "size" int32 (n, 2) width and
    height as found, "numbers" int32 (n, 256) how many pixels of the whole mask have each. good: rows that could be
    read. colours: where masks are in colours, the colour of each number. listed: the classes, where source or layout
    say.
    """

    folder: Path
    columns: dict[str, Array]
    good: Array
    pictures: Sequence[str]
    masks: Sequence[str]
    entries: tuple[Entry, ...]
    colours: tuple[str, ...]
    listed: ClassList | None


@dataclass
class Found:
    """A source, listed and not yet read."""

    root: str
    pairs: Pairs
    listed: ClassList | None
    stamp: str
    groups: list[int] = field(default_factory=list)


def fits(source: str) -> str | None:
    """In a few words why this looks like pictures with masks, or None; looks at names only, and not at all of them."""
    try:
        return "pictures and masks by name" if os.path.isdir(source) and has_masks(source) else None  # noqa: PTH112
    except OSError:
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
    folder = cache.find("masks", key)
    if folder is not None:
        try:
            return _load(folder, found)
        except (OSError, ValueError, TypeError, KeyError, IndexError, EOFError):
            cache.discard("masks", key)

    def fill(temporary: Path) -> None:
        _fill(temporary, found, request, colours, progress)

    return _load(cache.build("masks", key, fill), found)


def listed(source: str, classes: str = "") -> Found:
    """The pairs of a folder, and what is said of their classes; nothing is decoded. Raises DataError."""
    root = os.path.realpath(source)
    if not os.path.isdir(root):  # noqa: PTH112
        raise DataError(f"{printable(source)}: there is no such folder; {EXPECTED}.")
    below = walk(root)
    pairs = pair(below.names)
    pairs.entries += below.entries
    if not pairs.pictures:
        what = f"{len(pairs.entries):,} files, but no picture with a mask" if pairs.entries else "no pictures"
        raise DataError(f"{printable(source)} has {what}: {EXPECTED}.")
    _divide_by_lists(root, below.names, pairs)
    there = find_list(root, below.names)
    if classes:
        listed: ClassList | None = read_list(classes)
    elif there:
        listed = read_list(os.path.join(root, there))  # noqa: PTH118
    else:
        listed = published(pairs.masks)
    return Found(root, pairs, listed, digest((*below.facts, *(f"{e.file}\0{e.kind}" for e in pairs.entries))))


def _divide_by_lists(root: str, names: Sequence[str], pairs: Pairs) -> None:
    """Splits from train.txt, val.txt and test.txt, at the top or in ImageSets/Segmentation as Pascal VOC has them."""
    if any(split >= 0 for split in pairs.splits):
        return
    said: dict[str, int] = {}
    for name in names:
        path = PurePosixPath(name)
        top = path.parent.as_posix().lower()
        split = SPLIT_WORDS.get(path.stem.lower(), -1)
        if path.suffix != ".txt" or split < 0 or top not in (".", "imagesets/segmentation"):
            continue
        try:
            lines = Path(root, name).read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            continue
        said.update((PurePosixPath(line.split()[0]).stem, split) for line in lines if line.strip())
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
    collected: set[int] = set()
    masks = found.pairs.masks
    for place in np.unique(np.linspace(0, len(masks) - 1, min(SAMPLE, len(masks))).astype(int)).tolist():
        try:
            some = mask_colours(read_bytes(os.path.join(found.root, masks[place])), pixel_limit)  # noqa: PTH118
        except PictureError:
            continue
        collected |= some or set()
        if len(collected) > MOST_COLOURS:
            break
    if found.listed and found.listed.colours:
        wanted = [""] * (max(found.listed.ids) + 1)
        for number, colour in zip(found.listed.ids, found.listed.colours, strict=True):
            wanted[number] = colour
        return tuple(wanted) if all(wanted) else ()
    if len(collected) > MOST_COLOURS:
        raise DataError(
            f"{printable(found.root)}: the masks have more than {MOST_COLOURS} colours, such as photographs do, and "
            "nothing says which colour is which class. Put a class_dict.csv there with the columns name,r,g,b."
        )
    return tuple(f"#{code:06x}" for code in sorted(collected))


def _load(folder: Path, found: Found) -> MaskTable:
    said = json.loads((folder / "table.json").read_text(encoding="ascii"))
    columns = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in COLUMNS}
    if {len(column) for column in columns.values()} != {len(found.pairs.pictures)}:
        raise ValueError("columns of different lengths")
    return MaskTable(
        folder, columns, np.load(folder / "good.npy", allow_pickle=False), found.pairs.pictures, found.pairs.masks,
        tuple(Entry(*entry) for entry in said["entries"]), tuple(said["colours"]), found.listed,
    )  # fmt: skip


def _fill(
    folder: Path, found: Found, request: MaskRequest, colours: tuple[str, ...], progress: Progress | None
) -> None:
    pairs, count = found.pairs, len(found.pairs.pictures)
    wanted = (request.height, request.width, request.channels)
    job = Job(found.root, pairs.pictures, wanted, request.pixel_limit, "")
    shape = choose_shape(job, wanted, request.longest)
    for name, sides, dtype in (
        ("image", shape, "|u1"), ("mask", shape[:2], "|u1"), ("sha256", (32,), "|u1"), ("mask_sha256", (32,), "|u1"),
        ("size", (2,), "<i4"), ("numbers", (256,), "<i4"),
    ):  # fmt: skip
        make_column(folder, name, (count, *sides), dtype)
    reader = _Reader(found, shape, request.pixel_limit, colours, str(folder))
    entries, bad, done = list(pairs.entries), set[int](), 0
    with ThreadPoolExecutor(worker_count()) as pool:
        parts = [pool.submit(reader.fill, start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
        try:
            for part in as_completed(parts):
                for row, entry in part.result():
                    entries.append(entry)
                    bad |= {row} if entry.kind != "event" else set()
                done += CHUNK
                if progress is not None:
                    progress(min(done, count), count)
        finally:
            pool.shutdown(cancel_futures=True)
    if len(bad) == count:
        kinds = ", ".join(f"{n:,} {kind}" for kind, n in Counter(e.kind for e in entries).items())
        first = next(entry for entry in entries if entry.kind not in ("ignored", "event"))
        raise DataError(
            f"{printable(found.root)}: none of {count:,} pictures with masks can be read ({kinds}); "
            f"{first.file}: {first.reason}"
        )
    np.save(folder / "split.npy", np.array(pairs.splits, np.int8))
    np.save(folder / "group.npy", np.array(found.groups or [-1] * count, np.int32))
    np.save(folder / "good.npy", np.array([row for row in range(count) if row not in bad], np.int64))
    order = {name: place for place, name in enumerate([*pairs.pictures, *pairs.masks])}
    entries.sort(key=lambda entry: (order.get(entry.file, -1), entry.file))
    table = {"entries": [[e.file, e.kind, e.reason] for e in entries], "colours": colours}
    (folder / "table.json").write_text(json.dumps(table), encoding="ascii")


@dataclass(frozen=True)
class _Reader:
    """Decodes pairs into the columns of a folder."""

    found: Found
    shape: tuple[int, int, int]
    pixel_limit: int
    colours: tuple[str, ...]
    folder: str

    def fill(self, start: int, stop: int) -> list[tuple[int, Entry]]:
        """The rows from start to stop; what is to be said of them."""
        count, told = stop - start, list[tuple[int, Entry]]()
        columns: dict[str, Array] = {
            "image": np.zeros((count, *self.shape), np.uint8), "mask": np.zeros((count, *self.shape[:2]), np.uint8),
            "sha256": np.zeros((count, 32), np.uint8), "mask_sha256": np.zeros((count, 32), np.uint8),
            "size": np.zeros((count, 2), np.int32), "numbers": np.zeros((count, 256), np.int32),
        }  # fmt: skip
        for row in range(start, stop):
            told += [(row, entry) for entry in self._row(row, {name: c[row - start] for name, c in columns.items()})]
        for name, values in columns.items():
            write_rows(self.folder, name, start, values)
        return told

    def _row(self, row: int, into: Mapping[str, Array]) -> list[Entry]:
        name, mask_name = self.found.pairs.pictures[row], self.found.pairs.masks[row]
        speaking = name
        try:
            raw = read_bytes(os.path.join(self.found.root, name))  # noqa: PTH118
            into["sha256"][:] = np.frombuffer(hashlib.sha256(raw).digest(), np.uint8)
            pixels, size = stretched(raw, self.shape, self.pixel_limit)
            speaking = mask_name
            raw = read_bytes(os.path.join(self.found.root, mask_name))  # noqa: PTH118
            into["mask_sha256"][:] = np.frombuffer(hashlib.sha256(raw).digest(), np.uint8)
            numbers, strange = mask_numbers(raw, self.colours, self.pixel_limit)
            if numbers.shape != size:
                reason = (
                    f"the mask has {numbers.shape[1]} x {numbers.shape[0]} pixels, its picture {size[1]} x {size[0]}"
                )
                turned = ": the picture's notes turn it, the mask is not turned" if numbers.shape == size[::-1] else ""
                raise PictureError("size-differs", reason + turned)
        except PictureError as error:
            return [Entry(printable(speaking), error.kind, str(error))]
        into["image"][:], into["mask"][:] = pixels, shrunk(numbers, *self.shape[:2])
        into["size"][:] = size[::-1]
        into["numbers"][:] = np.bincount(numbers.ravel(), minlength=256)
        if not strange:
            return []
        reason = (
            f"{strange:,} pixels ({100 * strange / numbers.size:.1f} %) have a colour that is in no list of classes"
        )
        return [Entry(printable(mask_name), "event", f"{reason}: they are ignored")]
