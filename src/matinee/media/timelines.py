"""Long films and sounds, seen in windows that overlap: their answers become one timeline of events, and subtitles."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np

from matinee.core.errors import DataError
from matinee.media.stretches import stretch_name

NEAR: Final = 0.04  # share of a window: edges nearer to each other are one; else there are events of milliseconds
LONG: Final = 2.0  # a recording of more than so many windows is answered window by window

Told = dict[str, Any] | DataError
Shares = np.ndarray[Any, np.dtype[np.float64]]


class Window(str):
    """A stretch of a long recording, as a raw: `film.mp4#t=0,4`.

    recording: the name that was asked about. start, end: seconds. last: whether it has no further window.
    """

    __slots__ = ("end", "last", "recording", "start")
    recording: str
    start: float
    end: float
    last: bool


def windows(name: str, path: str, stretch: tuple[float, float], length: float, overlap: float) -> list[str]:
    """The windows of a recording that was asked about as `name`, each `length` seconds long; a short one stays that.

    stretch: from where to where in seconds it is to be seen. overlap: the share of a window, at least, that the next
    one sees again. They begin and end where the stretch does.
    """
    start, end = stretch
    seconds = end - start
    if not length > 0 or not length * LONG < seconds < math.inf:
        return [name]
    count = 1 + math.ceil((seconds - length) / (length * (1 - overlap)) - 1e-9)
    found: list[str] = []
    for number, first in enumerate(np.linspace(start, end - length, count).tolist()):
        window = Window(stretch_name(path, first, first + length))
        window.recording, window.start, window.end = name, round(first, 3), round(first + length, 3)
        window.last = number == count - 1
        found.append(window)
    return found


def gathered(
    told: Iterator[tuple[Any, Told]], whole: Callable[[Sequence[tuple[Window, Told]]], Told]
) -> Iterator[tuple[Any, Told]]:
    """Answers as they come; of those for the windows of a recording `whole` makes one, once the last has come."""
    parts: list[tuple[Window, Told]] = []
    for raw, answer in told:
        if not isinstance(raw, Window):
            yield raw, answer
            continue
        parts.append((raw, answer))
        if raw.last:
            yield raw.recording, whole(parts)
            parts = []


def timelines(told: Iterator[tuple[Any, Told]], classes: Sequence[str]) -> Iterator[tuple[Any, Told]]:
    """Answers as they come; those for the windows of a recording as one timeline of events."""
    return gathered(told, lambda parts: _timeline(parts, classes))


def _timeline(parts: Sequence[tuple[Window, Told]], classes: Sequence[str]) -> Told:
    """The answer for a recording: the mean over time, and its events.

    At every moment the windows that see it are averaged (as clips of a film are); neighbours with the same answer are
    one event. What no window could see is an event with an error.
    """
    near = NEAR * (parts[0][0].end - parts[0][0].start)
    edges = _apart([edge for window, _ in parts for edge in (window.start, window.end)], near)
    sums, seen = np.zeros((len(edges) - 1, len(classes))), np.zeros(len(edges) - 1)
    errors: dict[int, DataError] = {}
    place = {name: number for number, name in enumerate(classes)}
    for window, answer in parts:
        first, last = (int(np.abs(edges - edge).argmin()) for edge in (window.start, window.end))
        if isinstance(answer, DataError):
            errors.update(dict.fromkeys(range(first, last), answer))
        else:
            sums[first:last] += _shares(answer, place)
            seen[first:last] += 1
    if not seen.any():
        return errors[0]
    lasts = np.diff(edges)
    shares = sums / np.maximum(seen, 1)[:, None]
    best = np.where(seen > 0, shares.argmax(1), -1)
    bounds = [0, *(np.flatnonzero(np.diff(best)) + 1).tolist(), len(best)]
    events: list[dict[str, Any]] = []
    for first, last in pairwise(bounds):
        event: dict[str, Any] = {"start": round(float(edges[first]), 3), "end": round(float(edges[last]), 3)}
        if best[first] < 0:
            event["error"] = str(errors[first])
        else:
            sure = np.average(shares[first:last, best[first]], weights=lasts[first:last])
            event |= {"label": classes[best[first]], "probability": round(float(sure), 6)}
        events.append(event)
    whole = np.average(shares, axis=0, weights=lasts * (seen > 0))
    order = np.argsort(-whole, kind="stable")[:5].tolist()
    named = [{"label": classes[number], "probability": round(float(whole[number]), 6)} for number in order]
    return {**named[0], "others": named[1:], "seconds": round(float(edges[-1] - edges[0]), 3), "events": events}


def _apart(moments: Sequence[float], near: float) -> Shares:
    """The moments in order, without those that come no later than `near` after one that is kept; the last one is."""
    kept: list[float] = []
    for moment in sorted(moments):
        if not kept or moment - kept[-1] > near:
            kept.append(moment)
    kept[-1] = max(moments)
    return np.array(kept)


def _shares(answer: Mapping[str, Any], place: Mapping[str, int]) -> Shares:
    """The probability of every class; an answer names the likeliest ones, the others share what is left."""
    shares = np.full(len(place), -1.0)
    for one in (answer, *answer["others"]):
        shares[place[one["label"]]] = one["probability"]
    unnamed = shares < 0
    if unnamed.any():
        shares[unnamed] = max(0.0, 1.0 - shares[~unnamed].sum()) / unnamed.sum()
    return shares


def subtitles(events: Sequence[Mapping[str, Any]]) -> dict[str, bytes]:
    """The events as subtitles, which any player shows over the film: WebVTT (W3C) and SubRip."""
    return captions(
        (event["start"], event["end"], f"{event['label']} ({100 * event['probability']:.0f} %)")
        for event in events
        if "label" in event
    )


def captions(cues: Iterable[tuple[float, float, str]]) -> dict[str, bytes]:
    """Subtitles, each from a second to another one, in the same two forms."""
    web, rip = ["WEBVTT\n"], []
    for number, (start, end, said) in enumerate(cues, 1):
        words, times = " ".join(said.split()), [_clock(start), _clock(end)]
        escaped = words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        web.append(f"{times[0]} --> {times[1]}\n{escaped}\n")
        rip.append(f"{number}\n{times[0].replace('.', ',')} --> {times[1].replace('.', ',')}\n{words}\n")
    return {".vtt": "\n".join(web).encode("utf-8", "replace"), ".srt": "\n".join(rip).encode("utf-8", "replace")}


def _clock(seconds: float) -> str:
    """12.5 -> 00:00:12.500."""
    whole = round(1000 * seconds)
    return f"{whole // 3_600_000:02}:{whole // 60_000 % 60:02}:{whole // 1000 % 60:02}.{whole % 1000:03}"


def labels_of_moments(events: Sequence[Mapping[str, Any]]) -> bytes:
    """The events as a label track: start, end and label of each in a line, between tabs, as sound editors read it."""
    lines = [
        f"{event['start']:.3f}\t{event['end']:.3f}\t{' '.join(event['label'].split())}\n"
        for event in events
        if "label" in event
    ]
    return "".join(lines).encode("utf-8", "replace")
