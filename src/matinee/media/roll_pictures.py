"""Pictures of piano rolls: time to the right, pitch upwards, a line for every C."""

from __future__ import annotations

from typing import Final

import numpy as np

from matinee.core.examples import Array
from matinee.media.piano_rolls import KEYS, LOWEST, STRUCK, sounding

WIDTH: Final = 320
"""Pixels: as wide as the report draws."""
HEIGHT: Final = 4
"""Pixels of a key."""
PAPER, LINE, BLACK = (250, 250, 247), (214, 214, 208), (240, 240, 236)
PLAIN, SURPRISING, GIVEN = (38, 96, 158), (206, 64, 24), (120, 120, 120)
BLACK_KEYS: Final = (1, 3, 6, 8, 10)
SURE, LOST = 1.0, 12.0
"""Nats of a frame that is drawn in the plain colour, and of one in the surprising one."""


def roll_picture(cells: Array, nats: Array | None = None, given: Array | None = None) -> Array:
    """Uint8 (height, width, 3) of a roll (frames, 88), as much of its beginning as there is room for.

    nats (frames,): how surprising each frame was, from blue to red. given, bool (frames, 88): cells drawn in grey.
    """
    cells = cells[: WIDTH // 2]
    across = max(2, min(8, WIDTH // max(1, len(cells))))
    there = sounding(cells)
    used = np.flatnonzero(there.any(0))
    low, high = (max(0, used[0] - 2), min(KEYS, used[-1] + 3)) if len(used) else (27, 63)
    picture = np.empty((high - low, len(cells), 3), np.uint8)
    picture[:] = PAPER
    classes = (np.arange(low, high) + LOWEST) % 12
    picture[np.isin(classes, BLACK_KEYS)] = BLACK
    share = np.zeros(len(cells)) if nats is None else np.clip((nats[: len(cells)] - SURE) / (LOST - SURE), 0, 1)
    colours = np.asarray(PLAIN) + share[:, None] * (np.asarray(SURPRISING) - np.asarray(PLAIN))
    across_time, keys = np.nonzero(there[:, low:high])
    picture[keys, across_time] = colours[across_time].astype(np.uint8)
    if given is not None:
        across_time, keys = np.nonzero((there & given[: len(cells)])[:, low:high])
        picture[keys, across_time] = GIVEN
    large = picture[::-1].repeat(HEIGHT, 0).repeat(across, 1)
    large[HEIGHT * (high - low) - 1 - HEIGHT * np.flatnonzero(classes == 0)] = LINE
    # A gap before each note that begins tells it from one that is held.
    begins = there & ~np.concatenate((np.zeros((1, KEYS), bool), there[:-1])) | (cells == STRUCK) & _tells_holds(cells)
    for frame, key in zip(*np.nonzero(begins[:, low:high]), strict=True):
        top = HEIGHT * (high - low - 1 - int(key))
        large[top : top + HEIGHT, across * int(frame)] = PAPER
    return large


def _tells_holds(cells: Array) -> bool:
    return bool((cells == STRUCK + 1).any())
