"""One picture, from whatever bytes it came in, to uint8 pixels of a given shape.

Only the plain picture formats are opened, the declared size is checked before any pixel is decoded, and whatever is
wrong with a file comes out as PictureError, never as a warning or as another exception.
"""

from __future__ import annotations

import io
import os
import struct
import threading
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from matinee.core.errors import DataError

# Importing a format's module registers it. Left to itself, Pillow would load all of its formats at the first picture
# that needs a rarer one, and not safely between threads. MPO, the JPEG of two-eyed cameras, is opened as JPEG.
_READERS = (
    *(JpegImagePlugin.JpegImageFile, MpoImagePlugin.MpoImageFile, PngImagePlugin.PngImageFile),
    *(WebPImagePlugin.WebPImageFile, GifImagePlugin.GifImageFile, BmpImagePlugin.BmpImageFile),
    *(TiffImagePlugin.TiffImageFile, PpmImagePlugin.PpmImageFile),
)
FORMATS = tuple(str(reader.format) for reader in _READERS if reader.format in Image.OPEN)  # WebP is optional in Pillow
_JPEG_ENDINGS = (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo")
_OTHER_ENDINGS = (".png", ".apng", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".pgm", ".ppm", ".pbm", ".pnm")
EXTENSIONS = frozenset((*_JPEG_ENDINGS, *_OTHER_ENDINGS))
PIXEL_LIMIT = 100_000_000
PAPER = 114  # grey around a picture that does not fill its shape
BYTE_LIMIT = 256 * 1024 * 1024  # of one file; a photograph of 100 million pixels has some 50 MB
BROKEN = (
    OSError,
    ValueError,
    TypeError,
    SyntaxError,  # Pillow's word for a broken PNG or WebP
    LookupError,
    EOFError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    NotImplementedError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N"})

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
Shape = tuple[int, int, int]
Raw = str | Path | bytes | np.ndarray[Any, Any] | Image.Image


class PictureError(DataError):
    """One picture that cannot be used; `kind` is the ledger's word for why."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


class Quiet:
    """While any thread is inside, Pillow's warnings and its own pixel limit (ours is checked first) are off.

    Python's own warnings.catch_warnings must not overlap between threads; here the first one in and the last one out
    do the work.
    """

    _lock = threading.Lock()
    _inside = 0
    _caught: warnings.catch_warnings[None] | None = None
    _limit: int | None = None

    def __enter__(self) -> None:
        with Quiet._lock:
            Quiet._inside += 1
            if Quiet._inside == 1:
                Quiet._caught = warnings.catch_warnings()
                Quiet._caught.__enter__()
                warnings.simplefilter("ignore")
                Quiet._limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None

    def __exit__(self, *_: object) -> None:
        with Quiet._lock:
            Quiet._inside -= 1
            if Quiet._inside == 0 and Quiet._caught is not None:
                Image.MAX_IMAGE_PIXELS = Quiet._limit
                Quiet._caught.__exit__(None, None, None)
                Quiet._caught = None


def decode(raw: Raw, shape: Shape, pixel_limit: int = PIXEL_LIMIT) -> Pixels:
    """A picture as uint8 (height, width, channels), channels 1 or 3.

    raw: a path, the bytes of a file, a Pillow picture, or an array (h, w), (h, w, 1), (h, w, 3) or (h, w, 4) of uint8,
    uint16, bool, or float from 0 to 1. The picture is turned as its EXIF orientation says, laid on white where it is
    transparent, scaled to cover the shape and cut to it around its centre. pixel_limit: width x height allowed.

    Raises PictureError, its `kind` one of "missing", "forbidden", "empty", "truncated", "oversized", "unreadable".
    """
    return decode_sized(raw, shape, pixel_limit)[0]


def decode_sized(
    raw: Raw, shape: Shape, pixel_limit: int = PIXEL_LIMIT, whole: bool = False
) -> tuple[Pixels, tuple[int, int]]:
    """As `decode`, with the picture's own (width, height) in pixels, before any turning.

    whole: nothing is cut off: the picture is scaled to fit into the shape, its upper left corner in that of the shape,
    with PAPER beside or below it; its (width, height) are then those of the upright picture.
    """
    if isinstance(raw, str | Path):
        raw = read_bytes(os.fspath(raw))
    if isinstance(raw, bytes):
        plain = _plain_jpeg(raw, shape)
        if plain is not None:
            return plain, (shape[1], shape[0])
    with Quiet():
        try:
            image = open_picture(raw, pixel_limit) if isinstance(raw, bytes) else _given(raw, pixel_limit)
            size = image.size if not whole or orientation(image) < 5 else image.size[::-1]
            return _laid(image, shape, size) if whole else _fit(image, shape), size
        except PictureError:
            raise
        except BROKEN as error:
            raise explain(raw, error) from error


def read_bytes(path: str) -> bytes:
    """The bytes of a file, at most BYTE_LIMIT. Raises PictureError ("missing", "forbidden", "oversized"...)."""
    try:
        # Not blocking, so that a pipe that stands where a picture was listed cannot hold us up.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
        try:
            raw = os.read(handle, 65_536)
            if len(raw) < 65_536:
                return raw
            if os.fstat(handle).st_size > BYTE_LIMIT:
                raise PictureError("oversized", f"the file has more than {BYTE_LIMIT:,} bytes")
            parts = [raw]
            total = len(raw)
            while total <= BYTE_LIMIT and (raw := os.read(handle, 1 << 20)):
                parts.append(raw)
                total += len(raw)
        finally:
            os.close(handle)
    except FileNotFoundError:
        raise PictureError("missing", "there is no such file") from None
    except PermissionError:
        raise PictureError("forbidden", "no permission to read it") from None
    except (OSError, ValueError) as error:
        raise PictureError("unreadable", f"it cannot be read: {error}") from error
    return b"".join(parts)


def open_picture(raw: bytes, pixel_limit: int) -> Image.Image:
    """Opens the header only; to be used inside Quiet(). Raises PictureError, or one of BROKEN."""
    if not raw:
        raise PictureError("empty", "the file has no bytes")
    if len(raw) > BYTE_LIMIT:
        raise PictureError("oversized", f"the file has more than {BYTE_LIMIT:,} bytes")
    if raw[:4] == b"RIFF" and raw[12:16] == b"VP8X" and len(raw) >= 30:
        # Pillow takes the memory for a WebP's canvas while it opens it, so its size is read here.
        width, height = (int.from_bytes(raw[at : at + 3], "little") + 1 for at in (24, 27))
        _check_pixels(width, height, pixel_limit)
    image = Image.open(io.BytesIO(raw), formats=FORMATS)
    _check_pixels(image.width, image.height, pixel_limit)
    return image


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where there is none or it makes no sense."""
    if "exif" not in image.info and "Raw profile type exif" not in image.info and image.format not in ("TIFF", "MPO"):
        return 1
    try:
        value = image.getexif().get(0x0112, 1)
    except BROKEN:
        return 1  # broken notes of the camera do not make the pixels worse
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _check_pixels(width: int, height: int, pixel_limit: int) -> None:
    if width * height > pixel_limit:
        raise PictureError("oversized", f"{width} x {height} pixels are more than the limit of {pixel_limit:,}")
    if width < 1 or height < 1:
        raise PictureError("unreadable", "the picture has no pixels")


def _plain_jpeg(raw: bytes, shape: Shape) -> Pixels | None:
    """A JPEG that is already of the wanted size and colours and has no EXIF, decoded the short way; else None.

    Small pictures in great numbers are the hot path: reading the few bytes of the header here instead of having
    Pillow open a file halves the time. Whatever is out of the ordinary gives None, and the long way judges it.
    """
    if raw[:2] != b"\xff\xd8":
        return None
    at, end = 2, len(raw) - 10
    while at < end:
        marker = raw[at + 1]
        if raw[at] != 0xFF or marker == 0xE1 or not 0xC0 <= marker <= 0xFE or 0xD0 <= marker <= 0xDA:
            return None
        if marker in (0xC0, 0xC1, 0xC2):
            break
        at += 2 + (raw[at + 2] << 8 | raw[at + 3])
    else:
        return None
    height, width = raw[at + 5] << 8 | raw[at + 6], raw[at + 7] << 8 | raw[at + 8]
    if raw[at + 4] != 8 or (height, width, raw[at + 9]) != shape or width == 0 or height == 0:
        return None
    mode = "RGB" if shape[2] == 3 else "L"
    try:
        pixels = Image.frombytes(mode, (width, height), raw, "jpeg", mode, "").tobytes()
        return np.frombuffer(pixels, dtype=np.uint8).reshape(shape)
    except BROKEN:
        return None


def _given(raw: np.ndarray[Any, Any] | Image.Image, pixel_limit: int) -> Image.Image:
    if isinstance(raw, Image.Image):
        _check_pixels(raw.width, raw.height, pixel_limit)
        return raw
    if raw.ndim not in (2, 3) or (raw.ndim == 3 and raw.shape[2] not in (1, 3, 4)):
        raise PictureError(
            "unreadable", f"an array of shape {raw.shape} is no picture: (height, width) or (height, width, 1, 3 or 4)"
        )
    _check_pixels(raw.shape[1], raw.shape[0], pixel_limit)
    if raw.dtype == np.uint16:
        raw = _from_16_bits(raw)
    elif raw.dtype == np.bool_:
        raw = raw.astype(np.uint8) * np.uint8(255)
    elif raw.dtype.kind == "f":
        if not (np.isfinite(raw).all() and raw.min() >= 0.0 and raw.max() <= 1.0):
            raise PictureError("unreadable", "an array of floats must lie between 0 and 1")
        raw = np.rint(raw * 255.0).astype(np.uint8)
    elif raw.dtype != np.uint8:
        raise PictureError("unreadable", f"an array of {raw.dtype} is no picture: uint8, uint16, bool or float")
    return Image.fromarray(np.ascontiguousarray(raw[:, :, 0] if raw.ndim == 3 and raw.shape[2] == 1 else raw))


def _laid(image: Image.Image, shape: Shape, size: tuple[int, int]) -> Pixels:
    """All of a picture of this upright (width, height) in the upper left of the shape."""
    factor = min(shape[1] / size[0], shape[0] / size[1])
    height, width = max(1, round(size[1] * factor)), max(1, round(size[0] * factor))
    laid = np.full(shape, PAPER, np.uint8)
    laid[:height, :width] = _fit(image, (height, width, shape[2]))
    return laid


def _fit(image: Image.Image, shape: Shape) -> Pixels:
    height, width, channels = shape
    turn = orientation(image)
    wide, high = (height, width) if turn >= 5 else (width, height)  # the target before turning
    if image.format in ("JPEG", "MPO") and (image.width >= 3 * wide and image.height >= 3 * high):
        # The decoder itself can give half, a quarter or an eighth of the size, much faster; we keep half as much
        # again as is needed, so that the last step of scaling still smooths.
        image.draft("L" if channels == 1 else image.mode, (wide + wide // 2, high + high // 2))
    if image.format == "TIFF":
        image.load()  # turns itself
        turn, wide, high = orientation(image), width, height
    flat = _flatten(image, channels)
    if flat.size != (wide, high):
        scale = max(wide / flat.width, high / flat.height)
        across, down = min(wide / scale, flat.width), min(high / scale, flat.height)
        left, top = (flat.width - across) / 2, (flat.height - down) / 2
        box = (left, top, left + across, top + down)
        flat = flat.resize((wide, high), Image.Resampling.BICUBIC, box=box, reducing_gap=3.0)
    if turn != 1:
        flat = flat.transpose(_TURNS[turn])
    return np.asarray(flat, dtype=np.uint8).reshape(shape)


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _flatten(image: Image.Image, channels: int) -> Image.Image:
    """Any mode to L or RGB, transparency laid on white."""
    mode = "L" if channels == 1 else "RGB"
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = Image.fromarray(_to_8_bits(np.asarray(image), image.mode == "I" and image.format not in ("PNG", "PPM")))
    elif image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image.load()  # a PNG may say only after its pixels what is transparent
        if image.mode in ("RGBa", "La"):
            image = image.convert("RGBA" if image.mode == "RGBa" else "LA")
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, (255, 255, 255))
        white.paste(image, mask=image.getchannel("A"))
        image = white
    elif image.mode == "LAB":
        image = Image.fromarray(_lab_to_rgb(np.asarray(image)))
    image.load()
    return image if image.mode == mode else image.convert(mode)


def _from_16_bits(values: np.ndarray[Any, Any]) -> Pixels:
    """0..65535 to 0..255, rounded."""
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _to_8_bits(values: np.ndarray[Any, Any], whole: bool) -> Pixels:
    """Grey values of 16 or 32 bits or floats to 0..255.

    Pillow gives 16-bit PNG and PGM files as int32, where 65535 is white. For TIFF files of 32 bits nothing says what
    is white: `whole` numbers up to 255 or 65535 and floats from 0 to 1 are taken at their word, anything else is
    stretched from its least to its greatest value.
    """
    if values.dtype.kind in "iu" and not whole:
        return _from_16_bits(np.clip(values, 0, 65_535))
    if not np.isfinite(values).all():
        raise PictureError("unreadable", "the picture has values that are no numbers")
    numbers = values.astype(np.float64)
    low, high = float(numbers.min()), float(numbers.max())
    if low >= 0.0 and high <= 1.0 and not whole:
        low, high = 0.0, 1.0
    elif low >= 0.0 and high <= 65_535.0:
        low, high = 0.0, 255.0 if high <= 255.0 else 65_535.0
    elif high == low:
        return np.zeros(values.shape, dtype=np.uint8)
    return np.rint((numbers - low) * (255.0 / (high - low))).astype(np.uint8)


def _lab_to_rgb(values: np.ndarray[Any, Any]) -> Pixels:
    """CIE L*a*b* (D50 white, as in TIFF; a and b are signed bytes) to sRGB, both uint8 (height, width, 3)."""
    lightness = values[..., 0].astype(np.float64) * (100.0 / 255.0)
    middle = (lightness + 16.0) / 116.0
    colours = np.ascontiguousarray(values[..., 1:]).view(np.int8).astype(np.float64)
    cube = np.stack([middle + colours[..., 0] / 500.0, middle, middle - colours[..., 1] / 200.0], axis=-1)
    relative = np.where(cube > 6.0 / 29.0, cube**3, (cube - 4.0 / 29.0) * (3.0 * (6.0 / 29.0) ** 2))
    white = np.array([0.9642, 1.0, 0.8249])
    # XYZ under D50 to linear sRGB, the Bradford adaptation to D65 included.
    matrix = np.array(
        [[3.1338561, -1.6168667, -0.4906146], [-0.9787684, 1.9161415, 0.0334540], [0.0719453, -0.2289914, 1.4052427]]
    )
    linear = np.clip((relative * white) @ matrix.T, 0.0, 1.0)
    curved = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1.0 / 2.4) - 0.055)
    rounded: Pixels = np.rint(curved * 255.0).astype(np.uint8)
    return rounded


def explain(raw: Raw, error: BaseException) -> PictureError:
    """What is wrong with a picture, in a reader's words, where decoding it raised one of BROKEN."""
    words = " ".join(str(error).split())[:200] or type(error).__name__
    unknown = isinstance(error, UnidentifiedImageError)  # its words name an object in memory
    if isinstance(error, MemoryError):
        return PictureError("oversized", "there is not enough memory to decode it")
    if isinstance(raw, bytes) and (_cut_short(raw) or any(word in words.lower() for word in _CUT_WORDS)):
        return PictureError("truncated", "the file ends too early" + ("" if unknown else f" ({words})"))
    if unknown:
        return PictureError(
            "unreadable", "it is no JPEG, PNG, WebP, GIF, BMP, TIFF or PGM/PPM picture, or a broken one"
        )
    return PictureError("unreadable", f"it cannot be decoded ({words})")


_CUT_WORDS = ("truncat", "unexpected end", "not enough image data")


def _cut_short(raw: bytes) -> bool:
    """Whether a file that failed lacks the end that its format demands."""
    if raw[:3] == b"\xff\xd8\xff":
        return b"\xff\xd9" not in raw[-4096:]
    if raw[:8] == b"\x89PNG\r\n\x1a\n":
        return b"IEND" not in raw[-4096:]
    if raw[:4] == b"RIFF" and raw[8:12] == b"WEBP":
        return int.from_bytes(raw[4:8], "little") + 8 > len(raw)
    if raw[:6] in (b"GIF87a", b"GIF89a"):
        return not raw.rstrip(b"\x00").endswith(b"\x3b")
    return raw[:2] == b"BM" and int.from_bytes(raw[2:6], "little") > len(raw)
