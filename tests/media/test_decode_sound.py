"""One sound, from whatever bytes: every form that people have, and what is wrong with the others."""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from matinee.media.sounds import SoundError, decode, excerpts, is_silent, probe


def tone(rate: int = 16_000, seconds: float = 1.0, pitch: float = 440.0, loud: float = 0.5) -> np.ndarray[Any, Any]:
    return (loud * np.sin(2 * np.pi * pitch * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


def packed(wave: np.ndarray[Any, Any], rate: int = 16_000, kind: str = "WAV", subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


NOISE = np.random.default_rng(0).normal(0, 0.1, 32_000).astype(np.float32)


def pitch_of(samples: np.ndarray[Any, Any], rate: int) -> float:
    return float(np.abs(np.fft.rfft(samples)).argmax() * rate / len(samples))


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [("WAV", s) for s in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "IMA_ADPCM")]
    + [("FLAC", "PCM_16"), ("MP3", None), ("OGG", "VORBIS"), ("AIFF", None), ("AU", None), ("W64", None)],
)
def test_every_format_is_the_same_tone(kind: str, subtype: str | None) -> None:
    samples, missing = decode(packed(tone(), kind=kind, subtype=subtype), 16_000, 10)
    assert samples.dtype == np.int16 and not missing
    assert 15_900 < len(samples) < 18_500 and abs(pitch_of(samples[:16_000], 16_000) - 440) < 2
    assert 0.45 < np.abs(samples[2000:14_000]).max() / 32768 < 0.56


@pytest.mark.parametrize("rate", [8000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_every_rate_becomes_the_one_that_is_asked_for(rate: int) -> None:
    samples, _ = decode(packed(tone(rate), rate), 16_000, 10)
    assert abs(len(samples) - 16_000) <= 1 and abs(pitch_of(samples, 16_000) - 440) < 2


def test_tones_above_half_the_rate_do_not_come_back_as_others() -> None:
    samples, _ = decode(packed(tone(48_000, pitch=7000), 48_000), 8000, 10)
    assert np.abs(samples[500:-500]).max() < 40  # 52 dB and more below the tone


def test_channels_are_averaged() -> None:
    both = np.stack([tone(loud=0.4), np.zeros(16_000, np.float32)], 1)
    samples, _ = decode(packed(both), 16_000, 10)
    assert abs(np.abs(samples).max() / 32768 - 0.2) < 0.01


def test_louder_than_full_scale_is_scaled_and_not_cut() -> None:
    samples, _ = decode(packed(tone(loud=4.0), subtype="FLOAT"), 16_000, 10)
    assert np.abs(samples).max() == 32767 and (np.abs(samples) == 32767).mean() < 0.05


def test_no_more_is_decoded_than_asked_for() -> None:
    assert len(decode(packed(tone(seconds=5)), 16_000, 0.5)[0]) == 8000


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b"", "empty"),
        (b"RIFF", "unreadable"),
        (b"no sound at all" * 100, "unreadable"),
        (packed(np.zeros(0, np.float32)), "empty"),
        (packed(tone(seconds=0.01)), "empty"),
        (packed(np.full(8000, np.nan, np.float32), subtype="FLOAT"), "unreadable"),
        (packed(tone(), kind="FLAC")[:3000], "truncated"),
        (packed(NOISE, kind="OGG")[:5000], "truncated"),
    ],
)
def test_what_cannot_be_used_is_told(raw: bytes, kind: str) -> None:
    with pytest.raises(SoundError) as caught:
        decode(raw, 16_000, 10)
    assert caught.value.kind == kind and len(str(caught.value)) > 10 and "0x" not in str(caught.value)


@pytest.mark.parametrize("rate", [0, 1, 44_100_000, 2**31 + 5])
def test_a_wrong_rate_in_the_header_is_told(rate: int) -> None:
    raw = bytearray(packed(tone()))
    raw[24:28] = struct.pack("<I", rate)
    with pytest.raises(SoundError) as caught:
        decode(bytes(raw), 16_000, 10)
    assert caught.value.kind == "unreadable"


def test_a_wav_that_is_cut_short_is_read_as_far_as_it_goes() -> None:
    samples, missing = decode(packed(tone())[: 44 + 16_000], 16_000, 10)
    assert len(samples) == 8000 and "0.50 of 1.00 s" in missing


def test_an_ogg_that_is_cut_short_is_told() -> None:
    raw = packed(NOISE, kind="OGG")
    assert decode(raw, 16_000, 10)[1] == ""
    samples, missing = decode(raw[:8000], 16_000, 10)
    assert 0 < len(samples) < 20_000 and "too early" in missing


def test_a_wav_of_unknown_length_is_whole() -> None:
    raw = bytearray(packed(tone()))
    raw[40:44] = b"\xff\xff\xff\xff"
    samples, missing = decode(bytes(raw), 16_000, 10)
    assert len(samples) == 16_000 and not missing


def test_a_tenth_of_a_second_is_a_sound_and_silence_is_none() -> None:
    assert len(decode(packed(tone(seconds=0.1)), 16_000, 10)[0]) == 1600
    assert is_silent(np.zeros(100, np.int16)) and is_silent(np.full(100, 700, np.int16))
    assert not is_silent(decode(packed(tone(loud=0.001)), 16_000, 10)[0])


def test_a_header_that_promises_hours_costs_no_memory() -> None:
    raw = bytearray(packed(tone()))
    raw[22:24] = struct.pack("<H", 8)
    raw[32:34] = struct.pack("<H", 16)
    raw[40:44] = struct.pack("<I", 2**31)
    assert len(decode(bytes(raw), 16_000, 10)[0]) < 16_000
    raw[22:24] = struct.pack("<H", 1000)
    raw[32:34] = struct.pack("<H", 2000)
    with pytest.raises(SoundError, match="channels"):
        decode(bytes(raw), 16_000, 10)


def test_files_that_are_none(tmp_path: Path) -> None:
    for path, kind in ((tmp_path, "unreadable"), (tmp_path / "no.wav", "missing"), (tmp_path / "0.wav", "empty")):
        if kind == "empty":
            path.touch()
        with pytest.raises(SoundError) as caught:
            decode(path, 16_000, 10)
        assert caught.value.kind == kind
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(SoundError, match="not a file"):
        decode(tmp_path / "pipe.wav", 16_000, 10)


def test_arrays_are_sounds() -> None:
    wave = tone(8000)
    for given_ in (wave, wave[:, None], (wave * 32767).astype(np.int16)):
        samples, _ = decode((given_, 8000), 16_000, 10)
        assert abs(len(samples) - 16_000) < 3 and abs(pitch_of(samples, 16_000) - 440) < 3
    with pytest.raises(SoundError, match="array"):
        decode((np.zeros((2, 3, 4), np.float32), 8000), 16_000, 10)
    assert probe((wave, 8000)).seconds == 1.0


@pytest.mark.parametrize("kind", ["WAV", "FLAC"])
def test_a_long_recording_is_looked_at_all_along(kind: str) -> None:
    wave = np.concatenate([tone(8000, 2, 300 * (part + 1)) for part in range(10)])
    found = excerpts(packed(wave, 8000, kind), 8000, 1.0, 4)
    assert len(found) == 32_000
    heard = [round(pitch_of(part, 8000) / 300) for part in found.reshape(4, 8000)]
    assert heard[0] == 1 and heard[-1] == 10 and heard == sorted(heard)
    assert len(excerpts(packed(wave, 8000, kind), 8000, 5.0, 4)) == 160_000


@settings(max_examples=60)
@given(st.data())
def test_damaged_files_are_refused_or_read_and_nothing_else(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["WAV", "FLAC", "OGG", "AIFF"]))
    raw = bytearray(packed(tone(8000, 0.2), 8000, kind))
    for _ in range(data.draw(st.integers(1, 8))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        samples, _ = decode(bytes(raw[: data.draw(st.integers(0, len(raw)))]), 8000, 2)
    except SoundError as error:
        assert error.kind in ("empty", "truncated", "unreadable")
    else:
        assert samples.dtype == np.int16 and len(samples) <= 16_000
