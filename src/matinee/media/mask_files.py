"""One mask, from the bytes of a file to class numbers, and a picture stretched to a given size."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from matinee.media.mask_classes import VOID
from matinee.media.pictures import (
    BROKEN,
    PictureError,
    Pixels,
    Quiet,
    Raw,
    decode,
    explain,
    open_picture,
    orientation,
    read_bytes,
)

MOST_COLOURS = 64
"""A mask with more colours is a photograph, or was saved with loss."""
WHITE = 65_535  # of 16 bits
_GREY = ("L", "La", "LA", "1", "P", "I", "I;16", "I;16B", "I;16L")

Array = np.ndarray[Any, Any]


def mask_numbers(raw: bytes, colours: Sequence[str], pixel_limit: int) -> tuple[Pixels, int]:
    """The numbers of a mask, uint8 (height, width), and how many of its pixels have a colour that is in no list.

    Grey values and places in a palette are numbers as they are; white in a mask of black and white is 255. colours:
    "#rrggbb", the number of each is its place; pixels of other colours become VOID. Raises PictureError.
    """
    with Quiet():
        try:
            image = open_picture(raw, pixel_limit)
            if image.format in ("JPEG", "MPO"):
                raise PictureError("lossy", "a JPEG file: its compression mixes the numbers. Save masks as PNG")
            return _numbers(image, colours)
        except PictureError:
            raise
        except BROKEN as error:
            raise explain(raw, error) from error


def mask_colours(raw: bytes, pixel_limit: int) -> set[int] | None:
    """The colours of a mask, as red << 16 | green << 8 | blue; none where it is grey or has a palette.

    None where it is broken.
    """
    with Quiet():
        try:
            image = open_picture(raw, pixel_limit)
            if image.format in ("JPEG", "MPO"):
                return None
            if image.mode in _GREY:
                return set()
            codes = _codes(np.asarray(image.convert("RGB")))
        except (PictureError, *BROKEN):
            return None
    found = set(np.unique(codes).tolist())
    return set() if all(code % 0x10101 == 0 for code in found) else found


def _numbers(image: Image.Image, colours: Sequence[str]) -> tuple[Pixels, int]:
    if image.mode in ("L", "LA", "La"):
        grey = np.array(image.getchannel(0))
        if colours and all(int(colour[1:], 16) % 0x10101 == 0 for colour in colours):  # a list of grey colours
            places, unknown = _places(_codes(np.repeat(grey[..., None], 3, 2)), colours)
            if not unknown:
                return places, 0
        return grey, 0
    if image.mode == "1":
        return np.array(image).astype(np.uint8) * np.uint8(255), 0
    if image.mode == "P":
        numbers = np.array(image)
        palette = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
        used = np.unique(numbers)
        if colours and used[-1] < len(palette):
            places, unknown = _places(_codes(palette[used]), colours)
            if not unknown:  # else the palette is decoration, and the numbers are what is meant
                table = np.full(256, VOID, np.uint8)
                table[used] = places
                return table[numbers], 0
        return numbers, 0
    if image.mode.startswith("I"):
        wide = np.asarray(image)
        if wide.max() == WHITE and ((wide == 0) | (wide == WHITE)).all():
            return np.where(wide == WHITE, VOID, 0).astype(np.uint8), 0
        if wide.min() < 0 or wide.max() > VOID:
            raise PictureError("unreadable", f"numbers up to {wide.max()}: classes have numbers from 0 to {VOID}")
        return wide.astype(np.uint8), 0
    codes = _codes(np.asarray(image.convert("RGB")))
    if colours:
        return _places(codes, colours)
    if (codes % 0x10101 == 0).all():  # grey, saved as colours
        return (codes & 0xFF).astype(np.uint8), 0
    raise PictureError("unreadable", "a mask in colours where others are in numbers")


def _codes(pixels: Array) -> Array:
    """(..., 3) uint8 -> (...) int32."""
    wide = pixels.astype(np.int32)
    codes: Array = wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]
    return codes


def _places(codes: Array, colours: Sequence[str]) -> tuple[Pixels, int]:
    known = np.array([int(colour[1:], 16) for colour in colours])
    order = np.argsort(known, kind="stable")
    found = np.searchsorted(known[order], codes).clip(max=len(known) - 1)
    places = order[found].astype(np.uint8)
    strange = known[order][found] != codes
    places[strange] = VOID
    return places, int(strange.sum())


def shrunk(numbers: Pixels, size: tuple[int, int]) -> Pixels:
    """Numbers (h, w) at another size, each the one at the middle of its pixel."""
    height, width = size
    if numbers.shape == size:
        return numbers
    rows = ((np.arange(height) + 0.5) * numbers.shape[0] / height).astype(np.int64)
    columns = ((np.arange(width) + 0.5) * numbers.shape[1] / width).astype(np.int64)
    chosen: Pixels = numbers[rows[:, None], columns]
    return chosen


def upright_size(raw: Raw, pixel_limit: int) -> tuple[int, int]:
    """Height and width of a picture, turned as its EXIF notes say. Raises PictureError."""
    if isinstance(raw, np.ndarray):
        if raw.ndim < 2:
            raise PictureError("unreadable", f"an array of shape {raw.shape} is no picture")
        return raw.shape[0], raw.shape[1]
    with Quiet():
        try:
            image = open_picture(raw, pixel_limit) if isinstance(raw, bytes) else raw
            if not isinstance(image, Image.Image):
                raise PictureError("unreadable", f"{type(raw).__name__} is no picture")
            turned = orientation(image) >= 5 and image.format != "TIFF"
        except PictureError:
            raise
        except BROKEN as error:
            raise explain(raw, error) from error
    return (image.width, image.height) if turned else (image.height, image.width)


def stretched(raw: Raw, shape: tuple[int, int, int], pixel_limit: int) -> tuple[Pixels, tuple[int, int]]:
    """A picture as uint8 `shape` (height, width, channels), all of it, and its own height and width.

    Unlike `pictures.decode`, which cuts what does not fit: here every pixel has an answer. Raises PictureError.
    """
    if isinstance(raw, str | Path):
        raw = read_bytes(os.fspath(raw))
    height, width = size = upright_size(raw, pixel_limit)
    pixels = decode(raw, (height, width, shape[2]), pixel_limit)
    if size == shape[:2]:
        return pixels, size
    flat = Image.fromarray(pixels[:, :, 0] if shape[2] == 1 else pixels)
    flat = flat.resize((shape[1], shape[0]), Image.Resampling.BICUBIC, reducing_gap=3.0)
    return np.asarray(flat, np.uint8).reshape(shape), size


def own_size(raw: Raw, pixel_limit: int) -> tuple[int, int] | None:
    """Height and width of a file (its path or bytes) or picture, upright; None where it can no longer be read."""
    try:
        return upright_size(read_bytes(os.fspath(raw)) if isinstance(raw, str | Path) else raw, pixel_limit)
    except PictureError:
        return None


def whole(raw: Raw, channels: int, pixel_limit: int) -> Pixels:
    """A picture as uint8 (height, width, channels), upright and of its own size. Raises PictureError."""
    if isinstance(raw, str | Path):
        raw = read_bytes(os.fspath(raw))
    return decode(raw, (*upright_size(raw, pixel_limit), channels), pixel_limit)


def stretched_many(
    raws: Sequence[Raw], shape: tuple[int, int, int], pixel_limit: int
) -> tuple[Pixels, dict[int, PictureError]]:
    """uint8 (pictures that can be read, *shape), in order, and by their places what is wrong with the others."""
    pixels = np.empty((len(raws), *shape), np.uint8)
    errors: dict[int, PictureError] = {}
    for place, raw in enumerate(raws):
        try:
            pixels[place - len(errors)] = stretched(raw, shape, pixel_limit)[0]
        except PictureError as error:
            errors[place] = error
    return pixels[: len(raws) - len(errors)], errors
