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
    words. meanings: what each score is; shares: those told as so much of 100 %. detail: per-class scores and the
    confusion matrix, as the task tells them. notes: what to know before trusting the figures. margins: baseline -> how
    much better than it the first score is (`core/paired.py`).
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
        return [
            f"surely better than {self.names.get(name, name)}: {first.replace('_', ' ')} by {score.value:.4f} (95 % "
            f"interval of the difference {score.low:.4f} to {score.high:.4f}, both drawn again together)"
            for name, score in self.margins.items()
            if score.low > 0
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
                name.replace("_", " "),
                f"{score.value:.4f}",
                f"{score.low:.4f} to {score.high:.4f}",
                *(f"{scores.get(name, math.nan):.4f}" for scores in self.baselines.values()),
            ]
            for name, score in self.scores.items()
        ]
        lines = [f"{self.examples:,} examples ({self.split})", table_text(columns, rows)]
        classes = self.detail.get("classes")
        if classes and len(classes) <= 40:
            cells = [
                [
                    name,
                    c["examples"],
                    *(f"{c[k]:.3f}" if c[k] is not None else None for k in ("precision", "recall", "f1")),
                ]
                for name, c in classes.items()
            ]
            lines += ["", table_text(["class", "examples", "precision", "recall", "F1"], cells)]
        return "\n".join([*lines, *self.better(), *(f"note: {note}" for note in self.notes)])
