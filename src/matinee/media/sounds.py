"""One sound, from whatever bytes it came in, to 16-bit samples of one channel at a given rate.

What the header says is checked before any sample is decoded, decoding goes block by block, and whatever is wrong with
a file comes out as SoundError, never as another exception. Needs `matinee[audio]` (soundfile for the formats, soxr for
the rates), which is imported where it is used.
"""

from __future__ import annotations

import io
import math
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from matinee.core.errors import DataError

EXTENSIONS: Final = frozenset(
    (
        *(".wav", ".wave", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".aifc", ".au", ".snd"),
        *(".caf", ".w64", ".rf64", ".sph", ".voc"),
    )
)
LOWEST_RATE: Final = 1_000
HIGHEST_RATE: Final = 768_000
"""Samples a second that a header may claim."""
MOST_CHANNELS: Final = 64
SHORTEST: Final = 0.02
"""Seconds: less than one frame of a spectrogram."""
SILENT: Final = 3
"""Of 32,767: a sound that never goes further from its mean is silence, dither included."""
BLOCK: Final = 1 << 20
"""Numbers that are decoded at a time."""
_DAMAGED: Final = 0.02
"""Share of a sound that may be missing at its end before that is told: some encoders pad."""

_PAGE: Final = 65_307
"""Bytes of an Ogg page, at most."""

Samples = np.ndarray[Any, np.dtype[np.int16]]
Raw = str | Path | bytes | tuple[Any, int]


class SoundError(DataError):
    """One sound that cannot be used; `kind` is the ledger's word for why."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


@dataclass(frozen=True)
class Header:
    """What a file says of itself. frames: samples of each channel. cut: frames that should be there and are not; torn:
    an unknown number is missing."""

    rate: int
    frames: int
    channels: int
    cut: int = 0
    torn: bool = False

    @property
    def seconds(self) -> float:
        """Length."""
        return self.frames / self.rate


def needs() -> tuple[Any, Any]:
    """The modules soundfile and soxr. Raises DataError, naming what to install, where one is missing."""
    try:
        import soundfile
        import soxr
    except ImportError as error:
        raise DataError(f"sounds need the package {error.name}: pip install 'matinee[audio]'.") from error
    return soundfile, soxr


def probe(raw: Raw) -> Header:
    """What the header of a file says, checked. Raises SoundError."""
    if isinstance(raw, tuple):
        return Header(raw[1], *_of_array(raw).shape)
    with _opened(raw) as file:
        return _header(file, raw)


def decode(
    raw: Raw, rate: int, seconds: float, start: float = 0.0, alive: Callable[[], None] = lambda: None
) -> tuple[Samples, str]:
    """int16 (samples,) at `rate`, and what of the sound is missing, in words ("" where it is whole).

    raw: a path, the bytes of a file, or (array, its rate): float from -1 to 1 or int16, (samples,) or (samples,
    channels). Channels are averaged. Louder than full scale, as floats can be, is scaled down to it. At most `seconds`
    from `start` on are decoded; the rest is not looked at. alive: called now and then.

    Raises SoundError, its `kind` one of "missing", "forbidden", "empty", "truncated", "unreadable".
    """
    read = _from_array if isinstance(raw, tuple) else _from_file
    header, made = read(raw, start, round_up(seconds), rate, alive)
    most = max(1, round(seconds * rate)) if math.isfinite(seconds) else None
    return made.samples()[:most], _missing(header, made.frames, start, seconds)


def excerpts(
    raw: Raw, rate: int, seconds: float, count: int, stretch: tuple[float, float] = (0.0, math.inf)
) -> Samples:
    """int16 (samples,) at `rate`: the stretch, or `count` excerpts of `seconds` each, evenly spaced in a longer one.

    A long recording is looked at all along, and no more of it is decoded than is answered for. Raises SoundError.
    """
    header, first = probe(raw), stretch[0]
    length = min(header.seconds, stretch[1]) - first
    if length <= seconds * count:
        return decode(raw, rate, min(seconds * count, stretch[1] - first), first)[0]
    window, starts = round(seconds * rate), np.linspace(first, first + length - seconds, count)
    found = np.zeros(window * count, np.int16)
    for place, start in enumerate(starts):
        read = _from_array if isinstance(raw, tuple) else _from_file
        some = read(raw, start, seconds, rate)[1].samples()[:window]
        found[place * window : place * window + len(some)] = some
    return found


def round_up(seconds: float) -> float:
    """A little more than asked for, so that resampling has what it looks at beyond the end."""
    return seconds + 0.05


def how_long(seconds: np.ndarray[Any, Any]) -> str:
    """In words how long sounds (any number,) are, in seconds, and all together."""
    low, high = float(seconds.min()), float(seconds.max())
    each = f"{low:.2f} to {high:.2f} s" if f"{low:.2f}" != f"{high:.2f}" else f"{high:.2f} s each"
    return f"{each}, {seconds.sum() / 60:,.1f} min in all"


def is_silent(samples: Samples) -> bool:
    """Whether there is nothing to hear: every sample is the mean, or as good as."""
    return not len(samples) or bool(np.abs(samples - float(samples.mean())).max() <= SILENT)


class _Mono:
    """One channel at one rate, made block by block: of a long recording no more than that is ever in memory."""

    def __init__(self, header: Header, rate: int) -> None:
        self._from, self.frames, self._loudest, self._parts = header.rate, 0, 1.0, list[Samples]()
        self._stream = needs()[1].ResampleStream(header.rate, rate, 1, "float32", "HQ") if rate != header.rate else None

    def add(self, block: np.ndarray[Any, Any]) -> None:
        """Frames (frames, channels), float32. Raises SoundError."""
        wave = block[:, 0] if block.shape[1] == 1 else block.mean(1)
        if not np.isfinite(wave).all():
            raise SoundError("unreadable", "the sound has values that are no numbers")
        self.frames += len(wave)
        self._keep(wave if self._stream is None else self._stream.resample_chunk(np.ascontiguousarray(wave)))

    def _keep(self, wave: np.ndarray[Any, Any]) -> None:
        loudest = max(self._loudest, float(np.abs(wave).max(initial=0.0)))
        if loudest > self._loudest:
            # What is louder than full scale brings what was there before down as well.
            share = self._loudest / loudest
            self._parts = [np.rint(part * share).astype(np.int16) for part in self._parts]
            self._loudest = loudest
        self._parts.append(np.rint(wave * (32767.0 / loudest)).astype(np.int16))

    def samples(self) -> Samples:
        """All of it. Raises SoundError where that is too short."""
        if self.frames < SHORTEST * self._from:
            there = f"{1000 * self.frames / self._from:.0f} ms are too short"
            raise SoundError("empty", f"{there}: {1000 * SHORTEST:.0f} ms at least")
        if self._stream is not None:
            self._keep(self._stream.resample_chunk(np.zeros(0, np.float32), last=True))
        return np.concatenate(self._parts)


def _from_file(
    raw: Any, start: float, seconds: float, rate: int, alive: Callable[[], None] = lambda: None
) -> tuple[Header, _Mono]:
    """The header, and what there is from `start` on, in seconds."""
    with _opened(raw) as file:
        header = _header(file, raw)
        if header.frames == 0:
            kind = "truncated" if header.cut or header.torn else "empty"
            raise SoundError(kind, "there is no sound in the file")
        _seek(file, header, start)
        wanted, block, made = _frames(seconds, header.rate), max(1, BLOCK // header.channels), _Mono(header, rate)
        while wanted > 0:
            try:
                some = file.read(min(block, wanted), dtype="float32", always_2d=True)
            except (RuntimeError, ValueError) as error:
                if not made.frames:
                    raise SoundError("truncated", f"it cannot be decoded to its end ({_words(error)})") from error
                break
            if not len(some):
                break
            made.add(some)
            wanted -= len(some)
            alive()
    return header, made


def _seek(file: Any, header: Header, start: float) -> None:
    if start <= 0:
        return
    if start * header.rate >= header.frames:
        raise SoundError("empty", f"it ends after {header.seconds:.2f} s, before second {start:g}")
    try:
        file.seek(round(start * header.rate))
    except (RuntimeError, ValueError) as error:
        raise SoundError("truncated", f"second {start:g} cannot be found in it ({_words(error)})") from error


def _frames(seconds: float, rate: int) -> int:
    """No file has more than an int64 can count."""
    return round(min(seconds, 1e9) * rate)


def _from_array(
    raw: Any, start: float, seconds: float, rate: int, alive: Callable[[], None] = lambda: None
) -> tuple[Header, _Mono]:
    values = _of_array(raw)
    first = round(start * raw[1])
    some = values[first : first + _frames(seconds, raw[1])]
    header = Header(raw[1], *values.shape)
    made = _Mono(header, rate)
    made.add(some.astype(np.float32) / 32768 if values.dtype.kind in "iu" else some.astype(np.float32))
    return header, made


def _of_array(raw: tuple[Any, int]) -> np.ndarray[Any, Any]:
    values, rate = np.asarray(raw[0]), raw[1]
    _check_rate(rate)
    if values.ndim not in (1, 2) or (values.dtype != np.int16 and values.dtype.kind != "f"):
        raise SoundError(
            "unreadable",
            f"an array of {values.dtype} {values.shape} is no sound: float or int16, (samples,) or (samples, channels)",
        )
    return values if values.ndim == 2 else values[:, None]


def _missing(header: Header, there: int, start: float, seconds: float) -> str:
    """What is not there of what the header promised, from `start` on."""
    asked, before = _frames(seconds, header.rate), round(start * header.rate)
    whole = header.frames + header.cut
    found = f"{(before + there) / header.rate:.2f}"
    if header.torn and there < asked:
        return f"it ends too early, after {found} s"
    if there >= (1 - _DAMAGED) * min(whole - before, asked):
        return ""
    return f"it ends too early: {found} of {whole / header.rate:.2f} s are there"


@contextmanager
def _opened(raw: Any) -> Iterator[Any]:
    """The sound file, open. Raises SoundError."""
    soundfile, _ = needs()
    source: Any = io.BytesIO(raw) if isinstance(raw, bytes) else os.fspath(raw)
    if isinstance(raw, bytes):
        if not raw:
            raise SoundError("empty", "the file has no bytes")
    else:
        _look(source)
    try:
        file = soundfile.SoundFile(source)
    except (RuntimeError, TypeError, ValueError, OSError) as error:
        if "extension" in str(error) or isinstance(error, TypeError):
            raise SoundError("unreadable", "a headerless file does not say what it holds: save it as WAV") from error
        raise SoundError("unreadable", f"it is no sound file, or a broken one ({_words(error)})") from error
    try:
        yield file
    except (RuntimeError, OSError) as error:
        raise SoundError("unreadable", f"it cannot be decoded ({_words(error)})") from error
    finally:
        file.close()


def _look(path: str) -> None:
    """Raises SoundError where there is no plain file, or an empty one, to be read."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        raise SoundError("missing", "there is no such file") from None
    except PermissionError:
        raise SoundError("forbidden", "no permission to read it") from None
    except (OSError, ValueError) as error:
        raise SoundError("unreadable", f"it cannot be read: {error}") from error
    try:
        state = os.fstat(handle)
    finally:
        os.close(handle)
    if not (state.st_mode & 0o170000) == 0o100000:
        raise SoundError("unreadable", "it is not a file")
    if not state.st_size:
        raise SoundError("empty", "the file has no bytes")


def _header(file: Any, raw: Any) -> Header:
    rate, channels, frames = int(file.samplerate), int(file.channels), max(0, int(file.frames))
    _check_rate(rate)
    if not 1 <= channels <= MOST_CHANNELS:
        raise SoundError("unreadable", f"its header speaks of {channels:,} channels: up to {MOST_CHANNELS}")
    return Header(rate, frames, channels, _cut(file, raw, frames), file.format == "OGG" and _is_torn(raw))


def _check_rate(rate: int) -> None:
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        span = f"from {LOWEST_RATE:,} to {HIGHEST_RATE:,}"
        raise SoundError("unreadable", f"its header says {rate:,} samples a second, which cannot be: {span}")


def _cut(file: Any, raw: Any, frames: int) -> int:
    """Frames that a WAV file promises beyond its end; the decoder passes over that in silence."""
    if file.format not in ("WAV", "WAVEX"):
        return 0
    if isinstance(raw, bytes):
        head, size = raw[:4096], len(raw)
    else:
        with open(raw, "rb") as source:
            head, size = source.read(4096), os.fstat(source.fileno()).st_size
    place, width = 12, 0
    while place + 8 <= len(head):
        name, length = head[place : place + 4], int(struct.unpack_from("<I", head, place + 4)[0])
        if name == b"fmt " and place + 22 <= len(head):
            width = int(struct.unpack_from("<H", head, place + 20)[0])  # bytes of a frame
        if name == b"data":
            # A program that could not go back to fill in the length leaves none, or the largest there is.
            told = length < 0xFFFFFFFF - 4096 and length > size - place - 8
            return max(0, length // width - frames) if told and width else 0
        place += 8 + length + length % 2
    return 0


def _is_torn(raw: Any) -> bool:
    """Whether the last page of an Ogg file is not marked as the last."""
    if isinstance(raw, bytes):
        tail = raw[-_PAGE:]
    else:
        with open(raw, "rb") as source:
            source.seek(max(0, os.fstat(source.fileno()).st_size - _PAGE))
            tail = source.read(_PAGE)
    place = tail.rfind(b"OggS")
    return not (0 <= place < len(tail) - 5 and tail[place + 5] & 4)


def _words(error: BaseException) -> str:
    """What the decoder says, without the address of an object in memory."""
    words = " ".join(str(error).split())
    if "not a regular file" in words:  # what the decoder says of any file that it does not know
        return "no format that is known"
    return (words.rpartition(": ")[2] or words)[:200] or type(error).__name__
