"""Many pictures into mapped columns: worker processes that each decode chunks of rows and write them in place.

The columns are made in full beforehand, so a disk that is too small is noticed at once. A picture that kills its
worker, or holds it up for ever, is written off (media/crew.py).
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any

import numpy as np

from matinee.core.errors import SettingsError
from matinee.media.columns import write_rows
from matinee.media.crew import Crew, Duty, Failure, Fill, limit_memory
from matinee.media.pictures import BROKEN, BYTE_LIMIT, PictureError, Quiet, decode_sized, read_bytes

FEW = 256  # below this many files, starting processes costs more than it saves
CHUNK_FILES = 128
CHUNK_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True)
class Job:
    """What is to be decoded: the columns "image", "sha256" and "size" of `folder` are filled row by row.

    root: a folder that `names` are relative to, or a zip file, of which row i is the entry at place `places[i]`.
    shape: height, width, channels of every row. whole: whether pictures are laid into it whole, not cut to it.
    """

    root: str
    names: Sequence[str]
    shape: tuple[int, int, int]
    pixel_limit: int
    folder: str
    archive: bool = False
    places: Sequence[int] = ()
    whole: bool = False


class Reader:
    """The bytes of a row's file, from the folder or from the zip."""

    def __init__(self, job: Job) -> None:
        self._prefix = os.path.join(job.root, "")  # noqa: PTH118 - strings: this is the hot path
        self._job = job
        self._archive: zipfile.ZipFile | None = None
        self._entries: list[zipfile.ZipInfo] = []
        if job.archive:
            self._archive = zipfile.ZipFile(job.root)
            self._entries = self._archive.infolist()

    def read(self, row: int) -> bytes:
        """Raises PictureError."""
        if self._archive is None:
            return read_bytes(self._prefix + self._job.names[row])
        try:
            with self._archive.open(self._entries[self._job.places[row]]) as file:
                raw = file.read(BYTE_LIMIT + 1)
        except (zipfile.BadZipFile, *BROKEN) as error:
            raise PictureError("unreadable", f"the zip entry cannot be read ({error})") from error
        if len(raw) > BYTE_LIMIT:
            raise PictureError("oversized", f"the entry has more than {BYTE_LIMIT:,} bytes")
        return raw

    def close(self) -> None:
        if self._archive is not None:
            self._archive.close()


def worker_count() -> int:
    """As many workers as this process may use cores; MATINEE_WORKERS overrides it. Raises SettingsError."""
    said = os.environ.get("MATINEE_WORKERS", "").strip()
    if said:
        if not said.isascii() or not said.isdigit() or not 1 <= int(said[:6]) <= 1024:
            raise SettingsError(f"MATINEE_WORKERS={said[:40]}: a number of processes, from 1 to 1024")
        return int(said)
    try:
        return max(1, len(os.sched_getaffinity(0)))
    except AttributeError:  # not on this operating system
        return max(1, os.cpu_count() or 1)


def decode_all(job: Job, progress: Callable[[int, int], None] | None = None) -> list[Failure]:
    """Fills the columns of the job; returns the rows that could not be read, with the ledger's word and the reason.

    progress is called in this thread with the number of rows done and of all. Raises DataError where the disk is full
    or no worker can be started.
    """
    count = len(job.names)
    report = progress or _silent
    if count == 0:
        return []
    row_bytes = job.shape[0] * job.shape[1] * job.shape[2]
    size = max(1, min(CHUNK_FILES, CHUNK_BYTES // row_bytes))
    workers = worker_count()
    if count < FEW or not sys.executable:
        return _in_threads(job, max(1, min(size, count // (2 * workers))), workers, report)
    # Smaller towards the end of a short list, so that the workers finish together.
    size = max(1, min(size, count // (4 * workers)))
    with tempfile.TemporaryDirectory(prefix="workers-", dir=job.folder) as scratch:
        duty = Duty(__name__, vars(job), count)
        return sorted(Crew(duty, scratch, min(workers, -(-count // size))).run(size, report))


def fill_rows(job: Job, reader: Reader, start: int, stop: int, note: Callable[[int], None]) -> list[Failure]:
    """Decodes the rows from start to stop and writes them; calls note(row) before it touches each one."""
    pixels = np.zeros((stop - start, *job.shape), dtype=np.uint8)
    digests = np.zeros((stop - start, 32), dtype=np.uint8)
    sizes = np.zeros((stop - start, 2), dtype=np.int32)
    failures: list[Failure] = []
    for row in range(start, stop):
        note(row)
        try:
            raw = reader.read(row)
            digests[row - start] = np.frombuffer(hashlib.sha256(raw).digest(), dtype=np.uint8)
            pixels[row - start], sizes[row - start] = decode_sized(raw, job.shape, job.pixel_limit, job.whole)
        except PictureError as error:
            failures.append((row, error.kind, str(error)))
    write_rows(job.folder, "image", start, pixels)
    write_rows(job.folder, "sha256", start, digests)
    write_rows(job.folder, "size", start, sizes)
    return failures


def _in_threads(job: Job, size: int, workers: int, report: Callable[[int, int], None]) -> list[Failure]:
    count, done = len(job.names), 0
    failures: list[Failure] = []
    reader = Reader(job)
    pool = ThreadPoolExecutor(workers)
    try:
        parts = {
            pool.submit(fill_rows, job, reader, start, min(start + size, count), _ignore): min(size, count - start)
            for start in range(0, count, size)
        }
        for part in as_completed(parts):
            failures += part.result()
            done += parts[part]
            report(done, count)
    finally:
        pool.shutdown(cancel_futures=True)
        reader.close()
    return sorted(failures)


def _silent(done: int, total: int) -> None:
    pass


def _ignore(row: int) -> None:
    pass


def begin(fields: Mapping[str, Any]) -> Fill:
    """In a worker process: what decodes the rows of the job with these fields."""
    job = Job(**{**fields, "shape": tuple(fields["shape"])})
    limit_memory((1 << 30) + 16 * job.pixel_limit)  # a few copies of the largest picture allowed, and the libraries
    reader = Reader(job)

    def fill(start: int, stop: int, note: Callable[[int], None]) -> list[Failure]:
        with Quiet():
            return fill_rows(job, reader, start, stop, note)

    return fill
