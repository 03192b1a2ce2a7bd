"""Rows of columns that are larger than memory: read as they are needed, many reads in flight, none of it kept.

A mapping is the fastest way to rows that are in memory, and the slowest to rows that are not: each page is waited for
on its own, and counts as the process's memory once it is there. docs/decisions/larger-than-memory.md has the figures.
"""

from __future__ import annotations

import mmap
import os
import sys
import weakref
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from matinee.core.errors import DataError

SHARE = 0.5  # of the memory there is: a mapped column beyond it is read row by row

_opened: WeakKeyDictionary[mmap.mmap, Rows | None] = WeakKeyDictionary()  # None: fits in memory, or cannot be opened


class Rows:
    """The rows of one column, in its file."""

    def __init__(self, column: np.memmap[Any, Any]) -> None:
        self._row = column.dtype.itemsize * int(np.prod(column.shape[1:]))
        self._start = column.offset
        self._told = np.empty(0, np.int64)
        self._name = str(column.filename)
        self._file = os.open(self._name, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)
        if sys.platform == "linux":
            os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_RANDOM)  # what lies around a row is not wanted

    def announce(self, rows: np.ndarray[Any, Any]) -> None:
        """Have these rows brought from the disk, without waiting for them; nothing where they were the last told of."""
        if sys.platform == "linux" and not np.array_equal(rows, self._told):
            self._told = rows
            for place in self._places(np.sort(rows)):
                os.posix_fadvise(self._file, place, self._row, os.POSIX_FADV_WILLNEED)

    def read(self, rows: np.ndarray[Any, Any], values: np.ndarray[Any, Any]) -> None:
        """Fill `values` (rows, ...), which is contiguous, with these rows. Raises DataError for a file cut short."""
        if sys.platform == "linux":
            flat: Any = values.reshape(-1).view(np.uint8)
            target = memoryview(flat)
            order = np.argsort(rows)  # as they lie on the disk
            for row, place in zip(order.tolist(), self._places(rows[order]), strict=True):
                piece = target[row * self._row : (row + 1) * self._row]
                while piece:
                    count = os.preadv(self._file, [piece], place)
                    if not count:
                        raise DataError(f"{self._name} is shorter than it was when it was opened.")
                    piece, place = piece[count:], place + count

    def _places(self, rows: np.ndarray[Any, Any]) -> list[int]:
        places: list[int] = (rows.astype(np.int64) * self._row + self._start).tolist()
        return places


def beyond_memory(column: np.ndarray[Any, Any]) -> Rows | None:
    """The rows of a column whose mapping does not fit in memory; None for all others, and where it cannot be done."""
    mapping: object = column.base
    if sys.platform != "linux" or not isinstance(column, np.memmap) or not isinstance(mapping, mmap.mmap):
        return None
    if mapping not in _opened:
        apart = column.mode == "r" and column.flags.c_contiguous and column.nbytes > SHARE * memory()
        try:
            _opened[mapping] = Rows(column) if apart else None
        except OSError:  # its file has been removed: the mapping still holds it
            _opened[mapping] = None
    return _opened[mapping]


def memory() -> int:
    """Bytes of memory that this process may use: the machine's, or less where its control group says so."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")] if sys.platform == "linux" else [sys.maxsize]
    try:
        groups = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()]
    except OSError:
        groups = []
    for _, controllers, name in groups:
        if controllers in ("", "memory"):
            root = Path("/sys/fs/cgroup", controllers)
            file = "memory.limit_in_bytes" if controllers else "memory.max"
            folder = root / name.lstrip("/")
            for group in (folder, *folder.parents):
                limits += _number(group / file)
    return min(limits)


def _number(file: Path) -> list[int]:
    try:
        return [int(file.read_text(encoding="ascii"))]
    except (OSError, ValueError):  # not there, or "max"
        return []
