"""The sounds that a person wants answers for: many at once, each with its own fate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from matinee.media.sounds import Samples, SoundError, excerpts, is_silent


def hear_many(
    raws: Sequence[Any], learned: tuple[int, int], count: int, silence: bool
) -> tuple[list[Samples], dict[int, SoundError]]:
    """int16 (samples,) of those that can be heard, in order, and by their places what is wrong with the others.

    raws: paths, bytes, (array, its rate), or arrays at the rate that was learned. learned: that rate, and the samples
    of a window. count: windows of a longer recording. silence: whether it may be an answer.
    """
    rate, window = learned
    found: list[Samples] = []
    errors: dict[int, SoundError] = {}
    for place, raw in enumerate(raws):
        try:
            given: Any = (raw, rate) if isinstance(raw, np.ndarray) else raw
            samples = excerpts(given, rate, window / rate, count)
            if is_silent(samples) and not silence:
                raise SoundError("silent", "there is nothing to hear: every sample is the same, or as good as")
            found.append(samples)
        except SoundError as error:
            errors[place] = error
    return found, errors
