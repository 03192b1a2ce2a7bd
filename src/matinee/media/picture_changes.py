"""What became of a source since it was read, and the pictures that a person names for prediction."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from matinee.core.errors import DataError
from matinee.core.ledger import Entry, Listed
from matinee.media.decoding import Job, Reader, worker_count
from matinee.media.picture_arrays import hash_rows
from matinee.media.picture_listing import Listing, sift
from matinee.media.picture_sources import recognise
from matinee.media.pictures import PictureError
from matinee.media.walking import natural, printable, walk

CHUNK = 256


def changed_since(
    source: str | Path, manifest: Mapping[str, str], file_column: str = "", label_column: str = ""
) -> dict[str, list[str]]:
    """Compares the files (or rows of arrays) of a source with a manifest, name -> SHA-256 in hex, by their bytes.

    Returns the names under "changed", "missing" and "new", each in order. A file that can no longer be read is missing.
    Raises DataError where the source itself cannot be read.
    """
    _, found = recognise(source, file_column, label_column)
    if isinstance(found, Listing):
        now = dict(_hash_files(found))
    else:
        arrays = found.load()
        now = {name: row.tobytes().hex() for name, row in zip(arrays.names, hash_rows(arrays.images), strict=True)}
    return {
        "changed": [name for name, said in manifest.items() if now.get(name, "") not in ("", said.lower())],
        "missing": [name for name in manifest if not now.get(name, "")],
        "new": [name for name in now if name not in manifest],
    }


def list_plain(paths: Sequence[str | Path]) -> Listed:
    """The pictures that FILE... | FOLDER arguments mean: files as they are, even where they do not exist (whoever
    decodes them says so), and of folders all pictures below, in natural order, with whatever there cannot be looked
    into. No file comes twice.

    Raises DataError where a folder cannot be read or has no pictures.
    """
    found: dict[str, None] = {}
    others: list[Entry] = []
    for given in paths:
        path = os.fspath(given)
        if os.path.isdir(path):  # noqa: PTH112
            below = walk(path)
            shut = [entry.file for entry in below.entries if entry.kind in ("forbidden", "unreadable")]
            gone = sift([entry.file for entry in below.entries if entry.kind == "missing"], [])
            names = sorted((*sift(below.names, others), *shut, *gone), key=natural)
            if not names:
                raise DataError(f"{printable(path)}: there are no pictures in this folder.")
            found.update((os.path.join(path, name), None) for name in names)  # noqa: PTH118
        else:
            found[path] = None
    return Listed(found, others)


def _hash_files(listing: Listing) -> Iterator[tuple[str, str]]:
    """(name, SHA-256 in hex, or "" where it cannot be read) of every file."""
    job = Job(listing.root, listing.names, (1, 1, 1), 1, "", listing.archive, listing.places)
    reader = Reader(job)

    def part(start: int) -> list[tuple[str, str]]:
        return [
            (listing.names[row], _hash(reader, row)) for row in range(start, min(start + CHUNK, len(listing.names)))
        ]

    try:
        with ThreadPoolExecutor(worker_count()) as pool:
            for pairs in pool.map(part, range(0, len(listing.names), CHUNK)):
                yield from pairs
    finally:
        reader.close()


def _hash(reader: Reader, row: int) -> str:
    try:
        return hashlib.sha256(reader.read(row)).hexdigest()
    except PictureError:
        return ""
