"""Boxes as tensors: overlap, suppression, matching, assignment."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from matinee.nets.boxes import found, likeliest, matched, mistakes, overlaps, suppress
from matinee.nets.choices import PictureShape
from matinee.nets.detector_confidence import honest
from matinee.nets.detector_loss import assigned, distance, inside, loss_of
from matinee.nets.detectors import STRIDES, build, places_of, within


def boxes_of(generator: np.random.Generator, *shape: int) -> torch.Tensor:
    low = generator.uniform(0, 80, (*shape, 2))
    return torch.from_numpy(np.concatenate((low, low + generator.uniform(4, 40, (*shape, 2))), -1)).float()


def pictures(count: int = 2, side: int = 64, channels: int = 3) -> torch.Tensor:
    inputs = torch.rand(count, channels + 1, side, side)
    inputs[:, -1] = 1.0
    return inputs


def test_overlap_by_hand() -> None:
    one, other = torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([[5.0, 0, 15, 10], [20, 20, 30, 30], [3, 3, 3, 9]])
    assert overlaps(one, other)[0].tolist() == pytest.approx([50 / 150, 0, 0])


def greedy(boxes: torch.Tensor, kinds: torch.Tensor, overlap: float) -> list[bool]:
    keep: list[int] = []
    for place in range(len(boxes)):
        rivals = [other for other in keep if kinds[other] == kinds[place]]
        if not any(overlaps(boxes[other : other + 1], boxes[place : place + 1])[0, 0] > overlap for other in rivals):
            keep.append(place)
    return [place in keep for place in range(len(boxes))]


def test_suppression_is_the_greedy_one() -> None:
    generator = np.random.default_rng(0)
    boxes = boxes_of(generator, 6, 60)
    kinds = torch.from_numpy(generator.integers(0, 2, (6, 60)))
    keep = suppress(boxes, kinds, 0.3)
    assert not keep.all()
    assert [row.tolist() for row in keep] == [greedy(boxes[i], kinds[i], 0.3) for i in range(6)]


def test_found_boxes_come_best_first_and_zeros_follow() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [40, 40, 60, 60]])
    logits = torch.tensor([[2.0, -9], [3.0, -9], [-9, 1.0]])
    told = found(torch.cat((boxes, logits), 1)[None], 8, 0.5)[0]
    assert told.shape == (8, 6)
    assert told[0].tolist() == pytest.approx([1, 0, 11, 10, torch.tensor(3.0).sigmoid().item(), 1])
    assert told[1, 5] == 2 and (told[:, 4].diff() <= 0).all()
    assert not (told[told[:, 4] > 0.1, :4] == boxes[0]).all(1).any()
    assert (told[told[:, 5] == 0] == 0).all()


def test_the_likeliest_rows_are_kept_whole() -> None:
    outputs = torch.randn(3, 50, 7)
    rows = likeliest(outputs, 5)
    best = outputs[..., 4:].amax(-1).sort(1, descending=True).values[:, :5]
    assert torch.equal(rows[..., 4:].amax(-1), best)


def test_regions_count_neither_way() -> None:
    told = torch.tensor([[[0.0, 0, 10, 10, 0.9, 1], [50, 50, 60, 60, 0.8, 1], [50, 50, 60, 60, 0.7, 2]]])
    boxes = torch.tensor([[[0.0, 0, 10, 10], [40, 40, 90, 90]]])
    right, passed = matched(told, boxes, torch.tensor([[1, -1]]), torch.tensor([0.5]))
    assert right[0, :, 0].tolist() == [True, False, False]
    assert passed[0, :, 0].tolist() == [False, True, False]
    called, missed = mistakes(told, boxes, torch.tensor([[1, -1]]))
    assert called.tolist() == [[0, 2, 1]] and not missed.any()


def test_pictures_without_boxes_are_matched() -> None:
    told = torch.tensor([[[0.0, 0, 10, 10, 0.9, 1]]])
    for boxes, labels in ((torch.zeros(1, 0, 4), torch.zeros(1, 0)), (torch.zeros(1, 1, 4), torch.zeros(1, 1))):
        right, passed = matched(told, boxes, labels.long(), torch.tensor([0.5]))
        assert not right.any() and not passed.any() and right.shape == (1, 1, 1)


def test_distance_is_nothing_for_the_same_box_and_falls_towards_it() -> None:
    true = torch.tensor([10.0, 10, 30, 40])
    assert distance(true, true).item() == pytest.approx(0, abs=1e-6)
    far = [distance(true + shift, true).item() for shift in (60.0, 20.0, 10.0, 5.0)]
    assert far == sorted(far, reverse=True) and far[0] > 1


def test_a_box_is_given_to_places_inside_it_and_contested_ones_to_one() -> None:
    places, strides = places_of((64, 64))
    boxes = torch.tensor([[[8.0, 8, 40, 40], [16, 16, 56, 56], [0, 0, 0, 0]]] * 2)
    labels = torch.tensor([[1, 2, 0], [0, 0, -1]])
    answers = torch.cat((places - strides[:, None], places + strides[:, None]), 1)[None].expand(2, -1, -1)
    within = inside((64, 64), boxes)
    given = assigned(answers, torch.zeros(2, len(places), 2), boxes, labels, within)
    assert (given.picture == 0).all() and within[given.picture, given.box, given.place].all()
    assert given.box.unique().tolist() == [0, 1] and given.box.bincount().max() <= 10
    assert len(given.place.unique()) == len(given.place)
    assert ((given.share > 0) & (given.share <= 1)).all()
    for box in (0, 1):  # the best place of a box is asked for what it covers already
        mine = given.box == box
        cover = overlaps(boxes[0, box : box + 1], answers[0, given.place[mine]])[0]
        assert given.share[mine].max().item() == pytest.approx(max(0.05, cover.max().item()))


def test_places_lie_in_boxes() -> None:
    places, strides = places_of((64, 96))
    boxes = boxes_of(np.random.default_rng(2), 3, 5)
    boxes[0, 0] = torch.tensor([50.0, 50, 51, 51])  # tiny: as wide as a stride
    half = torch.maximum((boxes[..., 2:] - boxes[..., :2])[:, :, None] / 2, strides[:, None] / 2)
    centre = ((boxes[..., 2:] + boxes[..., :2]) / 2)[:, :, None]
    assert torch.equal(inside((64, 96), boxes), ((places - centre).abs() < half).all(-1))


def test_the_loss_is_a_mean_over_pictures() -> None:
    torch.manual_seed(0)
    network, inputs = build("pyramid", PictureShape(3, 64, 64, 2), size="s").eval(), pictures(4)
    boxes, labels = boxes_of(np.random.default_rng(1), 4, 3) / 2, torch.tensor([[1, 2, 0]] * 4)
    with torch.no_grad():
        outputs = network(inputs)
        whole = loss_of(outputs, inputs, boxes, labels, 2.0)
        parts = [
            loss_of(outputs[i : i + 2], inputs[i : i + 2], boxes[i : i + 2], labels[i : i + 2], 2.0) for i in (0, 2)
        ]
    assert whole.item() == pytest.approx((parts[0] + parts[1]).item() / 2, rel=1e-5)


@pytest.mark.parametrize("name", ["linear", "pyramid", "residual"])
def test_answers_are_in_the_pictures_own_pixels(name: str) -> None:
    torch.manual_seed(0)
    network, inputs = build(name, PictureShape(3, 64, 96, 4), size="s").eval(), torch.rand(2, 4, 64, 96)
    inputs[:, -1] = torch.tensor([1.0, 3.0])[:, None, None]
    inputs[1, :3] = inputs[0, :3]
    with torch.no_grad():
        one, other = network(inputs)
    assert one.shape == (sum((64 // s) * (96 // s) for s in STRIDES), 8)
    assert torch.allclose(other[:, :4], 3 * one[:, :4], rtol=1e-4, atol=1e-2)
    assert torch.allclose(other[:, 4:], one[:, 4:], atol=1e-4)


def test_boxes_end_where_their_pictures_do() -> None:
    inputs = pictures(2)
    inputs[1, -1] = 3.0
    inputs[1, -1, 32:] = 0.0
    outputs = torch.tensor([-5.0, 10, 400, 400, 0.3]).expand(2, 1, 5)
    assert within(outputs, inputs)[:, 0, :4].tolist() == [[0, 10, 64, 64], [0, 10, 192, 96]]


def test_the_quick_form_answers_the_same() -> None:
    torch.manual_seed(0)
    for name in ("pyramid", "residual"):
        network = build(name, PictureShape(1, 64, 64, 2), size="s").eval()
        inputs = pictures(2, channels=1)
        with torch.no_grad():
            assert torch.allclose(network.quick(torch.float32)(inputs), network(inputs), rtol=1e-3, atol=1e-3)


def test_the_trunk_of_image_classification_fits() -> None:
    from matinee.core.starting import put
    from matinee.nets.pictures import build as classifier

    network = build("residual", PictureShape(3, 64, 64, 2), size="s")
    weights = classifier("residual", PictureShape(3, 96, 96, 10), size="s").state_dict()
    fitted, whole = put(network, weights, "head.")
    assert fitted == whole
    first = next(iter(network.trunk.state_dict()))
    assert torch.equal(network.trunk.state_dict()[first], weights[f"trunk.{first}"])


def test_probabilities_become_shares_that_are_right() -> None:
    generator = torch.Generator().manual_seed(0)
    chance = torch.rand(40, 50, generator=generator) * 0.98 + 0.01
    told = torch.zeros(40, 50, 6)
    told[..., 4], told[..., 5] = chance, 1
    truth = (torch.logit(chance) * 0.5 - 1).sigmoid()  # twice too sure, and too high
    right = torch.rand(40, 50, generator=generator) < truth
    slope, shift = honest(told, right, torch.zeros_like(right), 2)
    assert slope == pytest.approx(0.5, abs=0.1) and shift[0] == pytest.approx(-1, abs=0.15) and shift[1] == 0
    nothing = honest(torch.zeros(3, 5, 6), torch.zeros(3, 5, dtype=torch.bool), torch.zeros(3, 5, dtype=torch.bool), 2)
    assert nothing[0] == 1 and (nothing[1] == 0).all()


def test_too_small_pictures_are_refused() -> None:
    from matinee.core.errors import SettingsError

    with pytest.raises(SettingsError, match="at least 32 pixels"):
        build("pyramid", PictureShape(3, 16, 64, 2))
