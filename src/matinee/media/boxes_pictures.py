"""Pictures with boxes drawn on them, for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from matinee.core.pieces import Picture

Array = np.ndarray[Any, Any]

COLOURS = (
    (230, 60, 50), (40, 120, 220), (30, 160, 80), (240, 160, 20), (150, 70, 200), (0, 170, 180), (220, 80, 160),
    (130, 110, 40),
)  # fmt: skip
TRUE = (255, 255, 255)
LEAST_SIDE = 320  # pixels: smaller pictures are enlarged, so that lines and words can be told


@dataclass(frozen=True)
class Drawn:
    """A box (left, top, right, bottom) in pixels of the picture it is drawn on, its class number, words beside it."""

    box: tuple[float, float, float, float]
    kind: int
    words: str = ""


def shown(inputs: Array, found: Array, true: tuple[Array, Array] | None, classes: Sequence[str]) -> list[Picture]:
    """Pictures with their boxes, and how many of each class under them.

    Args:
        inputs: float32 (n, height, width, channels + 1), pixels from 0 to 1 and the plane of scale.
        found: (n, k, 6) left, top, right, bottom in the picture's own pixels, probability, class + 1 (0: none).
        true: (n, m, 4) and (n, m) class + 1; other numbers are not drawn.
    """
    pictures = []
    for place, picture in enumerate(inputs):
        plane = picture[..., -1]
        scale = max(float(plane.max()), 1e-6)
        seen = picture[: int((plane > 0).any(1).sum()), : int((plane > 0).any(0).sum()), :-1]
        pixels = np.rint(seen.clip(0, 1) * 255).astype(np.uint8)
        told = [
            Drawn(tuple((row[:4] / scale).tolist()), int(row[5]) - 1, f"{classes[int(row[5]) - 1]} {row[4]:.2f}")
            for row in found[place]
            if row[5] > 0
        ]
        known = zip(*(part[place] for part in true), strict=True) if true is not None else ()
        marked = [Drawn(tuple((box / scale).tolist()), int(kind) - 1) for box, kind in known if kind > 0]
        numbers = np.bincount([each.kind for each in told], minlength=len(classes))
        words = [f"{number} {name}" for number, name in zip(numbers, classes, strict=True) if number]
        pictures.append(Picture(draw(pixels, told, marked), ", ".join(words) or "nothing found"))
    return pictures


def draw(pixels: Array, found: Sequence[Drawn], true: Sequence[Drawn] = ()) -> Array:
    """uint8 (height, width, 1 or 3) with the found boxes in the colours of their classes, true ones white and broken.

    Small pictures come back enlarged by a whole number.
    """
    factor = max(1, round(LEAST_SIDE / max(pixels.shape[:2])))
    colour = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
    image = Image.fromarray(np.ascontiguousarray(colour.repeat(factor, 0).repeat(factor, 1)))
    pen = ImageDraw.Draw(image)
    for each in true:
        _broken(pen, [side * factor for side in each.box])
    for each in found:
        left, top, right, bottom = (side * factor for side in each.box)
        shade = COLOURS[each.kind % len(COLOURS)]
        pen.rectangle((left, top, max(left, right), max(top, bottom)), outline=shade, width=2)
        if each.words:
            at = (left + 2, max(0, top - 11))
            pen.rectangle(pen.textbbox(at, each.words), fill=shade)
            pen.text(at, each.words, fill=(255, 255, 255))
    return np.asarray(image)


def _broken(pen: ImageDraw.ImageDraw, box: Sequence[float]) -> None:
    """A rectangle of dashes, black under white, so that it shows on any ground."""
    left, top, right, bottom = box
    for start, end in (
        ((left, top), (right, top)), ((left, bottom), (right, bottom)),
        ((left, top), (left, bottom)), ((right, top), (right, bottom)),
    ):  # fmt: skip
        pen.line((*start, *end), fill=(0, 0, 0), width=1)
        length = max(1.0, abs(end[0] - start[0]) + abs(end[1] - start[1]))
        for at in np.arange(0, length, 8):
            share, until = at / length, min(1.0, (at + 4) / length)
            first = [s + (e - s) * share for s, e in zip(start, end, strict=True)]
            second = [s + (e - s) * until for s, e in zip(start, end, strict=True)]
            pen.line((*first, *second), fill=TRUE, width=1)
