"""Worker processes that do rows of a long piece of work, and survive whatever a file does to them.

A worker is a plain child process that is told the rows to do over a pipe (the multiprocessing module would need a
guarded main script and does not work in every notebook). Before each row it notes its number in a few mapped bytes:
when a file kills the worker, the parent knows which one, tries it once more alone and then writes it off; a file that
takes for ever is written off as well.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import mmap
import os
import queue
import signal
import struct
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matinee.core.errors import DataError

Failure = tuple[int, str, str]  # row, kind, reason
Fill = Callable[[int, int, Callable[[int], None]], list[Failure]]
"""Does the rows from the first up to the second number, calling the third with each row before it is touched."""
PATIENCE = 120.0  # seconds for one row before its worker is given up
START = 60.0  # seconds, at least, for a worker to begin: a busy machine starts processes slowly
ENOUGH = 3  # rows of one file that were written off: the others would each cost as long


@dataclass(frozen=True)
class Duty:
    """What is to be done: `begin(fields)` of one of our own modules, in the worker, gives what does the rows.

    fields: JSON, with "folder", where the rows are written. what: what a row is, for messages. kin: a number for each
    row, equal for rows of one file; where ENOUGH of them were written off, the others are as well.
    """

    module: str
    fields: Mapping[str, Any]
    count: int
    what: str = "pictures"
    kin: Sequence[int] = ()


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


class Crew:
    """The worker processes of one duty, and who does what. Their files lie in `scratch`."""

    def __init__(self, duty: Duty, scratch: str, workers: int) -> None:
        self._duty = duty
        self._scratch = Path(scratch)
        self._size = workers
        self._answers: queue.SimpleQueue[tuple[_Worker, bytes]] = queue.SimpleQueue()
        self._workers: list[_Worker] = []
        self._todo: deque[tuple[int, int]] = deque()
        self._suspects: set[int] = set()
        self._lost: Counter[int] = Counter()  # rows that were written off, by file
        self._failures: list[Failure] = []
        self._done = 0
        self._false_starts = 0
        self._started = 0
        told = {"module": duty.module, "fields": dict(duty.fields), "what": duty.what}
        (self._scratch / "duty.json").write_text(json.dumps(told), encoding="ascii")

    def run(self, size: int, report: Callable[[int, int], None]) -> list[Failure]:
        """All rows, `size` at a time; report(done, all) is called in this thread. Raises DataError."""
        count = self._duty.count
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
        command = [sys.executable, "-I", "-S", "-c", _BEGIN, json.dumps(import_path()), str(self._scratch), str(place)]
        env = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        try:
            with log.open("wb") as errors:
                process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=env
                )
        except OSError as error:
            raise DataError(f"no process that decodes {self._duty.what} can be started: {error}") from error
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
                raise DataError(f"the processes that decode {self._duty.what} end at once (code {code}): {words}")
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
        if self._duty.kin:
            kin = self._duty.kin[row]
            self._lost[kin] += 1
            if self._lost[kin] == ENOUGH:
                self._write_off_all(kin)

    def _write_off_all(self, kin: int) -> None:
        """The rows of a file that are left to do."""
        ranges, self._todo = list(self._todo), deque()
        for start, stop in ranges:
            for row in range(start, stop):
                if self._duty.kin[row] == kin:
                    self._failures.append((row, "unreadable", f"{ENOUGH} other parts of it could not be decoded"))
                    self._done += 1
                elif self._todo and self._todo[-1][1] == row > start:
                    self._todo[-1] = (self._todo[-1][0], row + 1)
                else:
                    self._todo.append((row, row + 1))

    def _look_after(self) -> None:
        now = time.monotonic()
        for worker in list(self._workers):
            row = worker.row()
            if worker.chunk is None:
                if self._todo:
                    self._give(worker)
            elif row != worker.seen:
                worker.seen, worker.since = row, now
            elif now - worker.since > (PATIENCE if worker.chunk[0] <= row < worker.chunk[1] else max(PATIENCE, START)):
                self._bury(worker, f"decoding it took longer than {PATIENCE:.0f} s")

    def _stop(self) -> None:
        for worker in self._workers:
            if self._done < self._duty.count:
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
    "from matinee.media.crew import serve; serve(sys.argv[2], sys.argv[3])"
)


def import_path() -> list[str]:
    """Where a child process finds the modules that this one does."""
    package = str(Path(__file__).resolve().parents[2])
    return [package, *(os.path.abspath(entry) for entry in sys.path)]  # noqa: PTH100 - "" is the working directory


def serve(scratch: str, place: str) -> None:
    """What a worker process does: for every line [start, stop] on its input, one line about those rows."""
    out = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # nothing that a library prints may get between our lines
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business; our input ends with it
    told = json.loads((Path(scratch) / "duty.json").read_text(encoding="ascii"))
    fill: Fill = importlib.import_module(told["module"]).begin(told["fields"])
    with open(place, "r+b") as file:
        at = mmap.mmap(file.fileno(), 8)
    for line in sys.stdin:
        start, stop = json.loads(line)
        try:
            failures = fill(start, stop, lambda row: struct.pack_into("q", at, 0, row))
            answer = json.dumps({"failures": failures})
        except OSError as error:
            answer = json.dumps({"fatal": _fatal(error, told["what"], told["fields"]["folder"])})
        print(answer, file=out, flush=True)


def limit_memory(room: int) -> None:
    """At most so many bytes for this process, where the system can say so; what wants more gets MemoryError."""
    try:
        import resource
    except ImportError:  # not on this operating system
        return
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (room if hard == resource.RLIM_INFINITY else min(room, hard), hard))


def _fatal(error: OSError, what: str, folder: str) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"disk full: no room left for the decoded {what} in {folder}"
    return f"the decoded {what} cannot be written to {folder}: {error}"
