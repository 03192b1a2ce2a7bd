"""What came next when a piece was last as it is now.

Tunes repeat whole sections, and a network that reads frame after frame forgets what went on sixty frames ago. So it is
told: where the last 16 frames (or 8, 4, 2) have been in the piece before, the frame that followed them then. That is
what a repeat would bring, at whatever distance and in whatever key; how far to believe it is learned. Networks of
melodies were told the notes of one and two bars before in such a way (Waite, 2016: the Lookback RNN); contexts of
several lengths, of which the longest counts, are those of compression (Cleary and Witten, 1984).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot, pad

CONTEXTS: Final = (2, 4, 8, 16)
"""Frames in a row; each is twice the one before, as `_contexts` needs it."""
LEVELS: Final = len(CONTEXTS) + 1
ENOUGH: Final = 3
"""Times after which a writer is told nothing of a context: what repeats itself that often would else go on for ever."""
MIX: Final = 0x2545F4914F6CDD1D
"""Odd, so that no context loses a frame."""


def echoes(sounds: Tensor) -> Tensor:
    """Of what sounds in frames, 0 or 1 (batch, frames, sounds): what each would be if the piece repeated itself.

    (batch, frames, sounds + 5): the frame that followed the longest context when that was last heard, and which context
    it is, of none (then zeros) or 2, 4, 8, 16 frames. What is told of a frame follows from those before it.
    """
    contexts = _contexts(_numbers(sounds))[:, :-1]
    order = contexts.argsort(dim=1, stable=True)
    found = contexts.gather(1, order)
    again = pad(found[:, 1:] == found[:, :-1], (0, 0, 1, 0))
    latest = torch.where(again, pad(order[:, :-1], (0, 0, 1, 0)), -1)
    return _told(sounds, torch.empty_like(latest).scatter_(1, order, latest))


@dataclass(frozen=True)
class Heard:
    """What `echo` keeps: sounds uint8 (batch, frames, sounds), the last numbers, contexts (batch, frames, 4)."""

    sounds: Tensor
    numbers: Tensor
    contexts: Tensor

    def chosen(self, rows: Tensor) -> Heard:
        """Of these rows of the batch."""
        return Heard(self.sounds[rows], self.numbers[rows], self.contexts[rows])


def echo(frame: Tensor, heard: Heard | None, enough: int = ENOUGH) -> tuple[Tensor, Heard]:
    """As `echoes`, of the frame (batch, sounds + 5) that comes after this one (batch, sounds); and what was heard.

    enough: of a context that was heard more often nothing is told.
    """
    sounds, number = frame[:, None].to(torch.uint8), _numbers(frame[:, None])
    if heard is None:
        heard = Heard(sounds[:, :0], number[:, :0], number.new_zeros(len(frame), 1, len(CONTEXTS)))
    sounds, numbers = torch.cat([heard.sounds, sounds], 1), torch.cat([heard.numbers, number], 1)[:, -CONTEXTS[-1] :]
    now = _contexts(numbers)[:, -1:]
    places = torch.arange(sounds.shape[1], device=frame.device)[:, None]
    alike = heard.contexts == now
    latest = torch.where(alike, places, -1).amax(1, keepdim=True)
    longest = ((latest >= 0).sum(-1, keepdim=True) - 1).clamp(min=0)
    spent = alike.sum(1, keepdim=True).gather(-1, longest) > enough
    told = _told(sounds, torch.where(spent, -1, latest))
    return told[:, 0], Heard(sounds, numbers, torch.cat([heard.contexts, now], 1))


def unheard(batch: int, sounds: int, device: torch.device) -> Tensor:
    """What is told of the first frame, before which nothing was heard."""
    told = torch.zeros(batch, sounds + LEVELS, device=device)
    told[:, sounds] = 1
    return told


@cache
def _table(sounds: int) -> Tensor:
    """A number for each sound: frames are told apart by their sums (Zobrist, 1970)."""
    return torch.from_numpy(np.random.default_rng(0).integers(-(2**63), 2**63, sounds))


def _numbers(sounds: Tensor) -> Tensor:
    """One for each frame (batch, frames, sounds), int64 (batch, frames); not 0 for silence."""
    return (sounds.long() * _table(sounds.shape[-1]).to(sounds.device)).sum(-1) + 1


def _contexts(numbers: Tensor) -> Tensor:
    """Of frames (batch, frames): a number for the 2, 4, 8, 16 before each and one more (batch, frames + 1, 4)."""
    found, last = [], pad(numbers, (1, 0))
    for length in CONTEXTS:
        half = length // 2
        factor = pow(MIX, half, 2**64)
        last = last + (factor - 2**64 * (factor >> 63)) * pad(last, (half, 0))[:, : last.shape[1]]
        found.append(last)
    return torch.stack(found, -1)


def _told(sounds: Tensor, latest: Tensor) -> Tensor:
    """What followed the contexts (batch, some, 4), -1 for those that were not heard, as `echoes` tells it."""
    level = (latest >= 0).sum(-1)  # who has heard a context has heard its end
    place = latest.gather(-1, (level - 1).clamp(min=0)[..., None]).clamp(min=0)
    followed = sounds.gather(1, place.expand(-1, -1, sounds.shape[-1])) * (level > 0)[..., None]
    return torch.cat([followed.float(), one_hot(level, LEVELS).float()], -1)
