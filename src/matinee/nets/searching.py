"""Writing a sequence piece by piece: the likeliest next one, or the best of several beams; all examples at once."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

PAD, BEGIN, END = 0, 1, 2
SLACK = 0.8  # once fewer than this share of the examples are unfinished, the finished ones are left out of the batch


@dataclass
class State:
    """What a network keeps between two pieces.

    own: of every hypothesis, each (batch * beams, ...). source: of every example, each (batch, ...). step: pieces so
    far.
    """

    own: list[Tensor]
    source: list[Tensor]
    step: int = 0

    def chosen(self, rows: Tensor) -> State:
        """Of these hypotheses."""
        return State([tensor.index_select(0, rows) for tensor in self.own], self.source, self.step)

    def among(self, examples: Tensor, beams: int) -> State:
        """Of these examples, with all their hypotheses."""
        rows = (examples[:, None] * beams + torch.arange(beams, device=examples.device)).flatten()
        return State(
            [tensor.index_select(0, rows) for tensor in self.own],
            [tensor.index_select(0, examples) for tensor in self.source],
            self.step,
        )


class Writing(nn.Module):
    """A network that reads a sequence of numbers and writes another. 0 is nothing, 1 begins, 2 ends."""

    settled: Tensor

    def __init__(self) -> None:
        super().__init__()
        # 0 while the network learns: then it is scored on the likeliest pieces alone, which is quicker than beams.
        self.register_buffer("settled", torch.ones(1))

    @abstractmethod
    def forward(self, source: Tensor, written: Tensor) -> Tensor:
        """Logits (batch, length, pieces) of what follows each of `written` (batch, length), given source (batch, n)."""

    @abstractmethod
    def begin(self, source: Tensor, beams: int) -> State:
        """What is known before the first piece."""

    @abstractmethod
    def step(self, last: Tensor, state: State) -> tuple[Tensor, State]:
        """Logits (batch * beams, pieces) of what follows the pieces `last` (batch * beams,)."""

    @abstractmethod
    def attention(self, source: Tensor, written: Tensor) -> Tensor:
        """How strongly each of `written` (batch, length) looked at each of source: float32 (batch, length, n)."""


class Written(NamedTuple):
    """What was written: numbers (batch, longest), zeros behind the end; their mean log-probability (batch,)."""

    numbers: Tensor
    score: Tensor


@torch.no_grad()
def write(network: Writing, source: Tensor, limits: Tensor, beams: int = 1, penalty: float = 1.0) -> Written:
    """The best sequence found for each source (batch, n).

    Args:
        limits: most pieces of each answer, its end included, int64 (batch,).
        beams: hypotheses that are kept of each example; 1: always the likeliest piece.
        penalty: hypotheses are compared by log-probability / length ** penalty (0: longer ones lose).

    An example's answer does not depend on the others of its batch. Stops when all have ended.
    """
    count, device, longest = len(source), source.device, int(limits.max())
    numbers = torch.zeros(count, longest, dtype=torch.int64, device=device)
    score = torch.zeros(count, device=device)
    search = _Search(torch.arange(count, device=device), limits, beams, device)
    state = network.begin(source, beams)
    for _ in range(longest):
        logits, state = network.step(search.last(), state)
        parents = search.take(logits.float())
        if beams > 1:
            state = state.chosen(parents)
        done = search.ended.all(1)
        left = int((~done).sum())
        if left == 0 or left < SLACK * len(done):
            search.tell(done, numbers, score, penalty)
            if left == 0:
                break
            rest = (~done).nonzero()[:, 0]
            search.keep(rest)
            state = state.among(rest, beams)
    return Written(numbers[:, : max(1, int((numbers > 0).sum(1).max()))], score)


class _Search:
    """The hypotheses of the examples that are not finished: (examples, beams)."""

    def __init__(self, examples: Tensor, limits: Tensor, beams: int, device: torch.device) -> None:
        self.examples, self.limits, self.beams = examples, limits, beams
        self.score = torch.full((len(examples), beams), -math.inf, device=device)
        self.score[:, 0] = 0.0  # at first there is one hypothesis
        self.ended = torch.zeros(len(examples), beams, dtype=torch.bool, device=device)
        self.numbers = torch.full((len(examples), beams, 1), BEGIN, dtype=torch.int64, device=device)

    def last(self) -> Tensor:
        """The newest piece of each hypothesis, (examples * beams,)."""
        return self.numbers[:, :, -1].flatten()

    def take(self, logits: Tensor) -> Tensor:
        """Go on with the best, by logits (examples * beams, pieces); says whose continuations they are.

        Of each hypothesis only its best continuations are compared with those of the others, so that the table of all
        is gone through no oftener than must be.
        """
        step, count = self.numbers.shape[-1], min(self.beams, logits.shape[-1])
        whole = logits.logsumexp(-1, keepdim=True)
        ending = logits[:, END, None] - whole
        logits[:, [PAD, BEGIN]] = -math.inf
        best = logits.max(-1, keepdim=True) if count == 1 else logits.topk(count)
        shares, pieces = best.values - whole, best.indices
        # One that has ended goes on with nothing, and one that is as long as it may be with the end.
        over = (self.limits <= step).repeat_interleave(self.beams)[:, None] & ~self.ended.view(-1, 1)
        alone = torch.full_like(shares, -math.inf)
        ended = alone.clone()
        ended[:, 0], alone[:, :1] = 0.0, ending
        shares = torch.where(self.ended.view(-1, 1), ended, torch.where(over, alone, shares))
        pieces = pieces.masked_fill(self.ended.view(-1, 1), PAD).masked_fill(over, END)
        total = (self.score.view(-1, 1) + shares).view(len(self.examples), -1)
        if self.beams == 1:
            self.score, places = total.max(1, keepdim=True)
        else:
            self.score, places = total.topk(self.beams, 1)
        parents, chosen = places // count, pieces.view(len(self.examples), -1).gather(1, places)
        first = torch.arange(len(self.examples), device=places.device)[:, None] * self.beams
        rows = (first + parents).flatten()
        self.numbers = torch.cat((self.numbers.flatten(0, 1)[rows].view(*places.shape, -1), chosen[..., None]), -1)
        # Where there are fewer continuations than beams, the rest are impossible: they are over as well.
        self.ended = self.ended.gather(1, parents) | (chosen == END) | self.score.isneginf()
        return rows

    def tell(self, done: Tensor, numbers: Tensor, score: Tensor, penalty: float) -> None:
        """Write down the best hypothesis of the examples that are done."""
        lengths = (self.numbers[..., 1:] > 0).sum(-1).clamp(min=1)
        best = (self.score / lengths**penalty).argmax(1)
        every = torch.arange(len(best), device=best.device)
        words, mean = self.numbers[every, best, 1:], (self.score / lengths)[every, best]
        places = self.examples[done]
        numbers[places, : words.shape[1]] = words[done]
        score[places] = mean[done]

    def keep(self, rest: Tensor) -> None:
        """Leave out the other examples."""
        self.examples, self.limits = self.examples[rest], self.limits[rest]
        self.score, self.ended, self.numbers = self.score[rest], self.ended[rest], self.numbers[rest]
