"""From what is heard in each frame to symbols: the likeliest path, or the best of several beams with a language model.

Connectionist temporal classification (Graves et al., 2006): a symbol may last several frames and blanks may stand
between, so a text has as many paths as there are ways to lay it over the frames. Prefix beam search (Hannun et al.,
2014) adds up the paths of each beginning of a text that it keeps.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import numpy as np
from torch import Tensor

from matinee.core.examples import Array
from matinee.core.scripts import stands_alone
from matinee.nets.heard import BLANK, Heard
from matinee.nets.ngram_language import State, Step
from matinee.nets.transcript_times import Laid, along, as_heard, nothing, over, word_confidences, word_spans

FAINT: Final = 1e-3
"""A symbol less likely than this in a frame begins no new text there."""
LOST: Final = 1e-7
"""A text so much less likely than the best one is not gone on with."""
MOST: Final = 24  # symbols of a frame that texts go on with
PIECE: Final = 1500  # frames that are searched at once; of longer recordings, pieces cut where nothing is said
_LARGEST: Final = 50.0  # ln of what one symbol may multiply a text's likelihood by
USUAL: Final = 0.5  # weight of a language where no example tells a better one
KEPT: Final = 8  # numbers of a search in a network


class Speaks(Protocol):
    """A language model, as the search asks it (`nets/ngram_language.py`)."""

    def step(self, state: State, text: str) -> Step:
        """What is added by some letters."""

    def end(self, state: State) -> float:
        """ln p of the text being over."""


@dataclass(frozen=True)
class Search:
    """How texts are looked for: those with most of ln p of the frames + weight * ln p of the language + bonus * words.

    beams: beginnings kept in each frame; 1 and no language: each frame's likeliest symbol. faint: see FAINT; 0 leaves
    nothing out. trust: what is made of how sure frames and beams are of a word, and a constant (`word_confidences` in
    `transcript_times.py`).
    """

    beams: int = 16
    weight: float = 0.0
    bonus: float = 0.0
    faint: float = FAINT
    trust: tuple[float, float, float] = (1.0, 0.0, 0.0)

    def numbers(self) -> list[float]:
        """For a network to keep: KEPT of them, the first 1."""
        told = [1.0, self.weight, self.bonus, *self.trust]
        return [*told, *[0.0] * (KEPT - len(told))]

    @staticmethod
    def of(numbers: Tensor, beams: int) -> Search:
        """From what a network kept; zeros, before anything was chosen: the likeliest path."""
        settled, weight, bonus, *trust = numbers.tolist()
        if not settled:
            return Search(beams=1)
        return Search(beams, weight, bonus, trust=(trust[0], trust[1], trust[2]))


class Hypothesis(NamedTuple):
    """One text: its symbols, its whole score, ln p of the frames given it alone, and ln p of its language."""

    numbers: tuple[int, ...]
    score: float
    heard: float
    language: float


def greedy(log_probs: Tensor, lengths: Tensor) -> Heard:
    """The likeliest symbol of each frame, without repeats and blanks. log_probs (batch, frames, symbols)."""
    rows = log_probs.float().cpu().numpy()
    found = [along(row[:length]) for row, length in zip(rows, lengths.tolist(), strict=True)]
    return as_heard(log_probs, lengths, found)


def beam_search(
    log_probs: Tensor, lengths: Tensor, symbols: Sequence[str], language: Speaks | None, settings: Search
) -> Heard:
    """The best text of each recording, where its symbols are, and how sure each of its words is.

    log_probs: (batch, frames, symbols), natural logarithms; lengths: int64 (batch,). symbols: the text of each, "" that
    of the blank, which is the first; a blank character divides words. What is found does not depend on the others of
    a batch.
    """
    if settings.beams == 1 and language is None:
        return greedy(log_probs, lengths)
    searched = [
        _searched(row[:length], symbols, language, settings)
        for row, length in zip(log_probs.float().cpu().numpy(), lengths.tolist(), strict=True)
    ]
    heard = as_heard(log_probs, lengths, [laid for laid, _ in searched])
    return heard._replace(sure=word_confidences(heard, symbols, [votes for _, votes in searched], settings.trust))


def _searched(
    row: Array, symbols: Sequence[str], language: Speaks | None, settings: Search
) -> tuple[Laid, list[float]]:
    """The best text of one recording, laid over its frames, and for each symbol the votes for its word."""
    found, votes = nothing(), list[float]()
    for first, last in _divided(row):
        best = n_best(row[first:last], symbols, language, settings)
        if best:
            found = found.then(over(row[first:last], best[0].numbers), first)
            votes += agreement(best, symbols)
    return found, votes


def _divided(row: Array) -> list[tuple[int, int]]:
    """Where frames (frames, symbols) are cut: into pieces of PIECE at most, where nothing is likeliest to be said."""
    cuts = [0]
    while len(row) - cuts[-1] > PIECE:
        first = cuts[-1] + PIECE // 2
        silence = np.convolve(row[first : cuts[-1] + PIECE, BLANK], np.ones(5), "same")
        cuts.append(first + int(silence.argmax()))
    return list(zip(cuts, [*cuts[1:], len(row)], strict=True))


def n_best(row: Array, symbols: Sequence[str], language: Speaks | None, settings: Search) -> list[Hypothesis]:
    """The best texts of one recording, log-probabilities (frames, symbols), the best first; at most `beams`."""
    tree = _Tree(symbols, language, settings)
    beam, scale = {0: (1.0, 0.0)}, 0.0  # beginning -> how likely it is, ending with a blank or with its last symbol
    shares = np.exp(np.nan_to_num(row.astype(np.float64), nan=-math.inf, posinf=0.0))
    for frame, likely in zip(shares, _likely(shares, settings.faint, tree.ending_words), strict=True):
        beam = _gone_on(beam, frame, likely, tree, LOST if settings.faint else 0.0)
        if len(beam) > settings.beams:
            best = heapq.nlargest(settings.beams, beam.items(), key=lambda pair: pair[1][0] + pair[1][1])
            beam = dict(best)
        most = max((ended + going for ended, going in beam.values()), default=0.0)
        if most <= 0.0:
            return []
        scale += math.log(most)
        beam = {node: (ended / most, going / most) for node, (ended, going) in beam.items()}
    found = []
    for node, (ended, going) in beam.items():
        if ended + going > 0.0:
            total, last = math.log(ended + going) + scale, tree.ending(node)
            spoken = tree.spoken[node]
            found.append(
                Hypothesis(tree.numbers(node), total + settings.weight * last, total - tree.gained[node], spoken + last)
            )
    return sorted(found, key=lambda one: (-one.score, one.numbers))


Likely = tuple[list[tuple[int, float]], list[tuple[int, float]]]
"""Symbols of a frame with their probabilities, the likeliest first: those within words, and those that end one."""


def _likely(shares: Array, faint: float, ending: set[int]) -> list[Likely]:
    """For each frame, the symbols that may begin there."""
    found: list[Likely] = [([], []) for _ in shares]
    spoken = -shares
    spoken[:, BLANK] = 0.0
    order = np.argsort(spoken, axis=1, kind="stable")[:, : MOST if faint else None]
    sorted_ = -np.take_along_axis(spoken, order, 1)
    frames, places = np.nonzero(sorted_ > faint)
    numbers, kept = order[frames, places].tolist(), sorted_[frames, places].tolist()
    for frame, number, share in zip(frames.tolist(), numbers, kept, strict=True):
        found[frame][number in ending].append((number, share))
    return found


def _gone_on(
    beam: dict[int, tuple[float, float]], frame: Array, likely: Likely, tree: _Tree, lost: float
) -> dict[int, tuple[float, float]]:
    """All that may come of the beginnings in one frame, but for what could not be among the best of it."""
    blank, last, parent = frame.item(BLANK), tree.last, tree.parent
    ended = {node: (end + going) * blank for node, (end, going) in beam.items()}
    lasting = {node: going * frame.item(last[node]) for node, (_, going) in beam.items()}
    if len(beam) >= tree.settings.beams:  # what stays fills the beams: anything new must be better than the least
        lost = max(lost, min(ended[node] + going for node, going in lasting.items()))
    for node in beam:
        if node and parent[node] in beam:  # what a shorter one of the beams grows into by a symbol
            end, going = beam[parent[node]]
            whole = end if last[node] == last[parent[node]] else end + going  # a repeat needs a blank between
            lasting[node] += whole * frame.item(last[node]) * tree.factor[node]
    for node, (end, going) in beam.items() if likely[0] or likely[1] else ():
        whole, mine, children = end + going, last[node], tree.children[node]
        least = tree.enough(node, lost / whole if whole > 0.0 else math.inf)
        for some, enough in zip(likely, least, strict=True):
            for number, share in some:
                if share <= enough:
                    break
                child, gain = children.get(number), (end if number == mine else whole) * share
                if child is None:
                    if gain * tree.most(node, number) <= lost:
                        continue
                    child = tree.grown(node, number)
                if child not in beam:
                    lasting[child] = gain * tree.factor[child]
    return {node: (ended.get(node, 0.0), going) for node, going in lasting.items()}


class _Tree:
    """The beginnings of texts, each by a number: what its language adds is computed once."""

    def __init__(self, symbols: Sequence[str], language: Speaks | None, settings: Search) -> None:
        self.settings, self._symbols, self._language = settings, symbols, language
        self.children: list[dict[int, int]] = [{}]
        self.parent, self.last, self._state = [0], [BLANK], [State()]
        self.factor, self.gained, self.spoken = [1.0], [0.0], [0.0]
        self._begins = math.exp(max(0.0, settings.bonus))
        self._gains: dict[tuple[str, int], tuple[float, float]] = {}
        self.ending_words = {
            n for n, text in enumerate(symbols) if any(letter.isspace() or stands_alone(letter) for letter in text)
        }

    def enough(self, node: int, least: float) -> tuple[float, float]:
        """How likely a symbol must be in a frame to make `least` of a beginning: within a word, and one that ends it.

        What is known of a word where it ends is at most as much as its letters had cost; a symbol may begin others.
        """
        if self._language is None:
            return least, least
        cost = max(0.0, -self.settings.weight * self._state[node].spelled)
        return least / self._begins, least / math.exp(min(cost, _LARGEST)) / self._begins**3

    def most(self, node: int, number: int) -> float:
        """The factor of one more symbol, where it ends no word; else it is not looked for, and 1e30."""
        if number in self.ending_words:
            return 1e30
        return self._inside(self._state[node].partial, number)[0]

    def _inside(self, partial: str, number: int) -> tuple[float, float]:
        """What a symbol brings that ends no word: a factor, and ln p. Only the letters before it matter."""
        found = self._gains.get((partial, number))
        if found is None and self._language is not None:
            step = self._language.step(State((), partial), self._symbols[number])
            found = self._gains[partial, number] = self._factor(step), step.log_probability
        return found or (1.0, 0.0)

    def _factor(self, step: Step) -> float:
        gain = self.settings.weight * step.log_probability + self.settings.bonus * step.begun
        return math.exp(min(gain, _LARGEST))

    def grown(self, node: int, number: int) -> int:
        """A new beginning, longer by a symbol."""
        found = self.children[node][number] = len(self.last)
        self.children.append({})
        factor, spoken, state = 1.0, 0.0, self._state[node]
        if self._language is not None and number in self.ending_words:
            step = self._language.step(state, self._symbols[number])
            factor, spoken, state = self._factor(step), step.log_probability, step.state
        elif self._language is not None:
            factor, spoken = self._inside(state.partial, number)
            state = State(state.before, state.partial + self._symbols[number], state.spelled + spoken)
        self.parent.append(node)
        self.last.append(number)
        self._state.append(state)
        self.factor.append(factor)
        self.gained.append(self.gained[node] + math.log(factor))
        self.spoken.append(self.spoken[node] + spoken)
        return found

    def ending(self, node: int) -> float:
        """ln p of the text being over there."""
        return self._language.end(self._state[node]) if self._language is not None else 0.0

    def numbers(self, node: int) -> tuple[int, ...]:
        """The symbols of a beginning."""
        found = []
        while node:
            found.append(self.last[node])
            node = self.parent[node]
        return tuple(reversed(found))


def agreement(best: Sequence[Hypothesis], symbols: Sequence[str]) -> list[float]:
    """For each symbol of the first text, how likely it is by the scores that a text has its word as often."""
    shares = np.exp(np.array([one.score for one in best]) - best[0].score)
    shares /= shares.sum()
    texts = [_words(one.numbers, symbols) for one in best]
    first, seen = best[0].numbers, dict[str, int]()
    found: list[float] = []
    for (begin, end), word in zip(word_spans(first, symbols), texts[0], strict=True):
        seen[word] = seen.get(word, 0) + 1
        agreed = sum(share for share, text in zip(shares, texts, strict=True) if text.count(word) >= seen[word])
        found += [0.0] * (begin - len(found)) + [min(1.0, float(agreed))] * (end - begin)
    return found + [0.0] * (len(first) - len(found))


def _words(numbers: Sequence[int], symbols: Sequence[str]) -> list[str]:
    return ["".join(symbols[n] for n in numbers[a:b]).strip() for a, b in word_spans(numbers, symbols)]
