"""What a detector makes small: which place is to find which box, and how far it is from that.

Task-aligned assignment (Feng et al., 2021, arXiv 2108.07755): each true box is given to the places inside it whose
answer, right class and overlap together, is best already; how good it is, is the probability they are to give. Boxes
are moved by the distance loss of Zheng et al., 2019 (arXiv 1911.08287): one minus the overlap, plus how far the centres
are apart against the diagonal of both.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from matinee.nets.boxes import overlaps
from matinee.nets.detectors import places_of, scale_of

TAKERS = 10  # places that a box is given to, at most
BY_CLASS, BY_OVERLAP = 0.5, 4.0
BOX_WEIGHT = 5.0  # of the boxes' part of the loss against that of the classes
SMALLEST = 1.0  # strides: a box counts as at least so wide where it is asked which places lie in it


def loss_of(outputs: Tensor, pictures: Tensor, boxes: Tensor, labels: Tensor, usual: float) -> Tensor:
    """The mean over pictures, a scalar.

    Args:
        outputs: (batch, places, 4 + classes) of a detector. pictures: what it saw.
        boxes: (batch, m, 4) true boxes, in pixels of the pictures themselves.
        labels: (batch, m) class + 1; 0: there is none; negative: a region where nothing is asked.
        usual: how many boxes a picture has on average. The sums are told by that and not by the batch's own number, so
            that the loss is a mean over pictures, however they are spread.
    """
    places, strides = places_of(pictures.shape[2:], pictures.device)
    scale = scale_of(pictures)[:, None, None]
    answers, logits = outputs[..., :4] / scale, outputs[..., 4:]
    boxes = boxes / scale
    with torch.no_grad():
        owner, goal = assigned(answers, logits, boxes, labels, (places, strides))
        weight = goal.amax(-1)
        apart = inside(places, strides, boxes, (labels < 0)).any(1) & (weight == 0)
    each = binary_cross_entropy_with_logits(logits, goal, reduction="none").sum(-1)
    chosen = boxes.gather(1, owner[..., None].expand(-1, -1, 4))
    far = torch.where(weight > 0, distance(answers, chosen), 0.0)
    whole = (each * ~apart).sum() + BOX_WEIGHT * (far * weight).sum()
    return whole / (len(pictures) * max(1.0, usual))


def inside(places: Tensor, strides: Tensor, boxes: Tensor, asked: Tensor) -> Tensor:
    """Which places lie in which boxes, bool (batch, m, places); tiny boxes are taken as a stride wide."""
    half = (boxes[..., 2:] - boxes[..., :2])[:, :, None] / 2
    half = torch.maximum(half, SMALLEST / 2 * strides[:, None])
    centre = ((boxes[..., 2:] + boxes[..., :2]) / 2)[:, :, None]
    return ((places - centre).abs() < half).all(-1) & asked[..., None]


def assigned(
    answers: Tensor, logits: Tensor, boxes: Tensor, labels: Tensor, where: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """For each place the number of its box (batch, places), and the probabilities it is to give, (..., classes)."""
    batch, places, classes = logits.shape
    true = labels > 0
    within = inside(*where, boxes, true)
    cover = overlaps(boxes, answers) * within
    kinds = (labels - 1).clamp(min=0)
    chance = logits.sigmoid().transpose(1, 2).gather(1, kinds[..., None].expand(-1, -1, places))
    fit = chance**BY_CLASS * (cover + 1e-3) ** BY_OVERLAP * within
    count = min(TAKERS, places)
    best, at = fit.topk(count, dim=2)
    taken = torch.zeros_like(within).scatter_(2, at, best > 0)
    # A place that several boxes want goes to the one that it covers best.
    contested = torch.where(taken, cover + 1e-6, 0.0)
    value, owner = contested.max(1)
    mine = taken & (torch.arange(boxes.shape[1], device=boxes.device)[:, None] == owner[:, None]) & (value > 0)[:, None]
    fit = fit * mine
    top = fit.amax(2, keepdim=True)
    reach = (cover * mine).amax(2, keepdim=True)
    share = (fit / top.clamp(min=1e-30) * reach.clamp(min=0.05)).amax(1)
    kind = kinds.gather(1, owner)
    goal = torch.zeros(batch, places, classes, device=logits.device)
    goal.scatter_(2, kind[..., None], share[..., None])
    return owner, goal


def distance(one: Tensor, other: Tensor) -> Tensor:
    """How far boxes (..., 4) are from others: 0 where they are the same, up to 2."""
    low, high = torch.maximum(one[..., :2], other[..., :2]), torch.minimum(one[..., 2:], other[..., 2:])
    both = (high - low).clamp(min=0).prod(-1)
    sides, others = one[..., 2:] - one[..., :2], other[..., 2:] - other[..., :2]
    cover = both / (sides.prod(-1) + others.prod(-1) - both).clamp(min=1e-6)
    around = torch.maximum(one[..., 2:], other[..., 2:]) - torch.minimum(one[..., :2], other[..., :2])
    apart = (one[..., :2] + one[..., 2:] - other[..., :2] - other[..., 2:]) / 2
    return 1 - cover + apart.square().sum(-1) / around.square().sum(-1).clamp(min=1e-6)
