"""MIDI files: notes on a grid of frames, read and written with symusic."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from matinee.core.errors import DataError
from matinee.core.examples import Array
from matinee.media.piano_rolls import KEYS, LOWEST, Note, roll_of

BYTE_LIMIT: Final = 64 << 20
TICKS: Final = 480
"""Of a quarter note in files that are written."""
VELOCITY: Final = 80


def _symusic() -> Any:
    try:
        return importlib.import_module("symusic")
    except ImportError:
        raise DataError(
            "MIDI files are read by symusic, which is not installed: pip install 'matinee[music]'"
        ) from None


def read_midi(raw: bytes, grid: int, longest: int) -> tuple[Array, list[str]]:
    """The piano roll uint8 (frames, 88) of a MIDI file's bytes, and what of it had to be left out, in words.

    All tracks sound together, but drums are left out. Notes begin and end at the nearest frame, `grid` to a quarter
    note; none is shorter than one. Silence before the first note and behind the last one is left out. Raises DataError.
    """
    if len(raw) > BYTE_LIMIT:
        raise DataError(f"more than {BYTE_LIMIT >> 20} MiB: no piece of music is that long")
    if not raw.startswith((b"MThd", b"RIFF")):
        raise DataError("no MIDI file: it does not begin with MThd")
    if raw.startswith(b"MThd") and len(raw) > 14 and raw[12] & 0x80:
        raise DataError("its times are in SMPTE frames, not in beats: save it with ticks per quarter note")
    try:
        score = _symusic().Score.from_midi(raw)
    except (RuntimeError, ValueError, OverflowError, IndexError) as error:
        raise DataError(f"the MIDI file is damaged ({' '.join(str(error).split())[:120]})") from None
    ticks = int(score.ticks_per_quarter)
    if ticks <= 0:
        raise DataError("the MIDI file is damaged (it has no ticks per quarter note)")
    told = [track.notes.numpy() for track in score.tracks if not track.is_drum and len(track.notes)]
    drums = sum(len(track.notes) for track in score.tracks if track.is_drum)
    left_out = [f"{drums:,} beats of drums"] if drums else []
    if not told:
        raise DataError("there is no note in it" + (", only drums" if drums else ""))
    start, length, pitch = (
        np.concatenate([np.asarray(part[name], np.int64) for part in told]) for name in ("time", "duration", "pitch")
    )
    begin = np.floor(start * grid / ticks + 0.5).astype(np.int64)
    end = np.maximum(np.floor((start + length) * grid / ticks + 0.5).astype(np.int64), begin + 1)
    inside = (pitch >= LOWEST) & (pitch < LOWEST + KEYS)
    if not inside.all():
        left_out.append(f"{int((~inside).sum()):,} notes outside the 88 keys")
    if not inside.any():
        raise DataError("there is no note in it but outside the 88 keys of a piano")
    begin, end, pitch = begin[inside], end[inside], pitch[inside]
    begin, end = begin - begin.min(), end - begin.min()
    frames = int(end.max())
    if frames > longest:
        left_out.append(f"all behind its first {longest:,} frames (--longest)")
        frames = longest
    notes = _distinct(pitch, begin, end, frames)
    return roll_of(notes, frames), left_out


def _distinct(pitch: Array, begin: Array, end: Array, frames: int) -> list[Note]:
    """Of notes that begin together on one key the longest: a file may have millions of them."""
    chosen = np.flatnonzero(begin < frames)
    chosen = chosen[np.lexsort((-end[chosen], begin[chosen] * 128 + pitch[chosen]))]
    first = np.unique(begin[chosen] * 128 + pitch[chosen], return_index=True)[1]
    rows = zip(*(each[chosen[first]].tolist() for each in (pitch, begin, end - begin)), strict=True)
    return [Note(*row) for row in rows]


def write_midi(notes: Sequence[tuple[int, float, float]], tempo: float) -> bytes:
    """A MIDI file (type 1) of notes (MIDI number, begin and length in quarter notes), `tempo` quarters a minute.

    Raises DataError where symusic is not installed.
    """
    symusic = _symusic()
    score = symusic.Score(TICKS)
    score.tempos.append(symusic.Tempo(0, float(tempo)))
    track = symusic.Track("Matinee", 0, False)
    for pitch, start, length in notes:
        track.notes.append(symusic.Note(round(start * TICKS), max(1, round(length * TICKS)), pitch, VELOCITY))
    score.tracks.append(track)
    written: bytes = score.dumps_midi()
    return written
