"""What kind of tokens texts are best made of, told from the texts alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from matinee.media.tokens import letters_of, words_of

LONG: Final = 120
"""Words of a text on average from which on its characters tell little beside them."""
ALIGNED_UP_TO: Final = 512
SAMPLE: Final = 2000
LETTERS: Final = 30
"""Different letters that sequences such as genes have at most."""
_LETTERS: Final = re.compile(r"(?:[^\W\d_]|[*-]){10,}")
"""Ten letters at least, with the marks for a gap and for an end among them."""


def kind_of(texts: Sequence[str]) -> str:
    """letters for sequences; words where texts are long, or of single characters; else both words and characters."""
    sample = texts[:: max(1, len(texts) // SAMPLE)]
    if _are_sequences(sample):
        return "letters"
    words = [words_of(text[:20_000]) for text in sample]
    count = sum(map(len, words))
    # A text of single characters is spelled already.
    alone = sum(len(word) == 1 for row in words for word in row) > 0.7 * count
    return "words" if count > LONG * len(sample) or alone else "both"


def _are_sequences(sample: Sequence[str]) -> bool:
    if any(len(text.split()) > 2 for text in sample):
        return False
    letters = [letters_of(text) for text in sample]
    return all(_LETTERS.fullmatch(word) for word in letters) and len({sign for word in letters for sign in word}) <= (
        LETTERS
    )


def aligned_length(texts: Sequence[str]) -> int:
    """The number of letters that all of these sequences have, or 0: then they are not aligned."""
    first = len(letters_of(texts[0])) if texts else 0
    return first if first <= ALIGNED_UP_TO and all(len(letters_of(text)) == first for text in texts) else 0
