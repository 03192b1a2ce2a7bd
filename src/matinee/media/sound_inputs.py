"""The sounds that a person wants answers for: many at once, each with its own fate."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from matinee.media.sound_decoding import hear_windows
from matinee.media.sound_serving import Source
from matinee.media.sounds import Samples, SoundError, excerpts, is_silent
from matinee.media.stretches import cut


def hear_many(
    raws: Sequence[Any], learned: tuple[int, int], count: int, silence: bool
) -> tuple[list[Samples], dict[int, SoundError]]:
    """int16 (samples,) of those that can be heard, in order, and by their places what is wrong with the others.

    raws: paths, bytes, (array, its rate), or arrays at the rate that was learned. learned: that rate, and the samples
    of a window. count: windows of a longer recording. silence: whether it may be an answer.
    """
    found: list[Samples] = []
    errors: dict[int, SoundError] = {}
    for place, raw in enumerate(raws):
        try:
            samples = _heard(raw, learned, count)
            if is_silent(samples) and not silence:
                raise SoundError("silent", "there is nothing to hear: every sample is the same, or as good as")
            found.append(samples)
        except SoundError as error:
            errors[place] = error
    return found, errors


def _heard(raw: Any, learned: tuple[int, int], count: int) -> Samples:
    rate, window = learned
    if isinstance(raw, np.ndarray | tuple):  # nothing is to be decoded
        return excerpts((raw, rate) if isinstance(raw, np.ndarray) else raw, rate, window / rate, count)
    if isinstance(raw, bytes):
        heard = hear_windows(Source(), learned, count, raw)
    else:
        name = os.fspath(raw)
        path, start, end = (name, 0.0, math.inf) if os.path.lexists(name) else cut(name)
        if start >= end:
            raise SoundError("empty", "a stretch begins before it ends: talk.wav#t=12,14.5, in seconds")
        heard = hear_windows(Source(os.path.abspath(path), -1, start, end), learned, count)  # noqa: PTH100
    if heard.failure is not None and heard.failure[0] == "silent":
        heard.failure = None  # whoever asks decides
    return heard.array()
