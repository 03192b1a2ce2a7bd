"""Pictures of attention: which words of a source a network looked at for each word it wrote."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from matinee.core.examples import Array
from matinee.core.pieces import Gallery, Picture, Piece, Table

CELL, MOST = 18, 40  # pixels of a weight; pieces on a side
DRAWABLE = "~"  # the last letter that Pillow's own font surely has: none with a mark on it


def attention_piece(source: Sequence[str], written: Sequence[str], weights: Array, words: str) -> Piece:
    """A picture, rows: written pieces, columns: source pieces; a table where the font lacks the letters.

    weights: (written, source) from 0 to 1. words: what is said under it.
    """
    source, written = source[:MOST], written[:MOST]
    weights = weights[: len(written), : len(source)]
    if max("".join([*source, *written]), default="a") > DRAWABLE:
        rows: list[list[str | int]] = [
            [piece, *(round(100 * float(weight)) for weight in row)]
            for piece, row in zip(written, weights, strict=True)
        ]
        return Table(("", *source), rows, words)
    return Gallery([Picture(_drawn(source, written, weights))], words)


def _drawn(source: Sequence[str], written: Sequence[str], weights: Array) -> Array:
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(12)
    left = 8 + int(max((font.getlength(piece) for piece in written), default=0))
    top = 8 + int(max((font.getlength(piece) for piece in source), default=0))
    picture = Image.new("L", (left + CELL * len(source) + 4, top + CELL * len(written) + 4), 255)
    draw = ImageDraw.Draw(picture)
    for row, piece in enumerate(written):
        draw.text((2, top + CELL * row + 2), piece, 0, font)
    for column, piece in enumerate(source):
        label = Image.new("L", (top, CELL), 255)
        ImageDraw.Draw(label).text((2, 2), piece, 0, font)
        picture.paste(label.rotate(90, expand=True), (left + CELL * column, 0))
    for (row, column), weight in np.ndenumerate(weights):
        shade = 255 - round(255 * min(1.0, max(0.0, float(weight))))
        corner = left + CELL * column, top + CELL * row
        draw.rectangle((*corner, corner[0] + CELL - 2, corner[1] + CELL - 2), fill=shade, outline=225)
    return np.asarray(picture)
