"""A folder or zip of class folders as a list of files with label, split and group.

The trees that are understood:

    photos/cat/1.jpg            class folders
    photos/train/cat/1.jpg      class folders under train, val and test (and the other usual words)
"""

from __future__ import annotations

import hashlib
import os
import re
import zipfile
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field

from matinee.core.errors import DataError, SettingsError
from matinee.core.ledger import Entry
from matinee.media.pictures import BROKEN, BYTE_LIMIT, EXTENSIONS
from matinee.media.walking import natural, printable, walk

TRAIN, VALID, TEST = 0, 1, 2
SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "dev", "development"), VALID),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), TEST),
}
EXPECTED = (
    "expected class folders with pictures in them, like {root}/cat/1.jpg and {root}/dog/2.jpg, "
    "or the same under {root}/train, {root}/val and {root}/test, or a CSV with a file and a label column"
)


@dataclass
class Listing:
    """Rows of a source whose pictures are files: name, label, split and group of each.

    root: the folder that the names are relative to, or the zip whose entries number `places` they are.
    labels: places in `classes`; splits: -1 not said, 0 train, 1 valid, 2 test; groups: -1 none.
    stamp: hex digest of names, sizes and times of all files. what: one of those files, in a word.
    """

    root: str
    names: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    splits: list[int] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)
    classes: tuple[str, ...] = ()
    entries: list[Entry] = field(default_factory=list)
    stamp: str = ""
    archive: bool = False
    places: list[int] = field(default_factory=list)
    what: str = "picture"


def list_folder(root: str) -> Listing:
    """The class folders of a folder. Raises DataError where there are none."""
    found = walk(root)
    listing = Listing(root, entries=list(found.entries))
    pictures = sift(found.names, listing.entries)
    listing.stamp = digest((*found.facts, *(f"{entry.file}\0{entry.kind}" for entry in found.entries)))
    arrange(listing, pictures, 0)
    return listing


def list_zip(path: str) -> Listing:
    """The class folders in a zip, one folder around all of them stepped over. Raises DataError."""
    listing = Listing(path, archive=True)
    places = entries_of(listing)
    pictures = sift(sorted(places), listing.entries)
    arrange(listing, pictures, steps_over(pictures))
    listing.places = [places[name] for name in listing.names]
    return listing


def entries_of(listing: Listing) -> dict[str, int]:
    """Name -> place of every entry of a zip that may be read; sets the stamp. Raises DataError."""
    path = listing.root
    try:
        state = os.stat(path)  # noqa: PTH116
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, *BROKEN) as error:
        raise DataError(f"{printable(path)} is no zip file that can be read: {error}") from error
    listing.stamp = digest((f"{state.st_size} {state.st_mtime_ns}",))
    places: dict[str, int] = {}
    for place, info in enumerate(infos):
        name = info.filename.replace("\\", "/")
        if name.endswith("/"):
            continue
        refusal = _refuse(info, name, places)
        if refusal:
            listing.entries.append(Entry(printable(name), *refusal))
        else:
            places[name] = place
    return places


def digest(lines: Iterable[str]) -> str:
    """SHA-256 in hex of lines, the end of each marked (no file name has a NUL in it)."""
    return hashlib.sha256("\0\n".join(lines).encode("utf-8", "surrogatepass")).hexdigest()


def sift(
    names: Sequence[str], entries: list[Entry], endings: Container[str] = EXTENSIONS, what: str = "picture"
) -> list[str]:
    """The names that are pictures (or `what`) by their ending; the rest goes to the entries as "ignored"."""
    pictures: list[str] = []
    for name in names:
        dot = name.rfind(".")
        if name[dot:].lower() in endings and "/." not in name and name[:1] != "." and name[:9] != "__MACOSX/":
            pictures.append(name)
        elif "/." in name or name[:1] == "." or name[:9] == "__MACOSX/":
            entries.append(Entry(printable(name), "ignored", "a hidden file"))
        else:
            entries.append(Entry(printable(name), "ignored", f"not a {what} by the ending of its name"))
    return pictures


def arrange(listing: Listing, pictures: Sequence[str], steps: int, expected: str = EXPECTED) -> None:
    """Fills names, labels, splits and classes from names like train/cat/1.jpg, `steps` folders stepped over.

    One that would be the only class is stepped over, too, where there are several folders in it. Raises DataError
    where no picture lies in a class folder.
    """
    around = 0 if steps else steps_over(pictures)
    if around and len({tuple(name.split("/")[: around + 1]) for name in pictures}) > 1:
        steps = around
        listing.stamp = digest((listing.stamp, f"around {steps}"))  # other classes: read anew
    folders = dict.fromkeys(name.rpartition("/")[0] for name in pictures)
    paths = [folder.split("/") if folder else [] for folder in folders]
    divided = _is_divided(paths, steps)
    # Thousands of pictures share a folder, and with it the verdict.
    verdicts = {folder: _judge(path, steps, divided, listing.what) for folder, path in zip(folders, paths, strict=True)}
    labels: list[str] = []
    for name in pictures:
        split, label, kind = verdicts[name.rpartition("/")[0]]
        if kind:
            listing.entries.append(Entry(printable(name), kind, label))
        else:
            listing.names.append(name)
            listing.splits.append(split)
            labels.append(label)
    if not labels:
        what = f"no {listing.what}s"
        if pictures:
            what = f"{len(pictures):,} {listing.what}s, but none in a class folder"
        root = printable(os.path.basename(os.path.normpath(listing.root))) or "."  # noqa: PTH119
        raise DataError(f"{printable(listing.root)} has {what}: {expected.format(root=root)}")
    name_classes(listing, labels)


def name_classes(listing: Listing, labels: Sequence[str]) -> None:
    """Sets classes, in natural order, and the label of each row."""
    ordered = sorted(set(labels), key=natural)
    place = {label: number for number, label in enumerate(ordered)}
    listing.classes = tuple(printable(label) for label in ordered)
    listing.labels = [place[label] for label in labels]


def name_groups(listing: Listing, expression: str) -> None:
    """Sets the group of each row from its name by a regular expression; a row it does not fit has none (-1).

    Raises SettingsError where the expression is none.
    """
    try:
        pattern = re.compile(expression)
    except (re.error, OverflowError, RecursionError) as error:
        raise SettingsError(f"groups {expression!r} is not a regular expression: {error}") from error
    numbers: dict[str, int] = {}
    groups: list[int] = []
    for name in listing.names:
        match = pattern.search(name)
        word = None if match is None else match.group(1 if pattern.groups else 0)
        groups.append(-1 if word is None else numbers.setdefault(word, len(numbers)))
    listing.groups = groups


def _is_divided(folders: Sequence[Sequence[str]], steps: int) -> bool:
    """Whether the top folders are train, val, test rather than classes of those names."""
    tops = {path[steps].lower() for path in folders if len(path) > steps}
    with_classes = {path[steps].lower() for path in folders if len(path) > steps + 1}
    named = tops & SPLIT_WORDS.keys()
    if not named:
        return False
    if tops == named:
        return True
    return any(SPLIT_WORDS[top] == TRAIN for top in named & with_classes)


def _judge(path: Sequence[str], steps: int, divided: bool, one: str) -> tuple[int, str, str]:
    """(split, label, "") of the pictures in a folder, or (-1, the reason, the ledger's word)."""
    depth, split = steps, -1
    if divided and len(path) > steps:
        said = SPLIT_WORDS.get(path[steps].lower())
        if said is None:
            return -1, "outside the folders train, val and test", "ignored"
        split, depth = said, steps + 1
    if len(path) <= depth:
        return -1, f"the {one} lies in no class folder", "no-label"
    return split, path[depth], ""


def steps_over(pictures: Sequence[str]) -> int:
    """How many folders stand around everything: all pictures lie deeper in a single folder of any name, and so on."""
    paths = {tuple(name.split("/")[:-1]) for name in pictures}
    steps = 0
    while paths and all(len(path) > steps + 1 for path in paths):
        around = {path[steps] for path in paths}
        if len(around) != 1 or next(iter(around)).lower() in SPLIT_WORDS:
            break
        steps += 1
    return steps


def _refuse(info: zipfile.ZipInfo, name: str, places: dict[str, int]) -> tuple[str, str] | None:
    if name.startswith("/") or ".." in name.split("/") or re.match(r"[A-Za-z]:", name):
        return "outside", "its path leads out of the zip"
    if name in places:
        return "duplicate-row", "the zip has an entry of this name already"
    if info.flag_bits & 1:
        return "unreadable", "the entry is encrypted"
    if info.file_size > BYTE_LIMIT:
        return "oversized", f"the entry unpacks to more than {BYTE_LIMIT:,} bytes"
    return None
