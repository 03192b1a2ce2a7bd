"""Pictures and their masks decoded into mapped columns, each whole at one size or cut into tiles at its own.

Where there are many, worker processes do it, so that a file that kills its decoder or holds it up is written off and
the others are read (media/crew.py).
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any

import numpy as np

from matinee.media.columns import write_rows
from matinee.media.crew import Crew, Duty, Failure, Fill, limit_memory
from matinee.media.decoding import Job, Reader, worker_count
from matinee.media.mask_files import mask_numbers, shrunk, stretched, upright_size, whole
from matinee.media.pictures import PictureError, Quiet

FEW = 64  # pairs: below this many, starting processes costs more than it saves
CHUNK = 8  # pairs that a worker decodes at a time

Array = np.ndarray[Any, Any]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class MaskJob:
    """What is to be decoded: pair i is `names[i]` and, as its mask, `names[count + i]`.

    root: a folder, or a zip whose entry at `places[i]` is `names[i]`. shape: height, width and channels of every row.
    colours: of masks in colours, the colour of each number. folder: where the columns lie that are filled.
    firsts: where pictures are cut into tiles of `shape`, the first row of each pair, and the number of all rows.
    """

    root: str
    names: Sequence[str]
    shape: tuple[int, int, int]
    pixel_limit: int
    colours: Sequence[str]
    folder: str
    archive: bool = False
    places: Sequence[int] = ()
    firsts: Sequence[int] = ()

    @property
    def count(self) -> int:
        """How many pairs there are."""
        return len(self.names) // 2

    def reader(self) -> Reader:
        """The bytes of pictures and masks."""
        return Reader(
            Job(self.root, self.names, self.shape, self.pixel_limit, self.folder, self.archive, self.places)
        )  # fmt: skip


def tile_starts(length: int, side: int) -> list[int]:
    """Where tiles of `side` pixels begin that cover `length` pixels evenly; the fewest, overlapping where they must."""
    count = max(1, -(-length // side))
    return [round(place * (length - side) / max(1, count - 1)) if count > 1 else 0 for place in range(count)]


def tile_counts(job: MaskJob) -> list[int]:
    """How many tiles each picture has, by its header; 1 where it cannot be read: decoding it will say why."""
    reader, (high, wide, _) = job.reader(), job.shape

    def count(row: int) -> int:
        try:
            height, width = upright_size(reader.read(row), job.pixel_limit)
        except PictureError:
            return 1
        return len(tile_starts(height, high)) * len(tile_starts(width, wide))

    try:
        with ThreadPoolExecutor(worker_count()) as pool:
            return list(pool.map(count, range(job.count)))
    finally:
        reader.close()


def decode_pairs(job: MaskJob, progress: Progress | None = None) -> list[Failure]:
    """Fills the columns of the job: "image", "mask", "sha256", "mask_sha256", "size" and "numbers".

    Returns what is to be said of pictures (their number) and masks (`job.count` and more): the ledger's word and the
    reason; "event" where the pair was read all the same. Raises DataError where the disk is full or no worker starts.
    """
    report = progress or (lambda done, total: None)
    if job.count < FEW or not sys.executable:
        return _in_threads(job, report)
    workers = min(worker_count(), -(-job.count // CHUNK))
    with tempfile.TemporaryDirectory(prefix="workers-", dir=job.folder) as scratch:
        duty = Duty(__name__, vars(job), job.count, "pictures and masks")
        return sorted(Crew(duty, scratch, workers).run(CHUNK, report))


def _in_threads(job: MaskJob, report: Progress) -> list[Failure]:
    reader, done, failures = job.reader(), 0, list[Failure]()
    pool = ThreadPoolExecutor(worker_count())
    try:
        parts = [
            pool.submit(_fill, job, reader, start, min(start + CHUNK, job.count), lambda row: None)
            for start in range(0, job.count, CHUNK)
        ]
        for part in as_completed(parts):
            failures += part.result()
            done += CHUNK
            report(min(done, job.count), job.count)
    finally:
        pool.shutdown(cancel_futures=True)
        reader.close()
    return sorted(failures)


def begin(fields: Mapping[str, Any]) -> Fill:
    """In a worker process: what decodes the pairs of the job with these fields."""
    job = MaskJob(**{**fields, "shape": tuple(fields["shape"])})
    limit_memory((1 << 30) + 16 * job.pixel_limit)  # a few copies of the largest picture allowed, and the libraries
    reader = job.reader()

    def fill(start: int, stop: int, note: Callable[[int], None]) -> list[Failure]:
        with Quiet():
            return _fill(job, reader, start, stop, note)

    return fill


def _fill(job: MaskJob, reader: Reader, start: int, stop: int, note: Callable[[int], None]) -> list[Failure]:
    told: list[Failure] = []
    for pair in range(start, stop):
        note(pair)
        digests = np.zeros((2, 32), np.uint8)
        try:
            pixels, numbers, size = _pair(job, reader, pair, digests, told)
        except _PairError as error:
            told.append((error.row, error.kind, str(error)))
            continue
        first, rows = job.firsts[pair] if job.firsts else pair, len(pixels)
        counts = np.stack([np.bincount(each.ravel(), minlength=256) for each in numbers]).astype(np.int32)
        for name, values in (
            ("image", pixels), ("mask", numbers), ("numbers", counts), ("sha256", digests[[0] * rows]),
            ("mask_sha256", digests[[1] * rows]), ("size", np.tile(np.array(size[::-1], np.int32), (rows, 1))),
        ):  # fmt: skip
            write_rows(job.folder, name, first, values)
    return told


class _PairError(Exception):
    """A pair that cannot be used; row: which of its two files is spoken of."""

    def __init__(self, row: int, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.row, self.kind = row, kind


def _pair(
    job: MaskJob, reader: Reader, pair: int, digests: Array, told: list[Failure]
) -> tuple[Array, Array, tuple[int, int]]:
    """Pixels (rows, *job.shape) and numbers (rows, height, width) of one picture, and its height and width."""
    row = pair
    try:
        raw = reader.read(row)
        digests[0] = np.frombuffer(hashlib.sha256(raw).digest(), np.uint8)
        if job.firsts:
            pixels = whole(raw, job.shape[2], job.pixel_limit)
            size = pixels.shape[:2]
        else:
            pixels, size = stretched(raw, job.shape, job.pixel_limit)
        row = job.count + pair
        raw = reader.read(row)
        digests[1] = np.frombuffer(hashlib.sha256(raw).digest(), np.uint8)
        numbers, strange = mask_numbers(raw, job.colours, job.pixel_limit)
        if numbers.shape != size:
            reason = f"the mask has {numbers.shape[1]} x {numbers.shape[0]} pixels, its picture {size[1]} x {size[0]}"
            turned = ": the picture's notes turn it, the mask is not turned" if numbers.shape == size[::-1] else ""
            raise PictureError("size-differs", reason + turned)
    except PictureError as error:
        raise _PairError(row, error.kind, str(error)) from error
    if strange:
        share = 100 * strange / numbers.size
        reason = f"{strange:,} pixels ({share:.1f} %) have a colour that is in no list of classes: they are ignored"
        told.append((row, "event", reason))
    if not job.firsts:
        return pixels[None], shrunk(numbers, job.shape[:2])[None], size
    return cut(pixels, job.shape), cut(numbers, job.shape), size


def cut(array: Array, shape: tuple[int, ...]) -> Array:
    """The tiles (tiles, height, width, ...) of an array (h, w, ...), line by line; what is too small is mirrored."""
    high, wide = shape[:2]
    missing = [max(0, high - array.shape[0]), max(0, wide - array.shape[1])]
    if any(missing):
        array = np.pad(array, [(0, missing[0]), (0, missing[1]), *[(0, 0)] * (array.ndim - 2)], mode="symmetric")
    tops, lefts = (tile_starts(length, side) for length, side in zip(array.shape[:2], (high, wide), strict=True))
    return np.stack([array[top : top + high, left : left + wide] for top in tops for left in lefts])
