"""From a row of a table to features: what is missing, how numbers are scaled, which categories are known.

All that must be learned from data for it (means, deviations, quantiles, how often a category occurs) is learned by
`look`, from training rows alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

RARE: Final = 3
"""Training rows below which a category counts as unknown."""
BINS: Final = 16
"""Pieces of a piecewise linear encoding."""


class Intake(nn.Module):
    """(batch, inputs) with NaN where a number is missing and categories as codes -> features (batch, width).

    levels: for each input 0 where it is a number, else how many categories it has, code 0 (unknown) not counted. The
    features are the numbers, standardised and 0 where missing; for each of them whether it is missing, where that
    happened in training; and the categories, one place for each, the unknown one first.
    """

    mean: Tensor
    scale: Tensor
    flagged: Tensor
    known: Tensor

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__()
        self.numbers = [place for place, count in enumerate(levels) if not count]
        self.categories = [place for place, count in enumerate(levels) if count]
        self.sizes = [count + 1 for count in levels if count]
        starts = [sum(self.sizes[:place]) for place in range(len(self.sizes))]
        self.width = 2 * len(self.numbers) + sum(self.sizes)
        self.register_buffer("mean", torch.zeros(len(self.numbers)))
        self.register_buffer("scale", torch.ones(len(self.numbers)))
        self.register_buffer("flagged", torch.zeros(len(self.numbers)))
        self.register_buffer("known", torch.ones(sum(self.sizes)))
        self.register_buffer("starts", torch.tensor(starts, dtype=torch.int64))

    @torch.no_grad()
    def look(self, inputs: Tensor) -> None:
        """Means, deviations, which columns miss values and which categories are too rare, from training rows."""
        numbers = inputs[:, self.numbers].double()
        there = ~numbers.isnan()
        count = there.sum(0).clamp(min=1)
        mean = numbers.nan_to_num(0.0).sum(0) / count
        spread = (((numbers - mean).nan_to_num(0.0) ** 2).sum(0) / count).sqrt()
        self.mean.copy_(mean)
        # What never changes in training says nothing, whatever it is later. Single precision blurs the last digits.
        told = spread > 1e-6 * mean.abs().clamp(min=1e-30)
        self.scale.copy_(torch.where(told, 1 / spread.clamp(min=1e-30), torch.zeros_like(spread)))
        missing = (~there).sum(0)
        self.flagged.copy_(((missing >= RARE) & (missing <= len(inputs) - RARE)).float())
        if self.categories:
            counts = torch.bincount(self._codes(inputs, every=True).flatten(), minlength=len(self.known))
            self.known.copy_((counts >= RARE).float())

    def _codes(self, inputs: Tensor, every: bool = False) -> Tensor:
        """(batch, categories): the place of each category among all; rare ones at that of "unknown", unless `every`."""
        starts = self.get_buffer("starts")
        sizes = torch.tensor(self.sizes, device=inputs.device)
        codes = inputs[:, self.categories].nan_to_num(0.0).long()
        places = torch.where((codes < 0) | (codes >= sizes), 0, codes) + starts
        return places if every else torch.where(self.known[places] > 0, places, starts)

    def standardised(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, numbers): numbers with mean 0 and deviation 1, missing ones 0; and 1 where one is missing."""
        numbers = inputs[:, self.numbers]
        return ((numbers - self.mean) * self.scale).nan_to_num(0.0, 0.0, 0.0), numbers.isnan().float() * self.flagged

    def categorical(self, inputs: Tensor) -> Tensor:
        """(batch, places of all categories): 1 where the category is that one."""
        places = torch.zeros(len(inputs), len(self.known), device=inputs.device)
        return places.scatter_(1, self._codes(inputs), 1.0) if self.categories else places

    def forward(self, inputs: Tensor) -> Tensor:
        """(batch, width)."""
        return torch.cat([*self.standardised(inputs), self.categorical(inputs)], 1)


class Pieces(nn.Module):
    """Piecewise linear encoding of numbers (Gorishniy et al., 2022): (batch, numbers) -> (batch, numbers, BINS).

    The edges are quantiles of the training rows: each piece holds as many of them as any other. A number fills the
    pieces below its own and its own in part.
    """

    edges: Tensor

    def __init__(self, numbers: int) -> None:
        super().__init__()
        self.register_buffer("edges", torch.linspace(-2, 2, BINS + 1).repeat(numbers, 1))

    @torch.no_grad()
    def look(self, numbers: Tensor) -> None:
        """The edges, from standardised training rows (rows, numbers)."""
        if numbers.shape[1]:
            some = numbers[:: max(1, len(numbers) // 100_000)].double()
            shares = torch.linspace(0, 1, BINS + 1, dtype=torch.float64)
            self.edges.copy_(torch.quantile(some, shares, dim=0).T)

    def forward(self, numbers: Tensor) -> Tensor:
        """(batch, numbers, BINS), each from 0 to 1, but the outer ones go on beyond the edges."""
        low, width = self.edges[:, :-1], self.edges.diff(dim=1)
        inside = (numbers[:, :, None] - low) / width.clamp(min=1e-6)
        filled = inside.clamp(0, 1)
        return torch.where(width > 1e-6, filled, torch.zeros_like(filled))
