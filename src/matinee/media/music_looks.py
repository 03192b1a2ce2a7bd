"""What can be said of pieces without hearing them: keys, repetitions, and what they share with others."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from matinee.core.examples import Array
from matinee.media.piano_rolls import KEYS, LOWEST, key_of, notes_of, out_of_key, sounding

STUCK: Final = 16
"""Quarter notes from which on a note counts as stuck."""
_ODD: Final = np.uint64(0x9E3779B97F4A7C15)


def longest_shared(pieces: Sequence[Array], others: Sequence[Array]) -> list[int]:
    """Frames of the longest passage of each piece that stands in one of the others, in whatever key.

    A passage is a run of frames with the same chords one after the other; a run of one and the same chord is none.
    Frames are compared by hashes of 64 bits.
    """
    known = [_codes(other) for other in others]
    windows = functools.cache(lambda frames: _sorted([_windows(each, frames) for each in known]))
    found = []
    for mine in map(_codes, pieces):
        low, high = 2, len(mine) + 1
        while low < high:  # a passage of n frames holds one of n - 1, but there is none of two
            middle = (low + high + 1) // 2
            if np.isin(_windows(mine, middle), windows(middle)).any():
                low = middle
            else:
                high = middle - 1
        found.append(low if low > 2 else 0)
    return found


def _codes(cells: Array) -> Array:
    """A number for each step from a frame to the next, uint64 (frames - 1,): both chords, and how they moved."""
    there = sounding(cells)
    low = np.where(there.any(1), there.argmax(1), -1)
    weights = _ODD * (2 * np.arange(1, KEYS + 1, dtype=np.uint64) + 1)
    chords = np.zeros(len(cells), np.uint64)
    rows, keys = np.nonzero(there)
    with np.errstate(over="ignore"):
        np.add.at(chords, rows, weights[keys - low[rows]])
        moved = (low[1:] - low[:-1] + 2 * KEYS).astype(np.uint64)
        codes: Array = (chords[:-1] * _ODD + chords[1:]) * _ODD + moved
    return codes


def _windows(codes: Array, frames: int) -> Array:
    """A number for each passage of so many frames, three or more, that is not one chord throughout, uint64."""
    steps = frames - 1
    if len(codes) < steps:
        return np.empty(0, np.uint64)
    with np.errstate(over="ignore"):
        powers = np.cumprod(np.full(steps, _ODD, np.uint64))
        seen = np.lib.stride_tricks.sliding_window_view(codes, steps)
        found: Array = (seen * powers).sum(1, dtype=np.uint64)
    changes = np.concatenate(([0], np.cumsum(codes[1:] != codes[:-1])))
    moving: Array = found[changes[steps - 1 :] != changes[: len(changes) - steps + 1]]
    return moving


def _sorted(each: Sequence[Array]) -> Array:
    return np.unique(np.concatenate((np.empty(0, np.uint64), *each)))


def told(rolls: Sequence[Array], grid: int, holds: bool) -> Mapping[str, float]:
    """Shares and means over pieces, for a table: see the names."""
    notes = [notes_of(roll, holds) for roll in rolls]
    lengths = [note.length for each in notes for note in each]
    stuck = sum(note.length >= STUCK * grid for each in notes for note in each)
    bars = [_repeated_bars(roll, 4 * grid) for roll in rolls]
    return {
        "notes outside the piece's key": float(np.mean([out_of_key(roll) for roll in rolls])),
        "frames of silence": float(np.mean([(~sounding(roll).any(1)).mean() for roll in rolls])),
        "bars that repeat the one before": float(np.mean(bars)),
        f"notes of {STUCK} quarters or more": stuck / max(1, len(lengths)),
        "notes that sound at once": float(np.mean([sounding(roll).sum(1).mean() for roll in rolls])),
        "quarters that a note lasts": float(np.mean(lengths)) / grid if lengths else 0.0,
    }


def _repeated_bars(cells: Array, bar: int) -> float:
    there = sounding(cells)
    bars = [there[first : first + bar] for first in range(0, len(cells) - bar + 1, bar)]
    same = [bool((one == other).all()) for one, other in zip(bars[1:], bars, strict=False)]
    return float(np.mean(same)) if same else 0.0


def degrees(rolls: Sequence[Array]) -> Array:
    """The share of what sounds that each semitone above the tonic of its own piece has, float (12,)."""
    counts = np.zeros(12)
    for roll in rolls:
        classes = np.nonzero(sounding(roll))[1] + LOWEST - key_of(roll)[0]
        counts += np.bincount(classes % 12, minlength=12)
    share: Array = counts / max(1.0, counts.sum())
    return share


def lengths(rolls: Sequence[Array], holds: bool, most: int) -> Array:
    """The share of notes that are 1, 2, ..., `most` frames long (the last: and longer), float (most,)."""
    counts = np.zeros(most)
    for roll in rolls:
        long = [min(note.length, most) for note in notes_of(roll, holds)]
        counts += np.bincount(long, minlength=most + 1)[1:]
    share: Array = counts / max(1.0, counts.sum())
    return share


def in_common(one: Array, other: Array) -> float:
    """How much two histograms, whose shares sum to one, have in common: from 0 to 1."""
    return float(np.minimum(one, other).sum())
