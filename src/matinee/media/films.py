"""One film, from whatever file it came in, to the frames that are needed, as uint8 pixels of a given shape.

    look = look_at("walk.mp4")
    pixels, said = decode_film("walk.mp4", Sight(64, 112, 3, frames=16, clips=2, span=3.0))

PyAV decodes (media/film_reel.py), imported where it is used: the extra `video`. Whatever is wrong with a file comes out
as PictureError. A decoder may hang or crash all the same: media/film_decoding.py calls this in child processes.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any, Final

import numpy as np

from matinee.core.errors import DataError
from matinee.media.film_animation import Animation, is_animation
from matinee.media.film_reel import NEARLY, RATE, Look, Reel
from matinee.media.pictures import EXTENSIONS as PICTURES
from matinee.media.pictures import PictureError, Pixels, Raw, decode, read_bytes
from matinee.media.stretches import short

ENDINGS: Final = (".mp4", ".m4v", ".avi", ".mov", ".webm", ".mkv", ".mpg", ".mpeg", ".ogv", ".wmv", ".flv", ".3gp")
EXTENSIONS: Final = frozenset((*ENDINGS, ".gif"))
ANIMATIONS: Final = frozenset((".webp", ".apng"))  # pictures, mostly: films only where nothing else can be meant
STILLS: Final = PICTURES - EXTENSIONS
PIXEL_LIMIT: Final = 40_000_000  # of a frame; 8K has 33 million
WHOLE: Final = 1.5  # a film of up to so many spans is seen whole, in one clip
_OPTIONS: Final = {  # a playlist that is called film.mp4 would have other files opened, or addresses
    "format_whitelist": "mov,matroska,webm,avi,gif,apng,mpeg,mpegts,mpegvideo,m4v,ogg,asf,flv",
    "protocol_whitelist": "file",
}


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

    Also what it says of itself, and in a few words what is amiss although it could be used (it ends too early), or "".
    Upright as the film's rotation flag says, scaled to cover the shape and cut to it around the centre. Raises
    PictureError.
    """
    pixels, look, told = decode_stretches(source, sight, [(start, end)])
    if isinstance(told[0], PictureError):
        raise told[0]
    return pixels[0], look, told[0]


def decode_stretches(
    source: str | BytesIO,
    sight: Sight,
    stretches: Sequence[tuple[float, float]],
    note: Callable[[int], None] = lambda place: None,
) -> tuple[Pixels, Look, list[str | PictureError]]:
    """Several stretches of a film, which may overlap, at the cost of one: uint8 (stretches, *sight.shape).

    Also what it says of itself, and of each stretch in a few words what is amiss ("": nothing), or the error for which
    it cannot be used; its pixels are zeros then. note(place) is called with the stretch that a frame is found for.
    Raises PictureError where the film cannot be decoded at all.
    """
    with _opened(source, sight.pixel_limit) as reel:
        said = reel.look.seconds or reel.last_time()
        untils = [min(end, said) for _, end in stretches]
        told: list[str | PictureError] = []
        for (start, end), until in zip(stretches, untils, strict=True):
            words = f"it ends at {short(said)} s, before {short(start if start >= until else end)} s"
            if start >= until:
                told.append(PictureError("empty", f"{words}, where it should begin"))
            else:
                told.append(f"{words}; what is there is used" if math.inf > end > said + 1.0 else "")
        pixels = np.zeros((len(stretches), *sight.shape), np.uint8)
        there = [place for place, one in enumerate(told) if isinstance(one, str)]
        ended = _fill(reel, [(place, stretches[place][0], untils[place]) for place in there], sight, pixels, note)
        cut_off = [place for place in there if untils[place] > ended]
        for place in cut_off:  # the file is cut, or its header is wrong: what there is, is spread over again
            start, until = stretches[place][0], untils[place]
            if start >= ended:
                words = f"it breaks off at {short(ended)} s, before {short(start)} s"
                told[place], pixels[place] = PictureError("truncated", words), 0
            else:
                told[place] = f"it breaks off at {short(ended)} s of {short(until)} s; what is there is used"
        left = [place for place in cut_off if isinstance(told[place], str)]
        _fill(reel, [(place, stretches[place][0], ended) for place in left], sight, pixels, note)
        return pixels, replace(reel.look, seconds=min(said, ended)), told


def _fill(
    reel: Reel | Animation,
    stretches: Sequence[tuple[int, float, float]],
    sight: Sight,
    pixels: Pixels,
    note: Callable[[int], None],
) -> float:
    """The frames of stretches (place, start, end), put to their places. Returns where the film breaks off, or inf."""
    if not stretches:
        return math.inf
    times = np.concatenate([moments(start, end, sight) for _, start, end in stretches])
    order = np.argsort(times, kind="stable").tolist()
    places, frames = [place for place, _, _ in stretches], sight.clips * sight.frames
    last: list[Any] = [None, None]

    def keep(number: int, frame: Any) -> None:
        if frame is not last[0]:
            last[:] = [frame, reel.drawn(frame, sight.height, sight.width, sight.channels)]
        stretch, moment = divmod(order[number], frames)
        note(places[stretch])
        pixels[places[stretch], moment] = last[1]

    return reel.take(times[order].tolist(), keep)


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
def _opened(source: str | BytesIO, pixel_limit: int) -> Iterator[Reel | Animation]:
    if isinstance(source, str):
        head = _head(source)
    else:
        head = source.getvalue()[:16]
    if is_animation(head):
        yield Animation(read_bytes(source) if isinstance(source, str) else source.getvalue(), pixel_limit)
        return
    av = require_av()
    broken = (av.error.FFmpegError, OSError, ValueError, MemoryError, OverflowError, ZeroDivisionError)
    try:
        with av.open(source, metadata_errors="replace", container_options=_OPTIONS) as container:
            if not container.streams.video:
                raise PictureError("unreadable", "there is no video stream in it")
            yield Reel(av, container, pixel_limit)
    except PictureError:
        raise
    except MemoryError as error:
        raise PictureError("oversized", "there is not enough memory to decode it") from error
    except broken as error:
        said = error.strerror if isinstance(error, av.error.FFmpegError | OSError) else str(error)
        words = " ".join(str(said).split())[:200] or type(error).__name__
        raise PictureError("unreadable", f"it cannot be decoded as a film ({words})") from error


def _head(path: str) -> bytes:
    """How a file begins. Errors of the file system in their own words; no pipe or address in place of a file."""
    if os.path.lexists(path) and not os.path.isfile(path):  # noqa: PTH113
        raise PictureError("unreadable", "it is not a file")
    try:
        with open(path, "rb") as file:
            head = file.read(16)
    except FileNotFoundError:
        raise PictureError("missing", "there is no such file") from None
    except PermissionError:
        raise PictureError("forbidden", "no permission to read it") from None
    except OSError as error:
        raise PictureError("unreadable", f"it cannot be read ({error.strerror})") from error
    if not head:
        raise PictureError("empty", "the file has no bytes")
    return head
