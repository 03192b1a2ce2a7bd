"""The running average of the weights (Polyak and Juditsky, 1992): often better than the last ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from matinee.core.sharding import local


class Average:
    """An exponential average of all weights and statistics of a network; with decay 0, nothing at all.

    In its first steps the average forgets faster than `decay` says, so that it does not remember the initial weights.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        moving = _moving(network) if decay else {}
        self.names = tuple(moving)  # of the tensors that are averaged; none where nothing is
        self._sources = [local(tensor) for tensor in moving.values()]
        self._targets = [source.clone() for source in self._sources]

    def update(self, step: int) -> None:
        """Move the average toward the weights as they are after `step` steps."""
        if not self.names:
            return
        decay = min(self.decay, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(self._targets, self._sources, 1.0 - decay)

    @contextmanager
    def worn(self) -> Iterator[None]:
        """Within, the network has the averaged weights: for scoring and keeping them."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        with torch.no_grad():
            for target, source in zip(self._targets, self._sources, strict=True):
                kept = source.clone()
                source.copy_(target)
                target.copy_(kept)


def _moving(network: nn.Module) -> dict[str, Tensor]:
    """Parameters and floating-point buffers; counters are left alone."""
    known = network.state_dict().keys()
    buffers = {name: b for name, b in network.named_buffers() if b.is_floating_point() and name in known}
    return {name: p.data for name, p in network.named_parameters()} | buffers
