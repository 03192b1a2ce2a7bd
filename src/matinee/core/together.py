"""What several processes do together in a training. Alone, each of these is nothing, or next to nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from matinee.core import processes
from matinee.core.gradients import Gradients, normalise_apart, normalise_together
from matinee.core.sharding import check, shard

if TYPE_CHECKING:
    from matinee.core.examples import Array
    from matinee.core.runtime import Machine
    from matinee.core.train_settings import TrainSettings


class Team:
    """This process's part in a training of `batch` examples a step.

    first: the place of its first example in the whole batch of a step. share: of the examples that are its own.
    """

    def __init__(self, network: nn.Module, where: Machine, settings: TrainSettings, batch: int) -> None:
        self.processes = processes.current()
        self.first, end = self.processes.part(batch)
        self.share = (end - self.first) / batch
        self._batch, self._network = batch, network
        self._sharded = settings.parallel == "sharded" and not self.processes.alone
        self._gradients: Gradients | None = None
        if not self._sharded:
            where.place(network)
        if self.processes.alone:
            return
        if self._sharded:
            check(str(settings.optimiser), settings.l1)
        self.processes.equalise(dict(network.state_dict()))
        normalise_together(network, self.processes)
        if self._sharded:
            shard(network, where.device)
        else:
            learning = [p for p in network.parameters() if p.requires_grad]
            self._gradients = Gradients(learning, self.processes) if learning else None

    def adapt(self, optimiser: torch.optim.Optimizer) -> None:
        """Where weights are spread, keep to steps that know of it: torch has no fused one for SGD."""
        for group in optimiser.param_groups if self._sharded else ():
            if isinstance(optimiser, torch.optim.SGD):
                group["fused"] = False

    def part(self, order: Array) -> tuple[int, Array]:
        """Its part of every whole batch: how many examples, and which, in order."""
        if self.processes.alone:
            return self._batch, order
        count, (begin, end) = len(order) // self._batch, self.processes.part(self._batch)
        whole = order[: count * self._batch].reshape(count, self._batch)
        return end - begin, whole[:, begin:end].reshape(-1)

    def weighed(self, loss: Tensor) -> Tensor:
        """The mean over its part as a share of the mean over the whole batch."""
        return loss if self.processes.alone else loss * self.share

    def backward(self, loss: Tensor) -> None:
        """The gradient of the sum of all processes' losses, in every process."""
        if self._gradients is not None:
            self._gradients.backward(loss)
        else:  # spread over the processes, gradients are averaged
            (loss * self.processes.size if self._sharded else loss).backward()  # type: ignore[no-untyped-call]

    @contextmanager
    def unless_it_fails(self) -> Iterator[None]:
        """Leave the network as it was found if an error comes before the training has begun."""
        try:
            yield
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> Team:
        return self

    def __exit__(self, *error: object) -> None:
        """Leave the network as it was found, whatever happened, but where its weights are spread."""
        if self._gradients is not None:
            self._gradients.close()
        if not self._sharded:
            normalise_apart(self._network)
