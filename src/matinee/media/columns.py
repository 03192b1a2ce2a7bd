"""Columns on the disk: .npy files made in full beforehand, then written row by row."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from matinee.core.errors import DataError


def make_column(folder: str | Path, name: str, shape: tuple[int, ...], dtype: str) -> int:
    """Makes the file NAME.npy with all its bytes on the disk, zero, and returns where the data begin.

    Raises DataError where the disk has no room for it.
    """
    path = os.path.join(folder, f"{name}.npy")  # noqa: PTH118
    kind = np.dtype(dtype)
    data = kind.itemsize
    for side in shape:
        data *= side
    with open(path, "w+b") as file:
        header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)  # type: ignore[no-untyped-call, unused-ignore]
        file.flush()
        offset = file.tell()
        free = shutil.disk_usage(folder).free
        if data > free:
            raise _disk_full(data, free, Path(folder).parent)
        try:
            # Merely setting the length would leave a hole, and a disk that fills up later would kill the process
            # that writes into the mapping.
            os.posix_fallocate(file.fileno(), 0, offset + data)
        except (AttributeError, OSError) as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise _disk_full(data, free, Path(folder).parent) from error
            file.truncate(offset + data)
    return offset


def write_rows(folder: str | Path, name: str, start: int, rows: np.ndarray[Any, Any]) -> None:
    """Writes rows (k, ...) over the rows from `start` on of a column that `make_column` made."""
    path = os.path.join(folder, f"{name}.npy")  # noqa: PTH118
    with open(path, "r+b", buffering=0) as file:
        np.lib.format.read_magic(file)  # type: ignore[no-untyped-call, unused-ignore]
        np.lib.format.read_array_header_1_0(file)  # type: ignore[no-untyped-call, unused-ignore]
        file.seek(start * rows[:1].nbytes, os.SEEK_CUR)
        left = memoryview(np.ascontiguousarray(rows).tobytes())
        while left:
            left = left[file.write(left) :]


def _disk_full(needed: int, free: int, folder: Path) -> DataError:
    return DataError(
        f"disk full: the decoded pictures need {needed / 1e6:,.1f} MB, {free / 1e6:,.1f} MB are free in {folder}; "
        "make room, ask for smaller pictures, or name another folder with MATINEE_CACHE"
    )
