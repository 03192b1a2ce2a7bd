"""Scores of masks against the published definitions and reference libraries."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from matinee.core.task import Batch
from matinee.media.mask_classes import VOID
from matinee.media.mask_scores import TOLERANCE, MaskMeter, enlarged


def blocks(seed: int, count: int = 3, classes: int = 4) -> np.ndarray:
    """Fields of classes, (count, 40, 56)."""
    coarse = np.random.default_rng(seed).integers(0, classes, (count, 5, 7))
    return np.kron(coarse, np.ones((1, 8, 8), np.int64)).astype(np.uint8)


def logits(masks: np.ndarray, classes: int = 4) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.from_numpy(masks).long(), classes).permute(0, 3, 1, 2).float()


@pytest.fixture
def scored() -> tuple[MaskMeter, np.ndarray, np.ndarray]:
    truth, answer = blocks(0), blocks(0)
    answer[:, 8:24, 16:40] = blocks(1)[:, 8:24, 16:40]
    truth[:, :3], truth[0] = VOID, np.where(truth[0] == 3, 0, truth[0])
    meter = MaskMeter("abcd")
    meter.update(logits(answer), Batch(torch.zeros(3), torch.from_numpy(truth)))
    return meter, truth, answer


def test_pixels_against_scikit_learn(scored: tuple[MaskMeter, np.ndarray, np.ndarray]) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    meter, truth, answer = scored
    inside = truth != VOID
    pair = truth[inside], answer[inside]
    scores, told = meter.score(meter.rows()), meter.detail(meter.rows())
    assert scores["mean_iou"] == pytest.approx(metrics.jaccard_score(*pair, average="macro"))
    assert scores["pixel_accuracy"] == pytest.approx(metrics.accuracy_score(*pair))
    assert scores["class_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(*pair))
    assert told["confusion"] == metrics.confusion_matrix(*pair).tolist()
    for name, values in (
        ("iou", metrics.jaccard_score(*pair, average=None)),
        ("f1", metrics.f1_score(*pair, average=None)),
        ("precision", metrics.precision_score(*pair, average=None)),
    ):
        assert [told["classes"][c][name] for c in "abcd"] == pytest.approx(values.tolist())


def edges(mask: np.ndarray) -> np.ndarray:
    """Pixels beside one of another class, written out."""
    height, width = mask.shape
    found = np.zeros(mask.shape, bool)
    for y in range(height):
        for x in range(width):
            for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if 0 <= v < height and 0 <= u < width and VOID not in (mask[y, x], mask[v, u]):
                    found[y, x] |= mask[y, x] != mask[v, u]
    return found


def test_edges_against_distances(scored: tuple[MaskMeter, np.ndarray, np.ndarray]) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    meter, truth, answer = scored
    answer = np.where(truth == VOID, VOID, answer)
    reach, each = TOLERANCE * math.hypot(*truth.shape[1:]), np.full((3, 4), np.nan)
    for place, (one, other) in enumerate(zip(truth, answer, strict=True)):
        for number in range(4):
            mine, theirs = (edges(mask) & (mask == number) for mask in (one, other))
            if not mine.any() and not theirs.any():
                continue
            near = [ndimage.distance_transform_edt(~a) <= reach if a.any() else a for a in (mine, theirs)]
            precision = (theirs & near[0]).sum() / max(1, theirs.sum())
            recall = (mine & near[1]).sum() / max(1, mine.sum())
            each[place, number] = 2 * precision * recall / max(precision + recall, 1e-12)
    assert meter.score(meter.rows())["boundary_f"] == pytest.approx(np.nanmean(np.nanmean(each, 0)), abs=1e-6)


def test_a_right_answer_scores_one_and_a_class_that_is_nowhere_counts_for_nothing() -> None:
    truth = blocks(2, classes=3)
    meter = MaskMeter("abcd")
    meter.update(logits(truth), Batch(torch.zeros(3), torch.from_numpy(truth)))
    assert all(value == pytest.approx(1) for value in meter.score(meter.rows()).values())
    assert meter.detail(meter.rows())["classes"]["d"]["iou"] is None
    assert "100.0 %" in meter.remark(meter.rows(), 0)


def test_pictures_without_a_class_are_scored_as_nothing() -> None:
    meter = MaskMeter("ab")
    truth = np.full((2, 8, 8), VOID, np.uint8)
    truth[1] = 0
    meter.update(torch.zeros(2, 2, 4, 4), Batch(torch.zeros(2), torch.from_numpy(truth)))
    rows = meter.rows()
    assert meter.score(rows)["pixel_accuracy"] == 1 and "no pixel" in meter.remark(rows, 0)
    assert meter.worth_seeing(rows)["Found worst"].tolist() == [1]
    none = meter.score({name: values[:1] for name, values in rows.items()})
    assert all(math.isnan(value) for value in none.values())


def test_coarse_logits_are_enlarged_before_they_are_compared() -> None:
    coarse = torch.tensor([[[[1.0, -1.0]], [[0.0, 0.0]]]])
    assert enlarged(coarse, (2, 8)).tolist() == [[[0] * 4 + [1] * 4] * 2]
