"""Where sentences end."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

_END: Final = re.compile(r"(?<=[.!?…؟।])[\"'”’»)\]]*\s+(?=[\"'“‘„«¿¡(\[]*(.))|(?<=[。！？])[”’」』）]*")
_SHORT: Final = re.compile(
    r"(?:\b[A-Z]|\b(?:mr|mrs|ms|dr|prof|st|sr|jr|vs|etc|inc|ltd|co|corp|no|fig|eq|al|e\.g|i\.e|cf|gen|sen|rep))\.$",
    re.IGNORECASE,
)
"""Words whose dot ends no sentence."""
SHORT_MOST: Final = 8
"""Characters that tell such a word: more are not looked at, for a line may be a million of them."""


def sentences_of(texts: Sequence[str]) -> list[str]:
    """The sentences of a document: a given list of them as it is, one text divided at its lines and full stops."""
    if len(texts) > 1:
        return [" ".join(text.split()) for text in texts]
    found: list[str] = []
    for line in texts[0].split("\n"):
        found += _divided(" ".join(line.split())) if line.strip() else []
    return found


def _divided(line: str) -> list[str]:
    found, first = [], 0
    for match in _END.finditer(line):
        # A small letter goes on with the sentence; scripts without small letters have none.
        if (following := match.group(1)) and following.islower():
            continue
        # What stands between the full stop and the blank, such as a closing quotation mark, belongs to the sentence.
        piece = line[first : match.end()].strip()
        if not piece or _SHORT.search(line, max(first, match.start() - SHORT_MOST), match.start()):
            continue
        found.append(piece)
        first = match.end()
    rest = line[first:].strip()
    return [*found, rest] if rest else found
