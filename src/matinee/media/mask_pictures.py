"""Masks as pictures: laid over photographs in the colours of their classes, and as PNG files with a palette."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from matinee.core.pieces import Gallery, Picture
from matinee.media.mask_classes import VOID
from matinee.media.mask_files import shrunk, upright_size
from matinee.media.pictures import PictureError, decode, read_bytes

STRENGTH = 0.55  # of the class's colour over the photograph
LINES = 256  # of a photograph that are drawn over together
Array = np.ndarray[Any, Any]


def palette_of(colours: Sequence[str]) -> Array:
    """uint8 (256, 3): the colour of each class; black where there is no class."""
    palette = np.zeros((256, 3), np.uint8)
    for number, colour in enumerate(colours[:VOID]):
        palette[number] = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    return palette


def overlay(pixels: Array, mask: Array, colours: Sequence[str]) -> Array:
    """A photograph uint8 (height, width, 1 or 3) with the colours of its classes over it."""
    drawn = np.empty((*mask.shape, 3), np.uint8)
    shown = palette_of(colours) * np.float32(STRENGTH)
    for top in range(0, len(mask), LINES):  # else a large photograph would be held four times as floats
        part, numbers = pixels[top : top + LINES].astype(np.float32), mask[top : top + LINES]
        laid = part * (1 - STRENGTH) + shown[numbers]
        drawn[top : top + LINES] = np.where((numbers == VOID)[..., None], part, laid).round()
    return drawn


def mistakes(pixels: Array, answer: Array, truth: Array) -> Array:
    """The photograph, paler, with every pixel red whose class was not found; those without a class stay pale."""
    pale = 160 + pixels.astype(np.float32).mean(2, keepdims=True).repeat(3, 2) * 0.35
    wrong = (answer != truth) & (truth != VOID)
    pale[wrong] = (200, 30, 30)
    drawn: Array = pale.clip(0, 255).astype(np.uint8)
    return drawn


def legend(classes: Sequence[str], colours: Sequence[str]) -> Gallery:
    """A field of colour for each class."""
    palette = palette_of(colours)
    fields = [Picture(np.full((24, 48, 3), palette[place], np.uint8), name) for place, name in enumerate(classes)]
    return Gallery(fields, "What the colours of masks mean")


def compared(pixels: Array, answer: Array, truth: Array, colours: Sequence[str]) -> Gallery:
    """The picture with the mask that was found, with the true one, and with what differs in red."""
    wrong = 100 * ((answer != truth) & (truth != VOID)).mean()
    told = (
        Picture(overlay(pixels, answer, colours), "found"), Picture(overlay(pixels, truth, colours), "truth"),
        Picture(mistakes(pixels, answer, truth), f"{wrong:.1f} % of the pixels differ (red)"),
    )  # fmt: skip
    return Gallery(told)


def in_words(mask: Array, classes: Sequence[str], colours: Sequence[str]) -> dict[str, Any]:
    """A mask uint8 (height, width) as JSON: the share of each class in it, the largest first, its size, and itself.

    The mask is a PNG in base64, in which the number of a pixel is its class.
    """
    counts = np.bincount(mask.ravel(), minlength=len(classes))
    order = [place for place in np.argsort(-counts, kind="stable").tolist() if counts[place]]
    told = {classes[place]: round(int(counts[place]) / mask.size, 6) for place in order}
    png = base64.b64encode(as_png(mask, colours)).decode("ascii")
    return {"shares": told, "width": mask.shape[1], "height": mask.shape[0], "mask": png}


def as_png(mask: Array, colours: Sequence[str]) -> bytes:
    """A mask uint8 (height, width) as a PNG with a palette: the number of a pixel is its class."""
    image = Image.fromarray(mask)
    image.putpalette(palette_of(colours)[: len(colours)].tobytes())
    return _written(image, "PNG")


def written(answer: Mapping[str, Any], colours: Sequence[str], pixel_limit: int) -> dict[str, bytes]:
    """The files of an answer: ".png", its mask, and ".overlay.jpg", its picture with the mask over it.

    Both have the size of the picture itself where that can still be read from where the answer says that it lies, else
    there is the mask alone, as it was learned.
    """
    mask = np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["mask"])), formats=["PNG"]))
    try:
        raw = read_bytes(str(answer.get("file", "")))
        height, width = upright_size(raw, pixel_limit)
        pixels = decode(raw, (height, width, 3), pixel_limit)
    except PictureError:
        return {".png": as_png(mask, colours)}
    mask = shrunk(mask, (height, width))
    drawn = _written(Image.fromarray(overlay(pixels, mask, colours)), "JPEG")
    return {".png": as_png(mask, colours), ".overlay.jpg": drawn}


def _written(image: Image.Image, form: str) -> bytes:
    file = io.BytesIO()
    image.save(file, form, quality=90, compress_level=3)  # of JPEG, of PNG
    return file.getvalue()
