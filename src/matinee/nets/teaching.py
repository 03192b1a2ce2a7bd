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
from matinee.nets.searching import BEGIN, END, PAD, Writing, write

TOGETHER = 1 << 17  # logits that are looked at together: in float32, half of what a core's cache holds


class Answers(NamedTuple):
    """What was written.

    numbers: (batch, longest), zeros behind the end. score: mean log-probability (batch,). attention: (batch, longest,
    source) where asked for, else (batch, 0, 0). whole: bool (batch,), whether the source was read to its end.
    """

    numbers: Tensor
    score: Tensor
    attention: Tensor
    whole: Tensor


def taught(network: nn.Module, source: Tensor, target: Tensor) -> Tensor:
    """Logits (batch, length, pieces) for each piece of target (batch, length), given those before it."""
    begin = target.new_full((len(target), 1), BEGIN)
    logits: Tensor = network(source, torch.cat((begin, target[:, :-1]), 1))
    return logits


def surprise(logits: Tensor, target: Tensor, usual: float, smoothing: float) -> Tensor:
    """Cross-entropy of all pieces with label smoothing (Szegedy et al., 2016), per example of `usual` pieces.

    Divided by a constant and the number of examples, it is a mean over the batch however that is spread.
    """
    flat, wanted, scale = logits.flatten(0, 1), target.flatten(), 1 / (max(1.0, usual) * len(target))
    if logits.device.type == "cpu":
        total: Tensor = _Surprise.apply(flat, wanted, smoothing, scale)  # type: ignore[no-untyped-call]
        return total
    return scale * cross_entropy(flat.float(), wanted, ignore_index=PAD, label_smoothing=smoothing, reduction="sum")


class _Surprise(torch.autograd.Function):
    """`cross_entropy` with label smoothing, summed and scaled, for logits (n, pieces) of any type; 0 is no target.

    Some rows at a time, and with their gradient, so that logits are read once and stay in the cache of a core: plain
    operations write and read them in float32 six times over, a fifth of the time of a step on a processor.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, smoothing: float, scale: float) -> Tensor:
        pieces, gradient, total = logits.shape[1], torch.empty_like(logits), torch.zeros(())
        rows = max(16, TOGETHER // pieces)
        room = torch.empty(rows, pieces)
        for first in range(0, len(logits), rows):
            part, some = slice(first, first + rows), target[first : first + rows, None]
            values, real = room[: len(some)].copy_(logits[part]), (some != PAD) * scale
            truth, mean, largest = values.gather(1, some), values.mean(1, True), values.amax(1, True)
            sums = values.sub_(largest).exp_().sum(1, True)
            total += ((sums.log() + largest - (1 - smoothing) * truth - smoothing * mean) * real).sum()
            values.mul_(real / sums).sub_(real * (smoothing / pieces))
            gradient[part] = values.scatter_add_(1, some, real * (smoothing - 1))
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        # Mostly it is the loss itself that is differentiated; then nothing as large as the logits is written again.
        scaled = gradient if float(above[0]) == 1 else gradient * above[0].to(gradient.dtype)
        return scaled, None, None, None


def answer(
    network: nn.Module, source: Tensor, limits: Tensor, beams: int, penalty: float, look: bool = False
) -> Answers:
    """What the network writes for each source; greedily while it is still learning. look: keep the attention."""
    if not isinstance(network, Writing):
        return _answers(source, network(source))
    settled = bool(network.settled > 0.5)
    written = write(network, source, limits, beams if settled else 1, penalty)
    if not (settled and look):
        return _answers(source, *written)
    before = torch.cat((torch.full_like(written.numbers[:, :1], BEGIN), written.numbers[:, :-1]), 1)
    return _answers(source, *written, network.attention(source, before).float())


def _answers(source: Tensor, numbers: Tensor, score: Tensor | None = None, attention: Tensor | None = None) -> Answers:
    score = score if score is not None else source.new_zeros(len(source), dtype=torch.float32)
    attention = attention if attention is not None else score.new_zeros((len(source), 0, 0))
    return Answers(numbers, score, attention, (source == END).any(1))


def best_of(answers: list[Answers]) -> Answers:
    """For each example the answer that its writer was surest of."""
    scores = torch.stack([each.score for each in answers])
    chosen = scores.argmax(0)
    every = torch.arange(len(chosen), device=chosen.device)
    parts = [
        torch.stack(alike([each[place] for each in answers]))[chosen, every] for place in range(len(Answers._fields))
    ]
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
        return _answers(source, network(source))
    shares = network(source).float().sigmoid()
    chosen = network.choose(source, shares)
    sure = (shares * chosen).sum(1) / chosen.sum(1).clamp(min=1)
    return _answers(source, extracted(source, chosen), sure, shares[:, None])


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
