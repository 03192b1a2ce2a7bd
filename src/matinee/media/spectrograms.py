"""Spectrograms as pictures, what speaks for an answer laid over them, and thumbnails that copies share."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from matinee.core.pieces import Sound

Array = np.ndarray[Any, Any]

RANGE: Final = 70.0
"""Decibels from the brightest to the darkest."""
TALL: Final = 128  # pixels of a picture, about
WIDE: Final = 256
_LOUDNESS: Final = ((0, 0, 4), (40, 11, 84), (101, 21, 110), (159, 42, 99), (212, 72, 66), (245, 125, 21),
                    (250, 193, 39), (252, 255, 164))  # fmt: skip
"""Dark to light, even steps for the eye, also in grey: eight points of the colours called inferno (van der Walt)."""


def drawn(spectrum: Array, weights: Array | None = None) -> Array:
    """uint8 (height, width, 3) of a log power spectrogram (bands, frames), low tones at the bottom.

    weights: (bands, frames) from 0 to 1, what spoke for the answer: where they are low, the picture is grey.
    """
    decibels = spectrum * (10 / np.log(10))
    light = np.clip((decibels - decibels.max(initial=-np.inf)) / RANGE + 1, 0, 1)
    points = np.linspace(0, 1, len(_LOUDNESS))
    colours = np.stack([np.interp(light, points, [p[c] for p in _LOUDNESS]) for c in range(3)], -1)
    if weights is not None:
        grey = (40 + 130 * light)[..., None]
        share = np.clip(weights, 0, 1)[..., None]
        colours = share * colours + (1 - share) * grey
    tall, wide = max(1, TALL // len(spectrum)), max(1, WIDE // max(1, spectrum.shape[1]))
    pixels: Array = np.rint(colours[::-1]).astype(np.uint8).repeat(tall, 0).repeat(wide, 1)
    return pixels


def piece(wave: Array, rate: int, spectrum: Array, words: str, weights: Array | None = None) -> Sound:
    """A player with its spectrogram, both without the silence behind. wave: float (samples,) from -1 to 1."""
    last = int(np.flatnonzero(wave)[-1]) + 1 if wave.any() else len(wave)
    frames = max(1, -(-spectrum.shape[1] * last // len(wave)))
    samples = np.rint(np.clip(wave[:last], -1, 1) * 32767).astype(np.int16)
    picture = drawn(spectrum[:, :frames], None if weights is None else weights[:, :frames])
    return Sound(samples, rate, words, picture)


def smoothed(values: Array) -> Array:
    """Absolute values (bands, frames), blurred over neighbours, from 0 to 1: the strongest hundredth are 1."""
    blurred = np.abs(values).astype(np.float64)
    for axis in (0, 1):
        padded = np.pad(blurred, [(2, 2) if a == axis else (0, 0) for a in (0, 1)], mode="edge")
        parts = [np.take(padded, np.arange(k, k + blurred.shape[axis]), axis) for k in range(5)]
        blurred = np.tensordot(np.array((1, 4, 6, 4, 1)) / 16, np.stack(parts), 1)
    strong = np.quantile(blurred, 0.99)
    clipped: Array = np.clip(blurred / max(float(strong), 1e-12), 0, 1)
    return clipped


SIDE: Final = 40  # bands and moments of a thumbnail, at most
LOWER: Final = 0.75  # share of the bands that are compared: above, a copy at another rate or in a codec has nothing
DEEP: Final = 6.9  # nepers, 30 dB: what is quieter against the loudest moment is all the same, as noise is
FLAT: Final = 0.25  # nepers: a thumbnail that deviates less from its mean has nothing to compare


def prints(spectra: Array) -> Array:
    """Unit vectors (sounds, features) float32 of log power (sounds, bands, frames): thumbnails less their mean.

    They forget how loud a sound was, quiet noise and the highest tones. Zeros where nothing shows.
    """
    lower = spectra[:, : max(1, round(LOWER * spectra.shape[1]))]
    relative = np.maximum(lower - lower.max((1, 2), keepdims=True), -DEEP)
    small = _means(relative.shape[1]) @ relative @ _means(relative.shape[2]).T
    flat = small.reshape(len(small), -1).astype(np.float32)
    flat -= flat.mean(1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    units: Array = np.where(length < FLAT * np.sqrt(flat.shape[1]), 0, flat / np.maximum(length, 1e-9))
    return units.astype(np.float32)


def _means(length: int) -> Array:
    """(SIDE or fewer, length): weights that average neighbours."""
    edges = np.linspace(0, length, min(SIDE, length) + 1)
    places = np.arange(length)
    covered = np.clip(np.minimum(places + 1, edges[1:, None]) - np.maximum(places, edges[:-1, None]), 0, None)
    means: Array = covered / covered.sum(1, keepdims=True)
    return means
