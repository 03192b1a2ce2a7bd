"""Pictures with boxes as columns: the front door of everything that reads them.

The first read decodes every picture, in parallel, into mapped columns in the cache, with the boxes that can be used
beside them; the next one finds them by the names, sizes and times of the files, and opens none of the pictures.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from matinee.core import cache
from matinee.core.duplicates import groups
from matinee.core.errors import DataError
from matinee.core.examples import Array, Column, Examples, Ragged
from matinee.core.ledger import Entry
from matinee.core.splits import Splits, divide, equal_rows, remembered
from matinee.core.task import Origin
from matinee.media.boxes import Box, usable
from matinee.media.boxes_listing import BoxListing, fits, listed
from matinee.media.columns import make_column
from matinee.media.decoding import Job, Reader, decode_all, worker_count
from matinee.media.picture_changes import list_plain
from matinee.media.picture_listing import digest
from matinee.media.picture_shape import choose_size, sample
from matinee.media.pictures import PIXEL_LIMIT, PictureError, Pixels, Raw, Shape, decode_sized
from matinee.media.walking import printable

__all__ = ["BoxRequest", "BoxTable", "changed_since", "decode_whole", "divided", "fits", "list_plain", "read_boxes"]

FORMAT = 2  # of the cached folder; raised whenever what is in it changes
MOST_CLASSES = 20_000
STEP = 32  # pixels: both sides of stored pictures are a multiple of it
SIDES = (320, 640)  # pixels: the longer side where the user names none, at least and at most
TELLING = 16.0  # pixels: so wide are the smallest things to be learned, where the longer side allows it


@dataclass(frozen=True)
class BoxRequest:
    """How pictures are to be read: stored (height, width, channels), 0 where open; longer side; pixels allowed."""

    shape: tuple[int, int, int] = (0, 0, 0)
    longer: int = 0
    pixel_limit: int = PIXEL_LIMIT


@dataclass(frozen=True)
class BoxTable:
    """A source read: one row for every picture of which something is said.

    image: uint8 (n, height, width, channels), mapped. size: int32 (n, 2) upright (width, height) of the picture itself.
    boxes: float32 (k, 4) of each row, in its own pixels; kinds: int32 (k,) place in classes + 1, negative for regions.
    split: int8 (n,) -1 not said, 0 train, 1 valid, 2 test. good: rows that can be learned from. names: of every row.
    digests: SHA-256 in hex of picture and boxes. pictures: uint8 (n, 32) SHA-256 of the picture's file.
    """

    folder: Path
    image: Array
    size: Array
    boxes: Ragged
    kinds: Ragged
    split: Array
    good: Array
    pictures: Array
    names: Sequence[str]
    digests: Sequence[str]
    classes: tuple[str, ...]
    entries: tuple[Entry, ...]
    kind: str

    def numbered(self, classes: Sequence[str]) -> tuple[dict[str, Column], list[Entry]]:
        """The columns with labels in the numbering of `classes`; a line for each class that is none of them."""
        place = {name: number + 1 for number, name in enumerate(classes)}
        known = np.array([0, *(place.get(name, 0) for name in self.classes)], np.int64)
        labels = np.sign(self.kinds.values) * known[np.abs(self.kinds.values)]
        counts = Counter(np.abs(self.kinds.values[labels == 0]).tolist())
        strangers = [
            Entry(f"class {self.classes[number - 1]}", "unknown-label", f"the model does not know it: {count:,} boxes")
            for number, count in sorted(counts.items())
        ]
        keep = labels != 0
        ends = np.concatenate(([0], np.cumsum(keep)))[self.kinds.offsets]
        columns: dict[str, Column] = {
            "image": self.image, "size": self.size, "boxes": Ragged(self.boxes.values[keep], ends),
            "label": Ragged(labels[keep].astype(np.int16), ends),
        }  # fmt: skip
        return columns, strangers

    def origin(self, source: str, classes: Sequence[str], strangers: Sequence[Entry]) -> Origin:
        """Where the pictures came from, and what is on them in words."""
        words = ("train", "valid", "test")
        given = frozenset(words[number] for number in set(self.split[self.good].tolist()) if number >= 0)
        counts = Counter(self.kinds.values[self.kinds.values > 0].tolist())
        each = [f"{self.classes[number - 1]} {count:,}" for number, count in counts.most_common(20)]
        low, high = self.size[self.good].min(0), self.size[self.good].max(0)
        height, width, channels = self.image.shape[1:]
        facts = {
            "boxes as found": f"{self.kind}, {sum(counts.values()):,}: {', '.join(each)}",
            "pictures as found": f"{low[0]} x {low[1]}"
            + ("" if (low == high).all() else f" to {high[0]} x {high[1]}")
            + " pixels",
            "as learned": f"{width} x {height} pixels, {'grey' if channels == 1 else 'colour'}",
        }
        manifest = dict(zip(self.names, self.digests, strict=True))
        return Origin(source, manifest, self.names, (*self.entries, *strangers), given, facts)


def read_boxes(source: str, request: BoxRequest, progress: Callable[[int, int], None] | None = None) -> BoxTable:
    """Reads what `boxes_listing` understands. Raises DataError where the source cannot be used."""
    listing = listed(source)
    key = digest((str(FORMAT), listing.root, json.dumps(asdict(request)), listing.stamp))[:40]
    return cache.loaded("boxes", key, _load, lambda temporary: _fill(temporary, listing, request, progress))


def _load(folder: Path) -> BoxTable:
    said = json.loads((folder / "table.json").read_text(encoding="ascii"))
    columns = {
        name: np.load(folder / f"{name}.npy", mmap_mode="r" if name == "image" else None, allow_pickle=False)
        for name in ("image", "size", "sha256", "split", "good", "boxes", "kinds", "offsets")
    }
    if {len(columns[name]) for name in ("image", "size", "split")} != {len(said["names"])}:
        raise ValueError("columns of different lengths")
    return BoxTable(
        folder, columns["image"], columns["size"], Ragged(columns["boxes"], columns["offsets"]),
        Ragged(columns["kinds"], columns["offsets"]), columns["split"], columns["good"], columns["sha256"],
        said["names"], said["digests"], tuple(said["classes"]), tuple(Entry(*entry) for entry in said["entries"]),
        said["kind"],
    )  # fmt: skip


def _fill(folder: Path, listing: BoxListing, request: BoxRequest, progress: Callable[[int, int], None] | None) -> None:
    names, count = [marked.name for marked in listing.marked], len(listing.marked)
    where = (listing.archive, listing.places)
    job = Job(listing.root, names, request.shape, request.pixel_limit, str(folder), *where, whole=True)
    shape = _shape(job, listing, request)
    for name, form, kind in (("image", shape, "|u1"), ("sha256", (32,), "|u1"), ("size", (2,), "<i4")):
        make_column(folder, name, (count, *form), kind)
    failures = decode_all(dataclasses.replace(job, shape=shape), progress)
    entries = [*listing.entries, *(Entry(printable(names[row]), kind, why) for row, kind, why in failures)]
    sizes, digests = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("size", "sha256"))
    broken, kept = {row for row, _, _ in failures}, list[list[Box]]()
    good = []
    for row, marked in enumerate(listing.marked):
        if row in broken:
            kept.append([])
            continue
        boxes, notes, refused = usable(marked, (int(sizes[row, 0]), int(sizes[row, 1])))
        kept.append(boxes)
        entries += [Entry(printable(marked.told), "event", note) for note in notes]
        if refused:
            entries.append(Entry(printable(marked.name), "no-label", refused))
        else:
            good.append(row)
    if not good or not any(kept):
        first = next((e for e in entries if e.kind not in ("ignored", "no-label")), entries[0] if entries else None)
        why = f"; the first: {first.file}: {first.reason}" if first else ""
        raise DataError(f"{printable(listing.root)}: none of {count:,} pictures has a box that can be used{why}.")
    classes = sorted({box.label for boxes in kept for box in boxes if box.label and not box.region})
    if len(classes) > MOST_CLASSES:
        raise DataError(
            f"{printable(listing.root)}: {len(classes):,} classes, like {printable(classes[0])} and "
            f"{printable(classes[1])}; at most {MOST_CLASSES:,} are learned. Is that the column of the labels?"
        )
    _write(folder, kept, classes, good, [marked.split for marked in listing.marked])
    told = [marked.digest(digests[row].tobytes()) for row, marked in enumerate(listing.marked)]
    said = {
        "names": names, "digests": told, "classes": classes, "kind": listing.kind,
        "entries": [[entry.file, entry.kind, entry.reason] for entry in entries],
    }  # fmt: skip
    (folder / "table.json").write_text(json.dumps(said), encoding="ascii")


def _write(
    folder: Path, kept: Sequence[Sequence[Box]], classes: Sequence[str], good: Sequence[int], split: Sequence[int]
) -> None:
    place = {name: number + 1 for number, name in enumerate(classes)}
    boxes, kinds = [], []
    for marked in kept:
        mine, numbers = [], []
        for box in marked:
            # A region without a class is one for every class.
            every = place.values() if box.region and box.label not in place else [place[box.label]]
            for number in every:
                mine.append(box.sides)
                numbers.append(-number if box.region else number)
        boxes.append(np.array(mine, np.float32).reshape(-1, 4))
        kinds.append(np.array(numbers, np.int32))
    sides, numbered = Ragged.of(boxes, np.float32), Ragged.of(kinds, np.int32)
    for name, values in (
        ("boxes", sides.values), ("kinds", numbered.values), ("offsets", sides.offsets),
        ("split", np.array(split, np.int8)), ("good", np.array(good, np.int64)),
    ):  # fmt: skip
        np.save(folder / f"{name}.npy", values, allow_pickle=False)


def _shape(job: Job, listing: BoxListing, request: BoxRequest) -> tuple[int, int, int]:
    """Sides that are multiples of STEP, the longer one as asked for or so that the smallest things can be told."""
    if all(request.shape):
        return request.shape
    found, grey = sample(job)
    height, width = choose_size(found, 4096)
    channels = request.shape[2] or (1 if grey else 3)
    # Pictures are laid in whole, so what counts is their longer side.
    longer = request.longer or _longer(listing, int(np.median([max(size) for size in found] or [STEP])))
    factor = longer / max(height, width)
    sides = (max(STEP, STEP * math.ceil(side * factor / STEP - 0.25)) for side in (height, width))
    return (*sides, channels)  # type: ignore[return-value]


def _longer(listing: BoxListing, side: int) -> int:
    """By the twentieth part of the boxes that is smallest, told in shares of a picture's longer side."""
    spans = []
    for marked in listing.marked:
        wide, high = marked.size if all(marked.size) else (float(side), float(side))
        for box in marked.boxes:
            left, top, right, bottom = box.sides
            spans.append(math.sqrt(max(0.0, (right - left) * (bottom - top))) / max(wide, high))
    small = float(np.quantile([span for span in spans if math.isfinite(span)] or [0.1], 0.05))
    asked = TELLING / max(small, 1e-3)
    return int(min(max(asked, SIDES[0]), SIDES[1], max(side, STEP)))


def divided(
    table: BoxTable, columns: Mapping[str, Column], prints: Callable[[Array], tuple[Array, float]],
    shares: tuple[float, float, int],
) -> dict[str, Array]:  # fmt: skip
    """The rows of "train", "valid" and "test": those that the source names, else by each picture's rarest class."""
    labels = columns["label"]
    kinds = [np.unique(labels[row][labels[row] > 0]) for row in range(len(labels))]
    common = Counter(int(kind) for each in kinds for kind in each)
    rarest = np.array([min(each.tolist(), key=lambda k: common[k], default=0) for each in kinds], np.int64)

    def alike(rows: Array) -> tuple[Array, Array]:
        vectors, threshold = prints(rows)
        return groups(vectors, threshold), equal_rows(table.pictures[rows])

    def find() -> dict[str, Array]:
        alone = np.full(len(rarest), -1, np.int64)
        return divide(Splits(table.good, table.split, rarest, alone), alike, shares)

    words = f"{table.folder.name} {shares} ".encode()
    return remembered(sha256(words + table.good.tobytes() + rarest.tobytes()).hexdigest()[:40], find)


def seen_of(image: Array, size: Array) -> Array:
    """int (n, 2): width and height that pictures of their own `size` (n, 2) take of the shape they are laid into."""
    height, width = image.shape[1:3]
    size = np.maximum(size, 1)  # nought for pictures that could not be read
    factor = (np.array([width, height]) / size).min(1, keepdims=True)
    inside: Array = np.maximum(1, np.round(size * factor)).astype(np.int64)
    return inside


def seen(examples: Examples) -> tuple[Array, Array, Array]:
    """Pictures, rows, and what is seen of each: what thumbnails are made of."""
    image = examples.array("image")
    return image, examples.rows, seen_of(image, examples.array("size"))


def changed_since(source: str, manifest: Mapping[str, str]) -> dict[str, list[str]]:
    """Compares pictures and what is said of them with a manifest. Raises DataError where the source cannot be read."""
    listing = listed(source)
    names = [marked.name for marked in listing.marked]
    job = Job(listing.root, names, (1, 1, 1), 1, "", listing.archive, listing.places)
    reader = Reader(job)

    def told(row: int) -> str:
        try:
            return listing.marked[row].digest(sha256(reader.read(row)).digest())
        except PictureError:
            return ""

    try:
        with ThreadPoolExecutor(worker_count()) as pool:
            now = dict(zip(names, pool.map(told, range(len(names))), strict=True))
    finally:
        reader.close()
    return {
        "changed": [name for name, said in manifest.items() if now.get(name, "") not in ("", said)],
        "missing": [name for name in manifest if not now.get(name, "")],
        "new": [name for name in now if name not in manifest],
    }


def decode_whole(raws: Sequence[Raw], shape: Shape, pixel_limit: int) -> tuple[Pixels, Array, dict[int, PictureError]]:
    """uint8 (pictures that can be read, *shape), int32 (..., 2) their own (width, height), and the others' errors."""
    pixels, sizes = np.empty((len(raws), *shape), np.uint8), np.ones((len(raws), 2), np.int32)
    errors: dict[int, PictureError] = {}
    for place, raw in enumerate(raws):
        at = place - len(errors)
        try:
            pixels[at], sizes[at] = decode_sized(raw, shape, pixel_limit, whole=True)
        except PictureError as error:
            errors[place] = error
    good = len(raws) - len(errors)
    return pixels[:good], sizes[:good], errors
