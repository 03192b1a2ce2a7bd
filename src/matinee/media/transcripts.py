"""A source of recorded speech as a list of utterances: which file, what is said in it, who speaks.

speech.csv, speech.jsonl                    a table with a column of files and one of texts; train.tsv beside clips/
wav.scp and text                            Kaldi; with segments and utt2spk, also in folders called train and test
metadata.csv with | between, wavs/          LJSpeech
84/121123/84-121123.trans.txt               LibriSpeech
etc/an4_train.fileids, .transcription       Sphinx, with feat/*.mfc or wav/*
1.wav, 1.txt                                a text beside each recording
0_1_0_0.wav                                 YesNo, whose names say it

Recordings are sounds, or frames that were computed before: .mfc of Sphinx, .npy (frames, numbers).
"""

from __future__ import annotations

import math
import os
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from matinee.core.errors import DataError, SettingsError
from matinee.core.ledger import Entry
from matinee.core.settings import flag
from matinee.media.finding import Found
from matinee.media.picture_listing import SPLIT_WORDS, TEST, digest
from matinee.media.records import GROUP_COLUMNS, Records, glance, read_records
from matinee.media.sound_rows import no_stretches
from matinee.media.sound_tables import DEEPEST, FILE_COLUMNS, split_of_table
from matinee.media.sounds import EXTENSIONS
from matinee.media.stretches import ENDS, STARTS, seconds_of, stretch_name
from matinee.media.walking import content_of, hidden, is_folder, natural, printable, walk

FRAMES: Final = (".mfc", ".npy")
"""Files of frames that were computed before."""
RECORDED: Final = EXTENSIONS | frozenset(FRAMES)
TABLES: Final = (".csv", ".tsv", ".jsonl", ".json", ".ndjson", ".parquet")
TEXT_COLUMNS: Final = ("text", "sentence", "transcript", "transcription", "normalized_text", "raw_text", "target_text")
SPEAKERS: Final = ("speaker", "speaker_id", "client_id", "spk", "spk_id", "reader", *GROUP_COLUMNS)
BESIDE: Final = (".txt", ".lab")
MOST_TEXT: Final = 1 << 20  # bytes of the text beside one recording
LOOKED_AT: Final = 24  # folders of a first look
GLANCE: Final = 2_000  # entries of each
FOR_EVER: Final = 1e9  # seconds: the end of a stretch that has none
EXPECTED: Final = (
    "expected a table with a column of sound files and one of texts, a Kaldi folder (wav.scp and text), LJSpeech, "
    "LibriSpeech, Sphinx, or recordings with a .txt of the same name beside each"
)

_LABEL_TRACK: Final = re.compile(r"\d+\.\d+\t\d+\.\d+\t")
_SAMPLES: Final = re.compile(r"0 \d{4,} (?=\S)")
"""TIMIT's texts begin with the first and the last sample that they are said in."""
_YES_NO: Final = re.compile(r"[01](_[01])+")


@dataclass(frozen=True)
class Utterance:
    """name: as the source calls it. file: below the folder. text: what is said. group: who speaks, "" not known.

    split: -1 not said, 0 train, 1 valid, 2 test. begin, end: seconds of the file; 0, 0 is all of it.
    """

    name: str
    file: str
    text: str
    group: str = ""
    split: int = -1
    begin: float = 0.0
    end: float = 0.0


@dataclass
class Spoken:
    """What a source holds. root: the folder of its files. what: in a few words. stamp: names, sizes and times."""

    root: str
    what: str = ""
    utterances: list[Utterance] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    stamp: str = ""

    def leave(self, name: str, kind: str, reason: str) -> None:
        """A line for the ledger."""
        self.entries.append(Entry(printable(name)[:300], kind, reason))


@dataclass(frozen=True)
class Asked:
    """groups, test_pattern: regular expressions for the part of a name that is one speaker's, and for those of the
    test. file_column, text_column: of a table; "" guesses."""

    groups: str = ""
    test_pattern: str = ""
    file_column: str = ""
    text_column: str = ""


def fits(source: str | Path) -> str | None:
    """In a few words why this looks like recorded speech with its texts, or None; looks at a few entries only."""
    path = Path(source)
    try:
        if path.is_file():
            return "a table of recordings and texts" if _speaks(path) else None
        if not path.is_dir():
            return None
        names = _first_names(path)
        kind = _kind(names, lambda name: _speaks(path / name), path)
        return None if kind is None else kind[0]
    except (OSError, ValueError, DataError):
        return None


def listed(source: str | Path, asked: Asked) -> Spoken:
    """The utterances of a source. Raises DataError where there are none, SettingsError for a pattern that is none."""
    path = Path(os.path.realpath(source))
    if not path.exists():
        raise DataError(f"{printable(str(source))}: there is no such file or folder.")
    table = "" if path.is_dir() else path.name
    if table and path.suffix.lower() not in TABLES:
        raise DataError(f"{printable(str(path))} is no source of speech: {EXPECTED}.")
    root = path.parent if table else path
    seen = walk(str(root))
    if table and not any(name[name.rfind(".") :].lower() in RECORDED for name in seen.names):
        table, root = f"{root.name}/{table}", root.parent
        seen = walk(str(root))
    spoken = Spoken(str(root), entries=list(seen.entries), stamp=digest(seen.facts))
    for name in filter(hidden, seen.names):
        spoken.leave(name, "ignored", "a hidden file")
    found = Found(sorted((name for name in seen.names if not hidden(name)), key=natural), RECORDED, "recording")
    if table:
        spoken.what = "a table"
        _from_tables(spoken, found, asked, [table])
    else:
        kind = _kind(found.names, lambda name: _speaks(root / name), root)
        if kind is None:
            raise DataError(f"{printable(str(path))} is no source of speech: {EXPECTED}.")
        spoken.what = kind[0]
        kind[1](spoken, found, asked, kind[2])
    _arrange(spoken, found, asked)
    return spoken


def _arrange(spoken: Spoken, found: Found, asked: Asked) -> None:
    """Each name once, no text empty, and splits and speakers as the user wants them."""
    kept: dict[str, Utterance] = {}
    for each in spoken.utterances:
        if not each.text.strip():
            spoken.leave(each.name, "no-text", "its text is empty")
        elif each.name in kept:
            more = "" if kept[each.name].text == each.text else ", with another text"
            spoken.leave(each.name, "duplicate-row", f"it is named already{more}")
        else:
            kept[each.name] = each
    utterances = list(kept.values())
    used = {each.file for each in spoken.utterances} | {entry.file for entry in spoken.entries}
    for name in found.names:
        if name not in used and name[name.rfind(".") :].lower() in RECORDED:
            spoken.leave(name, "ignored", "no text here is of it")
    if not utterances:
        first = next((f"; {entry.file}: {entry.reason}" for entry in spoken.entries if entry.kind != "ignored"), "")
        raise DataError(f"{printable(spoken.root)}: there is no recording with a text that can be used{first}.")
    if asked.test_pattern:
        pattern = _pattern("test_pattern", asked.test_pattern)
        utterances = [_with(each, split=TEST) if pattern.search(each.name) else each for each in utterances]
        if not any(each.split == TEST for each in utterances):
            raise DataError(f"--test-pattern {asked.test_pattern}: none of {len(utterances):,} names fits it.")
    if asked.groups:
        pattern = _pattern("groups", asked.groups)
        matches = [pattern.search(each.name) for each in utterances]
        words = ["" if match is None else match.group(1 if pattern.groups else 0) or "" for match in matches]
        utterances = [_with(each, group=word) for each, word in zip(utterances, words, strict=True)]
    spoken.utterances = utterances


def _with(each: Utterance, *, split: int | None = None, group: str | None = None) -> Utterance:
    return Utterance(
        each.name, each.file, each.text, each.group if group is None else group,
        each.split if split is None else split, each.begin, each.end,
    )  # fmt: skip


def _pattern(name: str, expression: str) -> re.Pattern[str]:
    try:
        return re.compile(expression)
    except (re.error, OverflowError, RecursionError) as error:
        raise SettingsError(f"{flag(name)} {expression!r} is not a regular expression: {error}") from error


# -- what kind of source it is

Reads = Callable[[Spoken, Found, Asked, Sequence[str]], None]


def _kind(names: Sequence[str], speaks: Callable[[str], bool], root: Path) -> tuple[str, Reads, Sequence[str]] | None:
    """What a folder is, in words, who reads it, and the files that say it; None where it is no source of speech."""
    from matinee.media import transcripts_corpora as corpora

    by_last = defaultdict(list)
    for name in names:
        by_last[name.rpartition("/")[2]].append(name)
    if told := [name for name in names if name.endswith(".fileids")]:
        return "a Sphinx folder", corpora.read_sphinx, told
    folders = [name[: -len("wav.scp")] for name in by_last.get("wav.scp", [])]
    if told := [folder for folder in folders if f"{folder}text" in by_last.get("text", [])]:
        return "a Kaldi folder", corpora.read_kaldi, told
    if told := [name for name in names if name.endswith(".trans.txt")]:
        return "LibriSpeech", corpora.read_librispeech, told
    if told := [name for name in by_last.get("metadata.csv", []) if corpora.has_bars(root / name)]:
        return "LJSpeech", corpora.read_ljspeech, told
    tables = [name for name in names if name.lower().endswith(TABLES) and name.count("/") <= DEEPEST]
    if told := [name for name in sorted(tables, key=lambda name: name.count("/"))[:16] if speaks(name)]:
        return "a table of recordings and texts", _from_tables, told
    recorded = [name for name in names if name[name.rfind(".") :].lower() in RECORDED]
    stems = {name[: name.rfind(".")] for name in names if name[name.rfind(".") :].lower() in BESIDE}
    if recorded and 2 * sum(name[: name.rfind(".")] in stems for name in recorded) > len(recorded):
        return "recordings with a text beside each", _from_beside, ()
    said = [name for name in recorded if _YES_NO.fullmatch(Path(name).stem)]
    if len(said) > 1 and len(said) == len(recorded):
        return "recordings whose names say yes and no", _from_names, ()
    return None


def _first_names(root: Path) -> list[str]:
    """Names below a folder, of its first folders only."""
    todo, names = [""], list[str]()
    for _ in range(LOOKED_AT):
        if not todo:
            break
        folder = todo.pop(0)
        with os.scandir(root / folder) as entries:
            for number, entry in enumerate(entries):
                if number >= GLANCE:
                    break
                if entry.name.startswith("."):
                    continue
                name = f"{folder}/{entry.name}" if folder else entry.name
                (todo if is_folder(entry) else names).append(name)
    return names


def _speaks(path: Path) -> bool:
    """Whether a table has a column of recordings and one of texts; reads only the beginning of it."""
    if path.suffix.lower() not in TABLES or not path.is_file():
        return False
    return _columns(glance(path)) is not None


def _columns(records: Records | None) -> tuple[int, int] | None:
    if records is None or not records.rows or not records.named:
        return None
    try:
        file = records.column("", FILE_COLUMNS, flag="file_column", what="file name")
        text = records.column("", TEXT_COLUMNS, flag="text_column", what="text")
    except DataError:
        return None
    some = [os.path.splitext(values[file])[1].lower() for values in records.rows[:50]]  # noqa: PTH122
    return (file, text) if sum(ending in RECORDED for ending in some) * 2 > len(some) else None


# -- sources that need no corpus of their own


def _from_tables(spoken: Spoken, found: Found, asked: Asked, tables: Sequence[str]) -> None:
    """Tables of files and texts. Of several those called train, dev and test are meant, or else the first."""
    said = {table: split_of_table(table) for table in tables}
    chosen = [table for table in tables if said[table] >= 0] or list(tables[:1])
    for table in tables:
        if table not in chosen:
            spoken.leave(table, "ignored", "other tables here are called train, dev or test")
    for table in chosen:
        records = read_records(Path(spoken.root) / table)
        file = records.column(asked.file_column, FILE_COLUMNS, flag="file_column", what="file name")
        text = records.column(asked.text_column, TEXT_COLUMNS, flag="text_column", what="text")
        who = records.column("", SPEAKERS, flag="groups", what="speaker", needed=False)
        spoken.entries += records.entries
        below = table.rpartition("/")[0]
        beside = f"{below}/" if below else ""

        def find(said: str, beside: str = beside) -> tuple[str, str]:
            return found(said, beside, f"{beside}clips/")

        stretches = _stretches(spoken, table, records, file, find)
        for number, (values, row) in enumerate(zip(records.rows, records.names, strict=True)):
            name, reason = find(values[file])
            begin, end = stretches[number] if stretches else (0.0, FOR_EVER)
            if reason or not begin < end:
                told = ("missing", reason) if reason else ("unreadable", "its times say no stretch, in seconds")
                spoken.leave(row, *told)
                continue
            group = values[who] if who >= 0 else ""
            split = records.splits[number] if records.splits[number] >= 0 else said[table]
            called = stretch_name(name, begin, math.inf if end >= FOR_EVER else end)
            times = (0.0, 0.0) if called == name else (begin, end)
            spoken.utterances.append(Utterance(called, name, values[text], group, split, *times))


def _stretches(
    spoken: Spoken, table: str, records: Records, file: int, find: Callable[[str], tuple[str, str]]
) -> list[tuple[float, float]]:
    """Begin and end of every row in seconds, an end before its begin where a row says none; nothing for whole files."""
    columns = [
        records.column("", usual, flag="file_column", what="time", needed=False)
        for usual in ((*STARTS, "offset"), ENDS, ("duration",))
    ]
    if columns[0] < 0 or file in columns:
        return []
    rows, read = list[tuple[str, ...]](), list[tuple[float, float]]()
    for values in records.rows:
        words = [values[place].strip() if place >= 0 else "" for place in columns]
        begin, end, length = seconds_of(words[0], 0.0), seconds_of(words[1], FOR_EVER), seconds_of(words[2], FOR_EVER)
        if begin is not None and end is not None and length is not None and begin < (end := min(end, begin + length)):
            read.append((begin, end))
            rows.append((values[file], str(begin), "" if end >= FOR_EVER else str(end)))
        else:
            read.append((0.0, -1.0))
            rows.append((values[file], "-1", "-1"))
    if not any(begin > 0 for begin, _ in read):
        return []  # as some programs write it of whole files
    why = no_stretches(spoken.root, rows, {"file": 0, "label": -1, "start": 1, "end": 2}, find)
    if why:
        spoken.leave(table, "event", why)
    return [] if why else read


def _from_beside(spoken: Spoken, found: Found, asked: Asked, none: Sequence[str]) -> None:
    for name in found.names:
        stem, ending = os.path.splitext(name)  # noqa: PTH122
        if ending.lower() not in RECORDED:
            continue
        told = next((f"{stem}{end}" for end in (*BESIDE, *map(str.upper, BESIDE)) if f"{stem}{end}" in found), "")
        if not told:
            spoken.leave(name, "no-text", "there is no .txt or .lab of the same name beside it")
            continue
        try:
            text = content_of(Path(spoken.root) / told, MOST_TEXT).decode("utf-8-sig")
        except UnicodeDecodeError:
            spoken.leave(name, "not-utf-8", "its .txt is no UTF-8 text")
            continue
        except DataError as error:
            spoken.leave(name, "unreadable", str(error))
            continue
        if _LABEL_TRACK.match(text):
            spoken.leave(name, "no-text", f"{printable(told)} has times and labels: a label track, no transcript")
            continue
        text = _SAMPLES.sub("", text)
        split = SPLIT_WORDS.get(name.split("/")[0].lower(), -1)
        spoken.utterances.append(Utterance(name, name, " ".join(text.split()), "", split))


def _from_names(spoken: Spoken, found: Found, asked: Asked, none: Sequence[str]) -> None:
    words: Mapping[str, str] = {"0": "no", "1": "yes"}
    for name in found.names:
        stem = Path(name).stem
        if _YES_NO.fullmatch(stem) and name[name.rfind(".") :].lower() in RECORDED:
            text = " ".join(words[digit] for digit in stem.split("_"))
            spoken.utterances.append(Utterance(name, name, text))
