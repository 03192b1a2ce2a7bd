"""Scripts that are written without blanks between words, and how they are cut where words are counted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

TOKENS: Final = ("13a", "zh", "char")
"""How sacreBLEU cuts texts: at blanks and marks; the same, and Chinese characters alone; every character alone."""

_CHINESE: Final = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")
_UNCUT: Final = re.compile(r"[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff]")
"""Thai, Lao, Tibetan, Burmese, Khmer, Japanese syllables."""


def tokens_of(texts: Sequence[str]) -> str:
    """How texts like these are cut for BLEU, one of TOKENS: by the script that most of their letters are in."""
    letters = "".join("".join(text.split()) for text in texts[:1000])
    uncut, chinese = len(_UNCUT.findall(letters)), len(_CHINESE.findall(letters))
    if not letters or 3 * (uncut + chinese) < len(letters):
        return "13a"
    # Japanese has Chinese characters as well, but never many without syllables of its own.
    return "char" if 10 * uncut > chinese else "zh"
