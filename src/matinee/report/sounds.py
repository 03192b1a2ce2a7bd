"""Sounds as players: recordings at addresses that need no file, each under a picture of it."""

from __future__ import annotations

import base64
import io
import wave
from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np

from matinee.core.pieces import Sound
from matinee.report.pictures import LONGEST_SIDE, address, lines, to_image
from matinee.report.words import plural, safe

MOST_SOUNDS = 60
LONGEST = 12.0  # seconds of each that can be heard: a page stays small enough to be sent
WIDE = 2.5  # times as wide as high: such a picture has a row of its own, so that what is written in it can be read
WIDEST = 1100  # pixels of such a picture
SAFE_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)  # those that MP3 knows


def sounds(pieces: Sequence[Sound]) -> str:
    """Players in a grid that fits the width there is."""
    items = "".join(_player(piece) for piece in pieces[:MOST_SOUNDS])
    left = len(pieces) - MOST_SOUNDS
    more = f'<p class="nothing">{plural(left, "more sound")} left out.</p>' if left > 0 else ""
    return f'<figure class="gallery"><ul class="pictures photographs sounds">{items}</ul>{more}</figure>'


def _player(piece: Sound) -> str:
    words = safe(piece.words, 1000)
    drawn, item = "", "<li>"
    high, across = (0, 0) if piece.picture is None else piece.picture.shape[:2]
    is_wide = across > WIDE * high
    longest = WIDEST if is_wide else LONGEST_SIDE
    if piece.picture is not None and (image := to_image(piece.picture, longest)) is not None:
        width, height = image.size
        item = '<li class="wide">' if is_wide else item
        drawn = f'<img src="{address(image)}" width="{width}" height="{height}" alt="spectrogram: {words}">'
    samples = np.asarray(piece.samples).reshape(-1)
    if not samples.size or not piece.rate > 0:
        return f'{item}{drawn}<p class="nothing">No sound to play.</p><p>{words}</p></li>'
    kept = samples[: round(LONGEST * piece.rate)].astype(np.int16)
    player = f'<audio controls preload="none" aria-label="{words}" src="{_address(kept, piece.rate)}"></audio>'
    return f"{item}{drawn}{player}<p>{words}</p>{lines(piece.below)}</li>"


def _address(samples: np.ndarray[tuple[int], np.dtype[np.int16]], rate: int) -> str:
    """A data: address: MP3 where the package soundfile is there, an eighth of the size of the WAV that it is else."""
    bytes_ = io.BytesIO()
    if rate in SAFE_RATES and find_spec("soundfile") is not None:
        import soundfile

        soundfile.write(bytes_, samples, rate, format="MP3")
        return f"data:audio/mpeg;base64,{base64.b64encode(bytes_.getvalue()).decode('ascii')}"
    with wave.open(bytes_, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(int(rate))
        file.writeframes(samples.astype("<i2").tobytes())
    return f"data:audio/wav;base64,{base64.b64encode(bytes_.getvalue()).decode('ascii')}"
