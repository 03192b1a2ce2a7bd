"""What was heard, as a person can check it: the spectrum over time, the words below it, and a player."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from matinee.core.examples import Array
from matinee.core.pieces import Gallery, Picture, Piece, Sound
from matinee.media.attention_pictures import DRAWABLE
from matinee.media.spectrograms import drawn

WIDE: Final = (400, 1100)  # pixels of a picture, at least and at most
PER_SECOND: Final = 130  # pixels of a second, where that fits
TALL: Final = 96  # pixels of the spectrum
LINE: Final = 15  # pixels of a line of words


def heard_pieces(
    given: Sequence[Array], rate: int, spectra: Sequence[Array], answers: Sequence[Mapping[str, Any]], frame: float
) -> list[Piece]:
    """`heard_piece` of several. frame: seconds of one frame of the spectra."""
    every = zip(given, spectra, answers, strict=True)
    return [heard_piece(one, rate, spectrum, answer, spectrum.shape[1] * frame) for one, spectrum, answer in every]


def heard_piece(given: Array, rate: int, spectrum: Array, answer: Mapping[str, Any], seconds: float) -> Sound | Gallery:
    """A player with the spectrum and the words when they were said; a picture alone where there is no sound.

    given: waves (samples,) from -1 to 1, or frames. spectrum: (bands, frames) of so many seconds. answer: of `decode`,
    and under "truth" what was said, where that is known: both texts then stand below, in letters of any script.
    """
    pixels, words = with_words(spectrum, answer["words"], seconds), answer["text"] or "(nothing)"
    below = (f"told: {words}", f"in truth: {answer['truth']}") if "truth" in answer else ()
    if not rate:
        return Gallery([Picture(pixels, words, detailed=True, below=below)])
    samples = np.rint(np.clip(given[: round(seconds * rate)], -1, 1) * 32767).astype(np.int16)
    return Sound(samples, rate, words, pixels, below)


def with_words(spectrum: Array, words: Sequence[Mapping[str, Any]], seconds: float) -> Array:
    """uint8 (height, width, 3): the spectrum (bands, frames), and below it each word where it was said.

    Words that would cover each other stand in several lines. Those that Pillow's own font cannot draw are lines alone.
    """
    width = int(np.clip(PER_SECOND * seconds, *WIDE))
    picture = Image.fromarray(drawn(spectrum)).resize((width, TALL), Image.Resampling.BILINEAR)
    font = ImageFont.load_default(12)
    lines: list[float] = []
    placed = []
    for word in words:
        left = width * float(word["start"]) / max(seconds, 1e-6)
        written = str(word["word"]) if max(str(word["word"]), default="a") <= DRAWABLE else ""
        wide = font.getlength(written) + 6
        left = max(0.0, min(left, width - wide))
        line = next((number for number, end in enumerate(lines) if end <= left), len(lines))
        lines[line : line + 1] = [left + wide]
        placed.append((left, line, word, written))
    whole = Image.new("RGB", (width, TALL + LINE * max(1, len(lines)) + 3), "white")
    whole.paste(picture)
    pen = ImageDraw.Draw(whole)
    for left, line, word, written in placed:
        first, last = (width * float(word[name]) / max(seconds, 1e-6) for name in ("start", "end"))
        pen.line([(first, TALL), (last, TALL)], fill=(20, 90, 160), width=2)
        pen.line([(first, TALL - 6), (first, TALL + 2)], fill=(255, 255, 255), width=1)
        sure = float(word.get("confidence", 1.0))
        grey = round(150 * (1 - sure))
        pen.text((left + 1, TALL + 1 + LINE * line), written, fill=(grey, grey, grey), font=font)
    found: Array = np.asarray(whole)
    return found
