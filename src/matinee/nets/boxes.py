"""Boxes as tensors: how much two of them cover each other, and which of many found ones are told.

A box is (left, top, right, bottom) in pixels, measured at the edges: its width is right - left.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

AT_ONCE = 16  # pictures
CANDIDATES = 300  # of a picture that are looked at for boxes that repeat each other


def areas(boxes: Tensor) -> Tensor:
    """(..., 4) -> (...) square pixels."""
    return (boxes[..., 2] - boxes[..., 0]).clamp(min=0) * (boxes[..., 3] - boxes[..., 1]).clamp(min=0)


def shared(one: Tensor, other: Tensor) -> Tensor:
    """Square pixels that lie in both, (..., n, m), of boxes (..., n, 4) and (..., m, 4)."""
    low = torch.maximum(one[..., :, None, :2], other[..., None, :, :2])
    high = torch.minimum(one[..., :, None, 2:], other[..., None, :, 2:])
    sides = (high - low).clamp(min=0)
    return sides[..., 0] * sides[..., 1]


def overlaps(one: Tensor, other: Tensor) -> Tensor:
    """Intersection over union, (..., n, m), of boxes (..., n, 4) and (..., m, 4); 0 for boxes without an area."""
    both = shared(one, other)
    either = areas(one)[..., :, None] + areas(other)[..., None, :] - both
    return both / either.clamp(min=1e-9)


def paired_overlaps(one: Tensor, other: Tensor) -> Tensor:
    """Intersection over union of each box with the other of its place, (...), of boxes (..., 4) both."""
    sides = torch.minimum(one[..., 2:], other[..., 2:]) - torch.maximum(one[..., :2], other[..., :2])
    both = sides.clamp(min=0).prod(-1)
    return both / (areas(one) + areas(other) - both).clamp(min=1e-9)


def suppress(boxes: Tensor, kinds: Tensor, overlap: float) -> Tensor:
    """Which boxes stay, bool (batch, k): those that no better one of their kind, that stays, covers by more.

    boxes (batch, k, 4) and kinds (batch, k), the best first. Greedy non-maximum suppression for all pictures at once:
    whether a box stays follows from those before it, so deciding for all of them again and again settles at least one
    more each time and ends, mostly after a few rounds, with what the greedy walk finds.
    """
    rivals = overlaps(boxes, boxes) > overlap
    rivals &= kinds[:, :, None] == kinds[:, None, :]
    better = torch.ones(rivals.shape[1:], dtype=torch.bool, device=boxes.device).triu(1)
    rivals &= better  # [b, i, j]: i stands before j and covers it
    keep = torch.ones_like(kinds, dtype=torch.bool)
    for _ in range(boxes.shape[1]):
        again = ~(rivals & keep[:, :, None]).any(1)
        if bool((again == keep).all()):
            break
        keep = again
    return keep


def likeliest(outputs: Tensor, most: int = CANDIDATES) -> Tensor:
    """The `most` rows of a picture, (batch, most, 4 + classes), whose best logit is greatest, the best first."""
    count = min(most, outputs.shape[1])
    order = outputs[..., 4:].amax(-1).topk(count, dim=1).indices
    return outputs.gather(1, order[..., None].expand(-1, -1, outputs.shape[2]))


def found(outputs: Tensor, most: int, overlap: float) -> Tensor:
    """The boxes of each picture, (batch, most, 6): left, top, right, bottom, probability, class + 1.

    outputs: (batch, places, 4 + classes), boxes and logits. The best first; where there are fewer, zeros follow.
    """
    # All pairs of candidates of many pictures at once would take a gigabyte.
    return torch.cat([_found(part, most, overlap) for part in torch.split(outputs.float(), AT_ONCE)])


def _found(outputs: Tensor, most: int, overlap: float) -> Tensor:
    classes = outputs.shape[2] - 4
    rows = likeliest(outputs)
    chances = rows[..., 4:].sigmoid().flatten(1)
    chance, place = chances.topk(min(CANDIDATES, chances.shape[1]), dim=1)
    boxes = rows[..., :4].gather(1, (place // classes)[..., None].expand(-1, -1, 4))
    kinds = place % classes
    keep = suppress(boxes, kinds, overlap) & (areas(boxes) > 0)
    told = torch.cat((boxes, chance[..., None], kinds[..., None] + 1.0), 2) * keep[..., None]
    order = (~keep).to(torch.int8).argsort(dim=1, stable=True)[:, :most]
    told = told.gather(1, order[..., None].expand(-1, -1, 6))
    return torch.nn.functional.pad(told, (0, 0, 0, most - told.shape[1]))


def matched(
    told: Tensor, boxes: Tensor, labels: Tensor, thresholds: Tensor, aside: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Which found boxes are right, and which count neither way, bool (batch, k, thresholds) both.

    Args:
        told: (batch, k, 6) as `found` gives them, the best first.
        boxes: the true ones (batch, m, 4).
        labels: class + 1 of each (batch, m); 0: there is none; negative: a region (a crowd, something that nobody can
            tell) in which boxes of that class count neither way.
        thresholds: overlaps from which on a box is right, (thresholds,).
        aside: bool (batch, m), true boxes that are not asked for: what finds one counts neither way.

    The rule of COCO (Lin et al., 2014): in the order of their probability, each takes the true box of its class that it
    covers best and that is not taken. What is left over does the same with those set aside, and with regions, of which
    it must cover that share of itself and which any number may take.
    """
    hits, passed, _ = _matched(told, boxes, labels, thresholds, aside)
    return hits, passed


def mistakes(told: Tensor, boxes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """What is wrong, where half must be shared.

    Of the found boxes, (batch, k), 1 for those that are, 2 for those in a region, and 0; which true ones nothing found,
    bool (batch, m).
    """
    hits, passed, taken = _matched(told, boxes, labels, torch.full((1,), 0.5, device=told.device), None)
    wrong = ~(hits | passed)[..., 0] & (told[..., 5] > 0)
    return wrong + 2 * passed[..., 0], ~taken[:, 0] & (labels > 0)


def _matched(
    told: Tensor, boxes: Tensor, labels: Tensor, thresholds: Tensor, aside: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """As `matched`, and which true boxes were taken, (batch, thresholds, m)."""
    told, boxes, least = told.double(), boxes.double(), thresholds.double()[None, :, None]
    hits = torch.zeros(len(told), told.shape[1], least.shape[1], dtype=torch.bool, device=told.device)
    passed = torch.zeros_like(hits)
    taken = torch.zeros(len(told), least.shape[1], boxes.shape[1], dtype=torch.bool, device=told.device)
    if not boxes.shape[1]:
        return hits, passed, taken
    kinds = told[..., 5].long()
    same = (kinds[:, :, None] == labels.abs()[:, None, :]) & (kinds > 0)[:, :, None]
    both = shared(told[..., :4], boxes)
    union = areas(told[..., :4])[..., None] + areas(boxes)[:, None] - both
    cover = both / union.clamp(min=1e-12)
    region = (labels < 0)[:, None]
    apart = region if aside is None else region | aside[:, None]
    asked = torch.where(same & ~apart, cover, -1.0)
    share = both / areas(told[..., :4])[..., None].clamp(min=1e-12)
    others = torch.where(same & apart, torch.where(region, share, cover), -1.0)
    some = bool((others >= 0).any())
    numbers = torch.arange(boxes.shape[1], device=told.device)
    for place in range(_last(kinds)):
        hit, chosen = _taking(torch.where(taken, -1.0, asked[:, place, None, :]), least, numbers)
        hits[:, place] = hit[..., 0]
        taken |= hit & chosen
        if some:
            left, chosen = _taking(torch.where(taken, -1.0, others[:, place, None, :]), least, numbers)
            left &= ~hit
            passed[:, place] = left[..., 0]
            taken |= left & chosen & ~region
    return hits, passed, taken


def judged(
    told: Tensor, boxes: Tensor, labels: Tensor, thresholds: Tensor, spans: Sequence[tuple[float, float]]
) -> tuple[Tensor, Tensor]:
    """`matched` for boxes of several sizes, (spans, batch, k, thresholds) both.

    spans: least and greatest area, both included, of the true boxes that are asked for. As COCO does, those of other
    sizes are set aside, and found boxes of other sizes that find nothing count neither way.
    """
    size, mine = areas(boxes), areas(told[..., :4])
    count = len(spans)
    aside = torch.cat([(size < low) | (size > high) for low, high in spans])
    beside = torch.cat([(mine < low) | (mine > high) for low, high in spans])[..., None]
    told, boxes, labels = told.repeat(count, 1, 1), boxes.repeat(count, 1, 1), labels.repeat(count, 1)
    hits, passed = matched(told, boxes, labels, thresholds, aside)
    shape = (count, -1, *hits.shape[1:])
    return hits.view(shape), (passed | beside & ~hits).view(shape)


def _last(kinds: Tensor) -> int:
    """How many places of (batch, k) there are up to the last one that is told."""
    return int(((kinds > 0) * torch.arange(1, kinds.shape[1] + 1, device=kinds.device)).max()) if kinds.numel() else 0


def _taking(free: Tensor, least: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Whether the best of (batch, thresholds, m) is enough, (batch, thresholds, 1), and which it is, as a mask.

    Of equally good ones the last: so does the published program.
    """
    best = free.amax(2, keepdim=True)
    return best >= least, numbers == torch.where(free == best, numbers, -1).amax(2, keepdim=True)
