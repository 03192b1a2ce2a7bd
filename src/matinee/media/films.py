"""One film, from whatever file it came in, to the frames that are needed, as uint8 pixels of a given shape.

    look = look_at("walk.mp4")
    pixels, said = decode_film("walk.mp4", Sight(64, 112, 3, frames=16, clips=2, span=3.0))

PyAV decodes, imported where it is used (the extra `video`). Frames are chosen by their times, so a film of a variable
rate is seen as it is shown; stretches of long films are sought, not decoded up to. Whatever is wrong with a file comes
out as PictureError. A decoder may hang or crash all the same: media/film_decoding.py calls this in child processes.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any, Final

import numpy as np

from matinee.core.errors import DataError
from matinee.media.pictures import PictureError, Pixels, Raw, decode

ENDINGS: Final = (".mp4", ".m4v", ".avi", ".mov", ".webm", ".mkv", ".mpg", ".mpeg", ".ogv", ".wmv", ".flv", ".3gp")
EXTENSIONS: Final = frozenset((*ENDINGS, ".gif"))
GAP: Final = 4.0  # seconds between frames that are wanted, from which on seeking is quicker than decoding
NEARLY: Final = 1e-3  # seconds: times are rounded by every container in its own way
RATE: Final = 25.0  # frames a second where nothing says it: a folder of frames, a stream without times
PIXEL_LIMIT: Final = 40_000_000  # of a frame; 8K has 33 million
BROKEN_PACKETS: Final = 64  # of a stream, after which the rest is given up
WHOLE: Final = 1.5  # a film of up to so many spans is seen whole, in one clip
_OPTIONS: Final = {  # a playlist that is called film.mp4 would have other files opened, or addresses
    "format_whitelist": "mov,matroska,webm,avi,gif,mpeg,mpegts,mpegvideo,m4v,ogg,asf,flv",
    "protocol_whitelist": "file",
}
_STRETCH: Final = re.compile(r"(.*)#t=(\d*\.?\d*)(?:,(\d+\.?\d*|\d*\.\d+))?", re.DOTALL)


@dataclass(frozen=True)
class Sight:
    """What is to be taken of a film: `clips` windows of `span` seconds (0: the whole), of each so many frames.

    height, width: pixels; channels: 1 or 3. pixel_limit: width x height allowed. rate: frames a second of a folder of
    frames.
    """

    height: int
    width: int
    channels: int
    frames: int
    clips: int = 1
    span: float = 0.0
    pixel_limit: int = PIXEL_LIMIT
    rate: float = RATE

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of the pixels: (clips x frames, height, width, channels)."""
        return self.clips * self.frames, self.height, self.width, self.channels


@dataclass(frozen=True)
class Look:
    """What a film says of itself: pixels as shown; seconds and frames a second (0: not said); whether it is grey."""

    width: int
    height: int
    seconds: float
    rate: float
    grey: bool


def cut(name: str) -> tuple[str, float, float]:
    """`film.mp4#t=12,14.5` -> ("film.mp4", 12.0, 14.5), seconds; a name without a stretch -> (name, 0, inf).

    The notation is the W3C's for media fragments. Nothing but a stretch is taken for one.
    """
    found = _STRETCH.fullmatch(name)
    if found is None or not (found[2].strip(".") or found[3]):
        return name, 0.0, math.inf
    return found[1], float(found[2]) if found[2].strip(".") else 0.0, float(found[3]) if found[3] else math.inf


def stretch_name(name: str, start: float, end: float) -> str:
    """The reverse of `cut`, to a hundredth of a second."""
    if start <= 0 and math.isinf(end):
        return name
    return f"{name}#t={_short(start)}" + ("" if math.isinf(end) else f",{_short(end)}")


def _short(seconds: float) -> str:
    return f"{seconds:.2f}".rstrip("0").rstrip(".")


def moments(start: float, end: float, sight: Sight) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The times in seconds at which frames are taken from a stretch, (clips x frames,).

    A stretch of up to one and a half spans is seen whole in every clip; of a longer one the clips are windows, spread
    evenly from its beginning to its end, or in its middle where there is one. Within a clip the frames are evenly
    spaced.
    """
    length = end - start
    span = sight.span if sight.span > 0 and length > WHOLE * sight.span else length
    places = np.linspace(0, 1, sight.clips) if sight.clips > 1 else np.array([0.5])
    firsts = start + (length - span) * places
    return (firsts[:, None] + (np.arange(sight.frames) + 0.5) * (span / sight.frames)).ravel()


def look_at(source: str | BytesIO, pixel_limit: int = PIXEL_LIMIT) -> Look:
    """What the header and the first frame say. Raises PictureError."""
    with _opened(source, pixel_limit) as reel:
        return reel.upright()


def decode_film(
    source: str | BytesIO, sight: Sight, start: float = 0.0, end: float = math.inf
) -> tuple[Pixels, Look, str]:
    """The frames of a film, or of a stretch of it, uint8 (clips x frames, height, width, channels).

    Also what its header says, and in a few words what is amiss although it could be used (it ends too early), or "".
    Upright as the film's rotation flag says, scaled to cover the shape and cut to it around the centre. Raises
    PictureError.
    """
    with _opened(source, sight.pixel_limit) as reel:
        said = reel.look.seconds or reel.last_time()
        until = min(end, said)
        if start >= until:
            raise PictureError("empty", f"it ends at {_short(said)} s, before {_short(start)} s, where it should begin")
        pixels = np.zeros(sight.shape, np.uint8)
        ended = _fill(reel, moments(start, until, sight), sight, pixels)
        words = ""
        if not math.isinf(ended):  # cut off, or the header is wrong: what there is, is spread over again
            if start >= ended:
                raise PictureError("truncated", f"it breaks off at {_short(ended)} s, before {_short(start)} s")
            _fill(reel, moments(start, ended, sight), sight, pixels)
            words = f"it breaks off at {_short(ended)} s of {_short(until)} s; what is there is used"
        elif not math.isinf(end) and end > said + 1.0:
            words = f"it ends at {_short(said)} s, before {_short(end)} s; what is there is used"
        return pixels, reel.look, words


def _fill(reel: _Reel, wanted: Sequence[float] | np.ndarray[Any, Any], sight: Sight, pixels: Pixels) -> float:
    order = np.argsort(wanted, kind="stable")
    last: list[Any] = [None, None]

    def keep(place: int, frame: Any) -> None:
        if frame is not last[0]:
            last[:] = [frame, reel.drawn(frame, sight)]
        pixels[order[place]] = last[1]

    ended: float = reel.take([float(wanted[place]) for place in order], keep)
    return ended


def decode_frames(sources: Sequence[Raw], sight: Sight) -> tuple[Pixels, str]:
    """A film that comes as pictures, one for each frame, uint8 as by `decode_film`, and what is amiss.

    A frame that cannot be read is left out. Raises PictureError where none can be read.
    """
    there, wrong = list(range(len(sources))), ""
    shape = (sight.height, sight.width, sight.channels)
    kept: dict[int, Pixels] = {}
    while there:
        times = moments(0.0, len(there) / sight.rate, sight)
        chosen = [there[min(int(time * sight.rate + NEARLY), len(there) - 1)] for time in times.tolist()]
        for place in dict.fromkeys(chosen):
            if place in kept:
                continue
            try:
                kept[place] = decode(sources[place], shape, sight.pixel_limit)
            except PictureError as error:
                wrong = wrong or f"frame {place + 1}: {error}; the film stands without it"
                there.remove(place)
                break
        else:
            return np.stack([kept[place] for place in chosen]), wrong
    raise PictureError("unreadable", f"none of its {len(sources)} frames can be read ({wrong})")


def require_av() -> Any:
    """The package av. Raises DataError, which says how to install it."""
    try:
        import av
        import av.error
        import av.video.reformatter
    except ImportError:
        raise DataError("films need a package that is not installed: pip install 'matinee[video]'.") from None
    return av


@contextmanager
def _opened(source: str | BytesIO, pixel_limit: int) -> Iterator[_Reel]:
    av = require_av()
    broken = (av.error.FFmpegError, OSError, ValueError, MemoryError, OverflowError, ZeroDivisionError)
    try:
        if isinstance(source, str):
            _check_file(source)
        with av.open(source, metadata_errors="replace", container_options=_OPTIONS) as container:
            if not container.streams.video:
                raise PictureError("unreadable", "there is no video stream in it")
            yield _Reel(av, container, pixel_limit)
    except PictureError:
        raise
    except MemoryError as error:
        raise PictureError("oversized", "there is not enough memory to decode it") from error
    except broken as error:
        said = error.strerror if isinstance(error, av.error.FFmpegError | OSError) else str(error)
        words = " ".join(str(said).split())[:200] or type(error).__name__
        raise PictureError("unreadable", f"it cannot be decoded as a film ({words})") from error


def _check_file(path: str) -> None:
    """The errors of the file system in their own words, and no pipe or address in place of a file."""
    if os.path.lexists(path) and not os.path.isfile(path):  # noqa: PTH113
        raise PictureError("unreadable", "it is not a file")
    try:
        with open(path, "rb") as file:
            if not file.read(1):
                raise PictureError("empty", "the file has no bytes")
    except FileNotFoundError:
        raise PictureError("missing", "there is no such file") from None
    except PermissionError:
        raise PictureError("forbidden", "no permission to read it") from None


class _Reel:
    """An open film."""

    def __init__(self, av: Any, container: Any, pixel_limit: int) -> None:
        self._av, self._container, self._stream = av, container, container.streams.video[0]
        context = self._stream.codec_context
        if context is None:
            raise PictureError("unreadable", "its video is in a format that cannot be decoded")
        context.thread_count = 1  # films are decoded side by side, each on one core
        width, height = int(context.width), int(context.height)
        if width * height > pixel_limit:
            raise PictureError("oversized", f"{width} x {height} pixels are more than the limit of {pixel_limit:,}")
        self._limit = pixel_limit
        self._reformatter = av.video.reformatter.VideoReformatter()
        self._rate = float(self._stream.average_rate or 0) or RATE
        base = self._stream.time_base
        self._start = float(self._stream.start_time * base) if self._stream.start_time is not None and base else 0.0
        self._sought = False
        self._fresh = True
        grey = (context.pix_fmt or "").startswith("gray")
        self.look = Look(width, height, self._seconds(), float(self._stream.average_rate or 0), grey)

    def upright(self) -> Look:
        """What the film says of itself, with the sides as its rotation flag turns them."""
        found = next(self._from(0.0), None)
        if found is None:
            raise PictureError("unreadable", "not one frame of it can be decoded")
        look = self.look if self.look.seconds else replace(self.look, seconds=self.last_time())
        return replace(look, width=look.height, height=look.width) if round(found[1].rotation / 90) % 2 else look

    def _seconds(self) -> float:
        stream, container = self._stream, self._container
        if stream.duration and stream.time_base:
            return max(0.0, float(stream.duration) * float(stream.time_base))
        if container.duration:
            return max(0.0, float(container.duration) / float(self._av.time_base))
        return 0.0

    def last_time(self) -> float:
        """Where the film ends, in seconds, by the times of its packets: nothing is decoded."""
        last = 0.0
        try:
            for packet in self._container.demux(self._stream):
                if packet.pts is not None and packet.time_base:
                    last = max(last, float(packet.pts * packet.time_base) - self._start)
        except self._av.error.FFmpegError:
            pass  # the tail is broken: decoding will find its end
        self._fresh = False
        return last + 1.0 / self._rate

    def take(self, wanted: Sequence[float], keep: Callable[[int, Any], None]) -> float:
        """keep(place, frame) for the frame that is shown at each of the times, which rise.

        Returns inf, or the time in seconds at which the film has broken off before all were found.
        """
        place, shown, at, tried = 0, None, -1.0, -1
        frames = self._from(0.0)
        while place < len(wanted):
            if wanted[place] - max(0.0, at) > GAP and tried != place:
                frames, shown, tried = self._from(wanted[place]), None, place
            found = next(frames, None)
            if found is None:
                break
            time, frame = found
            if self._sought and time > wanted[place] + NEARLY and shown is None:
                frames, self._sought = self._from(0.0), False  # it cannot be sought in: no key frame before
                continue
            while place < len(wanted) and shown is not None and wanted[place] < time - NEARLY:
                keep(place, shown)
                place += 1
            shown, at = frame, time
        if at < 0 and place < len(wanted):
            raise PictureError("unreadable", "not one frame of it can be decoded")
        lasts = self._lasts(shown) if shown is not None else 0.0
        left = max(lasts, 2.5 / self._rate + 0.02 * (wanted[-1] - wanted[0]))
        while place < len(wanted) and shown is not None and wanted[place] < at + left:
            keep(place, shown)
            place += 1
        return math.inf if place == len(wanted) else at + max(lasts, 1.0 / self._rate)

    def _lasts(self, frame: Any) -> float:
        """Seconds for which a frame is shown, as far as the file says so."""
        return float(frame.duration) * float(frame.time_base) if frame.duration and frame.time_base else 0.0

    def _from(self, time: float) -> Iterator[tuple[float, Any]]:
        """Frames with their times in seconds, from the key frame before a time on."""
        self._sought = time > 0
        if time > 0 or not self._fresh:
            base = self._stream.time_base or 1
            try:
                self._container.seek(int((time + self._start) / float(base)), stream=self._stream)
            except self._av.error.FFmpegError as error:
                raise PictureError("unreadable", f"it cannot be sought in ({error})") from error
        self._fresh = False
        return self._frames()

    def _frames(self) -> Iterator[tuple[float, Any]]:
        broken, count = 0, 0
        packets = self._container.demux(self._stream)
        while broken < BROKEN_PACKETS:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                for frame in packet.decode():
                    time = float(frame.time) - self._start if frame.time is not None else count / self._rate
                    count += 1
                    yield time, frame
            except self._av.error.EOFError:
                return
            except self._av.error.InvalidDataError:
                broken += 1

    def drawn(self, frame: Any, sight: Sight) -> Pixels:
        """A frame, upright, as uint8 (height, width, channels)."""
        if frame.width * frame.height > self._limit:
            raise PictureError("oversized", f"{frame.width} x {frame.height} pixels are more than the limit")
        turns = round(frame.rotation / 90) % 4  # of 90 degrees, against the clock
        high, wide = (sight.width, sight.height) if turns % 2 else (sight.height, sight.width)
        shape = self._stream.sample_aspect_ratio
        stretched = frame.width * (float(shape) if shape else 1.0)  # pixels need not be square
        scale = max(wide / stretched, high / frame.height)
        across, down = max(wide, round(stretched * scale)), max(high, round(frame.height * scale))
        kind = self._av.video.reformatter.Interpolation
        ready = self._reformatter.reformat(
            frame,
            width=across,
            height=down,
            format="gray" if sight.channels == 1 else "rgb24",
            interpolation=kind.AREA if scale < 1 else kind.BICUBIC,
        )
        left, top = (across - wide) // 2, (down - high) // 2
        whole: Pixels = ready.to_ndarray().reshape(down, across, sight.channels)
        cut_out = whole[top : top + high, left : left + wide]
        return np.rot90(cut_out, turns) if turns else cut_out
