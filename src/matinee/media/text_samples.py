"""Texts made up on the spot."""

from __future__ import annotations

import numpy as np

from matinee.core.examples import Array


def topics(seed: int, count: int = 480) -> tuple[list[str], Array]:
    """Sentences of three kinds, each with words of its own among common ones, and their kinds, int64 (count,)."""
    generator = np.random.default_rng(seed)
    own = (("goal", "match", "team"), ("stock", "bank", "price"), ("virus", "cell", "gene"))
    usual = ["the", "a", "of", "and", "was", "is", "new", "today", "old", "said"]
    kinds, found = np.arange(count, dtype=np.int64) % 3, []
    for kind in kinds:
        sentence = list(generator.choice(usual, generator.integers(4, 12)))
        for word in generator.choice(own[int(kind)], 2):
            sentence.insert(int(generator.integers(len(sentence))), str(word))
        found.append(" ".join(sentence))
    return found, kinds
