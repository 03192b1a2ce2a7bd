from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from matinee.core.errors import DataError
from matinee.media.pictures import FORMATS, PictureError, decode, decode_sized


def scene(width: int = 40, height: int = 30) -> Image.Image:
    """Red on the left, blue on the right, a green bar on top: tells every turn from every other."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0] = 255
    pixels[:, width // 2 :, 2] = 255
    pixels[: height // 5] = (0, 255, 0)
    return Image.fromarray(pixels)


def packed(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def near(found: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any], most: float) -> bool:
    return float(np.abs(found.astype(int) - wanted.astype(int)).mean()) <= most


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "MPO"])
def test_every_format_of_the_right_size(kind: str) -> None:
    options = {"quality": 95} if kind in ("JPEG", "WEBP", "MPO") else {}
    pixels = decode(packed(scene(), kind, **options), (30, 40, 3))
    assert pixels.shape == (30, 40, 3)
    assert pixels.dtype == np.uint8
    assert near(pixels, np.asarray(scene()), 6.0)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F", "LAB"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode(mode: str, channels: int) -> None:
    grey = Image.fromarray(np.tile(np.arange(0, 240, 15, dtype=np.uint8), (16, 1)))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    elif mode == "F":
        image = Image.fromarray(np.asarray(grey).astype(np.float32) / 255)
    elif mode == "LAB":
        lightness = Image.fromarray(np.full((16, 16), 128, np.uint8))
        image = Image.merge("LAB", [lightness, lightness, lightness])
    elif mode in ("LA", "CMYK", "P", "YCbCr", "RGBA"):
        image = (grey if mode in ("LA", "P") else grey.convert("RGB")).convert(mode)
    else:
        image = grey.convert(mode)
    pixels = decode(image, (16, 16, channels))
    assert pixels.shape == (16, 16, channels)
    if mode == "LAB":
        assert near(pixels, np.full_like(pixels, 119), 2)
    elif mode != "1":
        assert near(pixels[..., 0], np.asarray(grey), 3)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bits_are_scaled(kind: str) -> None:
    values = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    if kind == "PPM":
        raw = b"P5 8 8 65535\n" + values.astype(">u2").tobytes()
    else:
        raw = packed(Image.fromarray(values), kind)
    assert np.array_equal(decode(raw, (8, 8, 1))[..., 0], np.rint(values / 257).astype(np.uint8))


def test_big_endian_16_bit_tiff() -> None:
    values = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    image = Image.frombytes("I;16B", (8, 8), values.astype(">u2").tobytes())
    assert np.array_equal(decode(image, (8, 8, 1))[..., 0], np.rint(values / 257).astype(np.uint8))


def test_transparency_is_laid_on_white() -> None:
    image = Image.new("RGBA", (4, 4), (10, 20, 30, 0))
    assert (decode(packed(image, "PNG"), (4, 4, 3)) == 255).all()
    assert (decode(packed(image, "WEBP", lossless=True), (4, 4, 1)) == 255).all()
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 200, 0, 0])
    assert (decode(packed(palette, "PNG", transparency=1), (4, 4, 3)) == 255).all()
    assert decode(packed(palette, "PNG", transparency=0), (4, 4, 3))[0, 0].tolist() == [200, 0, 0]
    plain = Image.new("RGB", (4, 4), (9, 9, 9))
    assert (decode(packed(plain, "PNG", transparency=(9, 9, 9)), (4, 4, 3)) == 255).all()


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("sizes", [((30, 40), (30, 40)), ((300, 400), (30, 40)), ((30, 40), (40, 30))])
def test_exif_orientation(turn: int, kind: str, sizes: tuple[tuple[int, int], tuple[int, int]]) -> None:
    upright = scene(sizes[0][1], sizes[0][0])
    transpose = Image.Transpose
    stored_as = {
        2: transpose.FLIP_LEFT_RIGHT,
        3: transpose.ROTATE_180,
        4: transpose.FLIP_TOP_BOTTOM,
        5: transpose.TRANSPOSE,
        6: transpose.ROTATE_90,
        7: transpose.TRANSVERSE,
        8: transpose.ROTATE_270,
    }
    stored = upright.transpose(stored_as[turn]) if turn > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = turn
    options = {"quality": 95} if kind in ("JPEG", "WEBP") else {}
    pixels = decode(packed(stored, kind, exif=exif, **options), (*sizes[1], 3))
    assert near(pixels, decode(upright, (*sizes[1], 3)), 8)


def test_broken_exif_does_not_matter() -> None:
    raw = packed(scene(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12rubbish")
    assert decode(raw, (30, 40, 3)).shape == (30, 40, 3)


def test_covers_and_cuts_around_the_centre() -> None:
    pixels = decode(packed(scene(400, 100), "PNG"), (50, 50, 3))
    assert pixels[40, 10].tolist() == [255, 0, 0]
    assert pixels[40, 40].tolist() == [0, 0, 255]
    assert decode(Image.new("L", (1, 5000), 7), (16, 16, 1)).max() == 7
    assert decode(packed(scene(3, 3), "PNG"), (64, 64, 3)).shape == (64, 64, 3)


def test_large_jpeg_by_draft_looks_the_same() -> None:
    large = scene(1600, 1200)
    assert near(decode(packed(large, "JPEG", quality=95), (30, 40, 3)), decode(large, (30, 40, 3)), 3)
    assert near(decode(packed(large, "JPEG", quality=95), (30, 40, 1)), decode(large, (30, 40, 1)), 3)


def test_short_way_for_jpeg_is_the_long_way() -> None:
    generator = np.random.default_rng(0)
    noise = Image.fromarray(generator.integers(0, 255, (32, 32, 3), dtype=np.uint8))
    for image in (noise, noise.convert("L")):
        for options in ({}, {"progressive": True}, {"subsampling": 0}, {"quality": 10}):
            raw = packed(image, "JPEG", **options)
            wanted = np.asarray(Image.open(io.BytesIO(raw))).reshape(32, 32, -1)
            pixels, size = decode_sized(raw, wanted.shape)
            assert np.array_equal(pixels, wanted)
            assert size == (32, 32)
            for end in range(3, len(raw) - 2, 17):
                with pytest.raises(PictureError) as caught:
                    decode(raw[:end], wanted.shape)
                assert caught.value.kind == "truncated"


def bomb(side: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b"", "empty"),
        (b"just a text, called .jpg", "unreadable"),
        (bomb(30_000), "oversized"),
        (bomb(100), "truncated"),
        (packed(scene(), "PNG")[:80], "truncated"),
        (packed(scene(), "GIF")[:60], "truncated"),
        (packed(scene(), "BMP")[:500], "truncated"),
        (packed(scene(), "WEBP")[:60], "truncated"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "unreadable"),
        (b"RIFF\x00\x01\x00\x00WEBPVP8X\x0a\x00\x00\x00\x10\0\0\0" + b"\xff\x3f\x00" * 2 + bytes(40), "oversized"),
    ],
)
def test_bad_files_have_their_word(raw: bytes, kind: str) -> None:
    with pytest.raises(PictureError) as caught:
        decode(raw, (8, 8, 3))
    assert caught.value.kind == kind
    assert "\n" not in str(caught.value)


def test_pixel_limit_is_the_callers() -> None:
    raw = packed(scene(), "PNG")
    with pytest.raises(PictureError, match="40 x 30 pixels are more than the limit of 1,199"):
        decode(raw, (8, 8, 3), pixel_limit=1_199)
    assert decode(raw, (8, 8, 3), pixel_limit=1_200).shape == (8, 8, 3)


def test_first_frame_only_of_a_long_animation() -> None:
    frames = [Image.new("P", (8, 8), number % 200) for number in range(300)]
    for frame in frames:
        frame.putpalette([value for value in range(256) for _ in range(3)])
    raw = packed(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (decode(raw, (8, 8, 3)) == 0).all()
    assert (decode(raw[: len(raw) // 2], (8, 8, 3)) == 0).all()


def test_paths(tmp_path: Path) -> None:
    path = tmp_path / "a b\n猫😀.png"
    scene().save(path)
    assert np.array_equal(decode(path, (30, 40, 3)), np.asarray(scene()))
    assert np.array_equal(decode(str(path), (30, 40, 3)), np.asarray(scene()))
    for wrong, kind in ((tmp_path / "none.png", "missing"), (tmp_path, "unreadable"), ("a\0b", "unreadable")):
        with pytest.raises(PictureError) as caught:
            decode(wrong, (8, 8, 3))
        assert caught.value.kind == kind


def test_arrays() -> None:
    pixels = np.asarray(scene())
    assert np.array_equal(decode(pixels, (30, 40, 3)), pixels)
    assert np.array_equal(decode(pixels[..., :1], (30, 40, 1)), pixels[..., :1])
    assert np.array_equal(decode(pixels / 255.0, (30, 40, 3)), pixels)
    assert np.array_equal(decode(pixels[..., 0] > 0, (30, 40, 1)), pixels[..., :1])
    assert np.array_equal(decode(pixels[..., 0].astype(np.uint16) * 257, (30, 40, 1)), pixels[..., :1])
    for wrong in (np.zeros((4, 4, 2), np.uint8), np.zeros(4), np.full((4, 4), 2.0), np.zeros((4, 4), np.int64)):
        with pytest.raises(PictureError):
            decode(wrong, (8, 8, 3))
    with pytest.raises(PictureError):
        decode(np.zeros((0, 4), np.uint8), (8, 8, 3))


SAMPLES = [
    packed(scene(), kind, **options)
    for kind, options in (
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("GIF", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("PPM", {}),
    )
]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    sample=st.sampled_from(SAMPLES),
    changes=st.lists(st.tuples(st.integers(0, 4000), st.binary(max_size=6)), max_size=5),
    cut=st.one_of(st.none(), st.integers(0, 4000)),
    insert=st.booleans(),
)
def test_mutated_pictures_decode_or_raise_picture_error(
    sample: bytes, changes: list[tuple[int, bytes]], cut: int | None, insert: bool
) -> None:
    raw = bytearray(sample)
    for place, new in changes:
        at = place % len(raw)
        raw[at : at if insert else at + len(new)] = new
    mutated = bytes(raw[:cut] if cut is not None else raw)
    try:
        pixels = decode(mutated, (30, 40, 3), pixel_limit=1_000_000)
    except DataError as error:
        assert isinstance(error, PictureError)
        assert error.kind in ("truncated", "empty", "oversized", "unreadable")
    else:
        assert pixels.shape == (30, 40, 3)


def test_formats_are_the_plain_ones() -> None:
    assert {"JPEG", "PNG", "GIF", "BMP", "TIFF", "PPM"} <= set(FORMATS) <= {*Image.OPEN}
    assert "EPS" not in FORMATS
