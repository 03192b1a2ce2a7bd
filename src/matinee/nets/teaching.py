"""What networks that write learn from, and how they answer: the same for every task that has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from matinee.core.examples import Array
from matinee.core.task import Batch
from matinee.nets.extracting import STOP, Extract, Lead, extracted
from matinee.nets.padding import alike
from matinee.nets.searching import BEGIN, PAD, Writing, write

ROWS = 256  # logits that are looked at together


class Answers(NamedTuple):
    """What was written.

    numbers: (batch, longest), zeros behind the end. score: mean log-probability (batch,). attention: (batch, longest,
    source) where asked for, else (batch, 0, 0).
    """

    numbers: Tensor
    score: Tensor
    attention: Tensor


def taught(network: nn.Module, source: Tensor, target: Tensor) -> Tensor:
    """Logits (batch, length, pieces) for each piece of target (batch, length), given those before it."""
    begin = target.new_full((len(target), 1), BEGIN)
    logits: Tensor = network(source, torch.cat((begin, target[:, :-1]), 1))
    return logits


def surprise(logits: Tensor, target: Tensor, usual: float, smoothing: float) -> Tensor:
    """Cross-entropy of all pieces with label smoothing (Szegedy et al., 2016), per example of `usual` pieces.

    Divided by a constant and the number of examples, it is a mean over the batch however that is spread.
    """
    flat, wanted = logits.flatten(0, 1), target.flatten()
    if logits.device.type == "cpu":
        total: Tensor = _Surprise.apply(flat, wanted, smoothing)  # type: ignore[no-untyped-call]
    else:
        total = cross_entropy(flat.float(), wanted, ignore_index=PAD, label_smoothing=smoothing, reduction="sum")
    return total / (max(1.0, usual) * len(target))


class _Surprise(torch.autograd.Function):
    """`cross_entropy` with label smoothing, summed, for logits (n, pieces) of any type; 0 is no target.

    Some rows at a time, and with their gradient, so that logits are read once while they are in the cache: plain
    operations write and read them in float32 six times over, a fifth of the time of a step on a processor.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, smoothing: float) -> Tensor:
        total, gradient = torch.zeros(()), torch.empty_like(logits)
        for first in range(0, len(logits), ROWS):
            part, some = slice(first, first + ROWS), target[first : first + ROWS]
            values, real = logits[part].to(torch.float32, copy=True), (some != PAD).float()
            largest = values.logsumexp(1)
            truth = values.gather(1, some[:, None])[:, 0]
            total += ((largest - (1 - smoothing) * truth - smoothing * values.mean(1)) * real).sum()
            values.sub_(largest[:, None]).exp_().sub_(smoothing / values.shape[1])
            values.scatter_add_(1, some[:, None], torch.full((len(some), 1), smoothing - 1.0))
            gradient[part] = values.mul_(real[:, None])
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * above[0].to(gradient.dtype), None, None


def answer(
    network: nn.Module, source: Tensor, limits: Tensor, beams: int, penalty: float, look: bool = False
) -> Answers:
    """What the network writes for each source; greedily while it is still learning. look: keep the attention."""
    if not isinstance(network, Writing):
        numbers = network(source)
        return Answers(numbers, source.new_zeros(len(source), dtype=torch.float32), _nothing(source))
    settled = bool(network.settled > 0.5)
    written = write(network, source, limits, beams if settled else 1, penalty)
    if not (settled and look):
        return Answers(*written, _nothing(source))
    before = torch.cat((torch.full_like(written.numbers[:, :1], BEGIN), written.numbers[:, :-1]), 1)
    return Answers(*written, network.attention(source, before).float())


def _nothing(source: Tensor) -> Tensor:
    return source.new_zeros((len(source), 0, 0), dtype=torch.float32)


def best_of(answers: list[Answers]) -> Answers:
    """For each example the answer that its writer was surest of."""
    scores = torch.stack([each.score for each in answers])
    chosen = scores.argmax(0)
    every = torch.arange(len(chosen), device=chosen.device)
    parts = [torch.stack(alike([each[place] for each in answers]))[chosen, every] for place in range(3)]
    return Answers(*parts)


def settle(network: nn.Module, settled: bool) -> None:
    """Say whether the network has learned: only then are its beams used."""
    if isinstance(network, Writing):
        with torch.no_grad():
            network.settled.fill_(float(settled))


def surprise_of_choice(logits: Tensor, best: Tensor, usual: float) -> Tensor:
    """Binary cross-entropy of all sentences; best: 1 for those to choose, 0 for others and where there is none.

    Divided by a constant, as in `surprise`. logits (batch, sentences) may have fewer sentences than best, never more.
    """
    wanted = best[:, : logits.shape[1]].to(logits.dtype)
    total = binary_cross_entropy_with_logits(logits, wanted, reduction="sum")
    return total / (max(1.0, usual) * len(logits))


def summed_up(network: Extract | Lead, source: Tensor) -> Answers:
    """The sentences that the network chooses, their expected F1, how likely it finds each: (batch, 1, sentences)."""
    if isinstance(network, Lead):
        return Answers(network(source), source.new_zeros(len(source), dtype=torch.float32), _nothing(source))
    shares = network(source).float().sigmoid()
    chosen = network.choose(source, shares)
    sure = (shares * chosen).sum(1) / chosen.sum(1).clamp(min=1)
    return Answers(extracted(source, chosen), sure, shares[:, None])


def usual_length(source: Array, target: Array) -> Tensor:
    """How long summaries are, [pieces, share of the document's]: whichever of the two varies less; the other is 0.

    source, target: pieces of documents and of their summaries (examples,).
    """
    pieces, shares = np.log(np.maximum(1, target)), np.log(np.maximum(1, target) / np.maximum(1, source))
    if pieces.std() <= shares.std():
        return torch.tensor([float(np.exp(np.median(pieces))), 0.0])
    return torch.tensor([0.0, float(np.exp(np.median(shares)))])


def best_lead(batches: Sequence[Batch], pieces: int) -> Tensor:
    """The rule of `Lead` whose summaries have most in common with the references: mean F1 of single pieces.

    pieces: size of the vocabulary.
    """
    rules = [(float(n), 0.0, out) for n in range(1, 9) for out in (0.0, 1.0)]
    rules += [(0.0, share / 20, out) for share in range(2, 17) for out in (0.0, 1.0)]
    scores = torch.zeros(len(rules), dtype=torch.float64)
    lead = Lead()
    for batch in batches:
        wanted = _counts(batch.targets["target"], pieces)
        for place, rule in enumerate(rules):
            lead.rule.copy_(torch.tensor(rule))
            found = _counts(lead(batch.inputs), pieces)
            shared = torch.minimum(found, wanted).sum(1)
            scores[place] += (2 * shared / (found.sum(1) + wanted.sum(1)).clamp(min=1)).sum()
    return torch.tensor(rules[int(scores.argmax())])


def _counts(numbers: Tensor, pieces: int) -> Tensor:
    """How often each piece occurs in rows of numbers (batch, n), but for marks: float32 (batch, pieces)."""
    table = torch.zeros(len(numbers), pieces)
    return table.scatter_add(1, numbers, (numbers > STOP).float())
