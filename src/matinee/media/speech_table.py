"""Recorded speech as columns: every utterance decoded once, into a mapped ragged column in the cache.

Sounds become 16-bit samples of one channel at one rate; frames that were computed before stay what they are.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from matinee.core import cache
from matinee.core.errors import DataError
from matinee.core.examples import Array, Ragged
from matinee.core.ledger import Entry
from matinee.media.decoding import worker_count
from matinee.media.picture_listing import digest
from matinee.media.sound_decoding import hear, look
from matinee.media.sound_serving import Source, sha256_of
from matinee.media.sounds import SHORTEST, SoundError, is_silent, needs
from matinee.media.speech_frames import frames_of
from matinee.media.transcripts import FRAMES, Spoken, Utterance
from matinee.media.walking import printable

FORMAT: Final = 1
USUAL_RATE: Final = 16_000  # samples a second, at most: speech has little above 8,000 Hz
LOOKED_AT: Final = 256  # headers that the usual rate is told by
LONGEST_FILE: Final = 4 * 3600.0  # seconds of a recording that are read
AHEAD: Final = 4  # files that are decoded before they are written


@dataclass(frozen=True)
class SpeechRequest:
    """rate: samples a second, 0 chooses the commonest, at most 16,000. longest: seconds of an utterance; longer ones
    are left out. channels: numbers of a frame, 0 chooses. frame_rate: frames a second, where they are given."""

    rate: int = 0
    longest: float = 30.0
    channels: int = 0
    frame_rate: float = 100.0


@dataclass(frozen=True)
class SpeechTable:
    """values: int16 samples at `rate`, or float32 (frames, channels) where rate is 0; a row for each utterance that
    can be used. owner: which of the utterances each row is, int64 (rows,). digests: of the files, by their names.
    cepstra: whether frames are cepstra. entries: the ledger."""

    values: Ragged
    owner: Array
    digests: Mapping[str, str]
    entries: tuple[Entry, ...]
    rate: int
    channels: int
    cepstra: bool


def read_speech(
    spoken: Spoken, request: SpeechRequest, progress: Callable[[int, int], None] | None = None
) -> SpeechTable:
    """The recordings of a source. progress(done, total) is called while they are decoded. Raises DataError."""
    told = (f"{each.name}\0{each.file}\0{each.begin!r}\0{each.end!r}" for each in spoken.utterances)
    asked = f"{FORMAT} {request.rate} {request.longest!r} {request.channels} {request.frame_rate!r}"
    key = digest((asked, spoken.root, spoken.stamp, *told))[:40]
    return cache.loaded("speech", key, _load, lambda temporary: _fill(temporary, spoken, request, progress))


def _load(folder: Path) -> SpeechTable:
    said = json.loads((folder / "table.json").read_text(encoding="ascii"))
    offsets, owner = (np.load(folder / f"{name}.npy", allow_pickle=False) for name in ("offsets", "owner"))
    values: Array = np.memmap(folder / "values", np.int16 if said["rate"] else np.float32, "r")
    if not said["rate"]:
        values = values.reshape(-1, said["channels"])
    if len(values) != offsets[-1] or len(owner) != len(offsets) - 1:
        raise ValueError("columns of different lengths")
    entries = tuple(Entry(*entry) for entry in said["entries"])
    return SpeechTable(
        Ragged(values, offsets), owner, said["digests"], entries, said["rate"], said["channels"], said["cepstra"]
    )


def _fill(folder: Path, spoken: Spoken, request: SpeechRequest, progress: Callable[[int, int], None] | None) -> None:
    by_file: dict[str, list[int]] = defaultdict(list)
    for number, each in enumerate(spoken.utterances):
        by_file[each.file].append(number)
    reader = _Reader(spoken, request, sorted(by_file))
    lengths: list[int] = []
    owner: list[int] = []
    done = 0
    with (folder / "values").open("wb") as out, ThreadPoolExecutor(worker_count()) as pool:
        for name, (whole, found) in _in_order(pool, reader, sorted(by_file)):
            reader.digests[name] = found
            done += 1
            if progress is not None and (done % 16 == 0 or done == len(by_file)):
                progress(done, len(by_file))
            for number in by_file[name] if whole is not None else ():
                part = reader.part(spoken.utterances[number], whole)
                if part is not None:
                    out.write(part.tobytes())
                    lengths.append(len(part))
                    owner.append(number)
    if not owner:
        kinds = ", ".join(f"{n:,} {kind}" for kind, n in Counter(e.kind for e in reader.entries).items())
        raise DataError(
            f"{printable(spoken.root)}: none of {len(spoken.utterances):,} recordings can be used ({kinds}); "
            f"{reader.entries[0].file}: {reader.entries[0].reason}"
        )
    np.save(folder / "offsets.npy", np.concatenate(([0], np.cumsum(lengths, dtype=np.int64))))
    np.save(folder / "owner.npy", np.array(owner, np.int64))
    told = {
        "rate": reader.rate, "channels": reader.channels, "cepstra": reader.cepstra, "digests": reader.digests,
        "entries": [[e.file, e.kind, e.reason] for e in reader.entries],
    }  # fmt: skip
    (folder / "table.json").write_text(json.dumps(told), encoding="ascii")


Whole = tuple[Array | None, str]
"""What is in a file, None where nothing can be used, and the SHA-256 of its bytes, hex."""


class _Reader:
    """Reads files of one kind: sounds at one rate, or frames of so many numbers."""

    def __init__(self, spoken: Spoken, request: SpeechRequest, files: Sequence[str]) -> None:
        self.root, self._request, self.entries = spoken.root, request, list[Entry]()
        self.digests: dict[str, str] = {}
        given = [name for name in files if name.lower().endswith(FRAMES)]
        self.frames = 2 * len(given) > len(files)
        self.cepstra = self.frames and given[0].lower().endswith(".mfc")
        self.rate = 0 if self.frames else request.rate or self._usual(files)
        self.channels = (request.channels or self._width(given)) if self.frames else 0
        if not self.frames:
            needs()

    def _path(self, name: str) -> str:
        return os.path.join(self.root, name)  # noqa: PTH118 - strings: many names

    def _usual(self, files: Sequence[str]) -> int:
        some = [
            files[place] for place in np.unique(np.linspace(0, len(files) - 1, min(len(files), LOOKED_AT)).astype(int))
        ]
        rates: Counter[int] = Counter()
        for name in some:
            try:
                rates[look(Source(os.path.abspath(self._path(name)))).rate] += 1  # noqa: PTH100
            except SoundError:
                continue  # decoding will say what is wrong with it
        return min(USUAL_RATE, rates.most_common(1)[0][0]) if rates else USUAL_RATE

    def _width(self, files: Sequence[str]) -> int:
        widths: Counter[int] = Counter()
        for name in files[:32]:
            try:
                widths[frames_of(self._path(name)).shape[1]] += 1
            except SoundError:
                continue
        return widths.most_common(1)[0][0] if widths else 1

    def __call__(self, name: str) -> Whole:
        """One file. What is wrong with it is in the ledger."""
        path = self._path(name)
        try:
            if name.lower().endswith(FRAMES) != self.frames:
                raise SoundError(
                    "ignored", "most files here are frames" if self.frames else "most files here are sounds"
                )
            if self.frames:
                return frames_of(path, self.channels), sha256_of(path)
            heard = hear(Source(os.path.abspath(path)), self.rate, LONGEST_FILE)  # noqa: PTH100
            if heard.event:
                self._say(name, "event", heard.event)
            return heard.array(), heard.digest
        except SoundError as error:
            self._say(name, error.kind, str(error))
        except MemoryError:
            self._say(name, "oversized", "there is not enough memory to decode it")
        return None, sha256_of(path)

    def part(self, each: Utterance, whole: Array | None) -> Array | None:
        """The utterance in its file; None, with a line in the ledger, where it cannot be used."""
        if whole is None:
            return None
        second = self.rate or self._request.frame_rate
        part = whole
        if each.end > 0:
            part = whole[round(each.begin * second) : round(each.end * second)]
        if len(part) < max(1, SHORTEST * second):
            self._say(each.name, "empty", f"{len(part) / second:.3f} s of it are there, which is too short")
        elif len(part) > self._request.longest * second:
            self._say(
                each.name,
                "too-long",
                f"{len(part) / second:.1f} s; up to {self._request.longest:g} s are read (--longest)",
            )
        elif self.rate and is_silent(part):
            self._say(each.name, "silent", "there is nothing to hear: every sample is the same, or as good as")
        else:
            return part
        return None

    def _say(self, name: str, kind: str, reason: str) -> None:
        self.entries.append(Entry(printable(name), kind, reason))


def _in_order(pool: ThreadPoolExecutor, reader: _Reader, names: Sequence[str]) -> Iterator[tuple[str, Whole]]:
    """The files in order, only a few of them ahead of whoever takes them: long recordings are large."""
    each = AHEAD * worker_count()
    for first in range(0, len(names), each):
        some = names[first : first + each]
        yield from zip(some, pool.map(reader, some), strict=True)


def utterance_digest(each: Utterance, file: str) -> str:
    """SHA-256, hex, of a recording (by the digest of its file), its place in it, and its text."""
    return hashlib.sha256(f"{file} {each.begin!r} {each.end!r} {each.text}".encode("utf-8", "replace")).hexdigest()
