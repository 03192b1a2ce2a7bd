"""Films as data: a strip of frames, or an animated GIF, at an address that needs no file."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image, ImageDraw

from matinee.core.pieces import Film
from matinee.report.pictures import SMALL_SIDE, to_image
from matinee.report.words import safe

MOST_FRAMES = 150
COLOURS = 64
STRIP = 8  # frames of a strip
BARS = ". Bars: how sure it was at each moment; orange: below 50 %"
BAND = 26  # pixels of height for what is told over time
SURE, UNSURE = (40, 120, 200), (217, 84, 20)  # as in confusion matrices: hits and errors


def film(piece: Film) -> str:
    """The film as a figure: a strip where something is told over time, otherwise a picture that moves, and repeats."""
    if len(piece.over_time):
        return _strip(piece)
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


def _strip(piece: Film) -> str:
    words = safe(piece.words, 1000)
    places = np.unique(np.linspace(0, len(piece.frames) - 1, min(STRIP, len(piece.frames))).round().astype(int))
    frames = [image.convert("RGB") for place in places if (image := to_image(piece.frames[place])) is not None]
    if not frames:
        return f'<figure class="gallery"><p class="nothing">No film to show.</p><p>{words}</p></figure>'
    wide, high = frames[0].size
    strip = Image.new("RGB", (len(frames) * (wide + 2) - 2, high + 2 + BAND), (128, 128, 128))
    for place, image in enumerate(frames):
        strip.paste(image.resize((wide, high)), (place * (wide + 2), 0))
    pen, step = ImageDraw.Draw(strip), strip.width / len(piece.over_time)
    pen.rectangle((0, high + 2, strip.width, strip.height), fill=(235, 235, 235))
    for place, share in enumerate(piece.over_time):
        left, right = round(place * step), max(round(place * step), round((place + 1) * step) - 2)
        top = strip.height - 1 - round(min(1.0, max(0.0, share)) * (BAND - 1))
        pen.rectangle((left, top, right, strip.height - 1), fill=SURE if share >= 0.5 else UNSURE)
    told = ", ".join(f"{100 * share:.0f} %" for share in piece.over_time)
    drawn = (
        f'<img src="{_photograph(strip)}" width="{strip.width}" height="{strip.height}" alt="{words}: {told}" '
        'style="max-width: 100%; height: auto; display: block">'
    )
    return f'<figure class="gallery"><figcaption>{words}{BARS}</figcaption>{drawn}</figure>'


def _photograph(image: Image.Image) -> str:
    """As JPEG in a data: address: a strip of frames is a tenth of its PNG."""
    bytes_ = io.BytesIO()
    image.save(bytes_, "JPEG", quality=88, subsampling=0, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(bytes_.getvalue()).decode('ascii')}"


def _address(frames: list[Image.Image], per_second: float) -> str:
    """The frames as a GIF in a data: address, the last one shown for a second."""
    size = frames[0].size
    small = [image.convert("RGB").resize(size).quantize(COLOURS, dither=Image.Dither.NONE) for image in frames]
    pause = round(1000 / max(1.0, per_second))
    bytes_ = io.BytesIO()
    pauses = [pause] * (len(small) - 1) + [1000]
    small[0].save(bytes_, "GIF", save_all=True, append_images=small[1:], duration=pauses, loop=0, optimize=False)
    return f"data:image/gif;base64,{base64.b64encode(bytes_.getvalue()).decode('ascii')}"
