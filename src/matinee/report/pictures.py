"""Pictures as data: addresses, and counts as a picture."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from matinee.core.pieces import Gallery, Picture
from matinee.report.words import plural, safe

MOST_PICTURES = 60
LONGEST_SIDE = 320
DETAILED_SIDE = 640
LONGEST_WORDS = 240
SMALL_SIDE = 96  # up to here a person wants to see the pixels the network saw, not a blur
LARGEST_PNG = 24_000

Pixels = np.ndarray[Any, Any]


def address(image: Image.Image) -> str:
    """The image as a data: address, PNG; a photograph whose PNG is large is stored as JPEG, a tenth of the size."""
    bytes_ = io.BytesIO()
    image.save(bytes_, "PNG", optimize=True)
    kind = "png"
    if len(bytes_.getvalue()) > LARGEST_PNG and image.mode in ("L", "RGB") and min(image.size) > SMALL_SIDE:
        bytes_ = io.BytesIO()
        image.save(bytes_, "JPEG", quality=86, optimize=True)
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(bytes_.getvalue()).decode('ascii')}"


def to_image(pixels: Pixels, longest: int = LONGEST_SIDE) -> Image.Image | None:
    """uint8 (height, width[, 1, 3 or 4]) as an image, its longer side at most that; None where it is none."""
    array = np.asarray(pixels)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.size == 0 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        return None
    if array.dtype != np.uint8:
        array = np.clip(np.nan_to_num(array.astype(np.float32)), 0, 255).astype(np.uint8)
    step = max(1, max(array.shape[:2]) // (4 * longest))  # a giant is thinned before it is resampled
    image = Image.fromarray(np.ascontiguousarray(array[::step, ::step]))
    if max(image.size) > longest:
        image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return image


def gallery(piece: Gallery) -> str:
    """Thumbnails in a grid that fits the width there is."""
    caption = f"<figcaption>{safe(piece.caption, 1000)}</figcaption>" if piece.caption else ""
    if not piece.pictures:
        return f'<figure class="gallery">{caption}<p class="nothing">No pictures to show.</p></figure>'
    items = "".join(_thumbnail(picture) for picture in piece.pictures[:MOST_PICTURES])
    large = any(max(np.shape(picture.pixels)[:2], default=0) > SMALL_SIDE for picture in piece.pictures)
    kind = "pictures photographs" if large else "pictures"
    kind += " detailed" * any(picture.detailed for picture in piece.pictures)
    left = len(piece.pictures) - MOST_PICTURES
    note = f'<p class="left-out">{plural(left, "more picture")} left out.</p>' if left > 0 else ""
    return f'<figure class="gallery">{caption}<ul class="{kind}">{items}</ul>{note}</figure>'


def _thumbnail(picture: Picture) -> str:
    words = safe(picture.words, LONGEST_WORDS)
    image = to_image(picture.pixels, DETAILED_SIDE if picture.detailed else LONGEST_SIDE)
    if image is None:
        return f'<li><div class="frame nothing">no picture</div><p>{words}</p></li>'
    small = ' class="crisp"' if max(image.size) <= SMALL_SIDE else ""
    width, height = image.size
    drawn = f'<img{small} src="{address(image)}" width="{width}" height="{height}" alt="{words or "picture"}">'
    return f'<li><div class="frame">{drawn}</div><p>{words}</p>{lines(picture.below)}</li>'


def lines(below: Sequence[str]) -> str:
    """Lines of text below a picture."""
    return "".join(f"<p>{safe(line, LONGEST_WORDS)}</p>" for line in below)


def heat(right: Pixels, wrong: Pixels) -> str:
    """Shares of hits and of errors, both (n, n) from 0 to 1, as a picture on a transparent ground."""
    picture = np.zeros((*right.shape, 4), np.uint8)
    # The square root makes one error in a hundred visible.
    for shares, colour in ((wrong, (217, 84, 20)), (right, (40, 120, 200))):
        mask = shares > 0
        picture[mask, :3] = colour
        picture[mask, 3] = np.round(40 + 215 * np.sqrt(shares[mask])).astype(np.uint8)
    return address(Image.fromarray(picture))
