"""How sure a detector may be: probabilities that hold for boxes like those it was asked about."""

from __future__ import annotations

import torch
from torch import Tensor

LEAST = 1e-3  # probability: boxes below it say nothing about those that are told
STEPS = 30  # of Newton's method; it has settled long before
PRIOR = 4.0  # how many boxes it takes to believe in another slope or shift


def honest(told: Tensor, right: Tensor, passed: Tensor, classes: int) -> tuple[float, Tensor]:
    """A slope for all logits and a shift for each class, after which probabilities are shares that are right.

    Args:
        told: (batch, k, 6) found boxes with their probability and class + 1.
        right, passed: bool (batch, k); boxes passed over count neither way.

    Logistic regression of being right on the logit (Platt, 1999), held near "as it is" where there are few boxes. A
    slope above 0 moves no box of a class before another.
    """
    device = told.device
    counted = (told[..., 5] > 0) & ~passed & (told[..., 4] > LEAST)
    chance, kind = told[counted][:, 4].double(), told[counted][:, 5].long() - 1
    target = right[counted].double()
    logit = torch.logit(chance, eps=1e-6)
    table = torch.cat((logit[:, None], torch.nn.functional.one_hot(kind, classes).double()), 1)
    start = torch.zeros(1 + classes, dtype=torch.float64, device=device)
    start[0] = 1.0
    weights = start.clone()
    for _ in range(STEPS):
        share = (table @ weights).sigmoid()
        slope = table.T @ (share - target) + PRIOR * (weights - start)
        curve = table.T @ (table * (share * (1 - share))[:, None]) + PRIOR * torch.eye(1 + classes, device=device)
        step = torch.linalg.solve(curve, slope)
        weights = weights - step * min(1.0, 2.0 / max(float(step.abs().max()), 1e-12))
    return max(0.05, float(weights[0])), weights[1:].float()
