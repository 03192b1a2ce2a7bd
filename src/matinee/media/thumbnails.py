"""Small grey versions of pictures: what near duplicates share, and whether mirroring a picture is harmless."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

SIDE = 16  # pixels of a thumbnail
CHUNK = 2048  # pictures at a time
ENOUGH = 2000  # pictures that the mirror test looks at
FLAT = 2.0  # grey levels: a thumbnail that deviates less from its mean shows nothing to compare


def thumbnails(pictures: Array, rows: Array, within: Array | None = None) -> Array:
    """Grey thumbnails, float32 (rows, 16, 16) or smaller where the pictures are, of uint8 (n, h, w, c) pictures.

    within: int (n, 2) width and height of what is seen of each, in its upper left corner; the rest is paper. The
    thumbnails are then of that, 16 x 16 always: the paper tells nothing of a picture but its shape.
    """
    if within is not None:
        return _seen(pictures, rows, within)
    height, width = pictures.shape[1:3]
    down, across = _means(height, min(SIDE, height)), _means(width, min(SIDE, width))
    small = np.empty((len(rows), len(down), len(across)), np.float32)
    for start in range(0, len(rows), CHUNK):
        part = pictures[rows[start : start + CHUNK]]
        # One pass per channel is several times faster than numpy's mean over a short last axis.
        grey = sum(part[..., c].astype(np.float32) for c in range(part.shape[3])) / part.shape[3]
        small[start : start + CHUNK] = down @ grey @ across.T
    return small


def _seen(pictures: Array, rows: Array, within: Array) -> Array:
    small = np.empty((len(rows), SIDE, SIDE), np.float32)
    sizes, kind = np.unique(within[rows], axis=0, return_inverse=True)
    order = np.argsort(kind.ravel(), kind="stable")
    for (width, height), places in zip(
        sizes.tolist(), np.split(order, np.cumsum(np.bincount(kind.ravel()))[:-1]), strict=True
    ):
        down, across = _means(height, SIDE), _means(width, SIDE)
        for start in range(0, len(places), CHUNK):
            some = places[start : start + CHUNK]
            part = pictures[rows[some], :height, :width]
            grey = sum(part[..., c].astype(np.float32) for c in range(part.shape[3])) / part.shape[3]
            small[some] = down @ grey @ across.T
    return small


def _means(length: int, side: int) -> Array:
    """(side, length) weights that average neighbouring pixels."""
    edges = np.linspace(0, length, side + 1)
    pixels = np.arange(length)
    covered = np.minimum(pixels + 1, edges[1:, None]) - np.maximum(pixels, edges[:-1, None])
    weights = np.clip(covered, 0, None)
    means: Array = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    return means


def thumbnail_prints(pictures: Array, rows: Array, within: Array | None = None) -> Array:
    """Unit vectors (rows, pixels): thumbnails without their mean brightness and contrast; zeros where nothing shows.

    within: as for `thumbnails`.
    """
    small = thumbnails(pictures, rows, within).reshape(len(rows), -1)
    small -= small.mean(1, keepdims=True)
    length = np.linalg.norm(small, axis=1, keepdims=True)
    flat = length[:, 0] < FLAT * np.sqrt(small.shape[1])
    small /= np.maximum(length, 1e-9)
    small[flat] = 0
    return small


def mirror_safe(pictures: Array, rows: Array, labels: Array, seed: int = 0) -> bool:
    """Whether a picture keeps its label when it is mirrored, as far as a linear classifier of thumbnails can tell.

    A ridge regression learns one half of the pictures and is asked about the other half, straight and mirrored. Faces
    and cars are found as well mirrored as straight; letters, digits and arrows are not. Where it learns nothing, as
    with a few photographs, colour decides: coloured pictures are nearly always photographs.
    """
    generator = np.random.default_rng(seed)
    rows_labels = np.arange(len(rows))
    if len(rows) > ENOUGH:
        rows_labels = generator.choice(len(rows), ENOUGH, replace=False)
    generator.shuffle(rows_labels)
    small = thumbnails(pictures, rows[rows_labels])
    truth = labels[rows_labels]
    half = len(truth) // 2
    names = np.unique(truth)
    if half < 2 or len(names) < 2:
        return bool(pictures.shape[3] == 3)
    straight, mirrored, chance = 0.0, 0.0, float((truth[half:] == _most_common(truth[:half])).mean())
    for first, second in ((slice(0, half), slice(half, None)), (slice(half, None), slice(0, half))):
        weights = _ridge(_features(small[first]), truth[first][:, None] == names)
        straight += float((names[(_features(small[second]) @ weights).argmax(1)] == truth[second]).mean()) / 2
        mirrored += (
            float((names[(_features(small[second][:, :, ::-1]) @ weights).argmax(1)] == truth[second]).mean()) / 2
        )
    learned = straight - chance
    if learned < 0.1:
        return bool(pictures.shape[3] == 3)
    return mirrored - chance >= 0.7 * learned


def knows_up(pictures: Array, rows: Array, within: Array | None = None, seed: int = 0) -> bool:
    """Whether a linear classifier of thumbnails can tell pictures from the same ones upside down.

    within: as for `thumbnails`; paper below a picture would give away which side is up.

    Streets and portraits have an up; cells under a microscope and land from above have none, and show as much turned
    over. With too few pictures to tell, they have one.
    """
    some = np.random.default_rng(seed).permutation(rows)[:ENOUGH]
    if len(some) < 20:
        return True
    small = thumbnails(pictures, some, within)
    truth = np.repeat([False, True], len(some))
    half = np.tile(np.arange(len(some)) % 2 == 0, 2)
    both = _features(np.concatenate((small, small[:, ::-1])))
    right = 0
    for here in (half, ~half):
        weights = _ridge(both[here], np.stack((~truth[here], truth[here]), 1))
        right += int(((both[~here] @ weights).argmax(1) == truth[~here]).sum())
    # Chance is half; two standard errors beside it are still chance.
    return bool(right / len(truth) > 0.55 + 1.0 / np.sqrt(len(truth)))


def _most_common(labels: Array) -> Any:
    names, counts = np.unique(labels, return_counts=True)
    return names[counts.argmax()]


def _features(small: Array) -> Array:
    flat = small.reshape(len(small), -1)
    flat = flat - flat.mean(1, keepdims=True)
    flat = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
    return np.concatenate((flat, np.ones((len(flat), 1), np.float32)), 1)


def _ridge(features: Array, targets: Array, penalty: float = 0.03) -> Array:
    gram = features.T @ features + penalty * np.eye(features.shape[1], dtype=np.float32)
    weights: Array = np.linalg.solve(gram, features.T @ targets.astype(np.float32))
    return weights
