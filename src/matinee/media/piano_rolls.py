"""Pieces of music as piano rolls: a row for each frame of time, in it a cell for each of the 88 keys.

A cell says what a key does during a frame. Rolls that people publish say only which keys sound: there all of them are
STRUCK. An OPEN cell is still to be written, and any number above OPEN as well: that number tells apart pieces that are
asked for alike, so that each is written by other chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from matinee.core.examples import Array

KEYS: Final = 88
LOWEST: Final = 21
"""The MIDI number of the first key."""
PADDING, SILENT, STRUCK, HELD, OPEN = 0, 1, 2, 3, 4

NAMES: Final = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
MAJOR: Final = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
MINOR: Final = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)
"""How well each degree fits a key, for listeners (Krumhansl and Kessler, 1982)."""


@dataclass(frozen=True)
class Note:
    """One note: MIDI number of its pitch, begin and length in frames."""

    pitch: int
    start: int
    length: int


def sounding(cells: Array) -> Array:
    """Where a key sounds, bool, of the shape of the cells."""
    found: Array = (cells == STRUCK) | (cells == HELD)
    return found


def roll_of(notes: Sequence[Note], frames: int) -> Array:
    """uint8 (frames, 88): struck where a note begins, held while it lasts.

    Notes outside the keys or the frames are passed over. A note that begins while its key sounds strikes it again.
    """
    cells = np.full((frames, KEYS), SILENT, np.uint8)
    for note in sorted(notes, key=lambda note: note.start):
        key = note.pitch - LOWEST
        if 0 <= key < KEYS and 0 <= note.start < frames:
            cells[note.start : note.start + note.length, key] = HELD
            cells[note.start, key] = STRUCK
    # Where a note was struck within another, the rest of the longer one goes on.
    return cells


def roll_of_pitches(frames: Sequence[Sequence[int]]) -> Array:
    """uint8 (frames, 88) of the MIDI numbers that sound in each frame; those outside the keys are passed over."""
    cells = np.full((len(frames), KEYS), SILENT, np.uint8)
    for row, pitches in enumerate(frames):
        for pitch in pitches:
            if LOWEST <= pitch < LOWEST + KEYS:
                cells[row, pitch - LOWEST] = STRUCK
    return cells


def notes_of(cells: Array, holds: bool) -> list[Note]:
    """The notes of a roll (frames, 88), by time and then by pitch.

    holds: the roll says which keys are held. Else a key that sounds in two frames in a row is taken for one note.
    """
    found, there = [], sounding(cells)
    before = np.concatenate((np.zeros((1, KEYS), bool), there[:-1]))
    begins = (there & ~before) | (cells == STRUCK) if holds else there & ~before
    for start, key in zip(*np.nonzero(begins), strict=True):
        later = ~there[start + 1 :, key] | begins[start + 1 :, key]
        length = 1 + (int(later.argmax()) if later.any() else len(later))
        found.append(Note(int(key) + LOWEST, int(start), length))
    return found


def without_holds(cells: Array) -> Array:
    """The same roll, saying only which keys sound."""
    plain: Array = np.where(cells == HELD, np.uint8(STRUCK), cells)
    return plain


def key_of(cells: Array) -> tuple[int, bool, Array]:
    """The key that a roll is in: its tonic (0: C), whether it is minor, and which pitch classes belong to it, (12,).

    The key whose profile is most like the durations of the pitch classes (Krumhansl, 1990). In minor, the raised sixth
    and seventh degrees belong to the key as well.
    """
    counts = np.bincount((np.nonzero(sounding(cells))[1] + LOWEST) % 12, minlength=12).astype(np.float64)
    best = (-2.0, 0, False)
    if counts.std() > 0:
        for minor, profile in ((False, MAJOR), (True, MINOR)):
            for tonic in range(12):
                likeness = float(np.corrcoef(np.roll(profile, tonic), counts)[0, 1])
                best = max(best, (likeness, tonic, minor))
    return best[1], best[2], scale_of(best[1], best[2])


def scale_of(tonic: int, minor: bool) -> Array:
    """Which of the twelve pitch classes belong to a key, bool (12,)."""
    degrees = (0, 2, 3, 5, 7, 8, 9, 10, 11) if minor else (0, 2, 4, 5, 7, 9, 11)
    inside = np.zeros(12, bool)
    inside[[(tonic + degree) % 12 for degree in degrees]] = True
    return inside


def key_name(cells: Array) -> str:
    """Like "G major"."""
    tonic, minor, _ = key_of(cells)
    return f"{NAMES[tonic]} {'minor' if minor else 'major'}"


def out_of_key(cells: Array) -> float:
    """The share of what sounds that does not belong to the roll's own key; 0 where nothing sounds."""
    classes = (np.nonzero(sounding(cells))[1] + LOWEST) % 12
    return float((~key_of(cells)[2][classes]).mean()) if len(classes) else 0.0
