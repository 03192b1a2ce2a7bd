"""Scores of a classifier: accuracy, recall, precision, F1, calibration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from matinee.core.meter import Array, Meter, Rows
from matinee.core.pieces import Lines, Matrix, Piece, Table

if TYPE_CHECKING:
    import torch

    from matinee.core.task import Batch

MANY_CLASSES = 10  # above this, the share of examples with the truth among the first five answers is told as well
MOST_RANKED = 50  # classes for which AUROC is told: each is another number to keep of every example
BINS = 15  # of the calibration plot and of the expected calibration error (Guo et al., 2017)


class ClassificationMeter(Meter):
    """For outputs that are logits (batch, classes) and targets that are class numbers (batch,).

    ranked: tell AUROC too, of each class against the others, the mean over the classes that occur, as scikit-learn's
    `roc_auc_score(..., multi_class="ovr", average="macro")` (Provost & Domingos, 2000).
    logits: what makes logits of outputs that are more than that.
    """

    proportions: ClassVar[frozenset[str]] = frozenset({"accuracy", "top5"})
    lower_is_better: ClassVar[frozenset[str]] = frozenset({"ece", "nll"})
    plain: ClassVar[frozenset[str]] = frozenset({"auroc"})
    meanings: ClassVar[Mapping[str, str]] = {
        "accuracy": "share of the answers that were right",
        "balanced_accuracy": "the same, every class counting alike",
        "precision": "of the answers with a name, the share that was right; mean over the classes",
        "recall": "of the examples with a name, the share that was found; mean over the classes",
        "f1": "harmonic mean of precision and recall; mean over the classes",
        "top5": "share with the truth among the five likeliest answers",
        "auroc": "the chance that an example of a class is held likelier to be in it than another; 0.5 is guessing",
        "ece": "calibration error: how far stated confidence is from the share that was right; 0 is best",
        "nll": "negative log-likelihood: how surprised the model was by the truth; 0 is best",
    }

    def __init__(
        self, names: Sequence[str], *, ranked: bool = False, logits: Callable[[Any], torch.Tensor] | None = None
    ) -> None:
        super().__init__()
        self._logits = logits
        self.names = tuple(names)
        self.ranked = ranked and len(self.names) <= MOST_RANKED

    def collect(self, outputs: Any, batch: Batch) -> dict[str, torch.Tensor]:
        """Truth, answer, confidence, negative log-likelihood and whether the truth was among the first five."""
        shares = (self._logits(outputs) if self._logits else outputs).float().log_softmax(-1)
        confidence, answer = shares.max(-1)
        truth = shares.gather(-1, batch.targets[:, None])
        kept = {"truth": batch.targets, "answer": answer, "confidence": confidence.exp(), "nll": -truth[:, 0]}
        if len(self.names) > MANY_CLASSES:
            kept["top5"] = (shares > truth).sum(-1) < 5
        if self.ranked:
            kept["shares"] = shares.exp()
        return kept

    def score(self, rows: Rows) -> dict[str, float]:
        """Macro scores are means over the classes that occur among the examples."""
        truth, answer = rows["truth"].astype(np.int64), rows["answer"].astype(np.int64)
        if not len(truth):
            return {"accuracy": float("nan")}
        hits, asked, given = self._counts(truth, answer)
        present = asked > 0
        recall = hits[present] / asked[present]
        precision = hits[present] / np.maximum(given[present], 1)
        scores = {
            "accuracy": float((truth == answer).mean()),
            "balanced_accuracy": float(recall.mean()),
            "precision": float(precision.mean()),
            "recall": float(recall.mean()),
            "f1": float((2 * hits[present] / (asked[present] + given[present])).mean()),
        }
        if "top5" in rows:
            scores["top5"] = float(rows["top5"].mean())
        if "shares" in rows:
            each = [auroc(truth == code, rows["shares"][:, code]) for code in np.unique(truth)]
            scores["auroc"] = float(np.mean(each))
        scores["ece"] = float(np.abs(self.gaps(rows)["ece"]).sum())
        scores["nll"] = float(rows["nll"].mean(dtype=np.float64))
        return scores

    def names_of_scores(self) -> Sequence[str]:
        """Accuracy first; top5 only where there are many classes."""
        many = ("top5",) if len(self.names) > MANY_CLASSES else ()
        ranks = ("auroc",) if self.ranked else ()
        return ("accuracy", "balanced_accuracy", "precision", "recall", "f1", *many, *ranks, "ece", "nll")

    def gaps(self, rows: Rows) -> dict[str, Array]:
        """Of the calibration error: in each bin of confidence (BINS,) by how much it is above the share right."""
        count, confidence, right = _binned(rows["confidence"], rows["truth"] == rows["answer"])
        return {"ece": (confidence - right) / max(1, int(count.sum()))}

    def _counts(self, truth: Array, answer: Array) -> tuple[Array, Array, Array]:
        classes = len(self.names)
        hits = np.bincount(truth[truth == answer], minlength=classes)
        return hits, np.bincount(truth, minlength=classes), np.bincount(answer, minlength=classes)

    def confusion(self, rows: Rows) -> Array:
        """Counts (classes, classes): truth down, answer across."""
        classes = len(self.names)
        pairs = rows["truth"].astype(np.int64) * classes + rows["answer"].astype(np.int64)
        return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)

    def detail(self, rows: Rows) -> dict[str, Any]:
        """Scores per class and the confusion matrix."""
        truth, answer = rows["truth"].astype(np.int64), rows["answer"].astype(np.int64)
        hits, asked, given = self._counts(truth, answer)
        classes = {
            name: {
                "examples": int(a),
                "precision": float(h / g) if g else 0.0,
                "recall": float(h / a) if a else None,
                "f1": float(2 * h / (a + g)) if a + g else None,
            }
            for name, h, a, g in zip(self.names, hits, asked, given, strict=True)
        }
        return {"classes": classes, "confusion": self.confusion(rows).tolist()}

    def pieces(self, rows: Rows) -> Sequence[Piece]:
        """Per-class table, confusion matrix, calibration plot."""
        classes = self.detail(rows)["classes"]
        table = Table(
            ("class", "examples", "precision", "recall", "F1"),
            [(name, c["examples"], c["precision"], c["recall"], c["f1"]) for name, c in classes.items()],
            "Precision: of the answers with this name, the share that was right. Recall: of the examples with this "
            "name, the share that was found. F1: their harmonic mean.",
        )
        right = rows["truth"] == rows["answer"]
        points = [(float(c), float(r)) for c, r, _ in _bins(rows["confidence"], right)]
        plot = Lines(
            {"this model": points},
            "confidence it gave",
            "share that was right",
            "On the diagonal, an answer given with 80 % confidence is right 8 times in 10; below it, too sure.",
            diagonal=True,
        )
        return table, Matrix(self.names, self.confusion(rows), caption="Rows: truth. Columns: answer."), plot

    def worth_seeing(self, rows: Rows) -> dict[str, Array]:
        """The most confident mistakes and the least confident hits."""
        right, confidence = rows["truth"] == rows["answer"], rows["confidence"]
        order = np.argsort(-confidence, kind="stable")
        return {
            "The most confident mistakes": order[~right[order]],
            "The least confident hits": order[right[order]][::-1],
        }

    def remark(self, rows: Rows, position: int) -> str:
        """The answer, its confidence, and the truth where it differs."""
        truth, answer = self.names[int(rows["truth"][position])], self.names[int(rows["answer"][position])]
        said = f"{answer} ({100 * rows['confidence'][position]:.0f} %)"
        return said if truth == answer else f"said {said}, is {truth}"


def auroc(truth: Array, scores: Array) -> float:
    """The chance that an event has a higher score than another example; ties count half (Hanley & McNeil, 1982)."""
    events = int(truth.sum())
    if not events or events == len(truth):
        return float("nan")
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place.ravel()]
    return float((ranks[truth].sum() - events * (events + 1) / 2) / (events * (len(truth) - events)))


def temperature(logits: torch.Tensor, targets: torch.Tensor) -> float:
    """By what to divide logits (n, classes) so that they are as confident as they are right; targets (n,).

    The one that minimises the negative log-likelihood, from 0.1 to 10 by golden section. The targets are smoothed as if
    one example more had been seen, with any answer: a few examples that are all right do not mean certainty.
    """
    smoothing = 1.0 / (len(logits) + 1)
    logits = logits.double()  # near its minimum the surprise is flat: single precision would blur the place

    def surprise(exponent: float) -> float:
        shares = (logits / 10.0**exponent).log_softmax(-1)
        truth = shares.gather(-1, targets[:, None]).mean()
        return -float((1 - smoothing) * truth + smoothing * shares.mean())

    low, high, golden = -1.0, 1.0, 0.6180339887498949
    for _ in range(24):
        left, right = high - golden * (high - low), low + golden * (high - low)
        if surprise(left) <= surprise(right):
            high = right
        else:
            low = left
    return float(10.0 ** ((low + high) / 2))


def _binned(confidence: Array, right: Array) -> tuple[Array, Array, Array]:
    """Examples, sum of confidence and number right of each of BINS bins of equal width, each (BINS,)."""
    place = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    sums = np.bincount(place, confidence, BINS), np.bincount(place, right, BINS)
    return np.bincount(place, minlength=BINS), *sums


def _bins(confidence: Array, right: Array) -> list[tuple[float, float, int]]:
    """(mean confidence, share right, examples) of each bin that is not empty."""
    binned = zip(*_binned(confidence, right), strict=True)
    return [(float(c / n), float(r / n), int(n)) for n, c, r in binned if n]
