"""A source of labelled sounds as a list of files with label, split and group.

sounds/dog/1.wav, sounds/rain/2.ogg       class folders, also under train, val and test, or a zip of them
meta/clips.csv beside audio/1.wav         a table of file names and labels; the files are looked for below
clips.csv: file,start,end,label           a table of stretches of them, in seconds
recordings/7_anna_3.wav                   names that say it: `label_pattern` finds the label in them

Beside class folders, testing_list.txt and validation_list.txt name the sounds of those splits.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from matinee.core.errors import DataError, SettingsError
from matinee.core.ledger import Entry
from matinee.core.settings import flag
from matinee.core.splits import joined
from matinee.media.finding import Found
from matinee.media.picture_listing import (
    SPLIT_WORDS,
    TEST,
    TRAIN,
    Listing,
    arrange,
    digest,
    entries_of,
    name_classes,
    name_groups,
    sift,
)
from matinee.media.sound_glance import LISTS, fits
from matinee.media.sound_rows import SoundListing, label_by_table
from matinee.media.sound_serving import entry_of
from matinee.media.sound_tables import TABLES, read_table, tables_of
from matinee.media.sounds import EXTENSIONS, SoundError
from matinee.media.walking import content_of, natural, printable, walk

__all__ = ["Wanted", "fits", "listed"]

LIST_BYTES: Final = 1 << 28
NOISE: Final = "_background_noise_"
"""A folder beside those of the words: recordings to be mixed into others, no class."""
PEOPLE: Final = re.compile(r"(actor|speaker|spk|person|subject|session|fold)[ _-]?\d+", re.IGNORECASE)
PARTS, OFFERED = 8, 3  # of names that may be labels, and those that are shown
EXPECTED: Final = (
    "expected class folders with sounds in them, like {root}/dog/1.wav and {root}/rain/2.ogg, or the same under "
    "{root}/train, {root}/val and {root}/test, or a CSV with a file and a label column"
)


@dataclass(frozen=True)
class Wanted:
    """What of a source is asked for.

    groups: regular expression, the part of a name that must stay on one side of a split. label_pattern: that is the
    label. test_pattern: names that it fits are the test. file_column, label_column: of a table; "" guesses.
    """

    groups: str = ""
    label_pattern: str = ""
    test_pattern: str = ""
    file_column: str = ""
    label_column: str = ""


def listed(source: str | Path, wanted: Wanted) -> SoundListing:
    """The sounds of a source. Raises DataError where there are none, SettingsError for a pattern that is none."""
    path = os.path.realpath(source)
    if not os.path.exists(path):  # noqa: PTH110
        raise DataError(f"{printable(os.fspath(source))}: there is no such file or folder.")
    if path.lower().endswith(".zip"):
        found = _of_zip(path, wanted)
    elif os.path.isdir(path):  # noqa: PTH112
        found = _of_folder(path, "", wanted)
    elif path.lower().endswith(TABLES):
        root = os.path.dirname(path)  # noqa: PTH120
        if not sift(walk(root).names, [], EXTENSIONS):
            root = os.path.dirname(root)  # noqa: PTH120 - meta/clips.csv beside audio/
        found = _of_folder(root, path, wanted)
    else:
        raise DataError(f"{printable(path)} is no source of labelled sounds: {EXPECTED.format(root='sounds')}")
    listing = found.of
    if wanted.test_pattern:
        pattern = _pattern("test_pattern", wanted.test_pattern)
        listing.splits = [
            TEST if pattern.search(name) else said for name, said in zip(listing.names, listing.splits, strict=True)
        ]
        if TEST not in listing.splits:
            raise DataError(f"--test-pattern {wanted.test_pattern}: none of {len(listing.names):,} file names fits it.")
    if wanted.groups:
        name_groups(listing, wanted.groups)
    if listing.names != found.files:
        # Stretches of one recording are more alike than recordings are: they are not divided.
        files = np.unique(found.files, return_inverse=True)[1].ravel()
        listing.groups = joined([files, np.array(listing.groups)]).tolist()
    return found


def _of_zip(path: str, wanted: Wanted) -> SoundListing:
    listing = Listing(path, archive=True, what="sound")
    places = entries_of(listing)
    _label(listing, sift(sorted(places), listing.entries, EXTENSIONS, "sound"), wanted)
    for place in [name for name in places if name.rpartition("/")[2] in LISTS]:
        with contextlib.suppress(SoundError):  # one that cannot be read is in the ledger, as what is no sound
            _divide_by(listing, place, entry_of(path, places[place]))
    listing.places = [places[name] for name in listing.names]
    return SoundListing(listing).filled()


def _of_folder(root: str, table: str, wanted: Wanted) -> SoundListing:
    found = walk(root)
    listing = Listing(root, entries=list(found.entries), what="sound")
    others: list[Entry] = []
    sounds = sift(found.names, others, EXTENSIONS, "sound")
    told = (f"{entry.file}\0{entry.kind}" for entry in found.entries)
    listing.stamp = digest((*found.facts, *told))
    there, named = Found(sounds, EXTENSIONS, "sound"), (wanted.file_column, wanted.label_column)
    tables, lacking = [replace(read_table(table, root, there, named), split=-1)] if table else [], ""
    if not table and not wanted.label_pattern:
        tables, lacking = tables_of(found.names, root, there, named)
    used = {each.path for each in tables}
    listing.entries += [entry for entry in others if os.path.join(root, entry.file) not in used]  # noqa: PTH118
    if tables:
        return label_by_table(listing, sounds, tables)
    try:
        _label(listing, sounds, wanted)
    except DataError as error:
        raise DataError(f"{error}. A table nearly tells them: {lacking}") if lacking else error from None
    for place in [name for name in found.names if name.rpartition("/")[2] in LISTS]:
        _divide_by(listing, place, content_of(Path(root, place), LIST_BYTES))
    return SoundListing(listing).filled()


def _divide_by(listing: Listing, place: str, content: bytes) -> None:
    """Puts the sounds that a list names into its split; once there is one, what no list names is to learn from.

    They are named from the folder of the list on, or from one in it that stands around all classes.
    """
    file, lines = place.rpartition("/")[2], content.decode("utf-8", "replace").splitlines()
    told = {line.strip().replace("\\", "/").removeprefix("./") for line in lines if line.strip()}
    there = ["/".join(name.rsplit("/", 2)[-2:]) in told for name in listing.names]
    if not any(there):
        return
    listing.entries = [entry for entry in listing.entries if entry.file != printable(place)]
    missing = len(told) - sum(there)
    if missing > 0:
        reason = f"{missing:,} of the {len(told):,} sounds that it names are not there, or cannot be used"
        listing.entries.append(Entry(printable(place), "event", reason))
    listing.splits = [
        LISTS[file] if named else max(TRAIN, said) for named, said in zip(there, listing.splits, strict=True)
    ]


def _label(listing: Listing, sounds: Sequence[str], wanted: Wanted) -> None:
    """Labels by folder, one around all of them stepped over, or by a part of the name."""
    if not wanted.label_pattern:
        folders = {name.rpartition("/")[0] for name in sounds}
        if len(folders) == 1 and len(sounds) > 1:
            raise DataError(f"{printable(listing.root)}: {_one_folder(sounds)}")
        words = [name for name in sounds if NOISE not in name.split("/")[:-1]]
        inner = _inner(words)
        own, before = dict(zip(inner, words, strict=True)), len(listing.entries)
        arrange(listing, inner, 0, EXPECTED)
        listing.names = [own[name] for name in listing.names]
        listing.entries[before:] = [
            replace(said, file=own.get(said.file, said.file)) for said in listing.entries[before:]
        ]
        if all(map(PEOPLE.fullmatch, listing.classes)):
            reason = (
                f"the folders are called like people or folds ({', '.join(listing.classes[:2])} ...): if names of "
                "files say what they are, give --label-pattern, and --groups for what the folders say"
            )
            listing.entries.append(Entry(printable(os.path.basename(listing.root)), "event", reason))  # noqa: PTH119
        noises = sorted(set(sounds) - set(words))
        listing.entries += [Entry(printable(name), "ignored", "noise to be mixed in, no class") for name in noises]
        return
    pattern, labels = _pattern("label_pattern", wanted.label_pattern), []
    for name in sounds:
        match = pattern.search(name.rpartition("/")[2]) or pattern.search(name)
        label = match and match.group(1 if pattern.groups else 0)
        if label:
            listing.names.append(name)
            listing.splits.append(-1)
            labels.append(label)
        else:
            listing.entries.append(Entry(printable(name), "no-label", "--label-pattern finds no label in its name"))
    if not labels:
        first = f", such as {printable(sounds[0])}" if sounds else ""
        raise DataError(
            f"--label-pattern {wanted.label_pattern}: there is no label in any of {len(sounds):,} names{first}."
        )
    name_classes(listing, labels)


def _inner(names: Sequence[str]) -> Sequence[str]:
    """Names without a folder that stands around all classes below that of a split: train/audio/yes/1.wav."""
    paths = [name.split("/") for name in names]
    second = {path[1] for path in paths if SPLIT_WORDS.get(path[0].lower()) == TRAIN}
    deep = all(len(path) > 3 for path in paths if SPLIT_WORDS.get(path[0].lower()) == TRAIN)
    if len(second) != 1 or not deep:
        return names
    found = ["/".join((path[0], *path[2:]) if path[1] in second else path) for path in paths if len(path) > 1]
    return found if len(set(found)) == len(names) else names


def _one_folder(sounds: Sequence[str]) -> str:
    """What to say of sounds that lie all in one folder, whose names may tell their labels."""
    told = f"its {len(sounds):,} sounds lie in one folder, so no folder says what they are. "
    stems = [os.path.splitext(name.rpartition("/")[2])[0] for name in sounds]  # noqa: PTH122
    parts = [re.split(r"[_\-. ]", stem) for stem in stems]
    usual = Counter(map(len, parts)).most_common(1)[0][0]
    columns = [set(words) for words in zip(*(words for words in parts if len(words) == usual), strict=True)][:PARTS]
    fair = [(place, words) for place, words in enumerate(columns) if 2 <= len(words) <= len(sounds) // 2]
    if not fair:
        return (
            f"{told}Put each class into a folder, write a CSV with a file and a label column, or give --label-pattern."
        )
    options = []
    for place, words in sorted(fair, key=lambda each: each[0] and len(each[1]))[:OFFERED]:
        pattern = f"^(?:[^_. -]+[_. -]){{{place}}}([^_. -]+)" if place else "^([^_. -]+)"
        some = ", ".join(map(printable, sorted(words, key=natural)[:4]))
        options.append(f"'{pattern}' would take {len(words):,} classes: {some}{', ...' if len(words) > 4 else ''}")
    return f"{told}Their names may, by --label-pattern: {'; '.join(options)}"


def _pattern(field: str, expression: str) -> re.Pattern[str]:
    try:
        return re.compile(expression)
    except (re.error, OverflowError, RecursionError) as error:
        raise SettingsError(f"{flag(field)} {expression!r} is not a regular expression: {error}") from error
