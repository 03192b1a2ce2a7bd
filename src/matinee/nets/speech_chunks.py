"""Recordings of any length through a network that hears some seconds at a time, also while they are still being made.

A piece is heard with some of what came before and after it. What is said of its frames is kept up to the middle of the
longest pause near its end, and the next piece goes on from exactly that frame: no frame is told twice or left out, so
no word is, and no more than one piece is ever in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn

from matinee.nets.heard import BLANK, Heard
from matinee.nets.ngram_language import Language
from matinee.nets.pauses import PAUSE, parted
from matinee.nets.transcribing import Search, beam_search
from matinee.nets.transcript_times import words_of

LONGEST: Final = 30.0
"""Seconds of a recording that is heard as a whole."""

_UNHEARD: Final = -30.0  # ln p of a symbol where there is no sound

Hears = Callable[[Tensor], Heard]
"""What a network says of (1, rows, ...)."""


@dataclass(frozen=True)
class Pace:
    """How a long recording is divided. All in seconds.

    longest: of a piece. before: how much of a piece was in the one before. after: what is heard beyond what is told.
    """

    longest: float = LONGEST
    before: float = 3.0
    after: float = 1.5

    def __post_init__(self) -> None:
        if not (0 < 2 * (self.before + self.after) <= self.longest):
            raise ValueError(
                f"a piece of {self.longest} s is too short for {self.before} s before and {self.after} s after."
            )


LIVE: Final = Pace(5.0, 1.6, 0.6)
"""For what is still being said: words come two to four seconds after they were."""


class Settled(NamedTuple):
    """What is said of some frames, from the frame `first` of the recording on: log_probs float32 (frames, symbols)."""

    first: int
    log_probs: Tensor


def settled(blocks: Iterable[Tensor], hears: Hears, stride: int, second: float, pace: Pace) -> Iterator[Settled]:
    """Hears rows (rows, ...) that come block by block; tells of all frames once, in order.

    stride: rows of a frame of the answer. second: rows of one second.
    """
    longest = max(4 * stride, round(pace.longest * second))
    before, after = round(pace.before * second) // stride, round(pace.after * second) // stride
    start = done = 0  # the row that what is kept begins with, and the frames that are told
    kept: Tensor | None = None
    for block in _and_the_end(blocks):
        if block is not None:
            kept = block if kept is None else torch.cat([kept, block])
        while kept is not None and len(kept) and (len(kept) > longest or block is None):
            told, offset = _told(hears(kept[None, :longest]), min(longest, len(kept)) // stride), start // stride
            if block is None and len(kept) <= longest:
                yield Settled(done, told[done - offset :])
                return
            first = max(done - offset, before) + 1
            end = _pause(told, max(first, len(told) * 2 // 3), max(first + 1, len(told) - after))
            yield Settled(done, told[done - offset : end])
            done = offset + end
            kept = kept[max(0, done - before) * stride - start :]
            start = max(0, done - before) * stride


def _told(heard: Heard, frames: int) -> Tensor:
    """What is said of each frame: silence where a network took the zeros at an end for no sound at all."""
    told = heard.log_probs[0, : int(heard.lengths[0])]
    if len(told) >= frames:
        return told
    silence = told.new_full((frames - len(told), told.shape[1]), _UNHEARD)
    silence[:, BLANK] = 0.0
    return torch.cat([told, silence])


def _and_the_end(blocks: Iterable[Tensor]) -> Iterator[Tensor | None]:
    yield from blocks
    yield None


def _pause(told: Tensor, first: int, last: int) -> int:
    """The frame in the middle of the longest pause from `first` to `last`: where nothing but blanks is likeliest."""
    if last - first < 2:
        return first
    silent = (told[first:last].argmax(-1) == BLANK).tolist()
    best, begin = (0, (last - first) // 2), 0
    for at, quiet in enumerate([*silent, False]):
        if not quiet:
            best = max(best, (at - begin, (begin + at) // 2), key=lambda pair: pair[0])
            begin = at + 1
    return first + best[1]


def stitched(
    hears: Hears, inputs: Tensor, stride: int, second: float, longest: float = LONGEST
) -> tuple[Tensor, Tensor]:
    """One recording (1, rows, ...) of any length: log_probs (1, frames, symbols) as of one answer, and frames (1,)."""
    pace = Pace(longest, longest / 10, longest / 20)
    whole = torch.cat([piece.log_probs for piece in settled([inputs[0]], hears, stride, second, pace)])
    return whole[None], torch.tensor([len(whole)], device=inputs.device)


@dataclass(frozen=True)
class Listening:
    """What is needed to make words of frames.

    symbols: the text of each; second: rows of the network's input in one second; stride: rows of a frame.
    """

    symbols: tuple[str, ...]
    second: float
    stride: int
    language: Language | None = None
    search: Search = field(default_factory=Search)
    pace: Pace = LIVE


def live(network: nn.Module, blocks: Iterable[Tensor], listening: Listening) -> Iterator[dict[str, Any]]:
    """Words as they become sure, while a recording comes in blocks (rows, ...) of any size.

    Each is {"word", "start", "end", "confidence"}, in seconds from the beginning; no word is taken back. A word is told
    once another one or a pause follows it.
    """

    def hears(inputs: Tensor) -> Heard:
        with torch.inference_mode():
            heard: Heard = network(inputs)
        return heard

    waiting: Settled | None = None
    for piece in settled(blocks, hears, listening.stride, listening.second, listening.pace):
        whole = piece if waiting is None else Settled(waiting.first, torch.cat([waiting.log_probs, piece.log_probs]))
        heard, words = _words(whole, listening)
        frames = listening.second / listening.stride
        waiting = None
        if words and len(whole.log_probs) - int(heard.ends.max()) < PAUSE * frames:
            over = words.pop()  # it may go on
            begin = max(0, round(over["start"] * frames) - whole.first - 1)
            waiting = Settled(whole.first + begin, whole.log_probs[begin:])
        yield from words
    if waiting is not None:
        yield from _words(waiting, listening)[1]


def _words(piece: Settled, listening: Listening) -> tuple[Heard, list[dict[str, Any]]]:
    length, step = torch.tensor([len(piece.log_probs)]), listening.stride / listening.second
    told = parted(piece.log_probs[None], length, listening.symbols, PAUSE / step)
    heard = beam_search(told, length, listening.symbols, listening.language, listening.search)
    moved = heard._replace(begins=heard.begins + piece.first, ends=heard.ends + piece.first)
    return heard, words_of(moved, 0, listening.symbols, step)
