"""A film that is open: its frames in the order of time, and those that are shown at given moments.

PyAV decodes. Frames are chosen by their times, so a film of a variable rate is seen as it is shown. Where much time is
between two moments, it is sought over; and pictures that nobody waits for and no other builds on are passed over by the
decoder.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from matinee.media.pictures import PictureError, Pixels

GAP: Final = 4.0  # seconds between frames that are wanted, from which on seeking is quicker than decoding
NEARLY: Final = 1e-3  # seconds: times are rounded by every container in its own way
RATE: Final = 25.0  # frames a second where nothing says it: a folder of frames, a stream without times
BROKEN_PACKETS: Final = 64  # of a stream, after which the rest is given up
AHEAD: Final = 24  # packets: more than codecs may put between a picture and the one that is shown before it
SLIM: Final = 16.0  # pixels that are said to be so many times as high as wide, or more, are a mistake


@dataclass(frozen=True)
class Look:
    """What a film says of itself: pixels as shown; seconds and frames a second (0: not said); whether it is grey."""

    width: int
    height: int
    seconds: float
    rate: float
    grey: bool


class Reel:
    """An open film, of which no frame may have more than `pixel_limit` pixels. Raises PictureError."""

    def __init__(self, av: Any, container: Any, pixel_limit: int) -> None:
        self._av, self._container, self._stream = av, container, container.streams.video[0]
        context = self._stream.codec_context
        if context is None:
            raise PictureError("unreadable", "its video is in a format that cannot be decoded")
        context.thread_count = 1  # films are decoded side by side, each on one core
        width, height = int(context.width), int(context.height)
        if width * height > pixel_limit:
            raise PictureError("oversized", f"{width} x {height} pixels are more than the limit of {pixel_limit:,}")
        self._context, self._limit = context, pixel_limit
        self._reformatter = av.video.reformatter.VideoReformatter()
        self._rate = float(self._stream.average_rate or 0) or RATE
        self._base = float(self._stream.time_base or 0)
        self._start = float(self._stream.start_time or 0) * self._base
        self._wanted: Sequence[float] | None = None  # rising; None: every frame
        self._passing = False
        self._fresh, self._sought, self._seekable = True, False, True
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
        if self._stream.duration and self._base:
            return max(0.0, float(self._stream.duration) * self._base)
        if self._container.duration:
            return max(0.0, float(self._container.duration) / float(self._av.time_base))
        return 0.0

    def last_time(self) -> float:
        """Where the film ends, in seconds, by the times of its packets: nothing is decoded."""
        last = 0.0
        try:
            if not self._fresh:
                self._container.seek(int(self._start / (self._base or 1.0)), stream=self._stream)
            for packet in self._container.demux(self._stream):
                if packet.pts is not None:
                    last = max(last, float(packet.pts) * self._base - self._start)
        except self._av.error.FFmpegError:
            pass  # the tail is broken: decoding will find its end
        self._fresh = False
        return last + 1.0 / self._rate

    def take(self, wanted: Sequence[float], keep: Callable[[int, Any], None]) -> float:
        """keep(place, frame) for the frame that is shown at each of the times, which rise.

        Returns inf, or the time in seconds at which the film has broken off before all were found.
        """
        place, shown, at, tried = 0, None, -1.0, -1
        self._wanted = wanted
        frames = self._from(0.0)
        while place < len(wanted):
            if self._seekable and wanted[place] - max(0.0, at) > GAP and tried != place:
                frames, shown, tried = self._from(wanted[place]), None, place
            found = next(frames, None)
            lost = self._sought and shown is None and (found is None or not found[0] <= wanted[place] + NEARLY)
            if lost:  # it ends before that; or there is no index, or a wrong one, and all is decoded up to there
                if found is None and (end := self.last_time()) <= wanted[place]:
                    return end
                self._seekable, at = False, -1.0
                frames = self._from(0.0)
                continue
            if found is None:
                break
            time, frame = found
            while place < len(wanted) and shown is not None and wanted[place] < time - NEARLY:
                keep(place, shown)
                place += 1
            shown, at = frame, time
        if place == len(wanted):
            return math.inf
        if shown is None:
            raise PictureError("unreadable", "not one frame of it can be decoded")
        lasts = float(shown.duration) * float(shown.time_base) if shown.duration and shown.time_base else 0.0
        left = max(lasts, 2.5 / self._rate + 0.02 * (wanted[-1] - wanted[0]))
        while place < len(wanted) and wanted[place] < at + left:
            keep(place, shown)
            place += 1
        return math.inf if place == len(wanted) else at + max(lasts, 1.0 / self._rate)

    def _from(self, time: float) -> Iterator[tuple[float, Any]]:
        """Frames with their times in seconds, from the key frame before a time on."""
        if time > 0 or not self._fresh:
            try:
                self._container.seek(int((time + self._start) / (self._base or 1.0)), stream=self._stream)
            except self._av.error.FFmpegError as error:
                if not self._sought and time <= 0:
                    raise PictureError("unreadable", f"it cannot be read from its beginning again ({error})") from error
                self._sought = True
                return iter(())
        self._sought = time > 0
        self._fresh = False
        return self._frames()

    def _frames(self) -> Iterator[tuple[float, Any]]:
        broken, count = 0, 0
        packets = self._packets()
        while broken < BROKEN_PACKETS:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                for frame in packet.decode():
                    # Without times frames are counted, which tells nothing where counting began in the middle.
                    counted = math.nan if self._sought else count / self._rate
                    count += 1
                    yield (float(frame.pts) * self._base - self._start if frame.pts is not None else counted), frame
            except self._av.error.EOFError:
                return
            except self._av.error.InvalidDataError:
                broken += 1

    def _packets(self) -> Iterator[Any]:
        """Packets; before each the decoder is told whether it may pass over its picture."""
        ahead: deque[Any] = deque()
        behind: deque[int] = deque(maxlen=AHEAD)
        ended: Exception | None = None
        source = self._container.demux(self._stream)
        while True:
            while ended is None and len(ahead) <= AHEAD:
                try:
                    ahead.append(next(source))
                except StopIteration as error:
                    ended = error
                except self._av.error.FFmpegError as error:
                    ended = error
            if not ahead:
                break
            packet = ahead.popleft()
            self._tell(packet.pts is not None and not self._needed(packet.pts, ahead, behind))
            if packet.pts is not None:
                behind.append(packet.pts)
            yield packet
        if not isinstance(ended, StopIteration) and ended is not None:
            raise ended

    def _needed(self, pts: int, ahead: deque[Any], behind: deque[int]) -> bool:
        """Whether the picture of a packet is shown at a moment that is wanted, as far as can be told."""
        if self._wanted is None or not self._base:
            return True
        after = [packet.pts for packet in ahead if packet.pts is not None and packet.pts > pts]
        after += [other for other in behind if other > pts]
        if not after:
            return True
        first, last = (time * self._base - self._start for time in (pts, min(after)))
        place = bisect_left(self._wanted, first - NEARLY)
        return place < len(self._wanted) and self._wanted[place] <= last + NEARLY

    def _tell(self, passing: bool) -> None:
        if passing != self._passing:
            self._context.skip_frame = "NONREF" if passing else "DEFAULT"
            self._passing = passing

    def drawn(self, frame: Any, height: int, width: int, channels: int) -> Pixels:
        """A frame, upright, as uint8 (height, width, channels): scaled to cover them, and cut around the centre."""
        if frame.width * frame.height > self._limit:
            raise PictureError("oversized", f"{frame.width} x {frame.height} pixels are more than the limit")
        turns = round(frame.rotation / 90) % 4  # of 90 degrees, against the clock
        high, wide = (width, height) if turns % 2 else (height, width)
        shape = float(self._stream.sample_aspect_ratio or 1)
        stretched = frame.width * (shape if 1 / SLIM < shape < SLIM else 1.0)  # pixels need not be square
        scale = max(wide / stretched, high / frame.height)
        across, down = max(wide, round(stretched * scale)), max(high, round(frame.height * scale))
        kind = self._av.video.reformatter.Interpolation
        ready = self._reformatter.reformat(
            frame,
            width=across,
            height=down,
            format="gray" if channels == 1 else "rgb24",
            interpolation=kind.AREA if scale < 1 else kind.BICUBIC,
        )
        left, top = (across - wide) // 2, (down - high) // 2
        whole: Pixels = ready.to_ndarray().reshape(down, across, channels)
        cut_out = whole[top : top + high, left : left + wide]
        return np.rot90(cut_out, turns) if turns else cut_out
