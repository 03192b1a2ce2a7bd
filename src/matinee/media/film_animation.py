"""Animated WebP as an open film: PyAV's decoders know the still ones alone, so Pillow reads these."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from PIL import Image

from matinee.media.film_reel import NEARLY, Look
from matinee.media.pictures import BROKEN, PictureError, Pixels, decode, open_picture

PAUSE: Final = 0.1  # seconds for which a frame is shown that does not say it
MOST: Final = 100_000  # frames


def is_animation(head: bytes) -> bool:
    """Whether a file that begins so is a WebP."""
    return head[:4] == b"RIFF" and head[8:12] == b"WEBP"


class Animation:
    """As `Reel` (media/film_reel.py), for the bytes of a WebP. Raises PictureError."""

    def __init__(self, raw: bytes, pixel_limit: int) -> None:
        self._limit = pixel_limit
        try:
            self._image: Any = open_picture(raw, pixel_limit)
            self._count = min(MOST, int(getattr(self._image, "n_frames", 1)))
            self._ends = np.cumsum([self._seconds(place) for place in range(self._count)])
        except BROKEN as error:
            raise PictureError("unreadable", f"it cannot be decoded as a film ({error})") from error
        width, height = self._image.size
        self.look = Look(width, height, float(self._ends[-1]), self._count / float(self._ends[-1]), False)

    def _seconds(self, place: int) -> float:
        self._image.seek(place)
        self._image.load()
        return float(self._image.info.get("duration") or 0) / 1000 or PAUSE

    def upright(self) -> Look:
        """What it says of itself; it has no rotation flag."""
        return self.look

    def last_time(self) -> float:
        """Where it ends, in seconds."""
        return self.look.seconds

    def take(self, wanted: Sequence[float], keep: Callable[[int, Any], None]) -> float:
        """keep(place, frame) for the frame that is shown at each of the times, which rise. Returns inf."""
        chosen = np.minimum(np.searchsorted(self._ends, np.array(wanted) + NEARLY, side="right"), self._count - 1)
        last: tuple[int, Image.Image | None] = (-1, None)
        try:
            for place, number in enumerate(chosen.tolist()):
                if number != last[0]:
                    self._image.seek(number)
                    last = number, self._image.convert("RGBA")
                keep(place, last[1])
        except BROKEN as error:
            raise PictureError("unreadable", f"it cannot be decoded as a film ({error})") from error
        return math.inf

    def drawn(self, frame: Any, height: int, width: int, channels: int) -> Pixels:
        """A frame as uint8 (height, width, channels): scaled to cover them, and cut around the centre."""
        return decode(frame, (height, width, channels), self._limit)
