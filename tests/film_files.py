"""Films that tests write themselves: each frame says by its brightness when it is shown."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

CODECS = {
    ".mp4": "libx264",
    ".mov": "libx264",
    ".mkv": "libx264",
    ".avi": "mpeg4",
    ".webm": "libvpx-vp9",
    ".gif": "gif",
}


def frame(level: float, height: int = 48, width: int = 64) -> np.ndarray:
    """A picture of one brightness, its upper left quarter brighter by 40."""
    pixels = np.full((height, width, 3), level, np.float64)
    pixels[: height // 2, : width // 2] += 40
    return pixels.clip(0, 255).astype(np.uint8)


def write_film(
    path: Path,
    levels: Sequence[float],
    *,
    rate: int = 10,
    times: Sequence[float] | None = None,
    size: tuple[int, int] = (48, 64),
    options: dict[str, str] | None = None,
    keys: int = 12,
    preset: str = "ultrafast",
) -> Path:
    """A film of frames of these brightnesses; `times` in seconds makes its rate vary."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = CODECS[path.suffix.lower()]
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(kind, rate=rate)
        stream.height, stream.width = size
        stream.pix_fmt = "rgb8" if kind == "gif" else "yuv420p"
        if kind == "libx264":
            stream.options = {"preset": preset, "crf": "8", "g": str(keys)}
        stream.codec_context.time_base = Fraction(1, 1000) if times is not None else Fraction(1, rate)
        stream.codec_context.thread_count = 1
        for place, level in enumerate(levels):
            picture = av.VideoFrame.from_ndarray(frame(level, *size), format="rgb24")
            picture.pts = round(1000 * times[place]) if times is not None else place
            picture.time_base = stream.codec_context.time_base
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def turned(path: Path) -> Path:
    """The film with a flag that says: show it turned by 90 degrees, clockwise, as telephones write it."""
    raw = bytearray(path.read_bytes())
    at = raw.index(b"tkhd") + 4 + 40  # version and flags, times, numbers, layer, volume; then nine numbers of a matrix
    ones = [0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000]
    raw[at : at + 36] = b"".join(one.to_bytes(4, "big", signed=True) for one in ones)
    path.write_bytes(raw)
    return path
