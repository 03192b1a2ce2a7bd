"""What a linear network over n-grams goes by: the n-grams that speak most for each class, and what each token adds.

An n-gram is told by the columns of the token ids in which it stands, so that who knows the tokens can spell it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from matinee.nets.ngrams import NOTHING, PAIRS_UP_TO, NgramNetwork, NgramShape, hashes, weights_of


@dataclass(frozen=True)
class Spoken:
    """An n-gram that speaks for a class.

    example: one that has it. columns: where it stands there. adds: to the logit of its class, against the mean of all
    classes, where it occurs, on average. examples: how many have it.
    """

    example: int
    columns: tuple[int, ...]
    adds: float
    examples: int


def strongest(network: NgramNetwork, batches: Iterable[Tensor], most: int) -> list[list[Spoken]]:
    """For each class the n-grams that speak most for it in these examples all together, the strongest first.

    batches: token ids (batch, longest) each.
    """
    network, shape, kept = _near(network), network.shape, [one.cpu() for one in batches]
    sums = torch.zeros(shape.features, shape.outputs, dtype=torch.float64)
    often = torch.zeros(shape.features, dtype=torch.long)
    for inputs in kept:
        for codes, weight in zip(hashes(inputs, shape), weights_of(shape), strict=False):
            _, places, values = network.known(codes)
            sums.index_add_(0, places, (values * weight)[:, None].double() * network.weight[places].double())
            often.index_add_(0, places, torch.ones_like(places))
    told = _apart(network, sums)
    found: list[list[tuple[int, float]]] = []
    for name in range(shape.classes):
        highest = told[:, name].topk(min(most, shape.features))
        pairs = zip(highest.indices.tolist(), highest.values.tolist(), strict=True)
        found.append([(place, value) for place, value in pairs if value > 0])
    where = _found(network, kept, {place for one in found for place, _ in one})
    return [
        [Spoken(*where[place], value / int(often[place]), int(often[place])) for place, value in one] for one in found
    ]


def shares(network: NgramNetwork, inputs: Tensor, answers: Tensor) -> Tensor:
    """What each token id adds to the logit of the answer, against the mean of all classes: (batch, longest), float32.

    An n-gram's part is divided evenly among the tokens that it spans, and among the places where it occurs; those of a
    pair of places between the two. answers: class numbers (batch,).
    """
    network, added = _near(network), torch.zeros(inputs.shape, dtype=torch.float64)
    for row in range(len(inputs)):
        ids = inputs[row : row + 1].cpu()
        weights, spans = weights_of(network.shape), _spans(ids, network.shape)
        for codes, weight, (first, last, inside) in zip(hashes(ids, network.shape), weights, spans, strict=False):
            _, places, values = network.known(codes)
            if not len(places):
                continue
            parts = _apart(network, (values * weight)[:, None].double() * network.weight[places].double())
            at = torch.searchsorted(network.keys[places], codes[0]).clamp(max=len(places) - 1)
            good = (network.keys[places][at] == codes[0]) & (codes[0] != NOTHING)
            at = at[good]
            own = parts[at, int(answers[row])] / torch.bincount(at, minlength=len(places))[at]
            _spread(added[row], own, first[good], last[good], inside[good])
    return added.float()


def _near(network: NgramNetwork) -> NgramNetwork:
    """The network on the processor, where the counting is done."""
    return network if network.keys.device.type == "cpu" else copy.deepcopy(network).cpu()


def _spread(added: Tensor, own: Tensor, first: Tensor, last: Tensor, inside: Tensor) -> None:
    """Divide each part of `own` among the columns from `first` to `last`, or between these two."""
    width = torch.where(inside, last - first + 1, 2)
    steps = torch.zeros(len(added) + 1, dtype=torch.float64)
    steps.index_add_(0, first[inside], (own / width)[inside])
    steps.index_add_(0, last[inside] + 1, -(own / width)[inside])
    added += steps.cumsum(0)[:-1]
    for end in (first, last):
        added.index_add_(0, end[~inside], own[~inside] / 2)


def _apart(network: NgramNetwork, sums: Tensor) -> Tensor:
    """Margins (n, outputs) as logits (n, classes), less their mean."""
    logits = network.as_logits(sums) * network.sharpness.double()
    return logits - logits.mean(1, keepdim=True)


def _found(network: NgramNetwork, kept: list[Tensor], places: set[int]) -> dict[int, tuple[int, tuple[int, ...]]]:
    """An example, and the columns there, of each of these n-grams."""
    where: dict[int, tuple[int, tuple[int, ...]]] = {}
    numbers = {int(network.keys[place]): place for place in places}
    wanted, seen = torch.tensor(sorted(numbers), dtype=torch.long), 0
    for inputs in kept:
        for codes, (first, last, inside) in zip(
            hashes(inputs, network.shape), _spans(inputs, network.shape), strict=True
        ):
            for row, place in torch.isin(codes, wanted).nonzero().tolist():
                key = numbers[int(codes[row, place])]
                ends = int(first[place]), int(last[place])
                where.setdefault(key, (seen + row, tuple(range(ends[0], ends[1] + 1)) if inside[place] else ends))
        seen += len(inputs)
    return where


def _spans(inputs: Tensor, shape: NgramShape) -> list[tuple[Tensor, Tensor, Tensor]]:
    """For each block of `hashes`: first and last column of each n-gram, and whether what lies between belongs to it."""
    tokens = int((inputs > 0).sum(1).max()) if len(inputs) else 0
    spelled = inputs < 0
    first = int(spelled.int().argmax(1)[spelled.any(1)].min()) if bool(spelled.any()) else inputs.shape[1]
    width = min(tokens, shape.length) if shape.places else tokens
    found = []
    if shape.places:
        for n in range(1, shape.places + 1):
            start = torch.arange(max(0, width - n + 1))
            found.append((start, start + n - 1))
        paired = width if shape.length <= PAIRS_UP_TO else 0
        pairs = torch.triu_indices(paired, paired, 1)
        found.append((pairs[0], pairs[1]))
    else:
        found.append(_runs(0, width, shape.words))
    if shape.letters:
        found.append(_runs(first, inputs.shape[1] - first, shape.letters))
    return [
        (one, other, torch.full((len(one),), not (shape.places and place == shape.places)))
        for place, (one, other) in enumerate(found)
    ]


def _runs(offset: int, width: int, longest: int) -> tuple[Tensor, Tensor]:
    """First and last column of each run up to `longest`, in the order of `hashes`."""
    sizes = range(1, min(longest, width) + 1)
    first = [torch.arange(width - n + 1) for n in sizes]
    last = [one + n - 1 for one, n in zip(first, sizes, strict=True)]
    if not first:
        return torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long)
    return torch.cat(first) + offset, torch.cat(last) + offset
