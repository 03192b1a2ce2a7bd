"""Scores of found boxes: average precision as COCO defines it, and what is right among the boxes that are told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from matinee.core.meter import Array, Meter, Rows
from matinee.core.pieces import Lines, Piece, Table

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from matinee.core.task import Batch

THRESHOLDS = np.round(np.arange(0.5, 1.0, 0.05), 2)
RECALLS = np.linspace(0, 1, 101)
SIZES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
"""COCO's words for boxes by their area, in square pixels of the picture itself."""
LOOKED_AT = 8  # pictures of each kind in the report
SHOWN = 12  # classes whose curves are drawn
Judged = tuple["Tensor", "Tensor", "Tensor"]
Judge = Callable[[Any, Any, "Tensor", "Sequence[tuple[float, float]]"], Judged]


class BoxMeter(Meter):
    """For outputs and targets that `judge` understands: it says what was found on each picture, and what is right.

    judge(outputs, targets, thresholds, spans) -> found (batch, k, 6), left, top, right, bottom, probability and class +
    1, the best first; right and passed over (spans, batch, k, thresholds) bool, of the boxes whose area lies in each
    span. targets: "boxes" (batch, m, 4) and "label" (batch, m) class + 1, 0 for none, negative for regions that do not
    count.

    Average precision (Everingham et al., 2010) is the mean over 101 recalls of the best precision at that recall or a
    higher one; "ap" is its mean over the overlaps .5, .55, ..., .95 and over classes (Lin et al., 2014). Classes that
    are not there are left out of means; where none is, all scores are 0.
    """

    plain: ClassVar[frozenset[str]] = frozenset({"count_error"})
    lower_is_better: ClassVar[frozenset[str]] = frozenset({"count_error"})
    meanings: ClassVar[Mapping[str, str]] = {
        "ap": "average precision, mean over overlaps of .5 to .95 with the true box and over classes (COCO's AP)",
        "ap_50": "average precision where half of both boxes together must be shared (PASCAL's mAP)",
        "ap_75": "average precision where three quarters of both boxes together must be shared",
        "precision": "of the boxes that are told, the share that is right (half shared, the right class)",
        "recall": "of the true boxes, the share that is told",
        "count_error": "by how many the number of boxes told of a picture is wrong, on average",
    }

    def __init__(self, classes: Sequence[str], judge: Judge, threshold: float) -> None:
        super().__init__()
        self._classes, self._judge, self._threshold = tuple(classes), judge, threshold

    def collect(self, outputs: Any, batch: Batch) -> dict[str, torch.Tensor]:
        """Of each found box: probability, class + 1, right and passed over, as bits over the overlaps; true boxes.

        The last three also of the boxes of each size, with its name after theirs.
        """
        import torch

        overlaps = torch.from_numpy(THRESHOLDS)
        labels, sides = batch.targets["label"], batch.targets["boxes"]
        spans = {"": (0.0, np.inf), **SIZES}
        told, right, passed = self._judge(outputs, batch.targets, overlaps.to(labels.device), list(spans.values()))
        powers = 2 ** torch.arange(len(THRESHOLDS), device=told.device)
        area = (sides[..., 2:] - sides[..., :2]).clamp(min=0).prod(-1)
        kept = {"probability": told[..., 4], "kind": told[..., 5]}
        for place, (name, (low, high)) in enumerate(spans.items()):
            counted = labels.clamp(min=0) * ((area >= low) & (area <= high))
            true = torch.zeros(len(told), len(self._classes) + 1, device=told.device)
            true.scatter_add_(1, counted, torch.ones_like(counted, dtype=true.dtype))
            kept["right" + name] = (right[place] * powers).sum(2).float()
            kept["passed" + name] = (passed[place] * powers).sum(2).float()
            kept["true" + name] = true[:, 1:]
        return kept

    def names_of_scores(self) -> Sequence[str]:
        """AP first."""
        return tuple(self.meanings)

    def score(self, rows: Rows) -> dict[str, float]:
        """All of them from the found boxes' bits."""
        table = self._precisions(rows)
        means = table.mean(0) if len(table) else np.zeros(len(THRESHOLDS))
        told, right, true = self._told(rows)
        return {
            "ap": float(means.mean()),
            "ap_50": float(means[0]),
            "ap_75": float(means[5]),
            "precision": float(right.sum() / max(1, told.sum())),
            "recall": float(right.sum() / max(1, true.sum())),
            "count_error": float(np.abs(told - true).mean()) if len(told) else 0.0,
        }

    def _told(self, rows: Rows) -> tuple[Array, Array, Array]:
        """Of each picture: boxes told, those of them that are right, true boxes."""
        told = (rows["probability"] >= self._threshold) & (rows["kind"] > 0) & (rows["passed"] % 2 == 0)
        right = told & (rows["right"] % 2 == 1)
        return told.sum(1), right.sum(1), rows["true"].sum(1)

    def worth_seeing(self, rows: Rows, most: int = LOOKED_AT) -> dict[str, Array]:
        """Those with the most mistakes, and some by lot."""
        told, right, true = self._told(rows)
        mistakes = told - right + true - right
        worst = np.argsort(-mistakes, kind="stable")[:most]
        lot = np.random.default_rng(0).permutation(len(mistakes))[:most]
        wrong = worst[mistakes[worst] > 0]
        return {"Pictures with the most mistakes": wrong, "Pictures by lot": np.sort(lot)}

    def remark(self, rows: Rows, position: int) -> str:
        """How many boxes of a picture were found, missed, and told where there is none."""
        told, right, true = (int(counts[position]) for counts in self._told(rows))
        return f"{right} of {true} found, {told - right} too many"

    def _present(self, rows: Rows, size: str = "") -> list[int]:
        return [int(number) for number in np.flatnonzero(rows["true" + size].sum(0) > 0)]

    def _precisions(self, rows: Rows, size: str = "") -> Array:
        """(classes that are there, thresholds): average precision of each, of boxes of one size."""
        table = [average_precision(*self._curve(rows, kind, size)) for kind in self._present(rows, size)]
        return np.array(table).reshape(-1, len(THRESHOLDS))

    def _curve(self, rows: Rows, kind: int, size: str = "") -> tuple[Array, Array, float]:
        """Right and passed over, bool (found, thresholds), the likeliest first, and how many true boxes there are.

        Boxes less likely than the last one that is right at all change nothing, and are the most: they are left out.
        """
        chosen = rows["kind"] == kind + 1
        chance, right = rows["probability"][chosen], rows["right" + size][chosen]
        telling = chance >= chance[right > 0].min(initial=np.inf)
        order = np.argsort(-chance[telling], kind="stable")
        powers = (2 ** np.arange(len(THRESHOLDS))).astype(np.int16)
        bits = [
            (values[telling][order].astype(np.int16)[:, None] & powers) > 0
            for values in (right, rows["passed" + size][chosen])
        ]
        return bits[0], bits[1], float(rows["true" + size][:, kind].sum())

    def detail(self, rows: Rows) -> dict[str, Any]:
        """Average precision and numbers of each class, and of each size that is there."""
        table, told = self._precisions(rows), {}
        for values, kind in zip(table, self._present(rows), strict=True):
            told[self._classes[kind]] = {
                "ap": float(values.mean()), "ap_50": float(values[0]), "boxes": int(rows["true"][:, kind].sum()),
            }  # fmt: skip
        sizes = {}
        for size in SIZES:
            table = self._precisions(rows, size)
            if len(table):
                sizes[size] = {
                    "ap": float(table.mean()), "ap_50": float(table[:, 0].mean()),
                    "boxes": int(rows["true" + size].sum()),
                }  # fmt: skip
        return {"classes": told, "sizes": sizes}

    def pieces(self, rows: Rows) -> Sequence[Piece]:
        """A table of the classes, and precision against recall of each."""
        detail = self.detail(rows)
        told = detail["classes"]
        cells = [(name, each["boxes"], round(each["ap_50"], 4), round(each["ap"], 4)) for name, each in told.items()]
        words = "What AP says of each class; boxes: true ones in these examples."
        curves = {}
        for kind in sorted(self._present(rows), key=lambda k: -rows["true"][:, k].sum())[:SHOWN]:
            right, passed, true = self._curve(rows, kind)
            recall, precision = _points(right[:, 0], passed[:, 0], true)
            curves[self._classes[kind]] = list(zip(recall.tolist(), precision.tolist(), strict=True))
        drawn = Lines(curves, "recall", "precision", "Half of both boxes together shared; each point is a probability.")
        pieces: list[Piece] = [Table(("class", "boxes", "AP at .5", "AP"), cells, words)]
        if len(detail["sizes"]) > 1:
            sized = [(name, e["boxes"], round(e["ap_50"], 4), round(e["ap"], 4)) for name, e in detail["sizes"].items()]
            words = "By their area, as COCO does: below 32 x 32 pixels of the picture, up to 96 x 96, and above."
            pieces.append(Table(("size", "boxes", "AP at .5", "AP"), sized, words))
        return [*pieces, drawn] if curves else pieces


def average_precision(right: Array, passed: Array, true: float) -> Array:
    """(thresholds,): the mean over 101 recalls of the best precision at that recall or a higher one.

    right, passed: bool (found, thresholds), the likeliest first. true: how many there are to find.
    """
    # Precision is only ever best where a right box comes in: of each threshold, those few places.
    which, at = np.nonzero(right.T)
    counts = right.sum(0)
    number = np.arange(len(at)) - np.repeat(np.cumsum(counts) - counts, counts)
    missed = np.cumsum(passed, 0)[at, which] if passed.any() else 0
    best = np.zeros((right.shape[1], int(counts.max(initial=0)) + 1))
    best[which, number] = (number + 1) / (at + 1 - missed)
    best = np.maximum.accumulate(best[:, ::-1], 1)[:, ::-1]
    places = np.searchsorted(np.arange(1, best.shape[1]) / true, RECALLS, side="left")
    means: Array = best[:, places].mean(1)
    return means


def _points(right: Array, passed: Array, true: float) -> tuple[Array, Array]:
    """Recall and precision after each found box that counts, at most 200 of them."""
    hits = np.cumsum(right[~passed])
    places = np.unique(np.linspace(0, max(0, len(hits) - 1), min(200, len(hits))).astype(int))
    return hits[places] / true, hits[places] / (places + 1)
