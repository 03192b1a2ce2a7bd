"""Stretches of recordings: how tables tell them, and how they are named, `talk.wav#t=12,14.5`, in seconds."""

from __future__ import annotations

import math
import re
from typing import Final

STARTS: Final = ("start", "start_time", "time_start", "t_start", "begin", "from", "start_seconds", "onset")
ENDS: Final = ("end", "end_time", "time_end", "t_end", "stop", "to", "end_seconds")
NOT_SAID: Final = ("", "nan", "none", "null", "na", "n/a", "-")  # as programs write that there is nothing
_NAMED: Final = re.compile(r"(.*)#t=(\d*\.?\d*)(?:,(\d+\.?\d*|\d*\.\d+))?", re.DOTALL)


def seconds_of(said: str, otherwise: float) -> float | None:
    """`12.5`, `1:02.5` or `0:01:02` in seconds; `otherwise` where nothing is said; None for what is no time."""
    if said.lower() in NOT_SAID:
        return otherwise
    if not re.fullmatch(r"(\d+:){0,2}\d+([.,]\d*)?(e[+-]?\d+)?", said, re.IGNORECASE):
        return None
    seconds = 0.0
    for part in said.replace(",", ".").split(":"):
        seconds = 60 * seconds + float(part)
    return seconds


def cut(name: str) -> tuple[str, float, float]:
    """`film.mp4#t=12,14.5` -> ("film.mp4", 12.0, 14.5), seconds; a name without a stretch -> (name, 0, inf).

    The notation is the W3C's for media fragments. Nothing but a stretch is taken for one.
    """
    found = _NAMED.fullmatch(name)
    if found is None or not (found[2].strip(".") or found[3]):
        return name, 0.0, math.inf
    return found[1], float(found[2]) if found[2].strip(".") else 0.0, float(found[3]) if found[3] else math.inf


def stretch_name(name: str, start: float, end: float) -> str:
    """The reverse of `cut`, to a thousandth of a second."""
    if start <= 0 and math.isinf(end):
        return name
    return f"{name}#t={short(start)}" + ("" if math.isinf(end) else f",{short(end)}")


def short(seconds: float) -> str:
    """To a thousandth, without zeros at the end."""
    return f"{seconds:.3f}".rstrip("0").rstrip(".")
