"""What a network for tables learns at a look: statistics, exact linear solutions, calibration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from matinee.core.errors import SettingsError
from matinee.core.examples import Array
from matinee.core.scores import temperature
from matinee.nets.linear_solvers import Problem, choose_l2, solve
from matinee.nets.table_kernel import Kernel, learn
from matinee.nets.tables import Constant, Plain, TableNetwork

NEVER = 50.0  # log-odds that no example reaches


@dataclass(frozen=True)
class Terms:
    """How a linear network is solved. l2: None chooses by cross-validation. balanced: every class counts alike."""

    loss: str
    delta: float = 1.0
    l2: float | None = None
    l1: float = 0.0
    balanced: bool = False


@torch.no_grad()
def prepare(network: TableNetwork, inputs: Tensor, targets: Array, terms: Terms, groups: Array | None = None) -> None:
    """Set what follows from training rows at once: inputs (rows, inputs), targets (rows,).

    groups (rows,): rows with the same number, but -1, are left out together where a penalty is chosen.
    """
    head, device = network.head, network.head.bias.device
    network.look(inputs.to(device))
    goal: Array = targets.astype(np.int64 if head.classes else np.float64)
    if not head.classes and len(goal):
        centre = float(np.median(goal)) if terms.loss == "mae" else float(goal.mean())
        spread = float(goal.std()) or 1.0
        head.level.fill_(centre)
        head.spread.fill_(spread)
        goal = (goal - centre) / spread
    if isinstance(network.trunk, Kernel):
        weights = torch.from_numpy(row_weights(targets, head.classes, terms.balanced))
        features = network.intake(inputs.to(device)).double().cpu()
        weight, bias = learn(network.trunk, features, torch.from_numpy(goal).double(), weights, head.classes)
        head.weight[0] = weight.to(head.weight)
        head.bias[0] = bias.to(head.bias)
    if isinstance(network.trunk, Plain | Constant):
        features = network.trunk(network.intake, inputs.to(device))[:, 0].double().cpu().numpy()
        problem = Problem(features, goal, row_weights(targets, head.classes, terms.balanced), head.classes,
                          terms.loss, terms.delta, l1=terms.l1)  # fmt: skip
        if isinstance(network.trunk, Constant):
            head.bias[0] = torch.from_numpy(_chances(problem)).to(head.bias)
            return
        l2 = terms.l2 if terms.l2 is not None else 0.0 if terms.l1 else choose_l2(problem, groups)
        found = solve(replace(problem, l2=l2))
        head.weight[0] = torch.from_numpy(found.weight).to(head.weight)
        head.bias[0] = torch.from_numpy(found.bias).to(head.bias)
        head.penalty.fill_(l2)


def loss(outputs: Tensor, targets: Tensor, terms: Terms, counts: Sequence[int], deviation: float) -> Tensor:
    """What training makes small, the mean over examples and members.

    Args:
        outputs: answers (batch, ...) or what each member says (batch, members, 1 or classes).
        targets: (batch,). counts: training rows of each class, none where the target is a number.
        deviation: of the target, in which errors are told.
    """
    told = outputs if outputs.dim() == 3 else outputs[:, None]
    told = told[..., : max(1, len(counts))]
    wanted = targets[:, None].expand(told.shape[:2])
    if counts:
        weights = None
        if terms.balanced:
            known = torch.tensor(counts, dtype=torch.float32, device=told.device).clamp(min=1)
            weights = known.sum() / known / len(known)
        return functional.cross_entropy(told.flatten(0, 1), wanted.flatten(), weights)
    told, wanted = told[..., 0] / deviation, wanted / deviation
    if terms.loss == "mae":
        return functional.l1_loss(told, wanted)
    if terms.loss == "huber":
        return functional.huber_loss(told, wanted, delta=terms.delta)
    return functional.mse_loss(told, wanted)


def row_weights(targets: Array, classes: int, balanced: bool) -> Array:
    """What each example counts (rows,): one, or so that the classes count alike."""
    if not (classes and balanced):
        return np.ones(len(targets))
    counts = np.bincount(targets.astype(np.int64), minlength=classes)
    each: Array = len(targets) / np.maximum(counts, 1) / classes
    weights: Array = each[targets.astype(np.int64)]
    return weights


def _chances(problem: Problem) -> Array:
    """The outputs that tell every example the same: how frequent the classes are, or 0, the mean."""
    if not problem.classes:
        return np.zeros(1)
    counts = np.bincount(problem.targets.astype(np.int64), problem.weights, problem.classes) + 1e-3
    chances: Array = np.log(counts / counts.sum())
    return chances[1:] - chances[:1] if problem.classes == 2 else chances


def affordable(budget: float, others: int) -> None:
    """Raises SettingsError where so many validation examples without the event cannot show such a budget is kept."""
    if not others or 0 < budget < 1 / (others + 1):
        less = f"Give {1 / (others + 1):.3g} or more, or a" if others else "Give a"
        raise SettingsError(
            f"--false-alarm-budget {budget:g}: it is met on validation examples without the event, of which there are "
            f"{others:,}, too few for it. {less} larger --valid-share."
        )


@torch.no_grad()
def calibrate(network: TableNetwork, outputs: Any, targets: Tensor, share: float, budget: float | None) -> None:
    """Make confidence honest by outputs and targets of validation examples.

    share: of the truths that the range of a number shall hold. budget: share of non-events told as events.
    """
    head = network.head
    if not head.classes:
        errors = (outputs[:, 0] - targets).abs().double().sort().values
        # So that a new example is within it with that chance or a little more (Vovk et al., 2005).
        place = math.ceil(share * (len(errors) + 1)) - 1
        head.margin.fill_(float(errors[place]) if place < len(errors) else 0.0)
        return
    logits = outputs[:, : head.classes]
    factor = 1 / temperature(logits, targets)
    head.sharpness.mul_(factor)
    if head.classes == 2 and budget is not None:
        odds = (logits[:, 1] - logits[:, 0])[targets == 0].double().sort(descending=True).values * factor
        # So that the next example that is no event is told as one with that chance or less (Vovk et al., 2005).
        allowed = int(budget * (len(odds) + 1) + 1e-9)
        limit = float(odds[allowed - 1]) if 0 < allowed <= len(odds) else NEVER if allowed == 0 else -NEVER
        # A hair above, for rounding: where many rows are equal, all of them would be told.
        head.threshold.fill_(max(-NEVER, min(NEVER, limit + 1e-5 * max(1.0, abs(limit)))))
