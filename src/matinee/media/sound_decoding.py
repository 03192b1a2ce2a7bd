"""Sounds decoded by child processes, one file at a time: whatever a decoder does, it does it to a process of its own.

A child is told on its input what to decode, in a line of JSON, and answers with a line of JSON and the samples. One
that shows no sign of life for long is ended, and so is the hope for its file; a file that ends a child is tried once
more. Idle children wait for the next file, so that asking for one sound at a time does not start a process each time.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, field
from typing import IO, Any, Final

import numpy as np

from matinee.core.errors import DataError
from matinee.media.crew import import_path
from matinee.media.sound_serving import PIECE, Source
from matinee.media.sounds import Header, Samples, SoundError, needs

PATIENCE: Final = 120.0
"""Seconds without a sign of life, after which a child is given up."""
STARTING: Final = 120.0
"""Seconds that a child may take to begin."""
IDLE: Final = 4  # children that wait for more
_BEGIN: Final = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); from matinee.media.sound_serving import serve; serve()"
)


@dataclass
class Heard:
    """What became of one sound: where its samples are, or why there are none; both where it is silent.

    samples: a file of so many `count` int16, from its beginning. digest: SHA-256 of the file, "" where it cannot be
    read. event: what is to be said of it although it can be used.
    """

    digest: str = ""
    samples: IO[bytes] | None = None
    count: int = 0
    failure: tuple[str, str] | None = None
    event: str = ""
    header: Header | None = None

    def array(self) -> Samples:
        """int16 (samples,). Raises SoundError where there is none, or silence."""
        with self.samples or contextlib.nullcontext() as samples:
            if self.failure is not None or samples is None:
                raise SoundError(*(self.failure or ("unreadable", "it cannot be read")))
            return np.frombuffer(samples.read(), np.int16)


def look(source: Source, raw: bytes = b"") -> Header:
    """What the header of a sound says. Raises SoundError."""
    found = _ask({"do": "look", "source": asdict(source)}, raw)
    if found.header is None:
        raise SoundError(*(found.failure or ("unreadable", "it cannot be read")))
    return found.header


def hear(source: Source, rate: int, seconds: float, folder: str | None = None) -> Heard:
    """The sound at `rate`, no more than `seconds` of it; long ones wait in a nameless file in `folder`."""
    return _ask({"do": "hear", "source": asdict(source), "rate": rate, "seconds": seconds}, b"", folder)


def hear_windows(source: Source, learned: tuple[int, int], count: int, raw: bytes = b"") -> Heard:
    """As `excerpts` does it: the sound, or so many windows of a longer one. learned: rate, samples of a window."""
    rate, window = learned
    asked = {"do": "windows", "source": asdict(source), "rate": rate, "seconds": window / rate, "count": count}
    return _ask(asked, raw)


# -- whoever asks


class _GoneError(Exception):
    """A child ended before it had answered. ready: whether it ever began; late: whether it kept silent for too long."""

    def __init__(self, ready: bool, late: bool, words: str) -> None:
        super().__init__(words)
        self.ready, self.late = ready, late


@dataclass
class _Child:
    process: subprocess.Popen[bytes]
    errors: IO[bytes]
    ready: bool = False
    deadline: float = 0.0
    late: bool = False
    asking: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, asked: dict[str, Any], raw: bytes, folder: str | None) -> Heard:
        """Raises _GoneError where there is no answer."""
        patience = PATIENCE if self.ready else STARTING
        self.deadline, self.asking = time.monotonic() + patience, True
        watch = self._watch(min(patience, PATIENCE))
        try:
            return self._asked(asked, raw, folder)
        except (OSError, ValueError, EOFError) as error:
            if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
                raise DataError(f"a decoded sound cannot be kept: {error.strerror or error}") from error
            raise self._gone() from error
        finally:
            with self.lock:
                self.asking = False
            watch.cancel()

    def _watch(self, seconds: float) -> threading.Timer:
        watch = threading.Timer(seconds, self._look_after)
        watch.daemon = True
        watch.start()
        return watch

    def _look_after(self) -> None:
        with self.lock:
            left = self.deadline - time.monotonic()
            if not self.asking:
                return
            if left <= 0:
                self.late = True
                self.process.kill()
                return
        self._watch(min(left, PATIENCE))

    def _asked(self, asked: dict[str, Any], raw: bytes, folder: str | None) -> Heard:
        into, out = self.process.stdin, self.process.stdout
        if into is None or out is None:
            raise EOFError
        if not self.ready:
            self._line(out)
            self.ready, self.deadline = True, time.monotonic() + PATIENCE
        into.write(json.dumps({**asked, "sent": len(raw)}).encode("ascii") + b"\n")
        into.write(raw)
        into.flush()
        while "alive" in (told := self._line(out)):
            self.deadline = time.monotonic() + PATIENCE
        header = Header(**told["header"]) if told["header"] else None
        failure = (told["failure"][0], told["failure"][1]) if told["failure"] else None
        found = Heard(told["digest"], None, told["count"], failure, told["event"], header)
        if told["count"]:
            found.samples = self._samples(out, 2 * found.count, folder)
        return found

    def _samples(self, out: IO[bytes], left: int, folder: str | None) -> IO[bytes]:
        kept = tempfile.SpooledTemporaryFile(8 * PIECE, dir=folder)  # noqa: SIM115 - whoever asked closes it
        try:
            while left:
                piece = out.read(min(left, PIECE))
                if not piece:
                    raise EOFError
                kept.write(piece)
                left -= len(piece)
                self.deadline = time.monotonic() + PATIENCE
        except BaseException:
            kept.close()
            raise
        kept.seek(0)
        return kept

    @staticmethod
    def _line(out: IO[bytes]) -> dict[str, Any]:
        line = out.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        told: dict[str, Any] = json.loads(line)
        return told

    def _gone(self) -> _GoneError:
        code, words = self.end()
        return _GoneError(self.ready, self.late, f"code {code}" if self.ready or not words else f"code {code}: {words}")

    def end(self) -> tuple[int, str]:
        """Ends the process; its code, and what it said last of its errors."""
        self.process.kill()
        code = self.process.wait()
        with self.errors as errors:
            errors.seek(0)
            words = errors.read()[-300:].decode("utf-8", "replace").strip()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        return code, words


_idle: list[_Child] = []
_owner = [0]  # the process that started them: a fork of it must not talk to them
_guard = threading.Lock()


def _ask(asked: dict[str, Any], raw: bytes = b"", folder: str | None = None) -> Heard:
    for again in (False, True):
        child = _take()
        try:
            found = child.ask(asked, raw, folder)
        except _GoneError as gone:
            if not gone.ready:
                raise DataError(f"the process that decodes sounds ends at once ({gone})") from gone
            if gone.late:
                return Heard(failure=("unreadable", f"decoding it took longer than {PATIENCE:g} s"))
            if again:
                return Heard(failure=("unreadable", f"decoding it ended the process ({gone})"))
        except BaseException:
            child.end()  # interrupted: nobody knows what it would say next
            raise
        else:
            _give_back(child)
            return found
    raise DataError("no sound can be decoded")  # not reached


def _take() -> _Child:
    with _guard:
        if _owner[0] != os.getpid():
            _idle.clear()
            _owner[0] = os.getpid()
        while _idle:
            child = _idle.pop()
            if child.process.poll() is None:
                return child
            child.end()
    needs()
    command = [sys.executable, "-I", "-S", "-c", _BEGIN, json.dumps(import_path())]
    env = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the child
    try:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=env)
    except OSError as error:
        raise DataError(f"no process that decodes sounds can be started: {error}") from error
    return _Child(process, errors)


def _give_back(child: _Child) -> None:
    with _guard:
        if len(_idle) < IDLE and _owner[0] == os.getpid():
            _idle.append(child)
            return
    child.end()


@atexit.register
def _end_all() -> None:
    with _guard:
        if _owner[0] == os.getpid():
            for child in _idle:
                child.end()
        _idle.clear()
