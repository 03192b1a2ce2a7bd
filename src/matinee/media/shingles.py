"""Sketches of texts by their shingles (runs of tokens), so that near copies point the same way."""

from __future__ import annotations

import numpy as np

from matinee.core.examples import Array, Ragged

NUMBERS = 192
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_BLOCK = 4096


def sketches(ids: Ragged, rows: Array, orders: tuple[int, ...], aligned: bool = False) -> Array:
    """Unit vectors float32 (rows, 192): shingles of these lengths, hashed to places and signs (a count sketch).

    The cosine of two is about the share of shingles that two texts have in common. Ids below 1 are passed over. A text
    without any shingle gets zeros. aligned: each shingle counts with its place.
    """
    found = np.zeros((len(rows), NUMBERS), np.float32)
    for first in range(0, len(rows), _BLOCK):
        some = rows[first : first + _BLOCK]
        tokens = ids.padded(some).astype(np.int64)
        tokens[tokens < 0] = 0
        for order in orders:
            width = tokens.shape[1] - order + 1
            if width > 0:
                found[first : first + len(some)] += _sketch(tokens, order, width, aligned)
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    units: Array = found / np.maximum(lengths, 1e-9)
    return units


def _sketch(tokens: Array, order: int, width: int, aligned: bool) -> Array:
    codes = np.full((len(tokens), width), order, np.uint64)
    if aligned:
        codes += np.arange(width, dtype=np.uint64) * np.uint64(1009)
    for step in range(order):
        codes = (codes + tokens[:, step : step + width].astype(np.uint64)) * _FACTOR
        codes ^= codes >> np.uint64(29)
    there = tokens[:, order - 1 : order - 1 + width] > 0
    row, _ = np.nonzero(there)
    chosen = codes[there]
    places = row * NUMBERS + (chosen % np.uint64(NUMBERS)).astype(np.int64)
    sign = np.where((chosen >> np.uint64(40)) & np.uint64(1), 1.0, -1.0)
    summed: Array = np.bincount(places, sign, len(tokens) * NUMBERS).reshape(len(tokens), NUMBERS).astype(np.float32)
    return summed
