"""What people ask a composer for: something new, a beginning that goes on, voices to write others around."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from matinee.core.errors import DataError
from matinee.core.examples import Array
from matinee.core.ledger import Entry, Listed
from matinee.media.music_sources import MIDI, in_terms, read_pieces
from matinee.media.piano_rolls import KEYS, LOWEST, NAMES, OPEN, SILENT, scale_of, sounding
from matinee.media.walking import natural, printable, walk

NEW: Final = "new"
PARTS: Final = ("begin", "around", "voice", "take", "bars", "beats", "frames", "key", "number")
VOICES: Final = ("any", "highest", "lowest")
NEEDS: Final = {"voice": ("around",), "take": ("begin", "around"), "beats": ("bars", "take")}
"""Parts of a request that mean something beside one of these only."""
NATURAL: Final = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}
KEY: Final = re.compile(r"([a-g])(#|b|)(?: (major|minor)|(m)|)", re.IGNORECASE)
ACCIDENTALS: Final = (("♯", "#"), ("♭", "b"), (" sharp", "#"), (" flat", "b"))
NUMBERS: Final = 256 - OPEN
"""Pieces that can be asked for alike and come out differently."""
EXPECTED: Final = (
    'new, a MIDI file to go on from, or {"around": "tune.mid", "voice": "highest"}, '
    '{"begin": "tune.mid", "take": 4, "bars": 8, "key": "G major"}'
)


@dataclass(frozen=True)
class Terms:
    """What a model knows of its pieces. frames: how many it writes where nothing else is asked for."""

    grid: int
    holds: bool
    longest: int
    frames: int


def listed(places: Sequence[str]) -> Iterable[str]:
    """Requests as they are, each "new" with a number of its own; of folders the MIDI files."""
    found, passed_over, count = [], [], 0
    for place in places:
        if place.strip().lower() == NEW:
            found.append(f"{NEW} {count}" if count else NEW)
            count += 1
        elif place.strip() and not place.lstrip().startswith("{") and Path(place).is_dir():
            inside = walk(place)
            names = sorted((name for name in inside.names if name.lower().endswith(MIDI)), key=natural)
            others = [name for name in inside.names if not name.lower().endswith(MIDI)]
            passed_over += [*inside.entries, *(Entry(name, "ignored", "not a MIDI file") for name in others)]
            found += [str(Path(place) / name) for name in names]
        else:
            found.append(place)
    return Listed(found, passed_over)


def cells_of(raw: Any, terms: Terms) -> Array:
    """The cells uint8 (frames, 88) of a request, open where the model is to write. Raises DataError."""
    asked = _parsed(raw)
    opened = OPEN + _whole(asked, "number", 0, 0, NUMBERS - 1)
    cells = _around(asked, terms, opened) if "around" in asked else _begun(asked, terms, opened)
    if "key" in asked:
        triad, scale = (np.roll(each, -LOWEST)[np.arange(KEYS) % 12] for each in _key(asked["key"]))
        cells[(cells >= OPEN) & ~scale] = SILENT
        for frame in (0, -1):  # what begins and ends with its tonic is heard in a key, not only within its scale
            if (cells[frame] >= OPEN).any() and not sounding(cells[frame]).any():
                cells[frame, ~triad] = SILENT
    return cells


def _begun(asked: Mapping[str, Any], terms: Terms, opened: int) -> Array:
    """A beginning, if there is one, and open frames behind it."""
    bar = _bar(asked, terms)
    frames = bar * _whole(asked, "bars", 1, 1, terms.longest // bar) if "bars" in asked else terms.frames
    frames = _whole(asked, "frames", frames, 1, terms.longest)
    beginning = _roll(asked, "begin", terms) if "begin" in asked else np.empty((0, KEYS), np.uint8)
    if len(beginning) + frames > terms.longest:
        raise DataError(
            f"a beginning of {len(beginning):,} frames and {frames:,} more; at most {terms.longest:,} go. "
            '"take": 4 would take its first four bars, "bars": 8 would write eight'
        )
    return np.concatenate((beginning, np.full((frames, KEYS), opened, np.uint8)))


def _bar(asked: Mapping[str, Any], terms: Terms) -> int:
    """Frames of a bar."""
    return terms.grid * _whole(asked, "beats", 4, 1, min(32, terms.longest // terms.grid))


def _around(asked: Mapping[str, Any], terms: Terms, opened: int) -> Array:
    """All that does not sound is open, but not beyond the voice that is given."""
    voice = asked.get("voice", "any")
    if voice not in VOICES:
        raise DataError(f"voice {printable(str(voice))[:40]!r}: one of {', '.join(VOICES)}")
    roll = _roll(asked, "around", terms)
    there = sounding(roll)
    cells = np.where(there, roll, np.uint8(opened))
    if voice == "highest":
        beyond = np.cumsum(there[:, ::-1], 1)[:, ::-1] == 0
    elif voice == "lowest":
        beyond = np.cumsum(there, 1) == 0
    else:
        return cells
    return np.where(beyond & there.any(1, keepdims=True), np.uint8(SILENT), cells)


def _parsed(raw: Any) -> Mapping[str, Any]:
    if isinstance(raw, Mapping):
        asked: Mapping[str, Any] = raw
    elif isinstance(raw, Path):
        asked = {"begin": raw}
    elif not isinstance(raw, str):
        raise DataError(f"a request in words was expected, not {type(raw).__name__}: {EXPECTED}")
    elif raw.lstrip().startswith("{"):
        try:
            asked = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise DataError(f"this is not JSON ({str(error)[:80]}): {EXPECTED}") from None
    else:
        words = raw.split()
        new = words and words[0].lower() == NEW and len(words) <= 2 and all(word.isdecimal() for word in words[1:])
        asked = {"number": int(words[1][:9]) if len(words) > 1 else 0} if new else {"begin": raw}
    strangers = [str(name) for name in asked if name not in PARTS]
    if strangers:
        raise DataError(f"{printable(strangers[0])[:40]!r}: a request has {', '.join(PARTS)}")
    if "begin" in asked and "around" in asked:
        raise DataError('a request has "begin" or "around", not both')
    for name, others in NEEDS.items():
        if name in asked and not any(other in asked for other in others):
            raise DataError(f'"{name}" goes with {" or ".join(f"{other!r}" for other in others)}')
    if "around" in asked and ("bars" in asked or "frames" in asked):
        raise DataError('what is written around voices is as long as they are; "take": 4 takes their first four bars')
    return asked


def _key(name: Any) -> tuple[Array, Array]:
    """Which pitch classes belong to the tonic chord and to the scale of a key in words, bool (12,) each.

    Raises DataError.
    """
    words = " ".join(str(name).split())
    for sign, letter in ACCIDENTALS:
        words = re.sub(sign, letter, words, flags=re.IGNORECASE)
    found = KEY.fullmatch(words)
    if found is None:
        german = "; H is B here, and B is Bb" if words[:1] in ("h", "H") else ""
        raise DataError(
            f"key {printable(str(name))[:40]!r}: one of {', '.join(NAMES)} with major or minor, like G major{german}"
        )
    place = (NATURAL[found[1].lower()] + {"#": 1, "b": -1, "": 0}[found[2].lower()]) % 12
    minor = found[4] == "m" or (found[3] or "").lower() == "minor"
    triad = np.zeros(12, bool)
    triad[[(place + step) % 12 for step in (0, 3 if minor else 4, 7)]] = True
    return triad, scale_of(place, minor)


def _whole(asked: Mapping[str, Any], name: str, usual: int, low: int, high: int) -> int:
    value = asked.get(name, usual)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise DataError(f"{name} {printable(repr(value))[:40]}: a whole number, from {low} to {high:,}")
    return value


def _roll(asked: Mapping[str, Any], part: str, terms: Terms) -> Array:
    """The roll of the file that a part of a request names, as many bars of it as are to be taken."""
    place = asked[part]
    if not isinstance(place, str | Path):
        raise DataError(f"the name of a MIDI file was expected, not {type(place).__name__}")
    path = Path(place)
    try:
        there = path.is_file()
    except (OSError, ValueError):
        there = False
    if not there:
        raise DataError(f"there is no such file; what can be asked for: {EXPECTED}")
    if path.suffix.lower() not in MIDI:
        raise DataError(f"not a MIDI file by its ending; what can be asked for: {EXPECTED}")
    try:
        pieces = read_pieces(str(path), terms.grid, terms.longest, _silent)
    except DataError as error:
        raise DataError(str(error).partition(": ")[2] or str(error)) from None
    roll = in_terms(pieces.rolls[0], pieces.holds, terms.holds)
    bar = _bar(asked, terms)
    return roll[: bar * _whole(asked, "take", 1, 1, terms.longest // bar)] if "take" in asked else roll


def _silent(done: int, count: int) -> None:
    pass
