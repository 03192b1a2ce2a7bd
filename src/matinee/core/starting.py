"""Pretrained start: weights from elsewhere, and a head that learns before the rest does."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from matinee.core.errors import BundleError
from matinee.core.loop import Hook, Step
from matinee.core.task import Batch


def put(network: nn.Module, weights: Mapping[str, Tensor], head: str) -> tuple[int, int]:
    """Copy every weight of the trunk whose name and shape fit; the head stays fresh.

    Returns how many fitted, of how many the trunk has. Raises BundleError where less than half of it fits: that would
    be a start in name only.
    """
    own = {name: value for name, value in network.state_dict().items() if not name.startswith(head)}
    given = {name.removeprefix("module."): value for name, value in weights.items()}
    fitting = {name: given[name] for name, value in own.items() if name in given and given[name].shape == value.shape}
    share = sum(own[n].numel() for n in fitting) / max(1, sum(v.numel() for v in own.values()))
    if share < 0.5:
        raise BundleError(
            f"--start: these weights do not fit this network: {len(fitting)} of {len(own)} agree in name and shape. "
            "Choose the network and size they were made for (--network, --size)."
        )
    with torch.no_grad():
        for name, value in fitting.items():
            own[name].copy_(value)
    return len(fitting), len(own)


class Freeze(Hook):
    """Keeps all but the head still for the first epochs."""

    def __init__(self, network: nn.Module, head: str, epochs: int) -> None:
        self._trunk = [p for name, p in network.named_parameters() if not name.startswith(head) and p.requires_grad]
        self._epochs = epochs
        self._still: bool | None = None

    def on_batch(self, step: Step) -> Batch:
        """Switch the trunk off or on where the epoch says so; also right after a resume."""
        still = step.epoch < self._epochs
        if still is not self._still:
            for parameter in self._trunk:
                parameter.requires_grad_(not still)
                if still:
                    parameter.grad = None
            self._still = still
        return step.batch
