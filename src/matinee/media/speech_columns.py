"""Recorded speech as examples: columns of sounds or frames, of symbols and of texts, and what becomes of them.

Columns: "sound" int16 or "frames" float32 (frames, channels), "target" the symbols of a text, "reference" its bytes,
"group" its speaker.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from matinee.core.errors import DataError
from matinee.core.examples import Array, Examples, Ragged
from matinee.core.ledger import Entry, Listed
from matinee.core.splits import Splits, divide, remembered
from matinee.core.task import Origin
from matinee.media.picture_listing import digest, sift
from matinee.media.sound_inputs import hear_many
from matinee.media.sound_serving import sha256_of
from matinee.media.sounds import SoundError, how_long
from matinee.media.speech_frames import frames_of
from matinee.media.speech_table import LONGEST_FILE, SpeechTable, utterance_digest
from matinee.media.symbols import Symbols
from matinee.media.transcripts import FRAMES, Spoken
from matinee.media.walking import natural, printable, walk

if TYPE_CHECKING:
    from torch import Tensor

NEAR: Final = 0.99
"""Cosine of two thumbnails of spectra from which on they are copies."""
TOGETHER: Final = 3600.0
"""Seconds, at most, of recordings that are heard together, each taken for as long as the longest."""
_SHOWN: Final = 40  # letters that a line of the ledger shows


def text_columns(symbols: Symbols, texts: Sequence[str]) -> dict[str, Ragged]:
    """The columns "target" and "reference" of these texts."""
    from matinee.media.text_scores import kept_text

    return {
        "target": Ragged.of([symbols.numbers(text)[0] for text in texts]),
        "reference": Ragged.of([kept_text([text]) for text in texts], np.uint8),
    }


def texts_of(examples: Examples) -> list[str]:
    """The texts of examples."""
    column = examples.ragged("reference")
    return [np.asarray(column[int(row)]).tobytes().decode("utf-8", "replace") for row in examples.rows]


@dataclass(frozen=True)
class Known:
    """The utterances of a table, in its order. split: -1 not said, 0 train, 1 valid, 2 test, of each. group: the number
    of its speaker, -1 not known. names, texts: of each."""

    spoken: Spoken
    table: SpeechTable
    split: Array
    group: Array
    names: Sequence[str]
    texts: Sequence[str]

    @staticmethod
    def of(spoken: Spoken, table: SpeechTable, texts: Sequence[str]) -> Known:
        """What a source says of the rows of its table."""
        own = [spoken.utterances[row] for row in table.owner]
        numbers: dict[str, int] = {}
        group = [numbers.setdefault(each.group, len(numbers)) if each.group else -1 for each in own]
        if len(numbers) == 1:
            group = [-1] * len(own)  # one speaker: nothing is to be kept together
        split = np.array([each.split for each in own], np.int64)
        return Known(spoken, table, split, np.array(group, np.int64), [each.name for each in own], texts)

    @property
    def digest(self) -> str:
        """One hash of all names and contents."""
        return digest([f"{name} {said}" for name, said in self.manifest().items()])

    def manifest(self) -> dict[str, str]:
        """Name of each -> SHA-256 of its recording and its text."""
        return _manifest(self.spoken, self.table.digests, self.table.owner)

    def divided(self, rows: Array, shares: tuple[float, float, int]) -> dict[str, Array]:
        """Which of the rows are "train", "valid", "test": as the source says, or by lot, speakers and copies whole.

        shares: of validation and test, and the seed.
        """

        def find() -> dict[str, Array]:
            same = np.zeros(len(self.split), np.int64)
            return divide(Splits(rows, self.split, same, self.group), lambda some: [self._equal(some)], shares)

        words = f"{self.digest} {shares} ".encode() + rows.tobytes() + self.split.tobytes() + self.group.tobytes()
        return remembered(sha256(words).hexdigest()[:40], find)

    def _equal(self, rows: Array) -> Array:
        """A number for each of the rows, equal for those of equal recordings."""
        numbers: dict[object, int] = {}
        own = [self.spoken.utterances[row] for row in self.table.owner[rows]]
        keys = ((self.table.digests[each.file], each.begin, each.end) for each in own)
        return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)

    def columns(self, symbols: Symbols, step: float) -> tuple[dict[str, Array | Ragged], tuple[Entry, ...], Array]:
        """All columns; entries for texts that cannot be learned as they are; and which rows can be used, bool (rows,).

        step: seconds of one frame of an answer.
        """
        found: dict[str, Array | Ragged] = {"sound" if self.table.rate else "frames": self.table.values}
        entries, fitting = list[Entry](), np.ones(len(self.texts), bool)
        second = self.table.rate or 4 / step
        for place, (name, text) in enumerate(zip(self.names, self.texts, strict=True)):
            row, strange = symbols.numbers(text)
            need = len(row) + int((row[1:] == row[:-1]).sum())
            there = math.ceil(len(self.table.values[place]) / second / step)
            if not text:
                fitting[place] = False
                entries.append(Entry(printable(name), "no-text", "nothing of its text is left but marks"))
            elif need > there:
                fitting[place] = False
                told = f"a text of {len(row):,} symbols is too long for {len(self.table.values[place]) / second:.2f} s"
                entries.append(Entry(printable(name), "text-too-long", told))
            elif strange:
                told = f"{strange[:_SHOWN]!r} is not known from the training: it counts as an error"
                entries.append(Entry(printable(name), "event", told))
        found |= {**text_columns(symbols, self.texts), "group": self.group}
        return found, tuple(entries), fitting

    def origin(self, source: str, entries: tuple[Entry, ...], rows: Array) -> Origin:
        """Where it all came from."""
        given = frozenset(
            name for number, name in enumerate(("train", "valid", "test")) if (self.split[rows] == number).any()
        )
        seconds = self.table.values.lengths(rows) / (self.table.rate or 100)
        speakers = len(set(self.group[rows].tolist()) - {-1})
        as_what = (
            f"{self.table.rate:,} samples a second" if self.table.rate else f"frames of {self.table.channels} numbers"
        )
        facts = {
            "source": self.spoken.what,
            "recordings as read": as_what,
            "lengths": how_long(seconds),
            "speakers": f"{speakers:,}" if speakers else "not told",
        }
        every = (*self.spoken.entries, *self.table.entries, *entries)
        return Origin(source, self.manifest(), self.names, every, given, facts)


def _manifest(spoken: Spoken, digests: Mapping[str, str], rows: Sequence[int] | Array) -> dict[str, str]:
    own = [spoken.utterances[row] for row in rows]
    return {each.name: utterance_digest(each, digests.get(each.file, "")) for each in own}


def changed_since(spoken: Spoken, manifest: Mapping[str, str]) -> dict[str, list[str]]:
    """Compares the utterances of a source with a manifest, name -> SHA-256 in hex, by their bytes and texts."""
    digests = {each.file: "" for each in spoken.utterances}
    digests = {name: sha256_of(os.path.join(spoken.root, name)) for name in digests}  # noqa: PTH118
    now = _manifest(spoken, digests, range(len(spoken.utterances)))
    return {
        "changed": [name for name, said in manifest.items() if now.get(name, said) != said],
        "missing": [name for name in manifest if name not in now],
        "new": [name for name in now if name not in manifest],
    }


def encoded(raws: Sequence[Any], rate: int, channels: int) -> tuple[Tensor, Mapping[int, DataError]]:
    """What can be heard, in order, as waves (batch, samples) or frames (batch, frames, channels), zeros behind; and by
    their places what is wrong with the others. rate: samples a second, 0 where frames are given."""
    import torch

    if rate:
        heard, wrong = hear_many(raws, (rate, round(LONGEST_FILE * rate)), 1, False)
        longest = max(map(len, heard), default=0)
        if longest * len(heard) > TOGETHER * rate and len(heard) > 1:
            minutes = longest / rate / 60
            raise DataError(f"a recording of {minutes:,.0f} min is too long to be heard with {len(heard) - 1} others")
        waves = torch.zeros(len(heard), longest)
        for wave, samples in zip(waves, heard, strict=True):
            wave.numpy()[: len(samples)] = samples
        return waves.div_(32768), wrong
    found: list[Array] = []
    errors: dict[int, DataError] = {}
    for place, raw in enumerate(raws):
        try:
            found.append(frames_of(raw, channels))
        except SoundError as error:
            errors[place] = error
    frames = Ragged.of(found, np.float32) if found else Ragged(np.zeros((0, channels), np.float32), np.zeros(1, int))
    return torch.from_numpy(frames.padded(np.arange(len(found)))), errors


def list_frames(places: Sequence[str]) -> Listed:
    """The files of frames that FILE... | FOLDER arguments mean: files as they are, of folders all below, in order.

    Raises DataError where a folder cannot be read or has none.
    """
    found: dict[str, None] = {}
    others: list[Entry] = []
    for place in map(Path, places):
        if not place.is_dir():
            found[str(place)] = None
            continue
        names = sorted(sift(walk(str(place)).names, others, frozenset(FRAMES), "file of frames"), key=natural)
        if not names:
            raise DataError(f"{printable(str(place))}: there are no files of frames (.mfc, .npy) in this folder.")
        found.update((str(place / name), None) for name in names)
    return Listed(found, others)
