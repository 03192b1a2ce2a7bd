"""The form of a network that answers fastest, kept for as long as the network's weights stay as they are."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.overrides import TorchFunctionMode

_steps = [0]  # of all optimisers: fused ones move weights without a trace in the tensors


def _count(*nothing: Any) -> None:
    _steps[0] += 1


register_optimizer_step_post_hook(_count)


class Quick(nn.Module):
    """A network that has a quicker form for answering, once nothing is learned any more."""

    @abstractmethod
    def quick(self, precision: torch.dtype) -> nn.Module:
        """A copy in evaluation mode that answers the same, up to rounding, under autocast to that number format."""


class Kept:
    """The quick form of the network it was last asked for.

    It is made anew where a weight was written to, or any optimiser of torch's took a step, since; in training mode,
    every time. What else writes through `.data` or a pointer leaves no trace and goes unnoticed: write under
    `torch.no_grad()`, or in training mode.

    slow: whether one thread took so long for an answer that several are to be used.
    """

    def __init__(self) -> None:
        self.slow = False
        self._lock = Lock()
        self._state: object = None
        self._form: nn.Module | None = None

    def __reduce__(self) -> tuple[type[Kept], tuple[()]]:
        return Kept, ()  # a copy of a model begins with nothing

    def form(self, network: nn.Module, precision: torch.dtype) -> nn.Module:
        """The quick form of the weights as they are now; the network itself where there is none."""
        if not isinstance(network, Quick):
            return network.eval()
        if network.training:
            return network.quick(precision)
        tensors = itertools.chain(network.parameters(), network.buffers())
        try:
            state = (precision, _steps[0], *((tensor.data_ptr(), tensor._version) for tensor in tensors))
        except RuntimeError:  # made in inference mode, a tensor does not tell whether it has changed
            return network.eval()
        with self._lock:
            if self._form is None or state != self._state:
                self._form, self._state = network.quick(precision), state
            return self._form


class Unfilled(TorchFunctionMode):
    """For building a network on the meta device: nothing is drawn for weights that have no memory.

    torch draws there by way of its compiler, whose import takes longer than all else that loading a model needs.
    """

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function is torch.Tensor.normal_:
            return args[0]
        return function(*args, **kwargs or {})
