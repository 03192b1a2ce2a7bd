"""Batch: what one step of a training sees, on whatever device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """What one step sees: ONE input tensor (batch, ...) and targets that only the task looks inside.

    rows: which rows of the columns these are, int64 (batch,), where the batch was gathered from columns.
    """

    inputs: Tensor
    targets: Any
    rows: Tensor | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device, where it may lie already."""
        if self.inputs.device == device:
            return self
        return Batch(self.inputs.to(device, non_blocking=True), _moved(self.targets, device), self.rows)


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Mapping):
        return {k: _moved(v, device) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_moved(v, device) for v in value)
    return value.to(device, non_blocking=True)
