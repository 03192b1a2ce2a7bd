"""Writing music with a network: the open cells of pieces are filled, frame after frame."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

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

AT_ONCE: Final = 8192
"""Frames of four voices that are scored at once: more would need much memory and be no faster."""
WRITTEN: Final = 65_536
"""Frames that are written at once, in all ways."""
OWN_KEY: Final = 0.25
"""Share of pieces that are not transposed."""


@dataclass(frozen=True)
class Manner:
    """How to write. draw: another number, other music. temperature, nucleus: see `composers.Asked`.

    ways: of going on that are kept in mind where notes are given.
    """

    draw: int = 0
    temperature: float = 1.0
    nucleus: float = 1.0
    ways: int = 1


def _known(network: nn.Module) -> Composer | Plain:
    if not isinstance(network, Composer | Plain):
        raise TypeError(f"a network of nets/composers.py was expected, not {type(network).__name__}")
    return network


def scored(network: nn.Module, cells: Tensor) -> tuple[Tensor, Tensor]:
    """What the network answers for cells (batch, frames, 88), some pieces at a time."""
    voices = max(4, int(((cells == STRUCK) | (cells == HELD)).sum(2).max())) if cells.numel() else 4
    count = max(1, 4 * AT_ONCE // (voices * max(1, cells.shape[1])))
    return cells, torch.cat([network(cells[first : first + count])[1] for first in range(0, len(cells), count)])


@torch.no_grad()
def composed(network: nn.Module, cells: Tensor, manner: Manner) -> Tensor:
    """Cells (batch, frames, 88) without open ones: those are drawn, given all before and what is known of the frame.

    Where a frame is given in part, several ways to go on are kept in mind, and ways to which what is given comes as a
    surprise give place to others: a particle filter (Gordon, Salmond and Smith, 1993). Chance follows from the manner
    and from the numbers of a piece's open cells, not from its place in a batch.
    """
    rows = torch.nonzero((cells >= OPEN).flatten(1).any(1))[:, 0]
    if not len(rows):
        return cells
    writer, was_training = _known(network), network.training
    writer.eval()
    done, is_open = cells.clone(), cells[rows] >= OPEN
    in_part = (is_open.any(2) & ~is_open.all(2)).any(1)
    ways = manner.ways if bool(in_part.any()) else 1
    count = max(1, WRITTEN // (cells.shape[1] * ways))
    for first in range(0, len(rows), count):
        here = slice(first, first + count)
        done[rows[here]] = _Writing(writer, cells[rows[here]], manner, in_part[here], ways).done()
    writer.train(was_training)
    return done


class _Writing:
    """Pieces that are being written, in several ways each; those of one piece are neighbours."""

    def __init__(self, writer: Composer | Plain, cells: Tensor, manner: Manner, in_part: Tensor, ways: int) -> None:
        self.writer, self.manner, self.in_part, self.ways = writer, manner, in_part, ways
        numbers = cells.flatten(1).amax(1).tolist()
        keys = [[manner.draw, number + 256 * way] for number in numbers for way in range(ways)]
        self.chance = [np.random.Generator(np.random.Philox(key=key)) for key in keys]
        self.cells = cells.repeat_interleave(ways, 0)
        self.from_nothing = ~((self.cells == STRUCK) | (self.cells == HELD)).flatten(1).any(1)
        self.likely = torch.zeros(len(cells), ways, device=cells.device)
        self.past: Any = None

    def done(self) -> Tensor:
        """The pieces, each in the way to which what is given came as the least surprise."""
        before, last = None, int(torch.nonzero((self.cells >= OPEN).any(2).any(0))[-1, 0])
        for frame in range(last + 1):
            now = self.cells[:, frame].long()
            state, self.past = self.writer.step(before, len(now), self.past)
            is_open = (now >= OPEN).any(1)
            if bool(is_open.any()):
                asked = self._asked(frame, now, before, is_open.tolist())
                drawn, mass = self.writer.drawn(state, asked)
                now = torch.where(is_open[:, None], drawn, now)
                self.cells[:, frame] = now.to(self.cells.dtype)
                mass = torch.where(is_open, mass, 0).view_as(self.likely)
                self.likely += torch.where(self.in_part[:, None], mass, 0)  # the others are written as if alone
                now = self._fewer(now)
            before = now
        best = torch.arange(len(self.likely), device=self.cells.device) * self.ways + self.likely.argmax(1)
        return self.cells[best]

    def _fewer(self, now: Tensor) -> Tensor:
        """Where few of a piece's ways are likely, unlikely ones are given up for copies of likely ones."""
        shares = self.likely.softmax(1)
        poor = 1 / shares.square().sum(1) < self.ways / 2
        if self.ways == 1 or not bool(poor.any()):
            return now
        steps = torch.arange(self.ways, device=now.device)
        luck = torch.zeros(len(poor), device=now.device)
        for row in torch.nonzero(poor)[:, 0].tolist():
            luck[row] = self.chance[row * self.ways].random()
        places = (steps + luck[:, None]).to(shares.dtype) / self.ways  # systematic: as many copies as its share says
        taken = torch.searchsorted(shares.cumsum(1), places).clamp(max=self.ways - 1)
        taken = torch.where(poor[:, None], taken, steps)
        self.likely = torch.where(poor[:, None], 0, self.likely)
        rows = (taken + self.ways * torch.arange(len(taken), device=now.device)[:, None]).flatten()
        self.cells, self.past = self.cells[rows], self.writer.chosen(self.past, rows)
        return now[rows]

    def _asked(self, frame: int, now: Tensor, before: Tensor | None, is_open: list[bool]) -> Asked:
        """What is known of a frame: cells that are given, and that only what sounded can be held.

        Where nothing is given a piece begins with a note, and ends with one if it is said with which.
        """
        struck = (now == STRUCK) | (now >= OPEN)
        if self.writer.shape.holds:
            sounded = torch.zeros_like(struck) if before is None else (before == STRUCK) | (before == HELD)
            free = torch.cat([struck, (now == HELD) | ((now >= OPEN) & sounded)], 1)
        else:
            free = struck | (now == HELD)
        must = (now == STRUCK) | (now == HELD)
        last = (self.cells[:, frame + 1 : frame + 2] == 0).flatten(1).all(1)
        some = self.from_nothing & ((now < OPEN).any(1) & last | (before is None))
        return Asked(free, must, some, self._chance(is_open), self.manner.temperature, self.manner.nucleus)

    def _chance(self, is_open: list[bool]) -> Tensor:
        """Numbers from 0 up to 1, float32 (batch, 89)."""
        drawn = np.zeros((len(is_open), KEYS + 1), np.float32)
        for row, needed in enumerate(is_open):
            if needed:
                drawn[row] = np.minimum(self.chance[row].random(KEYS + 1), 1 - 2.0**-24)
        return torch.from_numpy(drawn).to(self.cells.device)


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
