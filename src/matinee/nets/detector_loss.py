"""What a detector makes small: which place is to find which box, and how far it is from that.

Task-aligned assignment (Feng et al., 2021, arXiv 2108.07755): each true box is given to the places inside it whose
answer, right class and overlap together, is best already; how good it is, is the probability they are to give. Boxes
are moved by the distance loss of Zheng et al., 2019 (arXiv 1911.08287): one minus the overlap, plus how far the centres
are apart against the diagonal of both.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from matinee.nets.boxes import paired_overlaps
from matinee.nets.detectors import STRIDES, scale_of

TAKERS = 10  # places that a box is given to, at most
BY_CLASS, BY_OVERLAP = 0.5, 4.0
BOX_WEIGHT = 5.0  # of the boxes' part of the loss against that of the classes
SMALLEST = 1.0  # strides: a box counts as at least so wide where it is asked which places lie in it
LEAST = 0.05  # overlap: what the best place of a box is asked for at least, however badly it does at first


@dataclass(frozen=True)
class Given:
    """Which place is to find which box, a row for each: numbers of picture, place and box, and how good it already is.

    share: 0 to 1, the probability that the place is to give to the box's class.
    """

    picture: Tensor
    place: Tensor
    box: Tensor
    share: Tensor


def loss_of(outputs: Tensor, pictures: Tensor, boxes: Tensor, labels: Tensor, usual: float) -> Tensor:
    """The mean over pictures, a scalar.

    Args:
        outputs: (batch, places, 4 + classes) of a detector. pictures: what it saw.
        boxes: (batch, m, 4) true boxes, in pixels of the pictures themselves.
        labels: (batch, m) class + 1; 0: there is none; negative: a region where nothing is asked.
        usual: how many boxes a picture has on average. The sums are told by that and not by the batch's own number, so
            that the loss is a mean over pictures, however they are spread.
    """
    scale = scale_of(pictures)[:, None, None]
    answers, logits = outputs[..., :4] / scale, outputs[..., 4:]
    boxes = boxes / scale
    with torch.no_grad():
        within = inside(pictures.shape[2:], boxes)
        given = assigned(answers, logits, boxes, labels, within)
        goal = torch.zeros_like(logits)
        goal[given.picture, given.place, labels[given.picture, given.box] - 1] = given.share.to(goal.dtype)
        apart = (within & (labels < 0)[..., None]).any(1) & (goal.amax(-1) == 0)
    each = binary_cross_entropy_with_logits(logits, goal, reduction="none").sum(-1)
    far = distance(answers[given.picture, given.place], boxes[given.picture, given.box])
    whole = (each * ~apart).sum() + BOX_WEIGHT * (far * given.share).sum()
    return whole / (len(pictures) * max(1.0, usual))


def inside(size: torch.Size | tuple[int, ...], boxes: Tensor) -> Tensor:
    """Which places of all levels lie in which boxes, bool (batch, m, places); tiny boxes are taken as a stride wide."""
    half, centre = (boxes[..., 2:] - boxes[..., :2]) / 2, (boxes[..., 2:] + boxes[..., :2]) / 2
    levels = []
    for stride in STRIDES:
        reach = half.clamp(min=SMALLEST / 2 * stride)
        down, across = (
            (((torch.arange(-(-length // stride), device=boxes.device) + 0.5) * stride) - centre[..., axis, None]).abs()
            < reach[..., axis, None]
            for axis, length in ((1, size[0]), (0, size[1]))
        )
        levels.append((down[..., :, None] & across[..., None, :]).flatten(2))
    return torch.cat(levels, 2)


def assigned(answers: Tensor, logits: Tensor, boxes: Tensor, labels: Tensor, within: Tensor) -> Given:
    """Which places are to find the true boxes; each place at most one.

    Only the pairs of a place and a box that it lies in are looked at, not all of them: a hundredth.
    """
    picture, box, place = (within & (labels > 0)[..., None]).nonzero(as_tuple=True)
    cover = paired_overlaps(boxes[picture, box], answers[picture, place])
    chance = logits[picture, place, labels[picture, box] - 1].sigmoid()
    fit = chance**BY_CLASS * (cover + 1e-3) ** BY_OVERLAP
    owner = picture * boxes.shape[1] + box  # one number for each true box
    # By box, the fittest first; a stable sort by the second key after one by the first.
    order = fit.argsort(descending=True, stable=True)
    order = order[owner[order].argsort(stable=True)]
    counts = torch.bincount(owner, minlength=labels.numel())
    rank = torch.arange(len(order), device=order.device) - (counts.cumsum(0) - counts)[owner[order]]
    chosen = order[rank < TAKERS]
    # A place that several boxes want goes to the one that it covers best, of equal ones to the first.
    spot = picture[chosen] * within.shape[2] + place[chosen]
    most = _greatest(cover[chosen], spot, len(within) * within.shape[2])
    chosen, spot = (each[cover[chosen] >= most[spot]] for each in (chosen, spot))
    numbers = torch.arange(len(chosen), device=chosen.device)
    first = numbers.new_full((len(within) * within.shape[2],), len(chosen))
    chosen = chosen[numbers == first.scatter_reduce(0, spot, numbers, "amin")[spot]]
    fit, cover, owner = fit[chosen], cover[chosen], owner[chosen]
    top, reach = (_greatest(each, owner, labels.numel())[owner] for each in (fit, cover))
    share = fit / top.clamp(min=1e-30) * reach.clamp(min=LEAST)
    return Given(picture[chosen], place[chosen], box[chosen], share)


def _greatest(values: Tensor, groups: Tensor, count: int) -> Tensor:
    """The greatest value of each group, (count,); 0 where it has none."""
    return values.new_zeros(count).scatter_reduce(0, groups, values, "amax")


def distance(one: Tensor, other: Tensor) -> Tensor:
    """How far boxes (..., 4) are from others: 0 where they are the same, up to 2."""
    low, high = torch.maximum(one[..., :2], other[..., :2]), torch.minimum(one[..., 2:], other[..., 2:])
    both = (high - low).clamp(min=0).prod(-1)
    sides, others = one[..., 2:] - one[..., :2], other[..., 2:] - other[..., :2]
    cover = both / (sides.prod(-1) + others.prod(-1) - both).clamp(min=1e-6)
    around = torch.maximum(one[..., 2:], other[..., 2:]) - torch.minimum(one[..., :2], other[..., :2])
    apart = (one[..., :2] + one[..., 2:] - other[..., :2] - other[..., 2:]) / 2
    return 1 - cover + apart.square().sum(-1) / around.square().sum(-1).clamp(min=1e-6)
