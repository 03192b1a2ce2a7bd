"""Scores of a classifier of two classes, the second of which is an event that is looked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from matinee.core.meter import Array, Meter, Rows
from matinee.core.pieces import Lines, Piece, Table
from matinee.core.scores import ClassificationMeter, auroc

if TYPE_CHECKING:
    import torch

    from matinee.core.task import Batch


THRESHOLDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


class EventMeter(Meter):
    """For outputs (batch, 3): two logits, and the log-odds from which on the event is the answer; targets (batch,).

    Beside the scores of a classifier: AUROC, the share of events missed and of false alarms, and the mean cost, where
    a miss and a false alarm cost what `costs` say. first: the score that selects the model.
    """

    proportions: ClassVar[frozenset[str]] = ClassificationMeter.proportions
    lower_is_better: ClassVar[frozenset[str]] = ClassificationMeter.lower_is_better | {"missed", "false_alarms", "cost"}
    plain: ClassVar[frozenset[str]] = ClassificationMeter.plain
    meanings: ClassVar[Mapping[str, str]] = {
        **ClassificationMeter.meanings,
        "auroc": "the chance that an event is given a higher probability than another example; 0.5 is guessing",
        "missed": "share of the events that were not told",
        "false_alarms": "share of the other examples for which an event was told",
        "cost": "what misses and false alarms cost, a mean over all examples",
    }

    def __init__(self, names: Sequence[str], costs: tuple[float, float] = (1.0, 1.0), first: str = "accuracy") -> None:
        super().__init__()
        self.names, self.costs, self.first = tuple(names), costs, first
        self._classes = ClassificationMeter(names)

    def collect(self, outputs: Any, batch: Batch) -> dict[str, torch.Tensor]:
        """What is kept of a classification; the answer is by the threshold."""
        from matinee.core.task import Batch as Plain

        outputs = outputs.float()
        odds = outputs[:, 1] - outputs[:, 0]
        kept = self._classes.collect(outputs[:, :2], Plain(batch.inputs, batch.targets))
        answer = (odds > outputs[:, 2]).long()
        confidence = (odds * (2 * answer - 1)).sigmoid()
        return {**kept, "answer": answer, "confidence": confidence, "odds": odds, "limit": outputs[:, 2]}

    def score(self, rows: Rows) -> dict[str, float]:
        """AUROC, the share of events missed and the share of others for which an event was told."""
        if not len(rows["truth"]):
            return dict.fromkeys(self.names_of_scores(), float("nan"))
        truth, answer = rows["truth"] > 0, rows["answer"] > 0
        told = self._classes.score(rows)
        missed, alarms = float((truth & ~answer).sum()), float((~truth & answer).sum())
        told["auroc"] = auroc(truth, rows["odds"])
        told["missed"] = missed / truth.sum() if truth.any() else float("nan")
        told["false_alarms"] = alarms / (~truth).sum() if not truth.all() else float("nan")
        if self.costs != (1.0, 1.0):
            told["cost"] = (self.costs[0] * missed + self.costs[1] * alarms) / len(truth)
        return {name: float(told[name]) for name in self.names_of_scores()}

    def names_of_scores(self) -> Sequence[str]:
        """The cost is among them where a miss costs other than a false alarm."""
        names = [*self._classes.names_of_scores(), "auroc", "missed", "false_alarms"]
        names += ["cost"] if self.costs != (1.0, 1.0) else []
        return (self.first, *(name for name in names if name != self.first))

    def gaps(self, rows: Rows) -> dict[str, Array]:
        """As for any classifier."""
        return self._classes.gaps(rows)

    def detail(self, rows: Rows) -> dict[str, Any]:
        """Scores per class and the confusion matrix."""
        return {"event": self.names[1], **self._classes.detail(rows)}

    def pieces(self, rows: Rows) -> Sequence[Piece]:
        """What a classifier shows; what other thresholds would give; the ROC curve."""
        truth, odds = rows["truth"] > 0, rows["odds"].astype(np.float64)
        if not truth.any() or truth.all():
            return self._classes.pieces(rows)
        own = float(1 / (1 + np.exp(-rows["limit"][0].astype(np.float64))))
        lines = []
        for share in sorted({*THRESHOLDS, own}):
            told = odds > np.log(share / (1 - share)) if share != own else rows["answer"] > 0
            found, alarms = int((told & truth).sum()), int((told & ~truth).sum())
            if share == own or told.any():
                precision = found / (found + alarms) if told.any() else None
                lines.append((share, found, int(truth.sum()) - found, alarms, precision))
        table = Table(
            ("probability from which on", "events found", "missed", "false alarms", "precision"), lines,
            f"The event is {self.names[1]!r}. This model tells it where its probability is above {own:.3g}; the other "
            "lines are what other thresholds would give on these examples.",
        )  # fmt: skip
        order = np.argsort(-odds, kind="stable")
        steps = np.unique(np.linspace(0, len(order), 101).astype(np.int64))
        hits, misses = (np.concatenate(([0], np.cumsum(which[order]))) for which in (truth, ~truth))
        curve = [(float(misses[s] / misses[-1]), float(hits[s] / hits[-1])) for s in steps]
        plot = Lines(
            {"this model": curve}, "share of false alarms", "share of events found", "The ROC curve.", diagonal=True
        )
        return *self._classes.pieces(rows), table, plot

    def worth_seeing(self, rows: Rows) -> dict[str, Array]:
        """As for any classifier."""
        return self._classes.worth_seeing(rows)

    def remark(self, rows: Rows, position: int) -> str:
        """As for any classifier."""
        return self._classes.remark(rows, position)
