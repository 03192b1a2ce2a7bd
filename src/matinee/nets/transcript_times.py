"""Where the symbols and words of a text lie in what was heard, and how sure each word is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from matinee.core.examples import Array
from matinee.core.scripts import stands_alone
from matinee.nets.heard import BLANK, Heard

_NEVER: Final = -1e9  # ln p of what is impossible: finite, so that differences are numbers
_SUREST: Final = 12.0  # log-odds beyond which nobody can tell


class Laid(NamedTuple):
    """The symbols of one text over frames: numbers, first frames, frames past the last, largest share of each."""

    numbers: list[int]
    begins: list[int]
    ends: list[int]
    peaks: list[float]

    def then(self, other: Laid, frames: int) -> Laid:
        """With what follows, whose frames begin `frames` later."""
        begins, ends = ([frame + frames for frame in some] for some in (other.begins, other.ends))
        return Laid(self.numbers + other.numbers, self.begins + begins, self.ends + ends, self.peaks + other.peaks)


def nothing() -> Laid:
    """No text."""
    return Laid([], [], [], [])


def along(row: Array) -> Laid:
    """The likeliest path of log-probabilities (frames, symbols)."""
    path = row.argmax(-1)
    starts = np.flatnonzero(np.diff(path, prepend=-1))
    ends = np.append(starts[1:], len(path))
    spoken = path[starts] != BLANK
    return _laid(row, path[starts[spoken]].tolist(), starts[spoken].tolist(), ends[spoken].tolist())


def over(row: Array, numbers: Sequence[int]) -> Laid:
    """The likeliest way to lay these symbols over log-probabilities (frames, symbols): Viterbi's algorithm.

    Where they are too many for the frames they are spread evenly.
    """
    if not numbers or not len(row):
        return nothing()
    states = np.full(2 * len(numbers) + 1, BLANK)
    states[1::2] = numbers
    emitted = np.maximum(np.nan_to_num(row[:, states].astype(np.float64), nan=_NEVER), _NEVER)
    leap = np.full(len(states), _NEVER)  # over a blank, from a symbol to the next where they differ
    leap[3::2] = np.where(states[3::2] != states[1:-2:2], 0.0, _NEVER)
    ways, back = np.full((3, len(states)), _NEVER), np.zeros((len(row), len(states)), np.int8)
    every, score = np.arange(len(states)), np.full(len(states), 2 * _NEVER)
    score[:2] = emitted[0, :2]
    for frame in range(1, len(row)):
        ways[0], ways[1, 1:], ways[2, 2:] = score, score[:-1], score[:-2] + leap[2:]
        back[frame] = ways.argmax(0)
        score = ways[back[frame], every] + emitted[frame]
    state = len(states) - 1 - int(score[-2] >= score[-1])
    path = np.zeros(len(row), np.int64)
    for frame in range(len(row) - 1, -1, -1):
        path[frame] = state
        state -= int(back[frame, state])
    places = 2 * np.arange(len(numbers)) + 1
    begins, ends = np.searchsorted(path, places), np.searchsorted(path, places, "right")
    if state not in (0, 1) or (begins == ends).any():
        edges = np.linspace(0, len(row), len(numbers) + 1).astype(int)
        begins, ends = edges[:-1], edges[1:]
    return _laid(row, list(numbers), begins.tolist(), ends.tolist())


def _laid(row: Array, numbers: list[int], begins: list[int], ends: list[int]) -> Laid:
    most = [row[a : max(b, a + 1), n].max() for n, a, b in zip(numbers, begins, ends, strict=True)]
    return Laid(numbers, begins, ends, np.exp(np.minimum(most, 0.0)).tolist() if most else [])


def as_heard(log_probs: Tensor, lengths: Tensor, found: Sequence[Laid]) -> Heard:
    """The texts of a batch, as one answer."""

    def column(kind: type, values: Sequence[Sequence[Any]]) -> Tensor:
        longest = max((len(row) for row in values), default=0)
        table = [[*row, *[kind(0)] * (longest - len(row))] for row in values]
        dtype = torch.int64 if kind is int else torch.float32
        return torch.tensor(table, dtype=dtype, device=log_probs.device).reshape(len(values), longest)

    numbers, begins, ends = (column(int, [one[at] for one in found]) for at in range(3))
    return Heard(log_probs, lengths, numbers, begins, ends, column(float, [one.peaks for one in found]))


def word_spans(numbers: Sequence[int], symbols: Sequence[str]) -> list[tuple[int, int]]:
    """Of each word, the place of its first symbol and the one past its last; blanks are in none.

    A word begins behind a blank, at a symbol that begins with one, and at characters that stand alone.
    """
    spans: list[tuple[int, int]] = []
    begin, over_after = -1, False
    for at, number in enumerate(numbers):
        text = symbols[number]
        bare = text.strip()
        if begin >= 0 and (not bare or text[0].isspace() or stands_alone(bare[0]) or over_after):
            spans.append((begin, at))
            begin = -1
        if bare:
            begin = at if begin < 0 else begin
            over_after = stands_alone(bare[-1]) or text[-1].isspace()
    return [*spans, (begin, len(numbers))] if begin >= 0 else spans


def word_confidences(
    heard: Heard, symbols: Sequence[str], votes: Sequence[Sequence[float]], trust: Sequence[float]
) -> Tensor:
    """How sure each symbol's word is, float32 (batch, longest), from 0 to 1: what frames and beams say of it.

    votes: for each symbol, the share of the beams that have its word. trust: weights of the log-odds of the faintest
    symbol of the word and of the votes, and a constant (a logistic regression, fitted by `trusted`).
    """
    sure = heard.sure.clone()
    for place, numbers in enumerate(told(heard)):
        for first, last in word_spans(numbers, symbols):
            one, other = marks_of(heard.sure[place, first:last].tolist(), votes[place][first:last])
            sure[place, first:last] = 1 / (1 + math.exp(-(trust[0] * one + trust[1] * other + trust[2])))
    return sure


def marks_of(peaks: Sequence[float], votes: Sequence[float]) -> tuple[float, float]:
    """The log-odds of a word's faintest symbol, and of the votes for it."""
    return _odds(min(peaks)), _odds(min(votes)) if votes else 0.0


def _odds(share: float) -> float:
    share = min(max(share, 1e-6), 1 - 1e-6)
    return max(-_SUREST, min(_SUREST, math.log(share / (1 - share))))


def trusted(marks: Sequence[tuple[float, float]], right: Sequence[bool]) -> tuple[float, float, float]:
    """The weights of a logistic regression (Platt, 1999) from marks of words to their being right.

    It is held near what frames say by themselves, so that few words, or words that are all right, move it little.
    """
    prior = np.array([1.0, 0.0, 0.0])
    if not marks:
        return 1.0, 0.0, 0.0
    table = np.column_stack([np.array(marks, np.float64), np.ones(len(marks))])
    truth, weights = np.array(right, np.float64), prior.copy()
    for _ in range(30):
        shares = 1 / (1 + np.exp(-np.clip(table @ weights, -30, 30)))
        slope = table.T @ (truth - shares) - (weights - prior)
        bend = (table * (shares * (1 - shares))[:, None]).T @ table + np.eye(3)
        move = np.linalg.solve(bend, slope)
        weights = weights + move * min(1.0, 2.0 / max(1e-9, float(np.abs(move).max())))
    return float(weights[0]), float(weights[1]), float(weights[2])


def told(heard: Heard) -> list[list[int]]:
    """The symbols of each answer, without the zeros behind."""
    return [[n for n in row if n != BLANK] for row in heard.numbers.tolist()]


def spelled(numbers: Sequence[int], symbols: Sequence[str]) -> str:
    """The text of symbols, with one blank between words."""
    return " ".join("".join(symbols[number] for number in numbers).split())


def spell(heard: Heard, place: int, symbols: Sequence[str]) -> str:
    """The text of one answer of a batch."""
    return spelled([n for n in heard.numbers[place].tolist() if n != BLANK], symbols)


def words_of(heard: Heard, place: int, symbols: Sequence[str], step: float) -> list[dict[str, Any]]:
    """The words of one answer, with the seconds where each begins and ends, and how sure it is, from 0 to 1.

    step: seconds of a frame. The times are those of the frames that speak for the word's symbols. Such a network tells
    a symbol within its sound, seldom along all of it, so they are a little inside of the word.
    """
    numbers = [n for n in heard.numbers[place].tolist() if n != BLANK]
    begins, ends, sure = (each[place].tolist() for each in (heard.begins, heard.ends, heard.sure))
    return [
        {
            "word": "".join(symbols[n] for n in numbers[first:last]).strip(),
            "start": round(begins[first] * step, 3),
            "end": round(ends[last - 1] * step, 3),
            "confidence": round(min(sure[first:last]), 4),
        }
        for first, last in word_spans(numbers, symbols)
    ]
