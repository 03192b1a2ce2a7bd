"""The pictures that a person wants answers for: many at once, each with its own fate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from matinee.media.pictures import PictureError, Pixels, Raw, Shape, decode


def decode_many(raws: Sequence[Raw], shape: Shape, pixel_limit: int) -> tuple[Pixels, dict[int, PictureError]]:
    """uint8 (pictures that can be read, *shape), in order, and by their places what is wrong with the others.

    One after the other: whoever has thousands calls this from several threads with a part for each.
    """
    pixels = np.empty((len(raws), *shape), dtype=np.uint8)
    errors: dict[int, PictureError] = {}
    for place, raw in enumerate(raws):
        try:
            pixels[place - len(errors)] = decode(raw, shape, pixel_limit)
        except PictureError as error:
            errors[place] = error
    return pixels[: len(raws) - len(errors)], errors
