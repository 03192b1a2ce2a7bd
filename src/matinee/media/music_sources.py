"""Sources of music: folders of MIDI files, piano rolls in JSON or in MATLAB's files, and the chorales of music21."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np

from matinee.core.duplicates import groups
from matinee.core.errors import DataError
from matinee.core.examples import Array
from matinee.core.ledger import Entry
from matinee.core.splits import TEST, TRAIN, VALID, Splits, divide, equal_rows, remembered
from matinee.media.finding import Found
from matinee.media.mat_files import HEADER, begins_like_one, read_mat
from matinee.media.midi_files import BYTE_LIMIT, NO_NOTE, read_midi
from matinee.media.piano_rolls import HELD, KEYS, LOWEST, SILENT, STRUCK, roll_of_pitches, sounding, without_holds
from matinee.media.picture_listing import SPLIT_WORDS
from matinee.media.picture_manifest import FILE_COLUMNS as USUAL
from matinee.media.records import glance, read_records
from matinee.media.text_prints import prints_of
from matinee.media.walking import hidden, natural, printable, walk

MIDI: Final = (".mid", ".midi", ".kar")
ROLLS: Final = (".mat", ".json")
SCORES: Final = (".abc", ".krn", ".xml", ".mxl", ".musicxml", ".mscz", ".mei", ".ly", ".gp5")
AS_MIDI: Final = "save them as MIDI (MuseScore and music21 do)"
SCORE: Final = f"a score, by the ending of its name: {AS_MIDI}"
TABLES: Final = (".csv", ".tsv", ".jsonl")
FILE_COLUMNS: Final = ("midi_filename", "midi_file", "midi", "midi_path", *USUAL)
"""Of a table beside MIDI files that says their splits, as MAESTRO's does."""
SAMPLES: Final = {"chorales": "371 chorales by Bach, in four voices (with music21)"}
JSON_LIMIT: Final = 64 << 20
EMPTY: Final = "the file is empty"
LOOKED_AT: Final = 2000
"""Files of a folder among which recognising looks for music."""
NEAR: Final = 0.97
"""Cosine from which on two pieces are near duplicates, in whatever key they stand."""
NAMES: Final = {TRAIN: "train", VALID: "valid", TEST: "test"}


@dataclass
class Pieces:
    """Pieces of music as piano rolls uint8 (frames, 88), with the name, digest and given split (-1: none) of each.

    grid: frames to a quarter note; said: what a file of rolls says of it in its name (0: nothing). holds: whether the
    rolls tell a note that is held from one struck again.
    """

    grid: int
    holds: bool
    rolls: list[Array] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    splits: list[int] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    said: int = 0

    def add(self, name: str, split: int, roll: Array, digest: str) -> None:
        """One more piece; one with hardly a note goes to the ledger."""
        if len(roll) < 2 or not sounding(roll).any():
            self.entries.append(Entry(printable(name), "empty", "there is no music in it: no note, or a single frame"))
            return
        self.rolls.append(roll)
        self.names.append(printable(name))
        self.digests.append(digest)
        self.splits.append(split)

    def manifest(self) -> dict[str, str]:
        """Name -> SHA-256 of the file, or of the roll where a file has many."""
        return dict(zip(self.names, self.digests, strict=True))


def fits(source: str) -> str | None:
    """In a few words why a source looks like music, or None; reads no more than the beginning of a file."""
    path = Path(source)
    if source in SAMPLES and not path.exists():
        return f"the data set {source}"
    try:
        if path.is_dir():
            names = list(islice(_names(source), LOOKED_AT))
            if any(name.lower().endswith(MIDI) for name in names):
                return "a folder with MIDI files"
            found = [name for name in _rolls_in(path) if _is_roll(path / name)]
            return f"a folder with piano rolls ({printable(found[0])})" if found else None
        if path.is_file():
            if source.lower().endswith(MIDI):
                return "a MIDI file"
            return "piano rolls" if source.lower().endswith(ROLLS) and _is_roll(path) else None
    except (OSError, ValueError):
        return None
    return None


def _names(root: str) -> Any:
    for _, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from files


def _rolls_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.name.lower().endswith(ROLLS) and entry.is_file())


def _is_roll(path: Path) -> bool:
    """By the first bytes: a MATLAB file, or an object of splits with pieces with frames of pitches."""
    with path.open("rb") as file:
        head = file.read(4096)
    if path.suffix.lower() == ".mat":
        return begins_like_one(head[:HEADER])
    return re.match(rb'(\xef\xbb\xbf)?\s*\{\s*"(train|valid|test)"\s*:\s*\[\s*\[\s*\[[-\d\s.,\]]', head) is not None


def read_pieces(source: str, grid: int | None, longest: int, told: Callable[[int, int], None]) -> Pieces:
    """All pieces of a source. grid: frames to a quarter note (None: 4 for MIDI, what a file says of itself).

    longest: frames of a piece that are read. told: is called with pieces done and all. Raises DataError.
    """
    path = Path(source)
    if source in SAMPLES and not path.exists():
        from matinee.media.chorales import read_chorales

        pieces = read_chorales(grid or 4, longest, told)
    elif path.is_dir():
        pieces = _of_folder(path, grid, longest, told)
    elif source.lower().endswith(MIDI):
        pieces = Pieces(grid or 4, True)
        _add_file(pieces, path, path.name, -1, longest)
    elif source.lower().endswith(".mat"):
        pieces = _of_mat(path, grid, longest)
    elif source.lower().endswith(".json"):
        pieces = _of_json(path, grid, longest)
    else:
        endings = ", ".join((*MIDI, *ROLLS))
        raise DataError(
            f"{printable(source)}: music is read from files that end in {endings}, or from folders of them."
        )
    if not pieces.rolls:
        first = f" The first: {pieces.entries[0].file}: {pieces.entries[0].reason}." if pieces.entries else ""
        raise DataError(f"{printable(source)}: there is no piece of music in it that can be read.{first}")
    return pieces


def _of_folder(folder: Path, grid: int | None, longest: int, told: Callable[[int, int], None]) -> Pieces:
    found = walk(str(folder))
    names = sorted((name for name in found.names if name.lower().endswith(MIDI) and not hidden(name)), key=natural)
    if not names:
        rolls = [name for name in _rolls_in(folder) if _is_roll(folder / name)]
        where = printable(str(folder))
        if not rolls:
            scores = sum(name.lower().endswith(SCORES) for name in found.names)
            others = f" {scores:,} are scores: {AS_MIDI}." if scores else ""
            raise DataError(f"{where}: there is no MIDI file and no file of piano rolls in it.{others}")
        if len(rolls) > 1:
            raise DataError(f"{where}: there are several files of piano rolls. Name one: {', '.join(rolls)}.")
        return read_pieces(str(folder / rolls[0]), grid, longest, told)
    pieces = Pieces(grid or 4, True, entries=list(found.entries))
    table, said, missing = table_of(folder, found.names)
    for name in found.names:
        if hidden(name):
            pieces.entries.append(Entry(printable(name), "ignored", "a hidden file"))
        elif not name.lower().endswith(MIDI) and name != table:
            reason = SCORE if name.lower().endswith(SCORES) else "not a MIDI file by the ending of its name"
            pieces.entries.append(Entry(printable(name), "ignored", reason))
    pieces.entries += [Entry(printable(name), "missing", f"{table} names it") for name in missing]
    divided = {name.split("/")[0].lower() for name in names if "/" in name} & SPLIT_WORDS.keys()
    given = any(SPLIT_WORDS[word] == TRAIN for word in divided) and not said
    for place, name in enumerate(names):
        top = name.split("/")[0].lower() if "/" in name else ""
        split = said.get(name, -1) if said else SPLIT_WORDS.get(top, -1) if given else -1
        if said and split < 0:
            pieces.entries.append(Entry(printable(name), "event", f"{table} names no split for it: it is learned from"))
        _add_file(pieces, folder / name, name, split, longest)
        told(place + 1, len(names))
    return pieces


def table_of(folder: Path, names: Sequence[str]) -> tuple[str, dict[str, int], list[str]]:
    """The first table near the top that tells splits of MIDI files, the split of each, and names of what is not there.

    "" where there is none: a table that puts no file into the training split tells nothing.
    """
    found = Found(names, MIDI, "MIDI file")
    for table in names:
        if table.count("/") > 1 or not table.lower().endswith(TABLES):
            continue
        try:
            some = glance(folder / table)
            if some is None or some.column("", FILE_COLUMNS, flag="", what="file name", needed=False) < 0:
                continue
            records = read_records(folder / table)
            column = records.column("", FILE_COLUMNS, flag="", what="file name")
        except DataError:
            continue
        said: dict[str, int] = {}
        missing: list[str] = []
        for values, split in zip(records.rows, records.splits, strict=True):
            name, _ = found(values[column], table[: table.rfind("/") + 1])
            if name and split >= 0:
                said[name] = split
            elif not name:
                missing.append(values[column])
        if TRAIN in said.values():
            return table, said, missing
    return "", {}, []


def _add_file(pieces: Pieces, path: Path, name: str, split: int, longest: int) -> None:
    try:
        raw = _bytes_of(path)
        roll, remarks = read_midi(raw, pieces.grid, longest)
    except DataError as error:
        if "pip install" in str(error):
            raise
        kind = "empty" if str(error) == EMPTY or str(error).startswith(NO_NOTE) else "unreadable"
        pieces.entries.append(Entry(printable(name), kind, str(error)))
        return
    if remarks:
        pieces.entries.append(Entry(printable(name), "event", "; ".join(remarks)))
    pieces.add(name, split, roll, sha256(raw).hexdigest())


def _bytes_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            raw = file.read(BYTE_LIMIT + 1)
    except OSError as error:
        raise DataError(f"the file cannot be read ({error.strerror})") from None
    if not raw:
        raise DataError(EMPTY)
    return raw


def _begun(path: Path, grid: int | None) -> Pieces:
    """For a file of rolls: frames as its name says, a quarter note each where that says nothing."""
    words = (("16th", 4), ("8th", 2), ("quarter", 1))
    said = next((count for word, count in words if word in path.stem.lower()), 0)
    return Pieces(grid or said or 1, False, said=said)


def _of_mat(path: Path, grid: int | None, longest: int) -> Pieces:
    """Boulanger-Lewandowski's rolls as they are passed round: variables whose names begin with train, valid or test."""
    pieces = _begun(path, grid)
    for variable, arrays in read_mat(path).items():
        word = re.match(r"train|valid|test", variable.lower())
        if word is None:
            pieces.entries.append(Entry(variable[:80], "ignored", "its name does not begin with train, valid or test"))
            continue
        for place, array in enumerate(arrays):
            name = f"{path.name}#{variable}/{place + 1}"
            if array.ndim != 2 or array.shape[1] != KEYS:
                shape = " x ".join(map(str, array.shape))
                pieces.entries.append(Entry(name, "unreadable", f"{shape} numbers; a piece is frames x {KEYS} keys"))
                continue
            roll = np.where(array > 0, np.uint8(STRUCK), np.uint8(SILENT))
            _add_roll(pieces, name, SPLIT_WORDS[word[0]], roll, longest)
    return pieces


def _of_json(path: Path, grid: int | None, longest: int) -> Pieces:
    """{"train": [piece, ...], ...}: a piece is a list of frames, a frame a list of MIDI numbers; -1 is silence."""
    try:
        if path.stat().st_size > JSON_LIMIT:
            raise DataError(f"{printable(str(path))}: more than {JSON_LIMIT >> 20} MiB; that much is not read.")
        whole = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{printable(str(path))}: the file cannot be read ({error.strerror}).") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{printable(str(path))}: this is not JSON ({str(error)[:100]}).") from None
    if not isinstance(whole, dict):
        raise DataError(f'{printable(str(path))}: expected {{"train": [...], "valid": [...], "test": [...]}}.')
    pieces = _begun(path, grid)
    for split, rows in whole.items():
        if split.lower() not in SPLIT_WORDS or not isinstance(rows, list):
            pieces.entries.append(
                Entry(printable(split)[:80], "ignored", "no list of pieces under train, valid or test")
            )
            continue
        for place, frames in enumerate(rows):
            name = f"{path.name}#{split}/{place + 1}"
            pitches = _pitches(frames)
            if pitches is None:
                pieces.entries.append(Entry(name, "unreadable", "a piece is a list of lists of MIDI numbers"))
                continue
            beyond = sum(not LOWEST <= pitch < LOWEST + KEYS for frame in pitches for pitch in frame)
            if beyond:
                pieces.entries.append(Entry(name, "event", f"{beyond:,} notes outside the 88 keys are left out"))
            _add_roll(pieces, name, SPLIT_WORDS[split.lower()], roll_of_pitches(pitches[: longest + 1]), longest)
    return pieces


def _pitches(frames: Any) -> list[list[int]] | None:
    """The MIDI numbers of each frame, silence left out; None where that is not what it is."""
    if not isinstance(frames, list) or not all(isinstance(frame, list) for frame in frames):
        return None
    numbers = [[pitch for pitch in frame if pitch is not None and pitch != -1 and pitch == pitch] for frame in frames]
    whole = all(isinstance(pitch, int | float) and -1 < pitch < 128 and pitch % 1 == 0 for f in numbers for pitch in f)
    return [[int(pitch) for pitch in frame] for frame in numbers] if whole else None


def _add_roll(pieces: Pieces, name: str, split: int, roll: Array, longest: int) -> None:
    if len(roll) > longest:
        pieces.entries.append(Entry(name, "event", f"all behind its first {longest:,} frames is left out (--longest)"))
        roll = roll[:longest]
    pieces.add(name, split, roll, sha256(roll.tobytes()).hexdigest())


def in_terms(roll: Array, holds: bool, wanted: bool) -> Array:
    """A roll that tells what is held (or not) as one that does so as wanted."""
    if holds == wanted:
        return roll
    if not wanted:
        return without_holds(roll)
    there = sounding(roll)
    goes_on = there & np.concatenate((np.zeros((1, KEYS), bool), there[:-1]))
    told: Array = np.where(goes_on, np.uint8(HELD), roll)
    return told


def prints(rolls: Sequence[Array]) -> Array:
    """Unit vectors (pieces, 256) that tell near duplicates, in whatever key: how its highest voice and chords move."""
    sequences = []
    for roll in rolls:
        there = sounding(roll)
        top = np.where(there.any(1), KEYS - 1 - there[:, ::-1].argmax(1), -1)
        steps = np.diff(top, prepend=top[:1]) + KEYS
        shifted = (top[:, None] - np.arange(12)) % KEYS  # what lies up to an octave below it
        shapes = (np.take_along_axis(there, shifted, 1) * (1 << np.arange(12))).sum(1)
        changes = np.concatenate(([True], (steps[1:] != KEYS) | (shapes[1:] != shapes[:-1])))
        sequences.append((steps * 4096 + shapes)[changes])
    return prints_of(sequences)


def split_pieces(pieces: Pieces, shares: tuple[float, float, int]) -> dict[str, Array]:
    """The rows of "train", "valid" and "test"; shares of validation and test, and the seed. Versions stay together."""
    count = len(pieces.rolls)
    digests = np.array([list(bytes.fromhex(digest)) for digest in pieces.digests], np.uint8)

    def alike(rows: Array) -> tuple[Array, Array]:
        return groups(prints([pieces.rolls[row] for row in rows]), NEAR), equal_rows(digests[rows])

    def find() -> dict[str, Array]:
        known = Splits(np.arange(count), np.array(pieces.splits), np.zeros(count, np.int64), np.full(count, -1))
        return divide(known, alike, shares)

    words = f"music {NEAR} {shares} {pieces.splits} ".encode()
    return remembered(sha256(words + digests.tobytes()).hexdigest()[:40], find)
