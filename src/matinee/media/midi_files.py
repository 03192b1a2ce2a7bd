"""MIDI files: notes on a grid of frames, read with symusic, and written."""

from __future__ import annotations

import importlib
import struct
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from matinee.core.errors import DataError
from matinee.core.examples import Array
from matinee.media.piano_rolls import KEYS, LOWEST, Note, roll_of

BYTE_LIMIT: Final = 16 << 20
NO_NOTE: Final = "there is no note in it"
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
    """The piano roll uint8 (frames, 88) of a MIDI file's bytes, and what there is to say of it: what was left out.

    All tracks sound together, but drums are left out; of type 2, whose tracks are tunes of their own, one comes after
    the other. Notes begin and end at the nearest frame, `grid` to a quarter note; none is shorter than one. Silence
    behind the last note is left out, and whole quarters of it before the first one. Raises DataError.
    """
    if len(raw) > BYTE_LIMIT:
        raise DataError(f"more than {BYTE_LIMIT >> 20} MiB: no piece of music is that long")
    if raw[:4] == b"RIFF" and raw[8:16] == b"RMIDdata":
        raw = raw[20:]
    if not raw.startswith(b"MThd"):
        raise DataError("no MIDI file: it does not begin with MThd")
    if len(raw) > 14 and raw[12] & 0x80:
        raise DataError("its times are in SMPTE frames, not in beats: save it with ticks per quarter note")
    tunes = _tunes(raw) if raw[8:10] == b"\0\2" else [raw]
    found = [_notes(tune, grid) for tune in tunes]
    drums = sum(count for _, count in found)
    remarks = [f"{drums:,} beats of drums are left out"] if drums else []
    if len(tunes) > 1:
        remarks.append(f"of type 2: its {len(tunes):,} tracks are read as tunes, one after the other")
    for (notes, _), (before, _) in zip(found[1:], found, strict=False):
        notes[:2] += _whole(before[1].max(initial=0), grid)
    begin, end, pitch = np.concatenate([notes for notes, _ in found], 1)
    if not len(begin):
        raise DataError(NO_NOTE + (", only drums" if drums else " that begins and ends"))
    inside = (pitch >= LOWEST) & (pitch < LOWEST + KEYS)
    if not inside.all():
        remarks.append(f"{int((~inside).sum()):,} notes outside the 88 keys are left out")
    if not inside.any():
        raise DataError(f"{NO_NOTE} but outside the 88 keys of a piano")
    begin, end, pitch = begin[inside], end[inside], pitch[inside]
    silence = begin.min() // grid * grid  # what begins on a beat still does
    begin, end = begin - silence, end - silence
    frames = int(end.max())
    if frames > longest:
        remarks.append(f"all behind its first {longest:,} frames is left out (--longest)")
        frames = longest
    return roll_of(_distinct(pitch, begin, end, frames), frames), remarks


def _tunes(raw: bytes) -> list[bytes]:
    """A file of type 2 as one of type 0 for each of its tracks."""
    head, place, tunes = raw[:8] + b"\0\0\0\1" + raw[12:14], 14, []
    while place + 8 <= len(raw):
        after = place + 8 + int.from_bytes(raw[place + 4 : place + 8], "big")
        if raw[place : place + 4] == b"MTrk":
            tunes.append(head + raw[place:after])
        place = after
    return tunes or [raw]


def _whole(frames: int, grid: int) -> int:
    """So many frames, or some more, that fill whole quarters."""
    return int(-(-frames // grid) * grid)


def _notes(raw: bytes, grid: int) -> tuple[Array, int]:
    """Begin and end in frames and MIDI number of the notes, int64 (3, notes), and how many beats of drums there are."""
    try:
        score = _symusic().Score.from_midi(raw)
    except (RuntimeError, ValueError, OverflowError, IndexError) as error:
        raise DataError(f"the MIDI file is damaged ({' '.join(str(error).split())[:120]})") from None
    ticks = int(score.ticks_per_quarter)
    if ticks <= 0:
        raise DataError("the MIDI file is damaged (it has no ticks per quarter note)")
    told = [track.notes.numpy() for track in score.tracks if not track.is_drum and len(track.notes)]
    drums = sum(len(track.notes) for track in score.tracks if track.is_drum)
    start, length, pitch = (
        np.concatenate([np.zeros(0, np.int64), *(np.asarray(part[name], np.int64) for part in told)])
        for name in ("time", "duration", "pitch")
    )
    begin = np.floor(start * grid / ticks + 0.5).astype(np.int64)
    end = np.maximum(np.floor((start + length) * grid / ticks + 0.5).astype(np.int64), begin + 1)
    return np.stack((begin, end, pitch)), drums


def _distinct(pitch: Array, begin: Array, end: Array, frames: int) -> list[Note]:
    """Of notes that begin together on one key the longest: a file may have millions of them."""
    chosen = np.flatnonzero(begin < frames)
    chosen = chosen[np.lexsort((-end[chosen], begin[chosen] * 128 + pitch[chosen]))]
    first = np.unique(begin[chosen] * 128 + pitch[chosen], return_index=True)[1]
    rows = zip(*(each[chosen[first]].tolist() for each in (pitch, begin, end - begin)), strict=True)
    return [Note(*row) for row in rows]


def write_midi(notes: Sequence[tuple[int, float, float]], tempo: float, instrument: int = 0) -> bytes:
    """A MIDI file (type 0) of notes (MIDI number, begin and length in quarter notes), `tempo` quarters a minute.

    instrument: of General MIDI, from 0 (piano).
    """
    events = [
        (0, 0, b"\xff\x51\x03" + min(round(60e6 / tempo), 0xFFFFFF).to_bytes(3, "big")),
        (0, 0, bytes((0xC0, instrument))),
    ]
    for pitch, start, length in notes:
        begin = round(start * TICKS)
        events.append((begin, 2, bytes((0x90, pitch, VELOCITY))))
        events.append((max(begin + 1, round((start + length) * TICKS)), 1, bytes((0x80, pitch, 0))))
    track, now = bytearray(), 0
    for time, _, event in sorted(events):  # a note ends before the next one on its key begins
        track += _variable(time - now) + event
        now = time
    track += b"\x00\xff\x2f\x00"
    head = b"MThd" + struct.pack(">IHHH", 6, 0, 1, TICKS)
    return head + b"MTrk" + struct.pack(">I", len(track)) + bytes(track)


def _variable(number: int) -> bytes:
    """As MIDI writes times: seven bits a byte, all but the last with the eighth set."""
    groups = [number & 0x7F]
    while number := number >> 7:
        groups.append(number & 0x7F | 0x80)
    return bytes(reversed(groups))
