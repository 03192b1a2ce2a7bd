"""What can be said of pieces without hearing them: keys, repetitions, and what they share with others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from matinee.core.examples import Array
from matinee.media.piano_rolls import KEYS, LOWEST, NAMES, notes_of, out_of_key, sounding

STUCK: Final = 16
"""Quarter notes from which on a note counts as stuck."""
_ODD: Final = np.uint64(0x9E3779B97F4A7C15)


def longest_shared(piece: Array, others: Sequence[Array]) -> int:
    """Frames of the longest passage of a piece that stands in one of the others, in whatever key.

    A passage is a run of frames with the same chords one after the other; a run of one and the same chord is none.
    Frames are compared by hashes of 64 bits.
    """
    mine, low, high = _codes(piece), 0, len(piece)
    known = [_codes(other) for other in others]
    while low < high:  # a passage of n frames holds one of n - 1
        middle = (low + high + 1) // 2
        ours = set(_windows(mine, middle).tolist())
        if any(not ours.isdisjoint(_windows(other, middle).tolist()) for other in known):
            low = middle
        else:
            high = middle - 1
    return low


def _codes(cells: Array) -> Array:
    """A number for each step from a frame to the next, uint64 (frames - 1,): both chords, and how they moved."""
    there = sounding(cells)
    low = np.where(there.any(1), there.argmax(1), -1)
    weights = _ODD * (2 * np.arange(1, KEYS + 1, dtype=np.uint64) + 1)
    chords = np.zeros(len(cells), np.uint64)
    with np.errstate(over="ignore"):
        for row in range(len(cells)):
            chords[row] = weights[np.flatnonzero(there[row]) - low[row]].sum(dtype=np.uint64)
        moved = (low[1:] - low[:-1] + 2 * KEYS).astype(np.uint64)
        codes: Array = (chords[:-1] * _ODD + chords[1:]) * _ODD + moved
    return codes


def _windows(codes: Array, frames: int) -> Array:
    """A number for each passage of so many frames that is not one chord throughout, uint64."""
    steps = frames - 1
    if steps < 1 or len(codes) < steps:
        return np.empty(0, np.uint64)
    with np.errstate(over="ignore"):
        powers = np.cumprod(np.full(steps, _ODD, np.uint64))
        seen = np.lib.stride_tricks.sliding_window_view(codes, steps)
        found: Array = (seen * powers).sum(1, dtype=np.uint64)
    changes = np.concatenate(([0], np.cumsum(codes[1:] != codes[:-1])))
    return found[changes[steps - 1 :] != changes[: len(changes) - steps + 1]] if steps > 1 else found[:0]


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


def pitch_classes(rolls: Sequence[Array]) -> tuple[tuple[str, ...], Array]:
    """The names of the twelve pitch classes, and the share of what sounds that each has, float (12,)."""
    counts = np.zeros(12)
    for roll in rolls:
        counts += np.bincount((np.nonzero(sounding(roll))[1] + LOWEST) % 12, minlength=12)
    return NAMES, counts / max(1.0, counts.sum())
