"""An optimiser's state as plain named tensors and JSON, and back."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def flatten(optimiser: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors by "<parameter>.<name>", and the rest (plain numbers, group settings) as JSON."""
    state = optimiser.state_dict()
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, Any] = {}
    for place, values in state["state"].items():
        for name, value in values.items():
            key = f"{place}.{name}"
            if isinstance(value, Tensor):
                tensors[key] = value
            else:
                numbers[key] = value
    return tensors, {"groups": state["param_groups"], "numbers": numbers}


def restore(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """The reverse of `flatten`."""
    state: dict[int, dict[str, Any]] = {}
    for key, value in (tensors | facts["numbers"]).items():
        place, name = key.split(".", 1)
        state.setdefault(int(place), {})[name] = value
    groups = [{k: tuple(v) if k == "betas" else v for k, v in group.items()} for group in facts["groups"]]
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    for place, values in state.items():
        for name, value in values.items():
            if isinstance(value, Tensor) and value.shape == parameters[place].shape:
                # Fused steps walk through memory: the state must lie there in the same order as its weights.
                values[name] = torch.empty_like(parameters[place], dtype=value.dtype).copy_(value)
    optimiser.load_state_dict({"state": state, "param_groups": groups})
