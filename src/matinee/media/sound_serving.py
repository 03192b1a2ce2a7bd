"""A child process that decodes sounds, a file at a time, for the one that started it: see media/sound_decoding.py."""

from __future__ import annotations

import contextlib
import hashlib
import json
import lzma
import math
import os
import signal
import sys
import time
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Final

import numpy as np

from matinee.media.crew import limit_memory
from matinee.media.sounds import Samples, SoundError, decode, excerpts, is_silent, needs, probe

SIGNS: Final = 1.0
"""Seconds between two signs of life, at least."""
PIECE: Final = 1 << 20
ZIP_LIMIT: Final = 1 << 29
"""Bytes of an entry in a zip, which is unpacked in memory."""
MEMORY: Final = 6 << 30
"""Bytes of a child: an hour of sound at the highest rate that can be asked for, twice, and an entry of a zip."""
_BROKEN: Final = (OSError, ValueError, RuntimeError, LookupError, NotImplementedError, EOFError)


@dataclass(frozen=True)
class Source:
    """One sound to be decoded: a file, the entry at `place` of a zip, or, where there is no path, bytes sent along.

    start, end: seconds of the stretch that is meant.
    """

    path: str = ""
    place: int = -1
    start: float = 0.0
    end: float = math.inf


def serve() -> None:
    """What a child does: for every line on its input an answer on its output, until the input ends."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing that a library prints may get between our lines
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business; our input ends with it
    limit_memory(MEMORY)
    needs()

    def tell(told: dict[str, Any]) -> None:
        out.write(json.dumps(told).encode("ascii") + b"\n")
        out.flush()

    tell({"ready": True})
    hashed = _Hashed()
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        raw = sys.stdin.buffer.read(asked["sent"])
        samples = np.zeros(0, np.int16)
        told: dict[str, Any] = {"header": None, "digest": "", "event": "", "failure": None}
        try:
            samples = _answered(asked, raw, told, hashed, _Pulse(tell))
        except SoundError as error:
            told["failure"] = (error.kind, str(error))
        except MemoryError:
            told["failure"] = ("oversized", "there is not enough memory to decode it")
        tell({**told, "count": len(samples)})
        out.write(samples.astype("<i2", copy=False).data)
        out.flush()


def _answered(asked: dict[str, Any], raw: bytes, told: dict[str, Any], hashed: _Hashed, alive: _Pulse) -> Samples:
    source = Source(**asked["source"])
    given: str | bytes = raw if not source.path else source.path
    if source.place >= 0:
        given = entry_of(source.path, source.place)
    if asked["do"] == "look":
        told["header"] = asdict(probe(given))
        return np.zeros(0, np.int16)
    if asked["do"] == "windows":
        samples = excerpts(given, asked["rate"], asked["seconds"], asked["count"], (source.start, source.end))
    else:
        told["digest"] = stretch_digest(hashed(given, alive), source.start, source.end)
        seconds = min(asked["seconds"], source.end - source.start)
        samples, told["event"] = decode(given, asked["rate"], seconds, source.start, alive)
        there = len(samples) / asked["rate"]
        if not told["event"] and source.end < math.inf and there < 0.98 * seconds:
            told["event"] = f"it ends after {source.start + there:.2f} s, before the stretch does ({source.end:g} s)"
        whole = seconds >= asked["seconds"] and len(samples) >= asked["seconds"] * asked["rate"]
        if not told["event"] and whole:
            told["event"] = f"only its first {asked['seconds'] / 60:.0f} minutes are read"
    if is_silent(samples):
        told["failure"] = ("silent", "there is nothing to hear: every sample is the same, or as good as")
    return samples


class _Pulse:
    """Tells, now and then, that the child is alive."""

    def __init__(self, tell: Callable[[dict[str, Any]], None]) -> None:
        self._tell, self._last = tell, time.monotonic()

    def __call__(self) -> None:
        now = time.monotonic()
        if now - self._last > SIGNS:
            self._last = now
            self._tell({"alive": True})


class _Hashed:
    """Digests of files; that of the last one is remembered, for its stretches follow each other."""

    def __init__(self) -> None:
        self._last: tuple[object, str] = (None, "")

    def __call__(self, raw: str | bytes, alive: Callable[[], None]) -> str:
        if isinstance(raw, bytes):
            return hashlib.sha256(raw).hexdigest()
        with contextlib.suppress(OSError):
            state = os.stat(raw)  # noqa: PTH116
            key = (raw, state.st_size, state.st_mtime_ns, state.st_ino)
            if self._last[0] != key:
                self._last = (key, sha256_of(raw, alive))
            return self._last[1]
        return ""


def sha256_of(raw: str | bytes, alive: Callable[[], None] = lambda: None) -> str:
    """SHA-256, hex, of a plain file or of bytes; "" where it cannot be read."""
    whole = hashlib.sha256()
    if isinstance(raw, str):
        try:
            # A pipe without a writer would keep us waiting.
            handle = os.open(raw, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
            with os.fdopen(handle, "rb") as file:
                for piece in iter(partial(file.read, PIECE), b""):
                    whole.update(piece)
                    alive()
        except (OSError, ValueError, TypeError):
            return ""
    else:
        whole.update(raw)
    return whole.hexdigest()


def stretch_digest(digest: str, start: float, end: float) -> str:
    """The digest of a stretch of a file with this digest; that of the file where all of it is meant."""
    if not digest or (start <= 0 and end == math.inf):
        return digest
    return hashlib.sha256(f"{digest} {start:.3f} {end:.3f}".encode()).hexdigest()


def entry_of(path: str, place: int) -> bytes:
    """The bytes of an entry in a zip. Raises SoundError."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(archive.infolist()[place]) as file:
            raw: bytes = file.read(ZIP_LIMIT + 1)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, *_BROKEN) as error:
        raise SoundError("unreadable", f"the zip entry cannot be read ({error})") from error
    if len(raw) > ZIP_LIMIT:
        raise SoundError("oversized", f"the entry has more than {ZIP_LIMIT:,} bytes")
    return raw
