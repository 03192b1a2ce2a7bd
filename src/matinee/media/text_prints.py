"""Fingerprints of sequences: which pairs of neighbours they have, so that near duplicates can be found."""

from __future__ import annotations

import re
from collections.abc import Sequence
from zlib import crc32

import numpy as np

from matinee.core.examples import Array

BUCKETS = 256
NEAR = 0.97
"""Cosine from which on two texts are near duplicates: about one word in thirty differs."""


def word_numbers(text: str) -> Array:
    """The words of a text without case, as numbers that do not depend on a vocabulary."""
    return np.array([crc32(word.encode()) & 0x7FFFFFFF for word in re.findall(r"\w+", text.lower())], np.int64)


def prints_of(sequences: Sequence[Array]) -> Array:
    """Unit vectors (sequences, buckets), float32, of hashed pairs of neighbours; zeros for a sequence of nothing."""
    prints = np.zeros((len(sequences), BUCKETS), np.float32)
    for row, sequence in enumerate(sequences):
        numbers = sequence.astype(np.uint64)
        first = np.concatenate((np.zeros(1, np.uint64), numbers[:-1])) if len(numbers) else numbers
        mixed = (first * np.uint64(0x9E3779B97F4A7C15) + numbers) * np.uint64(0xBF58476D1CE4E5B9)
        places = (mixed >> np.uint64(56)).astype(np.int64)
        prints[row] = np.bincount(places, minlength=BUCKETS)
    lengths = np.linalg.norm(prints, axis=1, keepdims=True)
    units: Array = prints / np.maximum(lengths, 1e-9)
    return units
