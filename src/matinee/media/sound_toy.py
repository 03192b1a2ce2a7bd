"""Sounds made up on the spot."""

from __future__ import annotations

import numpy as np

from matinee.core.examples import Array


def tones(seed: int, count: int = 480, rate: int = 4000) -> tuple[list[Array], Array]:
    """int16 sounds of 0.12 to 0.2 s: a low tone, a high one, one that rises, noise; and their kinds, int64 (count,)."""
    generator = np.random.default_rng(seed)
    kinds, found = np.arange(count, dtype=np.int64) % 4, []
    for kind in kinds:
        moments = np.arange(generator.integers(480, 801)) / rate
        start, end = ((300, 300), (1200, 1200), (300, 1200), (0, 0))[int(kind)]
        pitch = generator.uniform(0.9, 1.1) * (start + (end - start) * moments / moments[-1])
        wave = np.sin(2 * np.pi * np.cumsum(pitch) / rate + generator.uniform(0, 6))
        wave += generator.normal(0, 1.0 if kind == 3 else 0.1, len(moments))
        found.append((wave * generator.uniform(2000, 8000)).clip(-32768, 32767).astype(np.int16))
    return found, kinds
