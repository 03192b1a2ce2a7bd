"""The running average of the weights (Polyak and Juditsky, 1992): often better than the last ones."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class Average:
    """An exponential average of all weights and statistics of a network; with decay 0, nothing at all.

    In its first steps the average forgets faster than `decay` says, so that it does not remember the initial weights.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self._copy = copy.deepcopy(network).requires_grad_(False) if decay else None
        self._targets = _moving(self._copy) if self._copy is not None else []
        self._sources = _moving(network) if decay else []

    def update(self, network: nn.Module, step: int) -> None:
        """Move the average toward the weights as they are after `step` steps."""
        if self._copy is None:
            return
        decay = min(self.decay, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(self._targets, self._sources, 1.0 - decay)

    def network(self, network: nn.Module) -> nn.Module:
        """The network to score: the average, or the network itself where none is kept."""
        return network if self._copy is None else self._copy

    def state(self) -> dict[str, Tensor]:
        """The averaged weights, for a checkpoint."""
        return {} if self._copy is None else dict(self._copy.state_dict())

    def load(self, state: dict[str, Tensor]) -> None:
        """The reverse of `state`."""
        if self._copy is not None:
            self._copy.load_state_dict(state)


def _moving(network: nn.Module) -> list[Tensor]:
    """Parameters and floating-point buffers; counters are left alone."""
    buffers = [b for b in network.buffers() if b.is_floating_point()]
    return [p.data for p in network.parameters()] + buffers
