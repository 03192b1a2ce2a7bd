"""Films as data: an animated GIF at an address that needs no file."""

from __future__ import annotations

import base64
import io

from PIL import Image

from matinee.core.pieces import Film
from matinee.report.pictures import SMALL_SIDE, to_image
from matinee.report.words import safe

MOST_FRAMES = 150
COLOURS = 64


def film(piece: Film) -> str:
    """The film as a figure; it repeats."""
    frames = [image for frame in piece.frames[:MOST_FRAMES] if (image := to_image(frame)) is not None]
    words = safe(piece.words, 1000)
    if not frames:
        return (
            f'<figure class="gallery"><figcaption>{words}</figcaption><p class="nothing">No film to show.</p></figure>'
        )
    width, height = frames[0].size
    small = ' class="crisp"' if max(width, height) <= SMALL_SIDE else ""
    drawn = f'<img{small} src="{_address(frames, piece.per_second)}" width="{width}" height="{height}" alt="{words}">'
    return (
        f'<figure class="gallery"><ul class="pictures photographs"><li><div class="frame">{drawn}</div>'
        f"<p>{words}</p></li></ul></figure>"
    )


def _address(frames: list[Image.Image], per_second: float) -> str:
    """The frames as a GIF in a data: address, the last one shown for a second."""
    size = frames[0].size
    small = [image.convert("RGB").resize(size).quantize(COLOURS, dither=Image.Dither.NONE) for image in frames]
    pause = round(1000 / max(1.0, per_second))
    bytes_ = io.BytesIO()
    pauses = [pause] * (len(small) - 1) + [1000]
    small[0].save(bytes_, "GIF", save_all=True, append_images=small[1:], duration=pauses, loop=0, optimize=False)
    return f"data:image/gif;base64,{base64.b64encode(bytes_.getvalue()).decode('ascii')}"
