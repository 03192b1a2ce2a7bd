"""Run by torchrun, in test_processes.py: compares what two processes compute together with what one computes alone."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

from matinee.core import processes
from matinee.core.errors import DataError
from matinee.core.gradients import Gradients, normalise_apart, normalise_together
from matinee.core.processes import Processes, joined
from matinee.core.sharding import local, shard


class Network(nn.Module):
    """Normalises twice; `spare` is used by the first process alone, `idle` by none."""

    def __init__(self, momentum: float | None) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, momentum=momentum), nn.GELU(), nn.Conv2d(8, 4, 3), nn.BatchNorm2d(4)
        ).to(memory_format=torch.channels_last)
        self.body[1].weight.requires_grad_(False)
        self.spare, self.idle = nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(3))

    def forward(self, x: torch.Tensor, spare: bool) -> torch.Tensor:
        y = self.body(x)
        return y * self.spare[:, None, None] if spare else y


def compare(group: Processes, momentum: float | None) -> dict[str, float]:
    """Largest differences of gradients and of statistics; parts of uneven size, two steps."""
    torch.manual_seed(0)
    network = Network(momentum)
    plain = copy.deepcopy(network)
    normalise_together(network, group)
    gradients = Gradients([p for p in network.parameters() if p.requires_grad], group)
    if list(network.state_dict()) != list(plain.state_dict()):
        raise RuntimeError("the state has other names")
    found = {"gradient": 0.0, "statistics": 0.0, "input": 0.0}
    for step in range(2):
        pictures, wanted = torch.randn(5, 3, 9, 9) * 3 + 10, torch.randn(5, 4, 5, 5)
        pictures = pictures.to(memory_format=torch.channels_last)
        begin, end = group.part(5)
        mine = pictures[begin:end].clone().requires_grad_()
        network.zero_grad(set_to_none=True)
        loss = (network(mine, group.first) - wanted[begin:end]).square().mean()
        gradients.backward(loss * ((end - begin) / 5))
        plain.zero_grad(set_to_none=True)
        whole = pictures.clone().requires_grad_()
        first = 5 // group.size  # examples of the first process, the only one that uses `spare`
        outputs = plain(whole, False)
        outputs = torch.cat((outputs[:first] * plain.spare[:, None, None], outputs[first:]))
        (outputs - wanted).square().mean().backward()
        for (name, one), other in zip(network.named_parameters(), plain.parameters(), strict=True):
            if one.grad is not None and other.grad is not None:
                difference = (one.grad - other.grad).abs().max() / (1 + other.grad.abs().max())
                found["gradient"] = max(found["gradient"], float(difference))
            elif (one.grad is None) != (other.grad is None):
                raise RuntimeError(f"{name}: only one of them has a gradient in step {step}")
        found["input"] = max(found["input"], float((mine.grad - whole.grad[begin:end]).abs().max()))
    for one, other in zip(network.buffers(), plain.buffers(), strict=True):
        found["statistics"] = max(found["statistics"], float(((one - other) / (other.abs() + 1)).abs().max()))
    gradients.close()
    normalise_apart(network)
    if any(type(a) is not type(b) for a, b in zip(network.modules(), plain.modules(), strict=True)):
        raise RuntimeError("the network is not as it was")
    return {f"{name} {momentum}": value for name, value in found.items()}


def half_precision(group: Processes) -> float:
    """How far the gradient in bfloat16 is from that in float64, as a share of it, where the mean is far from zero."""
    torch.manual_seed(1)
    pictures, wanted = (torch.randn(6, 4, 5, 5) + 10).bfloat16(), torch.randn(6, 4, 5, 5).bfloat16()
    begin, end = group.part(6)
    plain, whole = nn.BatchNorm2d(4).double(), pictures.double().requires_grad_()
    (plain(whole) - wanted.double()).square().mean().backward()
    network, mine = nn.Sequential(nn.BatchNorm2d(4)), pictures[begin:end].clone().requires_grad_()
    normalise_together(network, group)
    loss = (network(mine).float() - wanted[begin:end].float()).square().mean()
    (loss * ((end - begin) / 6)).backward()
    exact = whole.grad[begin:end]
    return float((mine.grad.double() - exact).norm() / exact.norm())


def share_held() -> float:
    """The share of weights and optimiser state that this process holds of a network spread over all."""
    network = nn.Sequential(nn.Linear(1024, 2048), nn.ReLU(), nn.Linear(2048, 1024), nn.ReLU(), nn.Linear(1024, 7))
    whole = 3 * sum(p.numel() for p in network.parameters())  # AdamW keeps two numbers for each weight
    shard(network, torch.device("cpu"))
    optimiser = torch.optim.AdamW(network.parameters(), foreach=True)
    network(torch.randn(2, 1024)).square().mean().backward()
    optimiser.step()
    state = [v for values in optimiser.state.values() for name, v in values.items() if name != "step"]
    return sum(local(tensor).numel() for tensor in [*network.parameters(), *state]) / whole


def main() -> dict[str, object]:
    """What was found."""
    with joined() as group:
        told: dict[str, object] = {}
        told |= compare(group, 0.1) | compare(group, None)
        kinds = (group.gradients, group.statistics, group.steps)
        told["waits"] = [kind._get_backend(torch.device("cpu")).options._timeout.total_seconds() for kind in kinds]
        told["bfloat16"] = group.sums([half_precision(group)])[0] / group.size
        told["held"] = group.sums([share_held()])[0] / group.size
        begin, end = group.part(7)
        told["rows"] = group.gathered(np.arange(begin, end)).tolist()
        torch.manual_seed(group.rank)
        values = {"a": torch.randn(3, 4).to(torch.bfloat16), "b": torch.tensor(group.rank), "c": torch.zeros(0)}
        group.equalise(values)
        sums = group.sums([float(values["a"].double().sum())])[0]
        told["equalised"] = abs(sums - group.size * float(values["a"].double().sum())) + float(values["b"])
        try:
            group.leading(fail, leads=group.rank == 1)
        except DataError as error:
            told["error"] = [type(error).__name__, str(error)]
        told["absent"] = [group.told("x" if group.first else "y") == "x", group.all_told(str(group.rank)) == ["0", "1"]]
        return told


def fail() -> None:
    raise DataError("the second process found nothing")


told = main()
processes._leave()
names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
told["threads"] = sum("gloo" in name for name in names)
if processes.speaks():
    print(json.dumps(told))
