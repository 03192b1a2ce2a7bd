"""Speech corpora in the forms that they are published in: Sphinx, Kaldi, LibriSpeech, LJSpeech.

Each function adds utterances to a `Spoken`, and what cannot be used to its ledger. Nothing that a file says is run.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from matinee.media.finding import Found
from matinee.media.records import decoded, split_of
from matinee.media.transcripts import Asked, Spoken, Utterance
from matinee.media.walking import printable

_TAIL: Final = re.compile(r"\s*\(([^()\s]+)\)\s*$")
"""The name of an utterance behind its text, as Sphinx writes it."""
_MARKS: Final = re.compile(r"</?s>|<sil>|\+\+\w+\+\+")


def has_bars(path: Path) -> bool:
    """Whether the first line of a file has | between its values, as LJSpeech writes it."""
    with path.open("rb") as file:
        first = file.read(4096).partition(b"\n")[0]
    return first.count(b"|") in (1, 2)


def read_sphinx(spoken: Spoken, found: Found, asked: Asked, lists: Sequence[str]) -> None:
    """etc/NAME_train.fileids and .transcription: a file and a text in each line. The folder of a file is its speaker's
    where folders are many."""
    for listed in lists:
        stem = listed[: -len(".fileids")]
        split = split_of(Path(stem).name)
        texts: dict[str, str] = {}
        order: list[str] = []
        if f"{stem}.transcription" not in found:
            spoken.leave(listed, "no-text", "there is no .transcription of the same name beside it")
            continue
        for line in _lines(spoken, f"{stem}.transcription"):
            tail = _TAIL.search(line)
            text = " ".join(_MARKS.sub(" ", line[: tail.start()] if tail else line).split())
            order.append(text)
            if tail:
                texts[tail[1]] = text
        for place, said in enumerate(_lines(spoken, listed)):
            last = said.rpartition("/")[2]
            text = texts.get(said, texts.get(last, order[place] if not texts and place < len(order) else None) or "")
            name, reason = found(said, "feat/", "wav/")
            if reason:
                spoken.leave(f"{listed}: {said}", "missing", reason)
            else:
                spoken.utterances.append(Utterance(name, name, text, said.rpartition("/")[0], split))


def read_kaldi(spoken: Spoken, found: Found, asked: Asked, folders: Sequence[str]) -> None:
    """wav.scp and text, with utt2spk and segments where they are there; folders called train, dev, test are splits."""
    for folder in folders:
        split = _split_of(folder)
        files: dict[str, str] = {}
        for key, said in _pairs(spoken, f"{folder}wav.scp"):
            if said.endswith("|") or said.startswith("|"):
                spoken.leave(f"{folder}wav.scp: {key}", "forbidden", "a command is not run: name a sound file")
                continue
            name, reason = found(said, folder)
            if reason:
                spoken.leave(f"{folder}wav.scp: {key}", "missing", reason)
            elif key in files:
                spoken.leave(f"{folder}wav.scp: {key}", "duplicate-row", "it is named already")
            else:
                files[key] = name
        speakers = dict(_pairs(spoken, f"{folder}utt2spk")) if f"{folder}utt2spk" in found else {}
        parts = _segments(spoken, folder) if f"{folder}segments" in found else {}
        usual = bool(parts)
        for key, text in _pairs(spoken, f"{folder}text"):
            recording, begin, end = parts.get(key, ("", 0.0, 0.0) if usual else (key, 0.0, 0.0))
            if recording not in files:
                spoken.leave(f"{folder}text: {key}", "missing", "no recording is named for it")
                continue
            name = f"{files[recording]}#{key}" if usual else files[recording]
            spoken.utterances.append(Utterance(name, files[recording], text, speakers.get(key, ""), split, begin, end))


def _segments(spoken: Spoken, folder: str) -> dict[str, tuple[str, float, float]]:
    found = {}
    for key, rest in _pairs(spoken, f"{folder}segments"):
        words = rest.split()
        try:
            begin, end = float(words[1]), float(words[2])
        except (IndexError, ValueError):
            begin, end = 0.0, -1.0
        if 0 <= begin < end < math.inf:
            found[key] = words[0], begin, end
        else:
            spoken.leave(f"{folder}segments: {key}", "unreadable", "expected a recording, a begin and a later end")
    return found


def read_librispeech(spoken: Spoken, found: Found, asked: Asked, lists: Sequence[str]) -> None:
    """SPEAKER-CHAPTER.trans.txt beside its recordings; folders such as train-clean-100 and test-other are splits."""
    for listed in lists:
        folder = listed.rpartition("/")[0]
        split = _split_of(folder)
        for key, text in _pairs(spoken, listed):
            name, reason = found(key, f"{folder}/")
            if reason:
                spoken.leave(f"{listed}: {key}", "missing", reason)
            else:
                spoken.utterances.append(Utterance(name, name, text, key.partition("-")[0], split))


def read_ljspeech(spoken: Spoken, found: Found, asked: Asked, lists: Sequence[str]) -> None:
    """metadata.csv: ID|text|text with numbers spelled out; the recordings are wavs/ID.wav."""
    for listed in lists:
        folder = listed.rpartition("/")[0]
        beside = f"{folder}/" if folder else ""
        for number, line in enumerate(_lines(spoken, listed), 1):
            values = line.split("|")
            if len(values) < 2:
                spoken.leave(f"{listed}#{number}", "row-length", "expected ID|text or ID|text|text")
                continue
            name, reason = found(values[0], f"{beside}wavs/", beside)
            if reason:
                spoken.leave(f"{listed}#{number}", "missing", reason)
            else:
                spoken.utterances.append(Utterance(name, name, values[-1] or values[1]))


def _split_of(folder: str) -> int:
    """What the first of nested folders says that says a split: train, train-clean-100, dev_clean_2."""
    return next((split for part in folder.split("/") if (split := split_of(part)) >= 0), -1)


def _lines(spoken: Spoken, name: str) -> Iterator[str]:
    """The lines of a text file that are not blank; those that are no UTF-8 are in the ledger."""
    for line in decoded(Path(spoken.root) / name, spoken.entries).splitlines():
        if line.strip():
            yield line.strip()


def _pairs(spoken: Spoken, name: str) -> Iterator[tuple[str, str]]:
    """The first word of each line, and the rest; a word that was there before is in the ledger."""
    seen: defaultdict[str, int] = defaultdict(int)
    for line in _lines(spoken, name):
        key, _, rest = line.partition(" ") if "\t" not in line.split(" ")[0] else line.partition("\t")
        seen[key] += 1
        if seen[key] > 1 and not name.endswith("wav.scp"):
            spoken.leave(f"{name}: {printable(key)}", "duplicate-row", "it has a line already")
            continue
        yield key, rest.strip()
