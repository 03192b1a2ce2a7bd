"""The 371 chorales by Bach that the package music21 carries, as piano rolls."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np

from matinee.core import cache
from matinee.core.errors import DataError
from matinee.core.ledger import Entry
from matinee.media.music_sources import Pieces
from matinee.media.piano_rolls import Note, roll_of

KIND: Final = "chorales-1"
COUNT: Final = 371


def read_chorales(grid: int, longest: int, told: Callable[[int, int], None]) -> Pieces:
    """All of them, `grid` frames to a quarter note. Reading takes minutes the first time; then they are in the cache.

    Raises DataError where music21 is not installed.
    """
    try:
        music21: Any = importlib.import_module("music21")
    except ImportError:
        raise DataError(
            "the chorales come with music21, which is not installed: pip install 'matinee[music]'"
        ) from None
    key = f"{music21.__version__}-{grid}-{longest}"

    def fill(folder: Path) -> None:
        _save(folder, _parsed(music21, grid, longest, told))

    folder = cache.find(KIND, key) or cache.build(KIND, key, fill)
    try:
        return _loaded(folder, grid)
    except (OSError, ValueError, KeyError, EOFError):
        cache.discard(KIND, key)
        return _parsed(music21, grid, longest, told)


def _parsed(music21: Any, grid: int, longest: int, told: Callable[[int, int], None]) -> Pieces:
    pieces = Pieces(grid, True)
    names = list(music21.corpus.chorales.Iterator(1, COUNT, numberingSystem="riemenschneider", returnType="filename"))
    for place, name in enumerate(names, 1):
        works = music21.corpus.getWork(name)  # several where a work is there in several forms
        path = max(map(Path, works if isinstance(works, list) else [works]), key=lambda one: one.suffix == ".mxl")
        # From its own file, for what music21 keeps in the temporary folder is a pickle.
        score = music21.converter.parse(str(path), forceSource=True, storePickle=False).stripTies()
        notes = [
            Note(int(pitch.midi), round(float(each.offset) * grid), max(1, round(float(each.quarterLength) * grid)))
            for each in score.flatten().notes
            for pitch in each.pitches
        ]
        frames = max((note.start + note.length for note in notes), default=0)
        if frames > longest:
            pieces.entries.append(
                Entry(str(name), "event", f"all behind its first {longest:,} frames is left out (--longest)")
            )
        pieces.add(f"{place}. {name}", -1, roll_of(notes, min(frames, longest)), sha256(path.read_bytes()).hexdigest())
        told(place, len(names))
    return pieces


def _save(folder: Path, pieces: Pieces) -> None:
    np.save(folder / "cells.npy", np.concatenate(pieces.rolls), allow_pickle=False)
    entries = [[entry.file, entry.kind, entry.reason] for entry in pieces.entries]
    facts = {"lengths": [len(roll) for roll in pieces.rolls], "names": pieces.names, "digests": pieces.digests}
    (folder / "facts.json").write_text(json.dumps({**facts, "entries": entries}), "ascii")


def _loaded(folder: Path, grid: int) -> Pieces:
    facts = json.loads((folder / "facts.json").read_text("ascii"))
    cells = np.load(folder / "cells.npy", allow_pickle=False)
    rolls = np.split(cells, np.cumsum(facts["lengths"])[:-1])
    entries = [Entry(*entry) for entry in facts["entries"]]
    names, digests = list(facts["names"]), list(facts["digests"])
    return Pieces(grid, True, rolls, names, digests, [-1] * len(rolls), entries)
