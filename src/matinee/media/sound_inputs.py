"""The sounds that a person wants answers for: files, stretches of them, arrays; long recordings in windows."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import numpy as np

from matinee.core.errors import DataError
from matinee.core.ledger import Entry, Listed
from matinee.media.decoding import worker_count
from matinee.media.picture_listing import sift
from matinee.media.sound_decoding import hear_windows, look
from matinee.media.sound_serving import Source
from matinee.media.sounds import EXTENSIONS, SHORTEST, Samples, SoundError, excerpts, is_silent
from matinee.media.stretches import cut
from matinee.media.timelines import Window, windows
from matinee.media.walking import natural, printable, walk

TOGETHER: Final = 300.0  # seconds of a long recording that are decoded at once, for all windows in them


def hear_many(
    raws: Sequence[Any], learned: tuple[int, int], count: int, silence: bool
) -> tuple[list[Samples], dict[int, SoundError]]:
    """int16 (samples,) of those that can be heard, in order, and by their places what is wrong with the others.

    raws: paths, `talk.wav#t=12,14.5` for a stretch in seconds, bytes, (array, its rate), or arrays at the rate that was
    learned. learned: that rate, and the samples of a window. count: windows of a longer recording. silence: whether it
    may be an answer.
    """
    found: list[Samples] = []
    errors: dict[int, SoundError] = {}
    for each in _neighbours(raws):
        some = _of_windows([raws[place] for place in each], learned[0]) if len(each) > 1 else {}
        for number, place in enumerate(each):
            try:
                samples = some[number] if number in some else _heard(raws[place], learned, count)
                if is_silent(samples) and not silence:
                    raise SoundError("silent", "there is nothing to hear: every sample is the same, or as good as")
                found.append(samples)
            except SoundError as error:
                errors[place] = error
    return found, errors


def _neighbours(raws: Sequence[Any]) -> list[list[int]]:
    """The places of the raws; windows of one recording that follow each other together."""

    def which(place: int) -> object:
        raw = raws[place]
        return (raw.recording, int(raw.start // TOGETHER)) if isinstance(raw, Window) else place

    return [list(places) for _, places in groupby(range(len(raws)), which)]


def _of_windows(raws: Sequence[Window], rate: int) -> dict[int, Samples]:
    """The windows of one recording, decoded once; without those that are not whole: each may say itself why."""
    start, end = raws[0].start, raws[-1].end
    path = cut(raws[0])[0]
    whole = hear_windows(_source(path, start, end), (rate, math.ceil((end - start) * rate)), 1)
    if whole.samples is None:
        return {}
    whole.failure = None  # silence is each window's own
    samples, found = whole.array(), {}
    for number, raw in enumerate(raws):
        first, last = (round((edge - start) * rate) for edge in (raw.start, raw.end))
        if last <= len(samples) + SHORTEST * rate:
            found[number] = samples[first:last]
    return found


def _heard(raw: Any, learned: tuple[int, int], count: int) -> Samples:
    rate, window = learned
    if isinstance(raw, np.ndarray | tuple):  # nothing is to be decoded
        return excerpts((raw, rate) if isinstance(raw, np.ndarray) else raw, rate, window / rate, count)
    if isinstance(raw, bytes):
        heard = hear_windows(Source(), learned, count, raw)
    else:
        path, start, end = _stretch(os.fspath(raw))
        if start >= end:
            raise SoundError("empty", "a stretch begins before it ends: talk.wav#t=12,14.5, in seconds")
        heard = hear_windows(_source(path, start, end), learned, count)
    if heard.failure is not None and heard.failure[0] == "silent":
        heard.failure = None  # whoever asks decides
    return heard.array()


def _source(path: str, start: float, end: float) -> Source:
    return Source(os.path.abspath(path), -1, start, end)  # noqa: PTH100


def _stretch(name: str) -> tuple[str, float, float]:
    """A file of that very name, or what of another one the name says."""
    return (name, 0.0, math.inf) if os.path.lexists(name) else cut(name)


def list_sounds(paths: Sequence[str | Path], length: float, overlap: float) -> Listed:
    """The sounds that FILE... | FOLDER arguments mean: files as they are, of folders all sounds below, in order.

    A recording, or a stretch of one, of more than two `length` seconds stands as windows of that length that overlap by
    a share of it. Raises DataError where a folder cannot be read or has no sounds.
    """
    found: dict[str, None] = {}
    others: list[Entry] = []
    for given in (os.fspath(path) for path in paths):
        if not os.path.isdir(given):  # noqa: PTH112
            found[given] = None
            continue
        below = walk(given)
        names = sorted(sift(below.names, others, EXTENSIONS, "sound"), key=natural)
        others += below.entries
        if not names:
            raise DataError(f"{printable(given)}: there are no sounds in this folder.")
        found.update((os.path.join(given, name), None) for name in names)  # noqa: PTH118

    def parts(name: str) -> list[str]:
        path, start, end = _stretch(name)
        try:
            end = min(end, look(_source(path, 0.0, math.inf)).seconds)
        except SoundError:
            return [name]  # whoever answers says what is wrong with it
        return windows(name, path, (start, end), length, overlap)

    with ThreadPoolExecutor(worker_count()) as pool:
        return Listed([part for some in pool.map(parts, found) for part in some], others)
