"""Pictures with boxes drawn on them, for people."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from matinee.core.pieces import Picture
from matinee.media.pictures import decode, decode_sized, read_bytes

Array = np.ndarray[Any, Any]

COLOURS = (
    (230, 60, 50), (40, 120, 220), (30, 160, 80), (240, 160, 20), (150, 70, 200), (0, 170, 180), (220, 80, 160),
    (130, 110, 40),
)  # fmt: skip
CALLED = ("", " wrong", " not counted")  # what is said of a found box: nothing where it is right
TRUE = (255, 255, 255)
WIDEST = 16_000  # pixels: larger pictures are written smaller; a JPEG can have four times as many
LEAST_SIDE = 480  # pixels: smaller pictures are enlarged, so that lines and words can be told


@dataclass(frozen=True)
class Drawn:
    """A box (left, top, right, bottom) in pixels of the picture it is drawn on, its class number, words beside it."""

    box: tuple[float, float, float, float]
    kind: int
    words: str = ""


def shown(
    inputs: Array, found: Array, called: Array, true: tuple[Array, Array, Array], classes: Sequence[str]
) -> list[Picture]:
    """Pictures with their boxes, and how many of each class under them.

    Args:
        inputs: float32 (n, height, width, channels + 1), pixels from 0 to 1 and the plane of scale.
        found: (n, k, 6) left, top, right, bottom in the picture's own pixels, probability, class + 1 (0: none).
        called: (n, k), places in CALLED.
        true: (n, m, 4) and (n, m) class + 1, of which others are not drawn, and bool (n, m), those that were missed.
    """
    pictures = []
    for place, picture in enumerate(inputs):
        plane = picture[..., -1]
        scale = max(float(plane.max()), 1e-6)
        seen = picture[: int((plane > 0).any(1).sum()), : int((plane > 0).any(0).sum()), :-1]
        pixels = np.rint(seen.clip(0, 1) * 255).astype(np.uint8)
        told = [
            Drawn(_sides(row, scale), int(row[5]) - 1, f"{classes[int(row[5]) - 1]} {row[4]:.2f}{CALLED[name]}")
            for row, name in zip(found[place], called[place], strict=True)
            if row[5] > 0
        ]
        known = [
            Drawn(_sides(box, scale), int(kind) - 1, f"{classes[int(kind) - 1]} missed" if gone else "")
            for box, kind, gone in zip(*(part[place] for part in true), strict=True)
            if kind > 0
        ]
        numbers = np.bincount([each.kind for each in told], minlength=len(classes))
        words = [f"{number} {name}" for number, name in zip(numbers, classes, strict=True) if number]
        pictures.append(Picture(draw(pixels, told, known), ", ".join(words) or "nothing found", True))
    return pictures


def _sides(row: Array, scale: float) -> tuple[float, float, float, float]:
    left, top, right, bottom = (row[:4] / scale).tolist()
    return left, top, right, bottom


def drawn_on(path: str, boxes: Sequence[Mapping[str, Any]], classes: Sequence[str], pixel_limit: int) -> bytes:
    """A picture in its own size, upright, with the boxes of an answer on it, as JPEG. Raises DataError."""
    raw = read_bytes(path)
    _, (width, height) = decode_sized(raw, (1, 1, 3), pixel_limit, whole=True)
    scale = max(1.0, max(width, height) / WIDEST)
    shape = max(1, round(height / scale)), max(1, round(width / scale)), 3
    image = Image.fromarray(decode(raw, shape, pixel_limit))
    place = {name: number for number, name in enumerate(classes)}
    told = [
        Drawn(_sides(np.array(each["box"]), scale), place[each["label"]], f"{each['label']} {each['probability']:.2f}")
        for each in boxes
    ]
    _mark(image, told, (), 1, max(1.0, max(shape) / 640))
    content = io.BytesIO()
    image.save(content, "JPEG", quality=90)
    return content.getvalue()


def draw(pixels: Array, found: Sequence[Drawn], true: Sequence[Drawn] = ()) -> Array:
    """uint8 (height, width, 1 or 3) with the found boxes in the colours of their classes, true ones white and broken.

    Small pictures come back enlarged by a whole number.
    """
    factor = max(1, math.ceil(LEAST_SIDE / max(pixels.shape[:2])))
    colour = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
    height, width = colour.shape[:2]
    image = Image.fromarray(np.ascontiguousarray(colour)).resize((factor * width, factor * height))
    _mark(image, found, true, factor, 1.0)
    return np.asarray(image)


def _mark(image: Image.Image, found: Sequence[Drawn], true: Sequence[Drawn], factor: int, size: float) -> None:
    """Draws on the picture, which is `factor` times as large as the boxes say; with size 1, lines are of 2 pixels."""
    pen, line = ImageDraw.Draw(image), max(1, round(2 * size))
    font = ImageFont.load_default(round(12 * size))
    for each in found:
        left, top, right, bottom = (side * factor for side in each.box)
        pen.rectangle((left, top, max(left, right), max(top, bottom)), outline=_shade(each), width=line)
    for each in true:
        _broken(pen, [side * factor for side in each.box])
    # Words last, so that no line goes through them; the likeliest of all, for it stands first.
    for each, shade in (*((one, (0, 0, 0)) for one in true), *((one, _shade(one)) for one in reversed(found))):
        if each.words:
            words = each.words.encode("latin-1", "backslashreplace").decode("latin-1")  # all that the font can write
            room = max(0.0, image.width - pen.textlength(words, font) - 1)
            at = (min(each.box[0] * factor, room), max(0.0, each.box[1] * factor - 14 * size))
            pen.rectangle(pen.textbbox(at, words, font), fill=shade)
            pen.text(at, words, (255, 255, 255), font)


def _shade(drawn: Drawn) -> tuple[int, int, int]:
    return COLOURS[drawn.kind % len(COLOURS)]


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
