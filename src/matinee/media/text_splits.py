"""Texts divided among training, validation and test, near copies together; remembered for the next time."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

import numpy as np

from matinee.core.examples import Array, Ragged
from matinee.core.splits import Splits, divide, remembered


def divided(
    splits: Splits, ids: Ragged, how: str, alike: Callable[[Array], list[Array]], shares: tuple[float, float, int]
) -> dict[str, Array]:
    """The rows of each part. how: all else that `alike` depends on, which groups rows that are near copies."""
    words = sha256(f"texts {how} {shares} ".encode())
    for part in (splits.rows, splits.labels, splits.named, ids.values, ids.offsets):
        words.update(np.ascontiguousarray(part).tobytes())
    return remembered(words.hexdigest()[:40], lambda: divide(splits, alike, shares))
