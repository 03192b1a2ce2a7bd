"""Scores of translations: BLEU and chrF as sacreBLEU computes them, from a few counts for each example.

The counts of a corpus are the sums of its examples', so that both are functions of rows (docs/tasks/translation.md).
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final

import numpy as np
import torch

from matinee.core.errors import MatineeError
from matinee.core.examples import Array
from matinee.core.meter import Meter, Rows
from matinee.core.scripts import ALONE
from matinee.core.task import Batch
from matinee.media.vocabulary import Pieces

BETWEEN: Final = "\x1e"
"""Between several references of an example (the record separator of ASCII)."""
ORDERS: Final = 4

_WORDS: Final = re.compile(rf"[{ALONE}]|'[^\W{ALONE}]+|[^\W{ALONE}]+|[^\w\s]")
"""Words, what follows an apostrophe, and every other mark or character of a script without blanks on its own."""


def kept_text(references: Sequence[str]) -> Array:
    """References as bytes, uint8 (length,), for a column: no byte of a text is zero."""
    whole = BETWEEN.join(text.replace("\0", " ").replace(BETWEEN, " ") for text in references)
    return np.frombuffer(whole.encode("utf-8", "replace"), np.uint8)


def told_texts(column: torch.Tensor) -> list[list[str]]:
    """The references of each row of a padded column (rows, longest) of `kept_text`."""
    rows = column.to(torch.uint8).cpu().numpy()
    return [row[row > 0].tobytes().decode("utf-8", "replace").split(BETWEEN) for row in rows]


Counts = Callable[[str, Sequence[str]], Mapping[str, Sequence[float]]]
"""What is kept of one answer and its references."""


def counted(vocabulary: Pieces, outputs: Any, batch: Batch, counts: Counts) -> dict[str, torch.Tensor]:
    """What `counts` says of each answer and its references, float32 (batch, few).

    outputs: numbers (batch, longest) first; the references are in `batch.targets["reference"]`.
    """
    said = vocabulary.texts(outputs[0].cpu().numpy())
    references = told_texts(batch.targets["reference"])
    rows = [counts(one, others) for one, others in zip(said, references, strict=True)]
    return {name: torch.from_numpy(np.array([row[name] for row in rows], np.float32)) for name in rows[0]}


class TranslationMeter(Meter):
    """BLEU (Papineni et al., 2002) and chrF (Popovic, 2015)."""

    meanings: ClassVar[Mapping[str, str]] = {
        "bleu": "runs of one to four words that are in a reference too (sacreBLEU); short translations are marked down",
        "chrf": "the same of runs of one to six characters, with what is missing from the translation counting too",
        "bleu_lower": "BLEU that takes capital letters for small ones",
        "bleu_words": "BLEU over words and signs in small letters, as older papers state it",
    }

    def __init__(self, vocabulary: Pieces, tokens: str = "13a") -> None:
        super().__init__()
        self.vocabulary, self.tokens = vocabulary, tokens

    def collect(self, outputs: Any, batch: Batch) -> dict[str, torch.Tensor]:
        """The counts of each example."""
        return counted(self.vocabulary, outputs, batch, self._counts)

    def _counts(self, said: str, references: Sequence[str]) -> dict[str, list[float]]:
        """Lengths, matches and totals of n-grams: as written, in lower case, in words; of characters for chrF."""
        measures = _measures(self.tokens)
        found = {}
        for name in ("bleu", "bleu_lower", "chrf"):
            # What corpus_score adds up over its examples: sacrebleu draws its own bootstrap from the same counts.
            found[name] = measures[name]._extract_corpus_statistics([said], [[one] for one in references])[0]
        return {**found, "bleu_words": _word_counts(said, references), "references": [float(len(references))]}

    def score(self, rows: Rows) -> dict[str, float]:
        """All from 0 to 1."""
        measures = _measures(self.tokens)
        sums = {name: values.sum(0, dtype=np.float64) for name, values in rows.items()}
        if not len(rows["bleu"]):
            return dict.fromkeys(self.names_of_scores(), float("nan"))
        return {
            "bleu": _bleu(sums["bleu"]),
            "chrf": float(measures["chrf"]._compute_f_score(sums["chrf"].tolist())) / 100,
            "bleu_lower": _bleu(sums["bleu_lower"]),
            "bleu_words": _bleu(sums["bleu_words"]),
        }

    def names_of_scores(self) -> Sequence[str]:
        """sacreBLEU first."""
        return ("bleu", "chrf", "bleu_lower", "bleu_words")

    def detail(self, rows: Rows) -> dict[str, Any]:
        """Signatures of sacreBLEU, and how long the answers are as a share of the references."""
        sums = rows["bleu"].sum(0, dtype=np.float64)
        return {
            "signatures": signatures(rows["references"], self.tokens),
            "length_ratio": float(sums[0] / max(1.0, sums[1])),
        }

    def worth_seeing(self, rows: Rows) -> dict[str, Array]:
        """The worst and the best translations by chrF."""
        order = np.argsort(self._each(rows), kind="stable")
        return {"Least like their references": order, "Most like their references": order[::-1]}

    def remark(self, rows: Rows, position: int) -> str:
        """The example's own chrF."""
        return f"chrF {100 * self._each(rows)[position]:.0f}"

    def _each(self, rows: Rows) -> Array:
        measure = _measures(self.tokens)["chrf"]
        return np.array([measure._compute_f_score(row.tolist()) for row in rows["chrf"]]) / 100


def signatures(references: Array, tokens: str) -> dict[str, str]:
    """How each score was computed, as sacreBLEU says it; "bleu_words" in our words.

    references: how many each example has. tokens: one of TOKENS.
    """
    from sacrebleu import __version__

    counts = np.unique(references).astype(int).tolist()
    start, end = f"nrefs:{counts[0] if len(counts) == 1 else 'var'}", f"version:{__version__}"
    return {
        "bleu": f"{start}|case:mixed|eff:no|tok:{tokens}|smooth:exp|{end}",
        "chrf": f"{start}|case:mixed|eff:yes|nc:6|nw:0|space:no|{end}",
        "bleu_lower": f"{start}|case:lc|eff:no|tok:{tokens}|smooth:exp|{end}",
        "bleu_words": f"{start}|case:lc|eff:no|tok:words-clitics-marks|smooth:exp",
    }


@functools.cache
def _measures(tokens: str) -> dict[str, Any]:
    try:
        from sacrebleu.metrics import BLEU, CHRF
    except ImportError:
        raise MatineeError("scores of translations need sacrebleu: pip install 'matinee[metrics]'") from None
    told = {"tokenize": tokens, "force": True}
    return {"bleu": BLEU(**told), "bleu_lower": BLEU(lowercase=True, **told), "chrf": CHRF()}


def _word_counts(said: str, references: Sequence[str]) -> list[float]:
    """As BLEU keeps them: length, closest length of a reference, matches of 1 to 4 words, totals of them."""
    words, others = _WORDS.findall(said.lower()), [_WORDS.findall(one.lower()) for one in references]
    closest = min((abs(len(one) - len(words)), len(one)) for one in others)[1]
    matches, totals = [], []
    for order in range(1, ORDERS + 1):
        mine, most = _grams(words, order), Counter[tuple[str, ...]]()
        for one in others:
            most |= _grams(one, order)
        matches.append(float(sum((mine & most).values())))
        totals.append(float(sum(mine.values())))
    return [float(len(words)), float(closest), *matches, *totals]


def _grams(words: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[first : first + order]) for first in range(len(words) - order + 1))


def _bleu(sums: Array) -> float:
    """BLEU from 0 to 1 of summed counts, with exponential smoothing (Lin and Och, 2004; the default of sacreBLEU)."""
    from sacrebleu.metrics import BLEU

    length, reference = int(sums[0]), int(sums[1])
    if not length or not sums[2]:
        return 0.0
    correct, total = (sums[2:6].round().astype(int).tolist(), sums[6:10].round().astype(int).tolist())
    return float(BLEU.compute_bleu(correct, total, length, reference, smooth_method="exp").score) / 100
