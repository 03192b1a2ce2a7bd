"""Scripts that are written without blanks between words, and what counts as a word there."""

from __future__ import annotations

import re
from typing import Final

ALONE: Final = "\u2e80-\u2fff\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Chinese and Japanese characters, for a regular expression: each is a word."""
UNCUT: Final = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
"""Thai, Lao, Burmese and Khmer, whose words are known to dictionaries only: each character counts as one."""

_UNIT: Final = re.compile(rf"[{ALONE}{UNCUT}]|[^\s{ALONE}{UNCUT}]+")
_ALONE: Final = re.compile(rf"[{ALONE}{UNCUT}]")


def units(text: str) -> list[str]:
    """What errors and n-grams of a text are counted in: words between blanks, and characters that stand alone."""
    return _UNIT.findall(text)


def stands_alone(character: str) -> bool:
    """Whether a character is a unit of its own."""
    return character > "\u0dff" and _ALONE.match(character) is not None
