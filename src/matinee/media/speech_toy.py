"""Speech made up on the spot: a tone for each letter, a pause for each blank."""

from __future__ import annotations

import numpy as np

from matinee.core.examples import Array

LETTERS = {"a": 400.0, "b": 800.0, "c": 1500.0}
"""Letter -> its tone in hertz."""


def spelled_tones(seed: int, count: int = 480, rate: int = 4000) -> tuple[list[Array], list[str]]:
    """int16 sounds of about half a second, and what they say: one to three words of one to three letters."""
    generator = np.random.default_rng(seed)
    sounds, texts = [], []
    for _ in range(count):
        words = ["".join(generator.choice(list(LETTERS), generator.integers(1, 4)))
                 for _ in range(generator.integers(1, 3))]  # fmt: skip
        text = " ".join(words)
        parts = [np.zeros(round(0.05 * rate))]
        for letter in text:
            moments = np.arange(round(generator.uniform(0.07, 0.09) * rate)) / rate
            tone = np.sin(2 * np.pi * LETTERS[letter] * generator.uniform(0.95, 1.05) * moments) if letter != " " else 0
            parts += [tone * np.hanning(len(moments)), np.zeros(round(0.03 * rate))]
        wave = np.concatenate(parts) * generator.uniform(4000, 9000)
        sounds.append((wave + generator.normal(0, 60, len(wave))).clip(-32768, 32767).astype(np.int16))
        texts.append(text)
    return sounds, texts
