"""Notes as sound: a small additive synthesiser, and WAV files."""

from __future__ import annotations

import io
import wave
from collections.abc import Sequence
from typing import Final

import numpy as np

from matinee.core.examples import Array

RATE: Final = 22_050
HARMONICS: Final = (1.0, 0.5, 0.28, 0.14, 0.07, 0.04)
"""How loud the multiples of a note's frequency are."""
ATTACK, RELEASE, DECAY = 0.015, 0.12, 2.2  # seconds; of the decay: until a third is left
LONGEST: Final = 600.0
"""Seconds of sound that are made of a piece."""
KEPT: Final = 4.0
"""Seconds of notes that are made once for all: longer ones are few, and large."""

Notes = Sequence[tuple[int, float, float]]


def rendered(notes: Notes, tempo: float, rate: int = RATE, longest: float = LONGEST) -> Array:
    """Float32 samples from -1 to 1 of notes (MIDI number, begin and length in quarter notes).

    tempo: quarter notes a minute. longest: seconds after which the sound is faded out.
    """
    beat = 60.0 / tempo
    seconds = min(longest, max((start + length for _, start, length in notes), default=0.0) * beat + RELEASE)
    sound = np.zeros(max(1, round(seconds * rate)), np.float32)
    made: dict[tuple[int, int], Array] = {}
    for pitch, start, length in notes:
        first, count = round(start * beat * rate), min(len(sound), round((length * beat + RELEASE) * rate))
        if first >= len(sound):
            continue
        tone = made.get((pitch, count))
        if tone is None:
            tone = _tone(pitch, count, rate)
            if count < KEPT * rate:
                made[pitch, count] = tone
        tone = tone[: len(sound) - first]
        sound[first : first + len(tone)] += tone
    loudest = float(np.abs(sound).max())
    if loudest > 0:
        sound *= 0.8 / loudest
    fade = min(len(sound), round(0.5 * rate))
    if seconds >= longest:
        sound[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    return sound


def _tone(pitch: int, count: int, rate: int) -> Array:
    """One note, with its release, float32 (count,)."""
    frequency = 440.0 * 2.0 ** ((pitch - 69) / 12)
    time = np.arange(count) / rate
    tone = np.zeros(count)
    for number, loudness in enumerate(HARMONICS, 1):
        if number * frequency < 0.45 * rate:  # beyond half the rate it would come back as another pitch
            tone += loudness * np.sin(2 * np.pi * number * frequency * time) * np.exp(-time * number / DECAY / 2)
    shape = np.minimum(1.0, time / ATTACK) * np.clip((count / rate - time) / RELEASE, 0, 1)
    return np.asarray(tone * shape, np.float32)


def within(notes: Notes, tempo: float, longest: float = LONGEST) -> list[tuple[int, float, float]]:
    """The notes that begin within so many seconds, none going on beyond them."""
    end = longest * tempo / 60
    return [(pitch, start, min(length, end - start)) for pitch, start, length in notes if start < end]


def wav_bytes(sound: Array, rate: int = RATE) -> bytes:
    """A WAV file, 16 bits, one channel, of samples from -1 to 1."""
    written = io.BytesIO()
    with wave.open(written, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes())
    return written.getvalue()
