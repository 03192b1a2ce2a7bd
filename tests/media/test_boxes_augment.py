"""Boxes move with their pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from matinee.core.moment import Moment
from matinee.media.boxes_augment import BoxPolicy, vary

SIDE = 64


def lit(count: int = 6, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Black pictures in which exactly the box is white, three pixels of the picture for one; a second box of none."""
    generator = np.random.default_rng(seed)
    inputs, boxes = torch.zeros(count, 4, SIDE, SIDE), torch.zeros(count, 2, 4)
    inputs[:, -1] = 3.0
    for picture in range(count):
        left, top = generator.integers(4, 30, 2)
        inputs[picture, :3, top : top + 20, left : left + 24] = 1
        boxes[picture, 0] = 3 * torch.tensor([left, top, left + 24, top + 20])
    return inputs, boxes, torch.tensor([[1, 0]] * count)


def bounds(picture: torch.Tensor) -> list[float]:
    rows, columns = np.nonzero(picture[0].numpy() > 0.75)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@pytest.mark.parametrize(
    "policy",
    [
        BoxPolicy(mirror="sideways"), BoxPolicy(mirror="both"), BoxPolicy(zoom=0.4), BoxPolicy(shift=0.1),
        BoxPolicy(mirror="both", zoom=0.3, shift=0.1, colour=0.1),
    ],
)  # fmt: skip
def test_a_box_stays_around_what_it_was_around(policy: BoxPolicy) -> None:
    inputs, boxes, labels = vary(*lit(), policy, Moment(1))
    assert inputs.shape == (6, 4, SIDE, SIDE) and (inputs[:, -1] == 1).all()
    for picture, box, kinds in zip(inputs, boxes, labels, strict=True):
        assert kinds[0] == 1 and (kinds[1:] == 0).all()
        assert box[0].tolist() == pytest.approx(bounds(picture), abs=1.6)


def test_mosaics_have_the_boxes_of_all_that_is_seen() -> None:
    inputs, boxes, labels = vary(*lit(12), BoxPolicy(mosaic=1.0), Moment(3))
    assert boxes.shape[:2] == labels.shape and (labels > 0).sum(1).max() > 1
    for picture, mine, kinds in zip(inputs, boxes, labels, strict=True):
        white = picture[0] > 0.75
        for left, top, right, bottom in mine[kinds != 0].round().int().tolist():
            inside = white[top + 1 : bottom - 1, left + 1 : right - 1]
            assert inside.numel() == 0 or inside.float().mean() > 0.8
            white[max(0, top - 1) : bottom + 1, max(0, left - 1) : right + 1] = False
        assert white.float().mean() < 0.01  # nothing is left that no box is around


def test_what_is_hardly_left_is_not_asked_for() -> None:
    inputs, boxes, labels = lit(40)
    boxes[:, 0] = torch.tensor([0.0, 90, 3 * 12, 130])
    _, moved, kinds = vary(inputs, boxes, labels, BoxPolicy(shift=0.5), Moment(5))
    assert (kinds < 0).any() and (kinds > 0).any()
    assert (moved[..., 0] >= 0).all() and (moved[..., 2] <= SIDE).all()


def test_the_end_of_the_training_sees_whole_pictures() -> None:
    given = lit()
    late = vary(*given, BoxPolicy(mosaic=1.0), Moment(1, share=0.9))
    assert torch.allclose(late[0][:, :3], given[0][:, :3], atol=1e-4)
    assert torch.allclose(late[1][:, 0], given[1][:, 0] / 3, atol=1e-3)


def test_no_policy_changes_nothing_and_a_part_is_varied_as_in_the_whole() -> None:
    given = lit()
    assert vary(*given, BoxPolicy(), Moment(1))[0] is given[0]
    policy = BoxPolicy(mirror="both", zoom=0.3, shift=0.1)
    whole = vary(*given, policy, Moment(7))
    part = vary(given[0][2:], given[1][2:], given[2][2:], policy, Moment(7, first=2))
    assert torch.allclose(whole[0][2:], part[0], atol=1e-5) and torch.allclose(whole[1][2:], part[1], atol=1e-3)
