"""MATLAB's files (level 5), as far as arrays of numbers and cells of them go; nothing else in them is looked at.

The format is MathWorks' "MAT-File Format" (level 5). Every length is checked against the bytes that are there before
memory is taken for it, and what is compressed is unpacked up to a limit.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import numpy as np

from matinee.core.errors import DataError
from matinee.core.examples import Array
from matinee.media.walking import printable

LIMIT: Final = 1 << 29
"""Bytes of a file, and of what is unpacked from it."""
CELLS: Final = 1_000_000
HEADER: Final = 128

_MATRIX, _COMPRESSED = 14, 15
_KINDS: Final = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"
}  # fmt: skip
_CELL, _NUMBERS = 1, range(6, 16)


def begins_like_one(head: bytes) -> bool:
    """Whether a file with this beginning (128 bytes) is a MATLAB file of level 5."""
    return head.startswith(b"MATLAB 5.0 MAT-file") and head[126:128] in (b"IM", b"MI")


def read_mat(path: Path) -> Mapping[str, list[Array]]:
    """Name of a variable -> its arrays: those of a cell in order, or the one array itself.

    Variables of other kinds (text, structs, sparse ones) are passed over. Raises DataError where the file is none of
    these, is damaged, or holds more than 512 MiB.
    """
    try:
        if path.stat().st_size > LIMIT:
            raise DataError(f"{printable(str(path))}: more than {LIMIT >> 20} MiB; that much is not read.")
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{printable(str(path))}: the file cannot be read ({error.strerror}).") from None
    if not begins_like_one(raw[:HEADER]):
        words = "MATLAB 7.3 files are HDF5: save it with -v7" if b"MATLAB 7.3" in raw[:64] else "no MATLAB file"
        raise DataError(f"{printable(str(path))}: {words}.")
    try:
        reader = _Reader("<" if raw[126:128] == b"IM" else ">")
        return dict(reader.variables(raw))
    except (struct.error, zlib.error, ValueError, IndexError, OverflowError) as error:
        raise DataError(f"{printable(str(path))}: the file is damaged ({error}).") from None


class _Reader:
    def __init__(self, order: str) -> None:
        self._order, self._left, self._cells = order, LIMIT, 0

    def variables(self, raw: bytes) -> Iterator[tuple[str, list[Array]]]:
        place = HEADER
        while place + 8 <= len(raw):
            kind, content, place = self._element(raw, place)
            if kind == _COMPRESSED:
                unpacker = zlib.decompressobj()
                inside = unpacker.decompress(content, self._left)
                self._left -= len(inside)
                if unpacker.unconsumed_tail:
                    raise ValueError(f"it unpacks to more than {LIMIT >> 20} MiB")
                kind, content, _ = self._element(inside, 0)
            if kind == _MATRIX:
                name, arrays = self._matrix(content, deep=True)
                if arrays:
                    yield name, arrays

    def _element(self, raw: bytes, place: int) -> tuple[int, bytes, int]:
        """Kind and content of the element at a place, and where the next one is."""
        kind, size = struct.unpack_from(self._order + "II", raw, place)
        if kind >> 16:  # a small one: its size and its four bytes are in the tag
            size, kind = kind >> 16, kind & 0xFFFF
            if size > 4:
                raise ValueError("a small element has more than four bytes")
            return kind, raw[place + 4 : place + 4 + size], place + 8
        if place + 8 + size > len(raw):
            raise ValueError(f"an element of {size:,} bytes goes beyond the end")
        after = place + 8 + size
        return kind, raw[place + 8 : after], after if kind == _COMPRESSED else after + -after % 8

    def _matrix(self, raw: bytes, deep: bool) -> tuple[str, list[Array]]:
        """A variable's name and its arrays; none where it is no array of numbers and no cell of them."""
        _, flags, place = self._element(raw, 0)
        (flag,) = struct.unpack_from(self._order + "I", flags)
        kind, is_complex = flag & 0xFF, flag & 0x0800
        _, sides, place = self._element(raw, place)
        shape = np.frombuffer(sides, self._order + "i4").tolist()
        _, name, place = self._element(raw, place)
        word = name.decode("ascii", "replace")
        if kind == _CELL and deep:
            return word, list(self._inside(raw, place, int(np.prod(shape, dtype=np.float64))))
        if kind not in _NUMBERS or is_complex:
            return word, []
        number, content, _ = self._element(raw, place)
        if number not in _KINDS:
            raise ValueError(f"numbers of an unknown kind, {number}")
        values = np.frombuffer(content, self._order + _KINDS[number])
        return word, [values.reshape(shape, order="F")]

    def _inside(self, raw: bytes, place: int, count: int) -> Iterator[Array]:
        self._cells += count
        if self._cells > CELLS:
            raise ValueError(f"more than {CELLS:,} cells")
        for _ in range(count):
            kind, content, place = self._element(raw, place)
            if kind != _MATRIX:
                raise ValueError("a cell holds no array")
            if content:
                yield from self._matrix(content, deep=False)[1]
