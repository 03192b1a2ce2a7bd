"""The idx files of MNIST and its kin, plain or .gz: every size is checked before memory is taken for it."""

from __future__ import annotations

import gzip
import os
import re
import zlib
from typing import IO, Any

import numpy as np

from matinee.core.errors import DataError
from matinee.media.picture_listing import TEST, TRAIN, VALID
from matinee.media.walking import printable

PATTERN = re.compile(r"(.*?)(train|valid|val|t10k|test)[-_.](images|labels)[-_.]idx([13])[-_.]ubyte(\.gz)?", re.I)
SPLITS = {"train": TRAIN, "valid": VALID, "val": VALID, "t10k": TEST, "test": TEST}
SIDE_LIMIT = 4096
BYTE_LIMIT = 8 * 1024**3
DEFLATE_LIMIT = 1040  # no deflate stream unpacks to more than some 1,032 times its size

Array = np.ndarray[Any, np.dtype[np.uint8]]


def find_pairs(folder: str, only: str = "") -> list[tuple[int, str, str]]:
    """(split, images file, labels file) of a folder, train first; `only` names a file whose kin is meant.

    An empty list where there are none. Raises DataError where labels are missing or several data sets lie together.
    """
    files: dict[tuple[str, int], dict[str, str]] = {}
    for name in sorted(os.listdir(folder), key=lambda name: (name.endswith(".gz"), name)):  # noqa: PTH208
        match = PATTERN.fullmatch(name)
        if match is None or (match[3].lower() == "images") != (match[4] == "3"):
            continue
        kin = files.setdefault((match[1].lower(), SPLITS[match[2].lower()]), {})
        kin.setdefault(match[3].lower(), name)
    asked = PATTERN.fullmatch(only)
    if asked is not None:
        files = {key: kin for key, kin in files.items() if key[0] == asked[1].lower()}
    if len({prefix for prefix, _ in files}) > 1:
        raise DataError(
            f"{printable(folder)} holds several data sets ({', '.join(sorted({prefix for prefix, _ in files}))}); "
            "give one of their files instead of the folder"
        )
    pairs: list[tuple[int, str, str]] = []
    for (_, split), kin in sorted(files.items()):
        if len(kin) < 2:
            raise DataError(
                f"{printable(folder)} has {printable(next(iter(kin.values())))}, but not the file beside it"
            )
        pairs.append((split, kin["images"], kin["labels"]))
    return pairs


def read_images(path: str) -> Array:
    """uint8 (n, height, width). Raises DataError."""
    return _read(path, 3)


def read_labels(path: str) -> Array:
    """uint8 (n,). Raises DataError."""
    return _read(path, 1)


def _read(path: str, dimensions: int) -> Array:
    try:
        size = os.path.getsize(path)  # noqa: PTH202
        packed = path.lower().endswith(".gz")
        with gzip.open(path, "rb") if packed else open(path, "rb") as file:
            return _parse(path, file, dimensions, size * DEFLATE_LIMIT if packed else size)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{printable(path)} cannot be unpacked: {error}") from error
    except MemoryError as error:
        raise DataError(f"{printable(path)}: there is not enough memory for it") from error


def _parse(path: str, file: IO[bytes] | gzip.GzipFile, dimensions: int, most: int) -> Array:
    head = file.read(4 + 4 * dimensions)
    magic = bytes((0, 0, 8, dimensions))
    if len(head) < 4 + 4 * dimensions or head[:4] != magic:
        raise DataError(
            f"{printable(path)} is no idx file of bytes: it begins with {head[:4].hex()}, not {magic.hex()}"
        )
    shape = tuple(int.from_bytes(head[at : at + 4], "big") for at in range(4, len(head), 4))
    total = 1
    for side in shape:
        total *= side
    said = " x ".join(f"{side:,}" for side in shape)
    if total + len(head) > most or total > BYTE_LIMIT:
        raise DataError(f"{printable(path)} says it holds {said} bytes, but is too short for that")
    if total == 0 or any(side > SIDE_LIMIT for side in shape[1:]):
        raise DataError(f"{printable(path)} says it holds {said} bytes; pictures have sides from 1 to {SIDE_LIMIT}")
    raw = file.read(total)
    if len(raw) < total:
        raise DataError(f"{printable(path)} is cut short: {len(raw):,} of {total:,} bytes")
    if file.read(1):
        raise DataError(f"{printable(path)} has more bytes than the {said} it says")
    return np.frombuffer(raw, dtype=np.uint8).reshape(shape)
