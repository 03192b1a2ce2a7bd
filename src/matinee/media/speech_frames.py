"""Frames of speech that were computed before: .mfc files of Sphinx, .npy arrays (frames, numbers), arrays."""

from __future__ import annotations

import io
import math
import os
from pathlib import Path
from typing import Any, Final

import numpy as np

from matinee.core.errors import DataError
from matinee.core.examples import Array
from matinee.media.sounds import SoundError
from matinee.media.walking import content_of

BYTE_LIMIT: Final = 1 << 29
CEPSTRA: Final = 13
"""Numbers of a frame of a .mfc file, which does not say how many it has."""
MOST_CHANNELS: Final = 4096


def frames_of(raw: Any, channels: int = 0) -> Array:
    """float32 (frames, numbers) of a file (a path that ends in .mfc or .npy), of its bytes, or of an array.

    channels: numbers that a frame must have (0: any; 13 in a .mfc). Raises SoundError.
    """
    if isinstance(raw, str | os.PathLike):
        try:
            content = content_of(Path(raw), BYTE_LIMIT)
        except DataError as error:
            missing = not Path(raw).exists()
            raise SoundError("missing" if missing else "unreadable",
                             "there is no such file" if missing else str(error)) from None  # fmt: skip
    else:
        content = raw if isinstance(raw, bytes) else b""
    if isinstance(raw, np.ndarray):
        values = raw
    elif content[:6] == b"\x93NUMPY":
        values = _of_numpy(content)
    else:
        values = _of_sphinx(content, channels or CEPSTRA)
    if values.ndim != 2 or values.dtype.kind not in "fiu" or not 1 <= values.shape[1] <= MOST_CHANNELS:
        raise SoundError("unreadable", f"an array of {values.dtype} {values.shape} is no frames: (frames, numbers)")
    if channels and values.shape[1] != channels:
        raise SoundError("unreadable", f"its frames have {values.shape[1]} numbers, the others {channels}")
    if not len(values):
        raise SoundError("empty", "it has no frames")
    found = values.astype(np.float32)
    if not np.isfinite(found).all():
        raise SoundError("unreadable", "it has values that are no numbers")
    if not found.any() or bool((found == found[0]).all() and len(found) > 1):
        raise SoundError("silent", "there is nothing to hear: every frame is the same")
    return found


def _of_numpy(content: bytes) -> Array:
    try:
        with np.errstate(all="ignore"):
            loaded: Array = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except (ValueError, TypeError, OSError, EOFError, MemoryError, SyntaxError, OverflowError) as error:
        raise SoundError("unreadable", f"it cannot be read as .npy ({' '.join(str(error).split())[:120]})") from None
    return loaded


def _of_sphinx(content: bytes, channels: int) -> Array:
    """The number of floats that follow, then the floats, in either order of bytes."""
    if len(content) < 4:
        raise SoundError("empty", "the file has no frames")
    for order in (">", "<"):
        count = int(np.frombuffer(content[:4], f"{order}i4")[0])
        if count >= 0 and 4 + 4 * count == len(content):
            values = np.frombuffer(content[4:], f"{order}f4")
            if len(values) % channels:
                raise SoundError("unreadable", f"{len(values):,} numbers are no frames of {channels}")
            return values.reshape(-1, channels)
    told = int(np.frombuffer(content[:4], ">i4")[0])
    kind = "truncated" if 0 < 4 + 4 * told > len(content) and told < math.inf and told < 1 << 27 else "unreadable"
    raise SoundError(kind, "it is no file of frames: its length is not what it says")
