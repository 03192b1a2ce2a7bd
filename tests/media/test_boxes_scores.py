"""Average precision, against the library that computes what COCO publishes."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
import torch

from matinee.core.meter import intervals
from matinee.core.task import Batch
from matinee.media.boxes_scores import BoxMeter
from matinee.nets.boxes import judged

CLASSES = ("cat", "dog", "owl")


def judge(outputs: Any, targets: Any, thresholds: torch.Tensor, spans: Any) -> tuple[torch.Tensor, ...]:
    return outputs, *judged(outputs, targets["boxes"], targets["label"], thresholds, spans)


def made_up(count: int, seed: int, crowds: bool = False) -> tuple[torch.Tensor, Batch]:
    """Found boxes near some of the true ones, others anywhere, likely or not."""
    generator = np.random.default_rng(seed)
    found, boxes, labels = np.zeros((count, 40, 6)), np.zeros((count, 9, 4)), np.zeros((count, 9), np.int64)
    for picture in range(count):
        number = int(generator.integers(0, 10))
        low = generator.uniform(0, 80, (number, 2))
        boxes[picture, :number] = np.concatenate((low, low + generator.uniform(5, 60, (number, 2))), 1)
        labels[picture, :number] = generator.integers(1, 4, number)
        told = []
        for _ in range(int(generator.integers(0, 40))):
            if number and generator.random() < 0.7:
                near = int(generator.integers(0, number))
                box, kind = boxes[picture, near] + generator.normal(0, 2, 4), labels[picture, near]
            else:
                corner = generator.uniform(0, 80, 2)
                box, kind = np.concatenate((corner, corner + generator.uniform(5, 60, 2))), generator.integers(1, 4)
            box[2:] = np.maximum(box[2:], box[:2] + 1)
            told.append((*box, generator.random(), kind))
        told.sort(key=lambda each: -each[4])
        found[picture, : len(told)] = np.array(told).reshape(-1, 6)
    if crowds:
        labels[generator.random(labels.shape) < 0.2] *= -1
    targets = {"boxes": torch.from_numpy(boxes), "label": torch.from_numpy(labels)}
    return torch.from_numpy(found), Batch(torch.zeros(count, 1), targets)


def published(found: torch.Tensor, batch: Batch) -> dict[str, float]:
    """What faster-coco-eval makes of the same boxes."""
    library = pytest.importorskip("faster_coco_eval")

    def wide(box: torch.Tensor) -> list[float]:
        left, top, right, bottom = box.tolist()
        return [left, top, right - left, bottom - top]

    truth, told = [], []
    for image, (boxes, labels) in enumerate(zip(batch.targets["boxes"], batch.targets["label"], strict=True), 1):
        for box, kind in zip(boxes, labels.tolist(), strict=True):
            if kind:
                sides = wide(box)
                truth.append({"id": len(truth) + 1, "image_id": image, "category_id": abs(kind), "bbox": sides,
                              "area": sides[2] * sides[3], "iscrowd": int(kind < 0)})  # fmt: skip
        for row in found[image - 1]:
            if row[5]:
                told.append({"image_id": image, "category_id": int(row[5]), "bbox": wide(row[:4]),
                             "score": float(row[4])})  # fmt: skip
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES, 1)]
    images = [{"id": number, "width": 200, "height": 200} for number in range(1, len(found) + 1)]
    with contextlib.redirect_stdout(io.StringIO()):
        known = library.COCO({"images": images, "annotations": truth, "categories": categories})
        scored = library.COCOeval_faster(known, known.loadRes(told), "bbox")
        scored.evaluate()
        scored.accumulate()
        scored.summarize()
    return dict(zip(("ap", "ap_50", "ap_75", "small", "medium", "large"), scored.stats[:6], strict=True))


@pytest.mark.parametrize("crowds", [False, True])
def test_average_precision_is_the_published_one(crowds: bool) -> None:
    found, batch = made_up(40, 3, crowds)
    meter = BoxMeter(CLASSES, judge, 0.5)
    meter.update(found, batch)
    scores = meter.score(meter.rows())
    sizes = {name: each["ap"] for name, each in meter.detail(meter.rows())["sizes"].items()}
    for name, value in published(found, batch).items():
        assert {**scores, "large": -1, **sizes}[name] == pytest.approx(value, abs=1e-6), name
    assert set(sizes) == {"small", "medium"} and len(meter.pieces(meter.rows())) == 3
    assert 0.05 < scores["ap"] < 0.9


def test_what_is_told_is_counted() -> None:
    found = torch.zeros(2, 3, 6)
    found[0, 0] = torch.tensor([0, 0, 10, 10, 0.9, 1.0])
    found[0, 1] = torch.tensor([50, 50, 60, 60, 0.8, 1.0])
    found[0, 2] = torch.tensor([0, 0, 10, 10, 0.4, 2.0])  # not likely enough to be told
    boxes = torch.tensor([[[0.0, 0, 10, 10]], [[0, 0, 10, 10]]])
    meter = BoxMeter(CLASSES, judge, 0.5)
    meter.update(found, Batch(torch.zeros(2, 1), {"boxes": boxes, "label": torch.tensor([[1], [2]])}))
    rows = meter.rows()
    scores = meter.score(rows)
    assert (scores["precision"], scores["recall"], scores["count_error"]) == (0.5, 0.5, 1.0)
    assert list(scores) == list(meter.names_of_scores())
    assert meter.remark(
        rows, 0
    ) == "1 of 1 found, 1 too many" and "Pictures with the most mistakes" in meter.worth_seeing(rows)
    assert meter.detail(rows)["classes"]["cat"]["ap_50"] == pytest.approx(1.0)
    assert set(meter.detail(rows)["classes"]) == {"cat", "dog"}  # nobody drew an owl


def test_scores_without_any_box_are_zero_and_intervals_hold_them() -> None:
    meter = BoxMeter(CLASSES, judge, 0.5)
    none = {"boxes": torch.zeros(12, 1, 4), "label": torch.zeros(12, 1, dtype=torch.int64)}
    meter.update(torch.zeros(12, 5, 6), Batch(torch.zeros(12, 1), none))
    scores = intervals(meter, meter.rows(), draws=100)
    assert all(score.value == 0 and score.low <= 0 <= score.high for score in scores.values())
    assert len(meter.pieces(meter.rows())) == 1


def test_batches_do_not_matter() -> None:
    found, batch = made_up(30, 5)
    whole, parts = BoxMeter(CLASSES, judge, 0.5), BoxMeter(CLASSES, judge, 0.5)
    whole.update(found, batch)
    for part in (slice(0, 7), slice(7, 30)):
        targets = {name: values[part] for name, values in batch.targets.items()}
        parts.update(found[part], Batch(batch.inputs[part], targets))
    assert whole.score(whole.rows()) == parts.score(parts.rows())
