"""What was heard can be read in every script, also where the font of pictures lacks its letters."""

from __future__ import annotations

import numpy as np
import pytest

from matinee.core.pieces import Section, remarked
from matinee.media.speech_pictures import heard_piece, with_words
from matinee.report import page

SPECTRUM = np.random.default_rng(0).normal(size=(20, 100)).astype(np.float32)


@pytest.mark.parametrize("rate", [0, 8000])
def test_texts_stand_below_and_stay_there(rate: int) -> None:
    words = [{"word": word, "start": 0.2, "end": 0.4, "confidence": 0.5} for word in ("\u4f60", "h\u00e9")]
    answer = {"text": "\u4f60 h\u00e9", "words": words, "truth": "<you> he"}
    piece = heard_piece(np.zeros(8000, np.float32), rate, SPECTRUM, answer, 1.0)
    drawn = page.page("Speech", "", [Section("Mistakes", remarked([piece], ["a.wav: 2 mistakes"]))])
    for line in ("a.wav: 2 mistakes", "told: \u4f60 h\u00e9", "in truth: &lt;you&gt; he"):
        assert f"<p>{line}</p>" in drawn


def test_words_that_cannot_be_drawn_are_lines() -> None:
    plain = [{"word": word, "start": 0.2, "end": 0.4} for word in ("go", "\u4f60", "\u00e9", "")]
    go, *others = (with_words(SPECTRUM, [word], 1.0) for word in plain)
    assert all(np.array_equal(one, others[-1]) for one in others) and not np.array_equal(go, others[-1])
