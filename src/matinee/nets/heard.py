"""What passes between a network that hears speech, the search for its words, and those who read them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

BLANK = 0
"""The symbol of connectionist temporal classification that stands for nothing said (Graves et al., 2006)."""


class Heard(NamedTuple):
    """What was heard in each of several recordings.

    log_probs: float32 (batch, frames, symbols), natural logarithms. lengths: int64 (batch,), frames that are real. Of
    the answer, zeros behind: numbers, int64 (batch, longest), its symbols, neither blanks nor repeats among them;
    begins, ends: int64 (batch, longest), the first frame of each and the one past its last; sure: float32
    (batch, longest), from 0 to 1.
    """

    log_probs: Tensor
    lengths: Tensor
    numbers: Tensor
    begins: Tensor
    ends: Tensor
    sure: Tensor


def unsearched(log_probs: Tensor, lengths: Tensor) -> Heard:
    """What a network says of each frame, before anyone has looked for words in it."""
    nothing = torch.zeros((len(lengths), 0), dtype=torch.int64, device=lengths.device)
    return Heard(log_probs, lengths, nothing, nothing, nothing, log_probs.new_zeros((len(lengths), 0)))
