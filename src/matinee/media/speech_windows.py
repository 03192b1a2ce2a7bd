"""Long recordings of speech, heard in windows that overlap: what was heard in them becomes one text.

No more than a few windows are in memory, however long a recording is. docs/decisions/spoken-words.md tells why words
are neither doubled nor lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from matinee.core.errors import DataError
from matinee.core.scripts import stands_alone
from matinee.media.timelines import Told, Window, captions

OVERLAP: Final = 0.2
"""Share of a window that the next one hears again."""
BREAK: Final = 0.6
"""Seconds of a pause from which on another subtitle begins."""
MOST_SECONDS: Final = 6.0
MOST_LETTERS: Final = 84
"""Of a subtitle: two lines of 42, as is usual."""
EDGE: Final = 0.25  # share of what two windows both hear, at either end, where one of them hears badly

Word = Mapping[str, Any]


def transcript(windows: Sequence[tuple[Window, Told]]) -> Told:
    """The answer for a recording from those for its windows, in order: {"text", "words"}, times from its beginning.

    Each moment is one window's: two that overlap divide what both heard in the longest pause there. Windows without a
    sound have no words; those that could not be heard are in "unheard", unless there is nothing else.
    """
    heard = [(window, answer) for window, answer in windows if not isinstance(answer, DataError)]
    lost = [(window, answer) for window, answer in windows if isinstance(answer, DataError)]
    if not heard:
        return lost[0][1]
    told = [_in_the_whole(window.start, answer) for window, answer in heard]
    meet = [(other.start, one.end) for (one, _), (other, _) in pairwise(heard)]
    cuts = [_cut([*one, *other], *both) for (one, other), both in zip(pairwise(told), meet, strict=True)]
    edges = [-1.0, *cuts, float("inf")]
    kept = [
        pair for words, (first, last) in zip(told, pairwise(edges), strict=True) for pair in words
        if first <= _middle(pair[1]) < last
    ]  # fmt: skip
    text = "".join(before + word["word"] for before, word in kept)
    unheard = [
        {"start": window.start, "end": window.end, "error": str(answer)}
        for window, answer in lost if getattr(answer, "kind", "") != "silent"
    ]  # fmt: skip
    return {"text": text.strip(), "words": [word for _, word in kept], **({"unheard": unheard} if unheard else {})}


def subtitles(answer: Mapping[str, Any]) -> dict[str, bytes]:
    """What was said as subtitles, WebVTT and SubRip: a new one after each pause, and where one becomes long."""
    cues: list[tuple[float, float, str]] = []
    for before, word in _in_the_whole(0.0, answer):
        start, end, said = float(word["start"]), float(word["end"]), f"{before}{word['word']}"
        first, last, text = cues[-1] if cues else (0.0, -BREAK, "")
        if start - last < BREAK and end - first <= MOST_SECONDS and len(text) + len(said) <= MOST_LETTERS:
            cues[-1] = (first, end, text + said)
        else:
            cues.append((start, end, said))
    return captions(cues)


def _in_the_whole(start: float, answer: Mapping[str, Any]) -> list[tuple[str, Word]]:
    """Each word with its times in the whole recording, and with what stands before it in the text."""
    found: list[tuple[str, Word]] = []
    text, place = answer["text"], 0
    for word in answer["words"]:
        at = text.index(word["word"], place)
        moved = {edge: round(start + word[edge], 3) for edge in ("start", "end")}
        before = text[place:at] if found else "" if stands_alone(word["word"][0]) else " "
        found.append((before, {**word, **moved}))
        place = at + len(word["word"])
    return found


def _cut(words: Sequence[tuple[str, Word]], first: float, last: float) -> float:
    """The middle of the longest pause from `first` to `last`, in seconds, in which neither window has a word."""
    first, last = first + EDGE * (last - first), last - EDGE * (last - first)
    if last <= first:  # windows that do not meet, for the one between them could not be heard
        return (first + last) / 2
    spoken = sorted((word["start"], word["end"]) for _, word in words)
    best, begin = (0.0, (first + last) / 2), first
    for start, end in (*spoken, (last, last)):
        until = min(start, last)
        best = max(best, (until - begin, (until + begin) / 2), key=lambda pause: pause[0])
        begin = max(begin, end)
    return best[1]


def _middle(word: Word) -> float:
    middle: float = (word["start"] + word["end"]) / 2
    return middle
