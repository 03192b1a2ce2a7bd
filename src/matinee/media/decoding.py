"""Many pictures into mapped columns: worker processes that each decode chunks of rows and write them in place.

The columns are made in full beforehand, so a disk that is too small is noticed at once. A worker is a plain child
process that is told the rows to do over a pipe (the multiprocessing module would need a guarded main script and does
not work in every notebook). Before each file it notes the row in a few mapped bytes: when a picture kills it, the
parent knows which one, tries it once more alone and then writes it off.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import mmap
import os
import queue
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from matinee.core.errors import DataError, SettingsError
from matinee.media.columns import write_rows
from matinee.media.pictures import BROKEN, BYTE_LIMIT, PictureError, Quiet, decode_sized, read_bytes

Failure = tuple[int, str, str]  # row, kind, reason
FEW = 256  # below this many files, starting processes costs more than it saves
PATIENCE = 120.0  # seconds for one picture before its worker is given up
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
        return sorted(_Crew(job, scratch, min(workers, -(-count // size))).run(size, report))


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


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    at: mmap.mmap
    log: Path
    chunk: tuple[int, int] | None = None
    seen: int = -1
    since: float = field(default_factory=time.monotonic)

    def row(self) -> int:
        return int(struct.unpack_from("q", self.at)[0])


class _Crew:
    """The worker processes of one job, and who does what."""

    def __init__(self, job: Job, scratch: str, workers: int) -> None:
        self._job = job
        self._scratch = Path(scratch)
        self._size = workers
        self._answers: queue.SimpleQueue[tuple[_Worker, bytes]] = queue.SimpleQueue()
        self._workers: list[_Worker] = []
        self._todo: deque[tuple[int, int]] = deque()
        self._suspects: set[int] = set()
        self._failures: list[Failure] = []
        self._done = 0
        self._false_starts = 0
        self._started = 0
        (self._scratch / "job.json").write_text(json.dumps(vars(job)), encoding="ascii")

    def run(self, size: int, report: Callable[[int, int], None]) -> list[Failure]:
        count = len(self._job.names)
        self._todo.extend((start, min(start + size, count)) for start in range(0, count, size))
        try:
            for _ in range(self._size):
                self._start()
            while self._done < count:
                try:
                    worker, answer = self._answers.get(timeout=1.0)
                except queue.Empty:
                    self._look_after()
                    continue
                if answer:
                    self._take(worker, answer)
                else:
                    self._bury(worker)
                report(self._done, count)
        finally:
            self._stop()
        return self._failures

    def _start(self) -> None:
        number = self._started
        self._started += 1
        place, log = self._scratch / f"at-{number}", self._scratch / f"log-{number}"
        place.write_bytes(struct.pack("q", -1))
        with place.open("r+b") as file:
            at = mmap.mmap(file.fileno(), 8)
        command = [sys.executable, "-I", "-S", "-c", _BEGIN, json.dumps(_import_path()), str(self._scratch), str(place)]
        env = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        try:
            with log.open("wb") as errors:
                process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=env
                )
        except OSError as error:
            raise DataError(f"no process that decodes pictures can be started: {error}") from error
        worker = _Worker(process, at, log)
        self._workers.append(worker)
        threading.Thread(target=_listen, args=(worker, self._answers), daemon=True).start()
        self._give(worker)

    def _give(self, worker: _Worker) -> None:
        worker.chunk = self._todo.popleft() if self._todo else None
        worker.seen, worker.since = -1, time.monotonic()
        if worker.chunk is not None:
            _tell(worker, worker.chunk)

    def _take(self, worker: _Worker, answer: bytes) -> None:
        reply = json.loads(answer)
        if "fatal" in reply:
            raise DataError(reply["fatal"])
        if worker.chunk is None:
            return
        self._failures += [(int(row), str(kind), str(reason)) for row, kind, reason in reply["failures"]]
        self._done += worker.chunk[1] - worker.chunk[0]
        self._false_starts = 0
        self._give(worker)

    def _bury(self, worker: _Worker, reason: str = "") -> None:
        """A worker is gone: find out at which picture, put the rest of its chunk back, start another one."""
        if worker not in self._workers:
            return
        self._workers.remove(worker)
        code = _end(worker)
        if worker.chunk is None:
            return
        (start, stop), row = worker.chunk, worker.row()
        if not start <= row < stop:
            self._false_starts += 1
            if self._false_starts > 2 * self._size:
                words = worker.log.read_bytes()[-400:].decode("utf-8", "replace").strip()
                raise DataError(f"the processes that decode pictures end at once (code {code}): {words}")
            self._todo.appendleft((start, stop))
        else:
            self._todo.extendleft(part for part in ((start, row), (row + 1, stop)) if part[0] < part[1])
            if reason or row in self._suspects:
                self._write_off(row, reason or f"decoding it ended the process (code {code})")
            else:
                self._suspects.add(row)
                self._todo.append((row, row + 1))
        if self._todo:
            self._start()

    def _write_off(self, row: int, reason: str) -> None:
        self._failures.append((row, "unreadable", reason))
        self._done += 1

    def _look_after(self) -> None:
        now = time.monotonic()
        for worker in list(self._workers):
            row = worker.row()
            if worker.chunk is None:
                if self._todo:
                    self._give(worker)
            elif row != worker.seen:
                worker.seen, worker.since = row, now
            elif now - worker.since > PATIENCE:
                self._bury(worker, f"decoding it took longer than {PATIENCE:.0f} s")

    def _stop(self) -> None:
        for worker in self._workers:
            if self._done < len(self._job.names):
                worker.process.kill()
            _hang_up(worker)
        for worker in self._workers:
            _end(worker, 2.0)


def _listen(worker: _Worker, answers: queue.SimpleQueue[tuple[_Worker, bytes]]) -> None:
    """One thread per worker: every line it says, and an empty one when it is gone."""
    if worker.process.stdout is not None:
        with worker.process.stdout as lines:
            for line in lines:
                answers.put((worker, line))
    answers.put((worker, b""))


def _tell(worker: _Worker, message: object) -> None:
    if worker.process.stdin is not None:
        with contextlib.suppress(OSError, ValueError):  # it is gone, or hung up: its listener says so too
            worker.process.stdin.write(json.dumps(message).encode("ascii") + b"\n")
            worker.process.stdin.flush()


def _hang_up(worker: _Worker) -> None:
    if worker.process.stdin is not None:
        with contextlib.suppress(OSError):
            worker.process.stdin.close()


def _end(worker: _Worker, patience: float = 0.2) -> int:
    """Ends the process, gently first, and returns its exit code."""
    _hang_up(worker)
    try:
        code = worker.process.wait(timeout=patience)
    except subprocess.TimeoutExpired:
        worker.process.kill()
        code = worker.process.wait()
    return code


# The child finds every module where this process found it, whatever its own environment would say.
_BEGIN = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from matinee.media.decoding import serve; serve(sys.argv[2], sys.argv[3])"
)


def _import_path() -> list[str]:
    package = str(Path(__file__).resolve().parents[2])
    return [package, *(os.path.abspath(entry) for entry in sys.path)]  # noqa: PTH100 - "" is the working directory


def serve(scratch: str, place: str) -> None:
    """What a worker process does: for every line [start, stop] on its input, one line about those rows."""
    out = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # nothing that a library prints may get between our lines
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business; our input ends with it
    fields = json.loads((Path(scratch) / "job.json").read_text(encoding="ascii"))
    job = Job(**{**fields, "shape": tuple(fields["shape"])})
    _limit_memory(job.pixel_limit)
    with open(place, "r+b") as file:
        at = mmap.mmap(file.fileno(), 8)
    reader = Reader(job)
    with Quiet():
        for line in sys.stdin:
            start, stop = json.loads(line)
            try:
                failures = fill_rows(job, reader, start, stop, lambda row: struct.pack_into("q", at, 0, row))
                answer = json.dumps({"failures": failures})
            except OSError as error:
                answer = json.dumps({"fatal": _fatal(error, job.folder)})
            print(answer, file=out, flush=True)


def _fatal(error: OSError, folder: str) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"disk full: no room left for the decoded pictures in {folder}"
    return f"the decoded pictures cannot be written to {folder}: {error}"


def _limit_memory(pixel_limit: int) -> None:
    """Room for a few copies of the largest picture allowed, and for the libraries; a bomb gets MemoryError."""
    try:
        import resource
    except ImportError:  # not on this operating system
        return
    room = (1 << 30) + 16 * pixel_limit
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (room if hard == resource.RLIM_INFINITY else min(room, hard), hard))
