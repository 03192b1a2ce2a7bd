"""Where a training stands, and who keeps it on disk."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol

from torch import Tensor

from matinee.core.plan import Event, Plan

Row = dict[str, float]


@dataclass
class Standing:
    """Where a run stands: with the tensors, all that a resume needs. best: the selecting score of the best model."""

    plan: Plan
    step: int = 0
    epoch: int = 0
    batch: int = 0
    best: float | None = None
    best_epoch: int = 0
    stale: int = 0
    spent: float = 0.0
    stopped: bool = False
    history: list[Row] = field(default_factory=list)


class Keeper(Protocol):
    """Who keeps a run on disk. The loop calls it; `core/runs.py` is one."""

    def restore(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Tensors and facts of the last checkpoint, or None at a fresh start."""

    @property
    def here(self) -> bool:
        """Whether this process keeps anything: among several, the first."""

    @property
    def asked(self) -> bool:
        """Whether the training was asked to stop."""

    def due(self, step: int) -> bool:
        """Whether the loop should save now."""

    def save(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Have a checkpoint put in place; the tensors will not change any more."""

    def keep_best(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Have the best weights so far put in place by the next checkpoint; they will not change any more."""

    def settle(self) -> None:
        """Wait until all is in place."""

    def stop(self, step: int) -> NoReturn:
        """End the training in order, all in place."""

    def best(self) -> dict[str, Tensor]:
        """The best weights so far."""

    def log(self, row: Row) -> None:
        """One line of metrics."""

    def events(self) -> list[Event]:
        """What the clock decided in the run that is continued."""

    def record(self, events: list[Event]) -> None:
        """Keep what the clock decided, before it takes effect."""
