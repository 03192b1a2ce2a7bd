"""ROUGE (Lin, 2004): scores of summaries, and which sentences of a document make the best one."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import numpy as np
import torch

from matinee.core.errors import MatineeError
from matinee.core.examples import Array
from matinee.core.meter import Meter, Rows
from matinee.core.task import Batch
from matinee.media.text_scores import counted
from matinee.media.tokens import words_of
from matinee.media.vocabulary import Pieces

KINDS: Final = ("rouge1", "rouge2", "rougeL")
_RUNS: Final = re.compile(r"[a-z0-9]+")


class RougeMeter(Meter):
    """ROUGE-1, -2 and -L: F1 of each summary, the best of its references, and the mean over summaries."""

    meanings: ClassVar[Mapping[str, str]] = {
        "rouge1": "words that summary and reference share: harmonic mean of the shares of both",
        "rouge2": "the same of pairs of words that follow each other",
        "rougel": "the same of the longest row of words that both have in this order",
    }

    def __init__(self, vocabulary: Pieces) -> None:
        super().__init__()
        self.vocabulary = vocabulary

    def collect(self, outputs: Any, batch: Batch) -> dict[str, torch.Tensor]:
        """The scores of each example, and its length in words."""
        return counted(self.vocabulary, outputs, batch, rouge)

    def score(self, rows: Rows) -> dict[str, float]:
        """Means, from 0 to 1."""
        if not len(rows["rouge"]):
            return dict.fromkeys(self.names_of_scores(), float("nan"))
        means = rows["rouge"].mean(0, dtype=np.float64)
        return dict(zip(self.names_of_scores(), map(float, means), strict=True))

    def names_of_scores(self) -> Sequence[str]:
        """ROUGE-1 first."""
        return ("rouge1", "rouge2", "rougel")

    def detail(self, rows: Rows) -> dict[str, Any]:
        """How the scores were computed, and how long summaries are, in words."""
        words = rows["words"].mean(0, dtype=np.float64) if len(rows["words"]) else np.zeros(2)
        return {
            "signature": "rouge-score|F1|stemmer:yes|references:best of each|tokens:a-z0-9, other scripts:words",
            "words": {"summary": float(words[0]), "reference": float(words[1])},
        }

    def worth_seeing(self, rows: Rows) -> dict[str, Array]:
        """The worst and the best summaries by ROUGE-1."""
        order = np.argsort(rows["rouge"][:, 0], kind="stable")
        return {"Least like their references": order, "Most like their references": order[::-1]}

    def remark(self, rows: Rows, position: int) -> str:
        """The example's own ROUGE-1."""
        return f"ROUGE-1 {100 * rows['rouge'][position, 0]:.0f}"


def rouge(said: str, references: Sequence[str]) -> dict[str, list[float]]:
    """F1 of ROUGE-1, -2 and -L, each against the reference it is best for; words of the summary and of that one.

    rouge-score knows the letters a to z and figures. Where a tenth of the references' letters or more are others, so
    that it would see nothing or fragments, it is given the words of `tokens.words_of`, Chinese characters alone.
    """
    scorer, cut = _scorer(_is_plain(references)), _Words(_is_plain(references)).tokenize
    told = [scorer.score(reference, said) for reference in references]
    best = [max(one[kind].fmeasure for one in told) for kind in KINDS]
    nearest = max(range(len(told)), key=lambda place: told[place][KINDS[0]].fmeasure)
    return {"rouge": best, "words": [float(len(cut(said))), float(len(cut(references[nearest])))]}


def _is_plain(texts: Sequence[str]) -> bool:
    if all(text.isascii() for text in texts):
        return True
    letters = [letter for text in texts for letter in text.lower() if letter.isalnum()]
    return 10 * sum(letter.isascii() for letter in letters) > 9 * len(letters)


class _Words:
    """Words without case and marks, as the scorer and the search for the best sentences count them."""

    def __init__(self, plain: bool) -> None:
        self.plain = plain

    def tokenize(self, text: str) -> list[str]:
        """The name is rouge-score's."""
        if self.plain:
            return _RUNS.findall(text.lower())
        return [word for word in words_of(text) if word[0].isalnum()]


@functools.cache
def _scorer(plain: bool) -> Any:
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError:
        raise MatineeError("scores of summaries need rouge-score: pip install 'matinee[metrics]'") from None
    return RougeScorer(list(KINDS), use_stemmer=True, tokenizer=None if plain else _Words(False))


def best_sentences(sentences: Sequence[str], references: Sequence[str]) -> Array:
    """1 for the sentences that together make the best summary, else 0: float32 (sentences,).

    One after the other, the sentence that raises the mean of ROUGE-1 and ROUGE-2 most (Nallapati et al., 2017), for the
    reference that can be met best.
    """
    cut = _Words(_is_plain(references)).tokenize
    words = [cut(sentence) for sentence in sentences]
    found = [_greedy(words, cut(reference)) for reference in references]
    best = max(found, key=lambda each: each[0])
    chosen = np.zeros(len(sentences), np.float32)
    chosen[best[1]] = 1.0
    return chosen


def _greedy(sentences: Sequence[Sequence[str]], reference: Sequence[str]) -> tuple[float, list[int]]:
    tables = [_counts(sentences, reference, order) for order in (1, 2)]
    have = [np.zeros(len(wanted)) for _, wanted, _ in tables]
    length, score, chosen = [0.0, 0.0], 0.0, list[int]()
    while len(chosen) < len(sentences):
        gains = np.zeros(len(sentences))
        for place, (counts, wanted, lengths) in enumerate(tables):
            matches = np.minimum(have[place] + counts, wanted).sum(1)
            gains += matches / np.maximum(1.0, wanted.sum() + length[place] + lengths)
        gains[chosen] = -1.0
        best = int(gains.argmax())
        if gains[best] <= score + 1e-9:
            break
        score = float(gains[best])
        chosen.append(best)
        for place, (counts, _, lengths) in enumerate(tables):
            have[place] = have[place] + counts[best]
            length[place] += lengths[best]
    return score, chosen


def _counts(sentences: Sequence[Sequence[str]], reference: Sequence[str], order: int) -> tuple[Array, Array, Array]:
    """Of the n-grams of the reference: counts in each sentence, in the reference; and all n-grams of each sentence."""
    wanted = Counter(_grams(reference, order))
    places = {gram: place for place, gram in enumerate(wanted)}
    counts = np.zeros((len(sentences), len(places)))
    for row, sentence in enumerate(sentences):
        for gram in _grams(sentence, order):
            if gram in places:
                counts[row, places[gram]] += 1
    lengths = np.array([max(0, len(sentence) - order + 1) for sentence in sentences], float)
    return counts, np.array(list(wanted.values()), float), lengths


def _grams(words: Sequence[str], order: int) -> list[tuple[str, ...]]:
    return [tuple(words[first : first + order]) for first in range(len(words) - order + 1)]
