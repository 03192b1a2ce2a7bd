"""Published archives taken apart: only the files that are asked for, under names that stand here, never as they say.

Nothing is extracted by the path that an archive gives, links are not followed, and what is taken is bounded: an archive
can put nothing anywhere else.
"""

from __future__ import annotations

import json
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Final

from matinee.core.errors import DataError
from matinee.media.walking import printable

LARGEST: Final = 1 << 30
"""Bytes of one file that are taken out of an archive at most."""
TEXT_LIMIT: Final = 1 << 20
"""Bytes of one review."""
_REVIEW: Final = re.compile(r"(?:.*/)?(train|test)/(pos|neg|unsup)/([\w.-]+)\.txt")
Unpack = Callable[[Path, Path], None]
"""Archive, folder -> its files, written there."""


def files(names: tuple[str, ...]) -> Unpack:
    """Takes the files of these names, wherever in a zip or tar they lie, and no others."""

    def unpack(archive: Path, folder: Path) -> None:
        wanted = set(names)
        for name, file, size in _entries(archive):
            plain = PurePosixPath(name).name
            if plain not in wanted:
                continue
            if size > LARGEST:
                raise DataError(f"{printable(str(archive))}: {printable(plain)} has more than {LARGEST:,} bytes.")
            wanted.discard(plain)
            with (folder / plain).open("wb") as target:
                while block := file.read(1 << 20):
                    target.write(block)
        if wanted:
            raise DataError(f"{printable(str(archive))}: {', '.join(sorted(wanted))} is not in it.")

    return unpack


def reviews(archive: Path, folder: Path) -> None:
    """The reviews of aclImdb_v1.tar.gz as train.jsonl, test.jsonl and unlabelled.jsonl, a line each, in its order."""
    names = {"train": "train.jsonl", "test": "test.jsonl", "unsup": "unlabelled.jsonl"}
    targets = {key: (folder / name).open("w", encoding="ascii") for key, name in names.items()}
    counts = dict.fromkeys(names, 0)
    try:
        for name, file, _ in _entries(archive):
            match = _REVIEW.fullmatch(name)
            if match is None:
                continue
            split, label, stem = match.groups()
            text = file.read(TEXT_LIMIT).decode("utf-8", "replace")
            key = "unsup" if label == "unsup" else split
            row = {"id": stem, "text": text} | ({} if label == "unsup" else {"label": label})
            targets[key].write(json.dumps(row) + "\n")
            counts[key] += 1
    finally:
        for target in targets.values():
            target.close()
    if not counts["train"] or not counts["test"]:
        raise DataError(f"{printable(str(archive))}: there are no reviews in it.")


def _entries(archive: Path) -> Iterator[tuple[str, IO[bytes], int]]:
    """Name, content and size of each regular file."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as whole:
                for entry in whole.infolist():
                    if not entry.is_dir():
                        with whole.open(entry) as file:
                            yield entry.filename, file, entry.file_size
            return
        with tarfile.open(archive, "r|*") as stream:  # one pass: the archive is never searched for a name
            for member in stream:
                content = stream.extractfile(member) if member.isreg() else None
                if content is not None:
                    yield member.name, content, member.size
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{printable(str(archive))} cannot be unpacked: {error}") from None


def unpacked(archives: Mapping[str, Unpack], folder: Path) -> None:
    """Take each of these archives in a folder apart there, and remove it."""
    for name, unpack in archives.items():
        unpack(folder / name, folder)
        (folder / name).unlink()
