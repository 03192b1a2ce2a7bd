"""The shape in which the pictures of a source are stored, chosen from the headers of a sample of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from matinee.media.decoding import Job, Reader
from matinee.media.pictures import BROKEN, GREY_MODES, PictureError, Quiet, open_picture, orientation

SAMPLE = 512
SAMPLE_BYTES = 256 * 1024 * 1024  # headers of photographs are read with the whole file
SMALL = 96  # pictures up to this shorter side are kept as they are, where all have one size


def choose_shape(job: Job, wanted: tuple[int, int, int], longest: int) -> tuple[int, int, int]:
    """(height, width, channels) for the files of a job; what `wanted` says already (not 0) is kept.

    Headers of up to SAMPLE files, spread evenly, are read. All of one size: that size where its shorter side is at most
    SMALL or `longest`. Otherwise the median aspect ratio, square where the ratios differ much, and a shorter side of at
    most `longest`, sides multiples of 4.
    """
    if all(wanted):
        return wanted
    sizes, grey = sample(job)
    height, width = wanted[:2] if wanted[0] else choose_size(sizes, longest)
    return height, width, wanted[2] or (1 if grey else 3)


def choose_size(sizes: Sequence[tuple[int, int]], longest: int) -> tuple[int, int]:
    """(height, width) to store for pictures of these sizes (width, height), as `choose_shape` says."""
    if not sizes:
        return 32, 32  # nothing could be read: the shape does not matter
    table = np.array(sizes, dtype=np.float64)
    shorter = float(np.median(table.min(axis=1)))
    ratios = table[:, 0] / table[:, 1]
    ratio = float(np.median(ratios))
    if bool((table == table[0]).all()) and shorter <= max(SMALL, longest) and 0.5 <= ratio <= 2.0:
        return int(table[0, 1]), int(table[0, 0])
    low, high = np.quantile(ratios, (0.1, 0.9))
    ratio = 1.0 if high > 1.5 * low else min(max(ratio, 0.5), 2.0)
    side = min(shorter, float(longest))
    height, width = (side, side * ratio) if ratio >= 1.0 else (side / ratio, side)
    return _to_fours(height), _to_fours(width)


def _to_fours(side: float) -> int:
    return max(4, 4 * round(side / 4))


def sample(job: Job) -> tuple[list[tuple[int, int]], bool]:
    """Sizes (width, height), upright, of up to SAMPLE files that can be read, and whether all of them are grey."""
    count = len(job.names)
    sizes: list[tuple[int, int]] = []
    grey = True
    total = 0
    order = np.unique(np.linspace(0, count - 1, min(count, SAMPLE)).astype(np.int64)).tolist()
    reader = Reader(job)
    try:
        with Quiet():
            for row in order:
                if total > SAMPLE_BYTES and len(sizes) >= 32:
                    break
                try:
                    raw = reader.read(row)
                    total += len(raw)
                    image = open_picture(raw, job.pixel_limit)
                    size = image.size if orientation(image) < 5 or image.format == "TIFF" else image.size[::-1]
                    grey = grey and _is_grey(image)
                    sizes.append(size)
                except (PictureError, *BROKEN):
                    continue  # decoding will say what is wrong with it
    finally:
        reader.close()
    return sizes, grey and bool(sizes)


def _is_grey(image: Image.Image) -> bool:
    if image.mode != "P":
        return image.mode in GREY_MODES
    palette = image.getpalette() or [0, 0, 1]
    return palette[0::3] == palette[1::3] == palette[2::3]
