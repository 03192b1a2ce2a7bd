"""How much a language model is to weigh in a search, and how far its answers are to be trusted: chosen on examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from typing import Final

import torch
from torch import Tensor, nn

from matinee.core.examples import Array
from matinee.core.scripts import units
from matinee.nets.heard import Heard
from matinee.nets.ngram_language import Language
from matinee.nets.pauses import PAUSE, parted
from matinee.nets.speech import SpeechNetwork
from matinee.nets.transcribing import USUAL, Search, Speaks, agreement, n_best
from matinee.nets.transcript_times import Laid, marks_of, over, spelled, word_spans

WEIGHTS: Final = (0.0, 0.15, 0.3, 0.5, 0.7, 0.9, 1.2)
BONUSES: Final = (-0.5, 0.5, 1.0, 1.5, 2.5)
"""In nats a word, tried beside none."""
MOST_FRAMES: Final = 10_000
"""Of the examples that are looked at, so that the look is a matter of seconds."""
BEAMS: Final = 8
"""While the weight and the bonus are chosen, at most."""


@torch.no_grad()
def tune(
    network: nn.Module,
    heard: Heard,
    references: Sequence[str],
    symbols: Sequence[str],
    language: str,
    beams: int,
    second: float,
) -> None:
    """Let a network that has learned keep the search that is best on these examples (`tuned`).

    second: frames of one.
    """
    if isinstance(network, SpeechNetwork) and len(heard.lengths):
        known = Language.of(language) if language else None
        told = parted(heard.log_probs, heard.lengths, symbols, PAUSE * second)
        found = tuned(told, heard.lengths, references, symbols, known, beams)
        network.search.copy_(torch.tensor(found.numbers()))


def tuned(
    log_probs: Tensor,
    lengths: Tensor,
    references: Sequence[str],
    symbols: Sequence[str],
    language: Speaks | None,
    beams: int = 16,
) -> Search:
    """The search with the fewest wrong words on these examples, then the fewest wrong letters, then a usual weight.

    So where few examples leave it open, words that the language knows are still preferred to others.

    log_probs: (examples, frames, symbols); references: what was said. First the weight of the language is chosen, then
    the bonus for a word with the two best weights. How sure a word is gets fitted to the answers of that search.
    """
    rows: list[Array] = []
    for row, length in zip(log_probs, lengths.tolist(), strict=True):
        if rows and sum(map(len, rows)) + length > MOST_FRAMES:
            break
        rows.append(row[:length].float().cpu().numpy())
    kept = references[: len(rows)]
    plain = Search(min(beams, BEAMS))
    if language is not None:
        judged = {search: _errors(rows, kept, symbols, language, search) for search in _weighted(plain)}
        for search in sorted(judged, key=lambda one: (judged[one], abs(one.weight - USUAL)))[:2]:
            for bonus in BONUSES if search.weight else ():
                other = replace(search, bonus=bonus)
                judged[other] = _errors(rows, kept, symbols, language, other)
        plain = min(judged, key=lambda one: (judged[one], abs(one.weight - USUAL), abs(one.bonus)))
    plain = replace(plain, beams=beams)
    return replace(plain, trust=_trust(rows, kept, symbols, language, plain))


def _weighted(plain: Search) -> list[Search]:
    return [replace(plain, weight=weight) for weight in WEIGHTS]


def _errors(
    rows: Sequence[Array], references: Sequence[str], symbols: Sequence[str], language: Speaks | None, search: Search
) -> tuple[int, int]:
    """Wrong words and wrong letters of the best texts."""
    words = letters = 0
    for row, reference in zip(rows, references, strict=True):
        best = n_best(row, symbols, language, search)
        said = spelled(best[0].numbers, symbols) if best else ""
        if said != reference:
            words += distance(units(said), units(reference))
            letters += distance(said, reference)
    return words, letters


def _trust(
    rows: Sequence[Array], references: Sequence[str], symbols: Sequence[str], language: Speaks | None, search: Search
) -> tuple[float, float, float]:
    """Of the words that this search finds: what frames and beams say of them, and whether they are right."""
    from matinee.nets.transcript_times import trusted

    marks, right = list[tuple[float, float]](), list[bool]()
    for row, reference in zip(rows, references, strict=True):
        best = n_best(row, symbols, language, search)
        if not best:
            continue
        laid: Laid = over(row, best[0].numbers)
        votes = agreement(best, symbols)
        spans = word_spans(laid.numbers, symbols)
        said = [spelled(laid.numbers[first:last], symbols) for first, last in spans]
        good = [False] * len(said)
        for block in SequenceMatcher(None, said, units(reference), autojunk=False).get_matching_blocks():
            good[block.a : block.a + block.size] = [True] * block.size
        marks += [marks_of(laid.peaks[first:last], votes[first:last]) for first, last in spans]
        right += good
    return trusted(marks, right)


def distance(said: Sequence[str], truth: Sequence[str]) -> int:
    """Least number of substitutions, deletions and insertions between two sequences (Levenshtein, 1966)."""
    last = list(range(len(truth) + 1))
    for row, one in enumerate(said, 1):
        line = [row]
        for column, other in enumerate(truth, 1):
            line.append(min(last[column] + 1, line[-1] + 1, last[column - 1] + (one != other)))
        last = line
    return last[-1]
