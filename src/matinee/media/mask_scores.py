"""Scores of masks: intersection over union of classes as published, shares of pixels, and how well edges are met."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from matinee.core.meter import Array, Meter, Rows
from matinee.core.pieces import Matrix, Piece, Table
from matinee.media.mask_classes import VOID

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from matinee.core.task import Batch

TOLERANCE = 0.0075
"""Share of a picture's diagonal by which an edge may be off (Csurka et al., 2013, "What is a good evaluation measure
for semantic segmentation?")."""
MOST_CONFUSED = 32
"""Classes up to which it is counted which is taken for which: the square of it is kept of every picture."""
AT_ONCE = 4  # pictures whose logits are enlarged together


def enlarged(outputs: Tensor, size: tuple[int, int]) -> Tensor:
    """The classes of all pixels, uint8 (N, height, width), of logits (N, classes, h, w) on a coarser grid."""
    import torch
    from torch.nn.functional import interpolate

    parts = []
    for part in torch.split(outputs, AT_ONCE):
        whole = part.float()
        if part.shape[2:] != size:
            whole = interpolate(whole.contiguous(), size, mode="bilinear", align_corners=False)
        parts.append(_likeliest(whole))
    return torch.cat(parts)


def _likeliest(logits: Tensor) -> Tensor:
    """The place of the greatest of (N, classes, ...), the first of equal ones, uint8 (N, ...).

    Class by class: on a processor a fifth of the time of `argmax`, which walks across the classes of each pixel.
    """
    import torch

    logits = logits.detach()
    best = logits[:, 0].clone()
    found = torch.zeros(best.shape, dtype=torch.uint8, device=best.device)
    for number in range(1, logits.shape[1]):
        found.masked_fill_(logits[:, number] > best, number)
        torch.maximum(best, logits[:, number], out=best)
    return found


class MaskMeter(Meter):
    """For outputs that are logits (batch, classes, h, w) and targets that are masks (batch, H, W), 255 for no class.

    A class's IoU is counted over all pixels of all pictures together (Everingham et al., 2010, PASCAL VOC), pixels of
    no class left out; the mean is over the classes that occur in truth or answer.
    """

    meanings: ClassVar = {
        "mean_iou": "for each class, the pixels found rightly over all that are or were said to be of it; the mean of "
        "the classes",
        "pixel_accuracy": "share of the pixels whose class is found",
        "class_accuracy": "share of the pixels of a class that are found; the mean of the classes",
        "boundary_f": f"how well edges are met: F1 of edge pixels within {100 * TOLERANCE} % of the diagonal, the mean "
        "of classes and pictures",
    }

    def __init__(self, classes: Sequence[str]) -> None:
        super().__init__()
        self.classes = tuple(classes)

    def collect(self, outputs: Any, batch: Batch) -> dict[str, torch.Tensor]:
        """Counts of pixels: "hit", "truth", "answer" (batch, classes), and of edges; who is taken for whom."""
        import torch

        truth, number = batch.targets, len(self.classes)
        answer = enlarged(outputs, tuple(truth.shape[1:])).masked_fill(truth == VOID, VOID)
        kept: dict[str, list[torch.Tensor]] = {}
        for one, other in zip(truth, answer, strict=True):
            told = {"hit": _counts(one, number, one == other), "truth": _counts(one, number)}
            told["answer"] = _counts(other, number)
            if number <= MOST_CONFUSED:
                inside = one != VOID
                pairs = one[inside].int() * number + other[inside].int()
                told["confusion"] = torch.bincount(pairs, minlength=number * number)
            for name, values in {**told, **_edges(one, other, number)}.items():
                kept.setdefault(name, []).append(values)
        return {name: torch.stack(values) for name, values in kept.items()}

    def score(self, rows: Rows) -> dict[str, float]:
        """Mean IoU first; NaN where there is nothing to score."""
        counted = _sums(rows)
        iou, recall = _share(counted["hit"], counted["union"]), _share(counted["hit"], counted["truth"])
        return {
            "mean_iou": _mean(iou),
            "pixel_accuracy": float(_share(counted["hit"].sum(), counted["truth"].sum())),
            "class_accuracy": _mean(recall),
            "boundary_f": _mean(_boundary(rows)),
        }

    def names_of_scores(self) -> Sequence[str]:
        """Mean IoU selects the model."""
        return ("mean_iou", "pixel_accuracy", "class_accuracy", "boundary_f")

    def detail(self, rows: Rows) -> dict[str, Any]:
        """Scores of each class, and which is taken for which, in pixels."""
        counted, edges = _sums(rows), _boundary(rows)
        told = {
            "examples": (rows["truth"] > 0).sum(0),
            "share": _share(counted["truth"], counted["truth"].sum()),
            "iou": _share(counted["hit"], counted["union"]),
            "precision": _share(counted["hit"], counted["answer"]),
            "recall": _share(counted["hit"], counted["truth"]),
            "f1": _share(2 * counted["hit"], counted["truth"] + counted["answer"]),
            "boundary_f": edges,
        }
        classes = {
            name: {what: _plain(values[place]) for what, values in told.items()}
            for place, name in enumerate(self.classes)
        }
        confusion = self._confusion(rows)
        return {"classes": classes, **({} if confusion is None else {"confusion": confusion.tolist()})}

    def pieces(self, rows: Rows) -> Sequence[Piece]:
        """A line for each class, the best first, and which is taken for which."""
        told = self.detail(rows)["classes"]
        lines = sorted(told.items(), key=lambda pair: -(pair[1]["iou"] or 0.0))
        columns = ("class", "pictures", "of the pixels", "IoU", "found (recall)", "right (precision)", "boundary F")
        names = ("share", "iou", "recall", "precision", "boundary_f")
        cells = [(name, each["examples"], *(_percent(each[n]) for n in names)) for name, each in lines]
        pieces: list[Piece] = [Table(columns, cells, "Pixels of no class are left out.")]
        confusion = self._confusion(rows)
        if confusion is not None:
            caption = "Pixels, by what they are and were said to be."
            pieces.append(Matrix(self.classes, confusion, "truth", "answer", caption))
        return pieces

    def worth_seeing(self, rows: Rows) -> dict[str, Array]:
        """The pictures with the lowest mean IoU, and some as they come."""
        each = self._each(rows)
        known = np.flatnonzero(~np.isnan(each))
        some = np.unique(np.linspace(0, len(each) - 1, min(8, len(each))).astype(np.int64))
        return {"Found worst": known[np.argsort(each[known], kind="stable")][:8], "As they come": some}

    def remark(self, rows: Rows, position: int) -> str:
        """The mean IoU of this picture, and the class that most of its mistakes are about."""
        counted = _sums({name: values[position : position + 1] for name, values in rows.items()})
        iou = _share(counted["hit"], counted["union"])
        if np.isnan(iou).all():
            return "no pixel of it has a class"
        worst = int((counted["union"] - counted["hit"]).argmax())
        wrong = f", most wrong: {self.classes[worst]} ({_percent(float(iou[worst]))})" if iou[worst] < 1 else ""
        return f"mean IoU {_percent(_mean(iou))}{wrong}"

    def _each(self, rows: Rows) -> Array:
        """The mean IoU of each picture by itself."""
        union = rows["truth"] + rows["answer"] - rows["hit"]
        return _nanmean(_share(rows["hit"], union), 1)

    def _confusion(self, rows: Rows) -> Array | None:
        if "confusion" not in rows:
            return None
        summed = rows["confusion"].astype(np.float64).sum(0).reshape(len(self.classes), -1)
        confusion: Array = summed.astype(np.int64)
        return confusion


def _counts(numbers: Tensor, classes: int, where: Tensor | None = None) -> Tensor:
    """How many pixels of a mask have each class, (classes,)."""
    import torch

    chosen = numbers.flatten() if where is None else numbers[where]
    return torch.bincount(chosen, minlength=VOID + 1)[:classes]


def _edges(truth: Tensor, answer: Tensor, classes: int) -> dict[str, Tensor]:
    """For each class: edge pixels of truth and answer, and how many of them have one of the other's nearby."""
    import torch

    radius = TOLERANCE * math.hypot(*truth.shape)
    # Numbers that no class has, and unlike in both, where there is no edge: then one comparison tells all.
    one, other = _edge_pixels(truth, VOID - 1), _edge_pixels(answer, VOID)
    height, width = truth.shape
    met, meeting = torch.zeros_like(one, dtype=torch.bool), torch.zeros_like(other, dtype=torch.bool)
    for down, across in _disc(radius):
        if down >= height or abs(across) >= width:
            continue
        for sign in (1, -1) if (down, across) != (0, 0) else (1,):
            y, x = sign * down, sign * across
            here = (slice(max(0, -y), height - max(0, y)), slice(max(0, -x), width - max(0, x)))
            there = (slice(max(0, y), height - max(0, -y)), slice(max(0, x), width - max(0, -x)))
            same = one[here] == other[there]
            met[here] |= same
            meeting[there] |= same
    return {
        "edge_truth": _counts(one, classes), "edge_met": _counts(one, classes, met),
        "edge_answer": _counts(other, classes), "edge_right": _counts(other, classes, meeting),
    }  # fmt: skip


def _edge_pixels(numbers: Tensor, nothing: int) -> Tensor:
    """The class of each pixel beside another class, `nothing` elsewhere; pixels of no class make no edge."""
    import torch

    edge = torch.zeros_like(numbers, dtype=torch.bool)
    inside = numbers != VOID
    for one, other in (((slice(1, None),), (slice(-1),)), ((slice(None), slice(1, None)), (slice(None), slice(-1)))):
        differs = (numbers[one] != numbers[other]) & inside[one] & inside[other]
        edge[one] |= differs
        edge[other] |= differs
    return numbers.masked_fill(~edge, nothing)


@functools.cache
def _disc(radius: float) -> tuple[tuple[int, int], ...]:
    """Half of the steps (down, across) that are no longer than the radius; the other half are their reverses."""
    reach = int(radius)
    steps = [(y, x) for y in range(reach + 1) for x in range(-reach, reach + 1) if y * y + x * x <= radius * radius]
    return tuple(step for step in steps if step[0] > 0 or step[1] >= 0)


def _sums(rows: Rows) -> dict[str, Array]:
    summed = {name: rows[name].astype(np.float64).sum(0) for name in ("hit", "truth", "answer")}
    return {**summed, "union": summed["truth"] + summed["answer"] - summed["hit"]}


def _boundary(rows: Rows) -> Array:
    """For each class, F1 of its edges in a picture, the mean of those in which it has edges in truth or answer."""
    # 2 P R / (P + R), with P = right / answer and R = met / truth; 0 where one has edges and the other none.
    precision = _share(rows["edge_right"], np.maximum(rows["edge_answer"], 1))
    recall = _share(rows["edge_met"], np.maximum(rows["edge_truth"], 1))
    scores = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    scores = np.where(rows["edge_truth"] + rows["edge_answer"] > 0, scores, np.nan)
    return _nanmean(scores, 0)


def _share(part: Any, whole: Any) -> Array:
    """NaN where there is nothing."""
    whole = np.asarray(whole, np.float64)
    share: Array = np.where(whole > 0, np.asarray(part, np.float64) / np.where(whole > 0, whole, 1.0), np.nan)
    return share


def _nanmean(values: Array, axis: int) -> Array:
    """The mean of what is a number; NaN where nothing is."""
    return _share(np.nansum(values, axis), (~np.isnan(values)).sum(axis))


def _mean(values: Array) -> float:
    return float(_nanmean(values, 0))


def _plain(value: Any) -> float | int | None:
    """For JSON: no NaN."""
    number = value.item()
    return None if isinstance(number, float) and math.isnan(number) else number


def _percent(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{100 * value:.1f} %"
