"""What windows of a long recording heard becomes one text: nothing doubled, nothing lost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from matinee.core.errors import DataError
from matinee.media.sounds import SoundError
from matinee.media.speech_windows import MOST_LETTERS, subtitles, transcript
from matinee.media.timelines import Window, windows


def heard(said: list[tuple[str, float, float]], window: Window, blank: str = " ") -> dict[str, Any]:
    """What a window answers of all that is said; it hears nothing well of words that its edges cut."""
    own = [one for one in said if one[2] > window.start and one[1] < window.end]
    words = [
        {
            "word": word if window.start <= start and end <= window.end else "x",
            "start": max(0.0, start - window.start),
            "end": min(end, window.end) - window.start,
        }
        for word, start, end in own
    ]
    return {"text": blank.join(str(word["word"]) for word in words), "words": words}


def parts(seconds: float) -> list[Window]:
    found = windows("talk.wav", "talk.wav", (0.0, seconds), 30.0, 0.2)
    assert all(isinstance(window, Window) for window in found)
    return [window for window in found if isinstance(window, Window)]


@pytest.mark.parametrize("seed", range(4))
def test_words_are_neither_doubled_nor_lost(seed: int) -> None:
    generator, said, now = np.random.default_rng(seed), list[tuple[str, float, float]](), 0.0
    while now < 300.0:
        now += float(generator.choice([0.02, 0.1, 0.6]))
        said.append((f"w{len(said)}", now, now + float(generator.uniform(0.1, 0.7))))
        now = said[-1][2]
    told = transcript([(window, heard(said, window)) for window in parts(now + 0.01)])
    assert not isinstance(told, DataError) and "unheard" not in told
    assert told["text"] == " ".join(word for word, _, _ in said)
    assert [word["start"] for word in told["words"]] == pytest.approx([start for _, start, _ in said], abs=2e-3)


def test_windows_that_cannot_be_heard_cost_no_other() -> None:
    said, own = [("one", 1.0, 1.5), ("two", 80.0, 80.5)], parts(84.0)
    silent, torn = SoundError("silent", "there is nothing to hear"), SoundError("unreadable", "it is damaged")
    some = [heard(said, own[0]), silent, *(heard(said, window) for window in own[2:])]
    assert transcript(list(zip(own, some, strict=True))) == {
        "text": "one two",
        "words": [{"word": "one", "start": 1.0, "end": 1.5}, {"word": "two", "start": 80.0, "end": 80.5}],
    }
    some[1] = torn
    told = transcript(list(zip(own, some, strict=True)))
    assert not isinstance(told, DataError) and told["text"] == "one two"
    assert told["unheard"] == [{"start": own[1].start, "end": own[1].end, "error": "it is damaged"}]
    assert transcript([(window, torn) for window in own]) is torn


def test_scripts_without_blanks_stay_so() -> None:
    said = [(letter, 3.0 * place, 3.0 * place + 0.5) for place, letter in enumerate("\u4f60\u597d" * 14)]
    told = transcript([(window, heard(said, window, "")) for window in parts(84.0)])
    assert not isinstance(told, DataError) and told["text"] == "\u4f60\u597d" * 14


def test_what_was_said_becomes_subtitles() -> None:
    window = Window("talk.wav#t=0,30")
    window.start, window.end = 0.0, 30.0
    said = [("one", 1.0, 1.4), ("two", 1.5, 1.9), ("<b>", 3.0, 3.5)]
    said += [(f"word{place:02}", 5 + 0.3 * place, 5.2 + 0.3 * place) for place in range(40)]
    found = {ending: content.decode() for ending, content in subtitles(heard(said, window)).items()}
    assert "1\n00:00:01,000 --> 00:00:01,900\none two\n" in found[".srt"] and "&lt;b&gt;" in found[".vtt"]
    texts = [block.split("\n")[2] for block in found[".srt"].strip().split("\n\n")]
    assert " ".join(texts).split() == [word for word, _, _ in said] and max(map(len, texts)) <= MOST_LETTERS
    assert subtitles({"text": "", "words": []})[".srt"] == b""
