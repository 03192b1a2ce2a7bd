"""Writing music with a network: the open cells of pieces are filled, frame after frame."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from matinee.nets.composers import (
    HELD,
    KEYS,
    OPEN,
    SILENT,
    STRUCK,
    Asked,
    Composer,
    Independent,
    Plain,
    sounds,
)

AT_ONCE: Final = 16_384
"""Frames that are scored at once: more would need much memory and be no faster."""
OWN_KEY: Final = 0.25
"""Share of pieces that are not transposed."""


@dataclass(frozen=True)
class Manner:
    """How to write. draw: another number, other music. temperature, nucleus: see `composers.Asked`."""

    draw: int = 0
    temperature: float = 1.0
    nucleus: float = 1.0


def _known(network: nn.Module) -> Composer | Plain:
    if not isinstance(network, Composer | Plain):
        raise TypeError(f"a network of nets/composers.py was expected, not {type(network).__name__}")
    return network


def scored(network: nn.Module, cells: Tensor) -> tuple[Tensor, Tensor]:
    """What the network answers for cells (batch, frames, 88), some pieces at a time."""
    count = max(1, AT_ONCE // max(1, cells.shape[1]))
    return cells, torch.cat([network(cells[first : first + count])[1] for first in range(0, len(cells), count)])


@torch.no_grad()
def composed(network: nn.Module, cells: Tensor, manner: Manner) -> Tensor:
    """Cells (batch, frames, 88) without open ones: those are drawn, given all before and what is known of the frame.

    Chance follows from the manner and from the numbers of a piece's open cells, not from its place in a batch.
    """
    if not bool((cells >= OPEN).any()):
        return cells
    writer, was_training = _known(network), network.training
    writer.eval()
    chance = _chance(cells, manner)
    done, past, before = cells.clone(), None, None
    for frame in range(cells.shape[1]):
        now = cells[:, frame].long()
        state, past = writer.step(before, len(cells), past)
        is_open = (now >= OPEN).any(1)
        if bool(is_open.any()):
            asked = _asked(writer, now, before, chance[:, frame], manner)
            drawn = writer.drawn(state, asked)
            now = torch.where(is_open[:, None], drawn, now)
            done[:, frame] = now.to(cells.dtype)
        before = now
    writer.train(was_training)
    return done


def _asked(network: Composer | Plain, now: Tensor, before: Tensor | None, chance: Tensor, manner: Manner) -> Asked:
    """What is known of a frame: cells that are given, and that only what sounded can be held."""
    struck = (now == STRUCK) | (now >= OPEN)
    if network.shape.holds:
        sounded = torch.zeros_like(struck) if before is None else (before == STRUCK) | (before == HELD)
        free = torch.cat([struck, (now == HELD) | ((now >= OPEN) & sounded)], 1)
    else:
        free = struck | (now == HELD)
    must = (now == STRUCK) | (now == HELD)
    return Asked(free, must, chance, manner.temperature, manner.nucleus)


def _chance(cells: Tensor, manner: Manner) -> Tensor:
    """Numbers from 0 up to 1, float32 (batch, frames, 89)."""
    numbers = cells.flatten(1).amax(1).tolist()
    drawn = np.zeros((*cells.shape[:2], KEYS + 1), np.float32)
    for row, number in enumerate(numbers):
        generator = np.random.Generator(np.random.Philox(key=[manner.draw, number]))
        drawn[row] = np.minimum(generator.random(drawn.shape[1:]), 1 - 2.0**-24)
    return torch.from_numpy(drawn).to(cells.device)


def transposed(cells: Tensor, semitones: int, chance: Tensor) -> Tensor:
    """Cells (batch, frames, 88) moved up or down by at most so many keys, each piece as far as it fits.

    chance: numbers from 0 up to 1 (batch, 2). A quarter of the pieces stay in their own key, which is likelier than
    others where new pieces will come from the same source.
    """
    used = ((cells == STRUCK) | (cells == HELD)).any(1)
    places = torch.arange(KEYS, device=cells.device)
    low = torch.where(used, places, KEYS - 1).amin(1).clamp(max=semitones)
    high = (KEYS - 1 - torch.where(used, places, 0).amax(1)).clamp(max=semitones)
    moved = torch.floor(chance[:, 0] * (low + high + 1)).long() - low
    moved = torch.where(chance[:, 1] < OWN_KEY, 0, moved)
    source = places - moved[:, None]
    found = cells.gather(2, source.clamp(0, KEYS - 1)[:, None].expand_as(cells))
    beyond = ((source < 0) | (source >= KEYS))[:, None] & (cells[:, :, :1] > 0)
    return found.masked_fill(beyond, SILENT)


@torch.no_grad()
def begin_with(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Where a network says of each key for itself how likely it is, that begins as how often it sounds."""
    writer, frames = _known(network), 0
    shape = writer.shape
    if isinstance(writer, Composer) and not isinstance(writer.head, Independent):
        return
    total = torch.zeros(KEYS * shape.states)
    for cells in batches:
        total += sounds(cells, shape).sum((0, 1))
        frames += int((cells[:, :, 0] > 0).sum())
    counts = total.view(shape.states, KEYS)
    silent = (frames - counts.sum(0)).clamp(min=0) + 1.0
    logits = ((counts + 0.5) / silent).log()
    if isinstance(writer, Plain):
        writer.logits.copy_(logits)
    elif isinstance(writer.head, Independent):
        writer.head.say.bias.copy_(logits.flatten())
