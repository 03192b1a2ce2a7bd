"""What scoring a model tells: figures with intervals, beside those of the models to beat."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from matinee.core.meter import Score
from matinee.core.pieces import Piece, Section
from matinee.core.tables import table_text

TRIVIAL, LINEAR = "trivial", "linear"
MOST_CLASSES = 40  # of which scores are told one by one

SPELLED = {
    **{word: word.upper() for word in ("f1", "ece", "nll", "auroc", "r2", "rmse", "mae", "bleu", "ndcg", "mrr")},
    "ap": "AP", "wer": "WER", "cer": "CER",
    "iou": "IoU", "chrf": "chrF", "f": "F", "rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougel": "ROUGE-L",
}  # fmt: skip


def called(name: str) -> str:
    """The name of a score as people write it: mean_iou -> mean IoU."""
    return " ".join(SPELLED.get(word, word) for word in name.split("_"))


def names_of(rivals: Sequence[str]) -> dict[str, str]:
    """The words of `Task.rivals` by the names of the baselines."""
    return dict(zip((TRIVIAL, LINEAR), rivals, strict=True))


def figure(value: float, share: bool) -> str:
    """A score in a few characters: as so much of 100 % where it is a share of a whole."""
    return "n/a" if math.isnan(value) else f"{100 * value:.2f} %" if share else f"{value:.4f}"


def difference(by: Score, share: bool) -> tuple[str, str]:
    """A difference of two scores, and from where to where it lies with 95 % confidence; in points between shares."""
    value, low, high = (f"{100 * each:.2f}" if share else f"{each:.4f}" for each in (by.value, by.low, by.high))
    unit = " points" if share else ""
    return f"{value}{unit}", f"{low} to {high}{unit}"


@dataclass(frozen=True)
class Evaluation:
    """The scores of a model on examples.

    scores: the selecting one first. baselines: "trivial" and "linear" -> scores; names: what those are, in a few
    words. meanings: what each score is; shares: those told as so much of 100 %, also of classes. detail: what the
    meter tells beside the scores, those of each class under "classes". notes: what to know before trusting the
    figures. margins: baseline -> how much better than it the first score is (`core/paired.py`).
    """

    scores: Mapping[str, Score]
    baselines: Mapping[str, Mapping[str, float]]
    examples: int
    split: str
    seconds: float
    detail: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    pieces: Sequence[Piece] = ()
    galleries: Sequence[Section] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    meanings: Mapping[str, str] = field(default_factory=dict)
    shares: frozenset[str] = frozenset()
    margins: Mapping[str, Score] = field(default_factory=dict)

    def better(self) -> list[str]:
        """A sentence for each baseline that the model is surely better than."""
        first = next(iter(self.scores), "")
        ahead = {name: difference(by, first in self.shares) for name, by in self.margins.items() if by.low > 0}
        return [
            f"surely better than {self.names.get(name, name)}: {called(first)} by {by} (95 % interval of the "
            f"difference {span}, both drawn again together)"
            for name, (by, span) in ahead.items()
        ]

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "scores": {name: asdict(score) for name, score in self.scores.items()},
            "baselines": {name: dict(scores) for name, scores in self.baselines.items()},
            "margins": {name: asdict(score) for name, score in self.margins.items()},
            "examples": self.examples,
            "split": self.split,
            "seconds": self.seconds,
            "notes": list(self.notes),
            **self.detail,
        }

    def __str__(self) -> str:
        columns = ["", "score", "95 % interval", *(self.names.get(name, name) for name in self.baselines)]
        rows = [
            [
                called(name),
                figure(score.value, name in self.shares),
                f"{figure(score.low, name in self.shares)} to {figure(score.high, name in self.shares)}",
                *(figure(scores.get(name, math.nan), name in self.shares) for scores in self.baselines.values()),
            ]
            for name, score in self.scores.items()
        ]
        lines = [f"{self.examples:,} examples ({self.split})", table_text(columns, rows), *self._of_classes()]
        return "\n".join([*lines, *self.better(), *(f"note: {note}" for note in self.notes)])

    def _of_classes(self) -> list[str]:
        """A table of what the meter tells of each class, if they are not too many."""
        classes: Mapping[str, Mapping[str, Any]] = self.detail.get("classes") or {}
        if not 0 < len(classes) <= MOST_CLASSES:
            return []
        names = list(dict.fromkeys(name for told in classes.values() for name in told))
        cells = [
            [each, *(figure(v, n in self.shares) if isinstance(v := told.get(n), float) else v for n in names)]
            for each, told in classes.items()
        ]
        return ["", table_text(["class", *map(called, names)], cells), ""]
