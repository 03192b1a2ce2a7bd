"""The files of a source of boxes, in a folder or in a zip, and which picture a file that tells boxes means."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO

from matinee.core.errors import DataError
from matinee.core.ledger import Entry
from matinee.media.boxes_formats import FormatError
from matinee.media.picture_listing import SPLIT_WORDS, Listing, digest, entries_of
from matinee.media.pictures import BROKEN, EXTENSIONS, PictureError, read_bytes
from matinee.media.walking import astray, hidden, printable, walk

HEAD = 65_536  # bytes from which the kind of a file is told
SMALL = HEAD << 8
"""Bytes of the largest file that tells of one picture, or of names."""
JSON_LIMIT = 1 << 31
ROOMS = {"labels", "label", "label_2", "images", "image", "image_2", "jpegimages", "annotations", "annotation", "imgs"}
"""Folders whose names say what kind of file lies there, not which one."""


@dataclass
class Files:
    """All files of a source. To be closed: it is a context.

    root: the folder that names are relative to, or the zip. places: of the entries of a zip, by name. stamp: changes
    with the files. entries: what of the source cannot be looked at.
    """

    root: str
    names: list[str]
    stamp: str
    entries: list[Entry] = field(default_factory=list)
    archive: bool = False
    places: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.pictures = [name for name in self.names if os.path.splitext(name)[1].lower() in EXTENSIONS]  # noqa: PTH122
        self.stems = {_bare(name) for name in self.pictures}
        self._known = set(self.pictures)
        self._called: dict[str, list[str]] = {}
        for name in self.pictures:
            self._called.setdefault(stem_of(name).lower(), []).append(name)
        self._zip = zipfile.ZipFile(self.root) if self.archive else None
        self._infos = self._zip.infolist() if self._zip else []

    @staticmethod
    def of(source: str) -> Files:
        """Those of a folder or of a zip. Raises DataError where it cannot be read."""
        if os.path.isfile(source):  # noqa: PTH113
            path = os.path.realpath(source)
            listing = Listing(path, archive=True)
            places = entries_of(listing)
            seen, others = _seen(sorted(places))
            return Files(path, seen, listing.stamp, [*listing.entries, *others], True, places)
        root = os.path.realpath(source)
        found = walk(root)
        seen, others = _seen(found.names)
        return Files(root, seen, digest(tuple(found.facts)), [*found.entries, *others])

    def __enter__(self) -> Files:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._zip is not None:
            self._zip.close()

    def _open(self, name: str) -> IO[bytes]:
        if self._zip is not None:
            return self._zip.open(self._infos[self.places[name]])
        return open(os.path.join(self.root, name), "rb")  # noqa: PTH118 - whoever asks closes it

    def read(self, name: str, limit: int = JSON_LIMIT) -> bytes:
        """Raises FormatError."""
        try:
            if self._zip is None and limit <= SMALL:
                raw = read_bytes(os.path.join(self.root, name))  # noqa: PTH118
            else:
                with self._open(name) as file:
                    raw = file.read(limit + 1)
        except (PictureError, zipfile.BadZipFile, *BROKEN) as error:
            raise FormatError(f"it cannot be read ({error})") from None
        if len(raw) > limit:
            raise FormatError(f"it has more than {limit:,} bytes")
        return raw

    def ends(self, name: str) -> tuple[bytes, bytes]:
        """The first and the last bytes of a file, HEAD of both at most; nothing where it cannot be read."""
        try:
            with self._open(name) as file:
                head, tail = file.read(HEAD), b""
                if self._zip is None:
                    file.seek(max(0, os.fstat(file.fileno()).st_size - HEAD))
                    return head, file.read(HEAD)
                while part := file.read(1 << 20):
                    tail = (tail + part)[-HEAD:]
                return head, tail or head
        except (zipfile.BadZipFile, *BROKEN):
            return b"", b""

    def head(self, name: str) -> bytes:
        """The first bytes of a file; nothing where it cannot be read."""
        try:
            with self._open(name) as file:
                return file.read(HEAD)
        except (zipfile.BadZipFile, *BROKEN):
            return b""

    def is_label(self, name: str) -> bool:
        """Whether a text file lies in a folder for labels, or beside a picture of its name."""
        return in_label_folder(name) or _bare(name) in self.stems

    def picture_of(self, told: str, name: str) -> tuple[str, str]:
        """The picture that a file `told` means by `name` (a path, or what the picture is called), or why there is none.

        Of several of that name the one whose folders are most like those of the file that tells it; where two are as
        like, nobody knows.
        """
        plain = os.path.normpath(name.replace("\\", "/"))
        folder = told.rpartition("/")[0]
        for place in (os.path.normpath(os.path.join(folder, plain)), plain):  # noqa: PTH118
            if place in self._known:
                return place, ""
        last = plain.rpartition("/")[2]
        named = os.path.splitext(last)[1].lower() in EXTENSIONS  # noqa: PTH122 - else a dot belongs to the name
        alike = self._called.get((stem_of(last) if named else last).lower(), [])
        for test in (last, stem_of(last)) if named else (last,):
            exact = [each for each in alike if test in (each.rpartition("/")[2], stem_of(each))]
            alike = exact or alike
            if exact:
                break
        wanted = _words(f"{folder}/{plain}") | {str(split) for split in [split_of(told)] if split >= 0}
        marks = [_likeness(wanted, _words(each)) for each in alike]
        best = [each for each, mark in zip(alike, marks, strict=True) if mark == max(marks)]
        if len(best) > 1:
            both = " and ".join(printable(each) for each in best[:2])
            return "", f"several pictures are called {printable(last)}, {both} among them: which is meant?"
        why = astray(os.path.join(folder, plain))  # noqa: PTH118
        return (best[0], "") if best else ("", f"its picture ({printable(name)}) is not there{why and f': {why}'}")


def _seen(names: Sequence[str]) -> tuple[list[str], list[Entry]]:
    """The names of files that are not hidden, and entries for those that are."""
    seen, others = list[str](), list[Entry]()
    for name in names:
        if hidden(name):
            others.append(Entry(printable(name), "ignored", "a hidden file"))
        else:
            seen.append(name)
    return seen, others


def _words(name: str) -> set[str]:
    """What the folders around a file say; splits by their number, however they are called."""
    words = {part.lower() for part in name.split("/")[:-1] if part not in ("", ".", "..")} - ROOMS
    return {str(SPLIT_WORDS.get(word.rstrip("0123456789"), word)) for word in words}


def _likeness(wanted: Collection[str], words: set[str]) -> tuple[int, int]:
    return len(words & set(wanted)), -len(words - set(wanted))


def in_label_folder(name: str) -> bool:
    """Whether a file lies in a folder that is called after labels."""
    return any(part.startswith(("label", "obj_train")) for part in name.lower().split("/")[:-1])


def stem_of(name: str) -> str:
    """images/1.jpg -> 1"""
    return os.path.splitext(name.rpartition("/")[2])[0]  # noqa: PTH122


def _bare(name: str) -> str:
    return os.path.splitext(name)[0]  # noqa: PTH122


def split_around(name: str) -> int:
    """By the folders around a file alone."""
    return split_of(name.rpartition("/")[0] + "/")


def split_of(name: str) -> int:
    """By the folders around a file, or its own name: train, val and test, also as train2017; -1 where none says."""
    folders = name.lower().split("/")
    for part in (*reversed(folders[:-1]), *re.split(r"[_.\-]", folders[-1])):
        word = part.rstrip("0123456789")
        if word in SPLIT_WORDS:
            return SPLIT_WORDS[word]
    return -1


def sources_root(source: str) -> tuple[str, Sequence[str]]:
    """What is to be looked through, and the one file in it that is meant (none: all). Raises DataError.

    A file stands for its folder; a YOLO data file for all of that.
    """
    if not source or "\0" in source or not os.path.exists(source):  # noqa: PTH110
        raise DataError(f"{printable(source) or 'an empty name'}: there is no such file or folder.")
    if not os.path.isfile(source) or source.lower().endswith(".zip"):  # noqa: PTH113
        return source, ()
    folder, name = os.path.split(os.path.abspath(source))  # noqa: PTH100
    return folder, () if name.lower().endswith((".yaml", ".yml")) else (name,)
