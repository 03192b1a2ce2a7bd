"""What a training must remember, as plain named tensors and JSON, and back: the same for one process and for many.

Where the network is spread over the processes, every tensor is put together, one after the other, on the processor of
the first process: no device ever holds the whole.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor, nn

from matinee.core.average import Average
from matinee.core.plan import Event
from matinee.core.processes import Processes
from matinee.core.sharding import part_of, put, whole
from matinee.core.standing import Keeper


def snapshot(tensors: dict[str, Tensor], keep: bool, prefix: str = "") -> dict[str, Tensor]:
    """Copies on the processor that later steps cannot change, where `keep`; every process must ask."""
    kept = {}
    for name, tensor in tensors.items():
        full = whole(tensor)
        if keep:
            kept[prefix + name] = torch.empty_like(full, device="cpu").copy_(full)
    return kept


def flatten(
    network: nn.Module, average: Average, optimiser: torch.optim.Optimizer, keep: bool
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors "network.*", "average.*" and "optimiser.<parameter>.*", and the optimiser's plain numbers and groups."""
    tensors = snapshot(dict(network.state_dict()), keep, "network.")
    if average.names:
        with average.worn():
            tensors |= snapshot(_named(network, average), keep, "average.")
    state, numbers = optimiser.state_dict(), {}
    for place, values in state["state"].items():
        for name, value in values.items():
            key = f"{place}.{name}"
            if isinstance(value, Tensor):
                tensors |= snapshot({key: value}, keep, "optimiser.")
            else:
                numbers[key] = value
    return tensors, {"groups": state["param_groups"], "numbers": numbers}


def found(keeper: Keeper, group: Processes) -> tuple[dict[str, Tensor], dict[str, Any] | None, list[Event]]:
    """What the keeper has of a run that is continued: its tensors (for the first process alone), its facts with the
    sums of "losses", and what the clock decided. Without such a run the facts are None.
    """
    tensors, facts = group.leading(keeper.restore) or ({}, None)
    events = keeper.events() if facts is not None else []
    if facts is not None:
        losses = tensors.get("loop.loss_sum")
        facts["losses"] = None if losses is None else losses.reshape(-1).tolist()
    return tensors, *json.loads(group.told(json.dumps([facts, events])))


def restore(
    network: nn.Module,
    average: Average,
    optimiser: torch.optim.Optimizer,
    tensors: dict[str, Tensor],
    facts: dict[str, Any],
    group: Processes,
) -> None:
    """The reverse of `flatten`, with the tensors that the first process has; the others take them from there.

    Raises LookupError or ValueError where they do not fit.
    """
    fill(dict(network.state_dict()), _under(tensors, "network."), group)
    if average.names:
        with average.worn():
            fill(_named(network, average), _under(tensors, "average."), group)
    parameters = [p for part in optimiser.param_groups for p in part["params"]]
    state: dict[int, dict[str, Any]] = {}
    for key, value in group.spread(_under(tensors, "optimiser.")):
        place, name = key.split(".", 1)
        held = parameters[int(place)]
        if value.shape == held.shape:
            # Fused steps walk through memory: the state must lie there in the same order as its weights.
            part = part_of(value, held)
            value = torch.empty_like(held, dtype=value.dtype, requires_grad=False).copy_(part)
        state.setdefault(int(place), {})[name] = value
    for key, number in facts["numbers"].items():
        place, name = key.split(".", 1)
        state.setdefault(int(place), {})[name] = number
    groups = [{k: tuple(v) if k == "betas" else v for k, v in part.items()} for part in facts["groups"]]
    optimiser.load_state_dict({"state": state, "param_groups": groups})


def fill(targets: dict[str, Tensor], tensors: dict[str, Tensor], group: Processes) -> None:
    """Copy the first process's tensors into place everywhere. Raises LookupError or ValueError if they do not fit."""
    missing = set(targets)
    for name, tensor in group.spread(tensors):
        put(targets[name], tensor)
        missing.remove(name)
    if missing:
        raise LookupError(min(missing))


def _named(network: nn.Module, average: Average) -> dict[str, Tensor]:
    state = network.state_dict()
    return {name: state[name] for name in average.names}


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
