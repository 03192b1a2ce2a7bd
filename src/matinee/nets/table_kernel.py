"""A Gaussian process for tables of some thousand rows: likeness to training rows, solved exactly.

Two rows are alike by a linear kernel and a Gaussian one, with a length scale for each feature; all scales, and the
noise, are where the marginal likelihood of the training rows is greatest, under weak priors (Rasmussen & Williams,
2006; the prior of the length scales is that of Hvarfner et al., 2024). Classes are told as numbers, -1 and 1, and made
probabilities by what the process says of each training row when that is left out (Platt, 1999; Rifkin & Lippert, 2007).
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from matinee.core.scores import temperature
from matinee.nets.linear_solvers import Problem, solve

LANDMARKS: Final = 1000
"""Training rows that a new row is compared with: all where there are no more, else so many drawn by lot."""
MOST: Final = 20_000
"""Training rows that are looked at, drawn by lot where there are more: all are compared with all landmarks at once."""
STEPS: Final = 40
JITTER: Final = 1e-6


class Kernel(nn.Module):
    """(batch, inputs) -> (batch, 1, LANDMARKS): how much a row is like each landmark; unused landmarks are zeros."""

    landmarks: Tensor
    lengths: Tensor
    scales: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("landmarks", torch.zeros(LANDMARKS, width))
        self.register_buffer("lengths", torch.ones(width))
        self.register_buffer("scales", torch.ones(3))  # variance of the Gaussian and the linear part, and of the noise

    def forward(self, intake: Any, inputs: Tensor) -> Tensor:
        """(batch, 1, LANDMARKS)."""
        features: Tensor = intake(inputs)
        return likeness(features, self.landmarks, self.lengths, self.scales)[:, None]


def likeness(one: Tensor, other: Tensor, lengths: Tensor, scales: Tensor) -> Tensor:
    """(n, m): the kernel between rows (n, width) and rows (m, width)."""
    left, right = one / lengths, other / lengths
    apart = (left**2).sum(1)[:, None] + (right**2).sum(1)[None] - 2 * left @ right.T
    return scales[0] * torch.exp(-0.5 * apart.clamp(min=0)) + scales[1] * (one @ other.T)


def learn(kernel: Kernel, features: Tensor, targets: Tensor, weights: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Weight (LANDMARKS, outputs) and bias (outputs,) of the head, after setting the kernel's scales.

    Args:
        features: (rows, width), double. targets: (rows,), standardised numbers or class numbers. weights: (rows,).
    """
    if len(features) > MOST:
        drawn = torch.from_numpy(np.sort(np.random.default_rng(7).permutation(len(features))[:MOST]))
        features, targets, weights = features[drawn], targets[drawn], weights[drawn]
    wanted = targets[:, None] if not classes else _coded(targets, classes)
    level = (weights[:, None] * wanted).sum(0) / weights.sum()
    wanted = wanted - level
    chosen = torch.from_numpy(np.sort(np.random.default_rng(5).permutation(len(features))[:LANDMARKS]))
    some = features[chosen]
    lengths, scales = _fitted(some, wanted[chosen], weights[chosen])
    noise = scales[2] / weights
    if len(chosen) == len(features):
        whole = likeness(some, some, lengths, scales) + torch.diag(noise)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(whole))
        weight = inverse @ wanted
        left_out = wanted - weight / inverse.diagonal()[:, None]
    else:  # the subset of regressors (Smola & Bartlett, 2000)
        across = likeness(features, some, lengths, scales)
        inner = likeness(some, some, lengths, scales) + JITTER * torch.eye(len(some), dtype=torch.float64)
        weight = torch.linalg.solve(inner + across.T @ (across / noise[:, None]), across.T @ (wanted / noise[:, None]))
        left_out = across @ weight
    kernel.landmarks.zero_()
    kernel.landmarks[: len(some)] = some.to(kernel.landmarks)
    kernel.lengths.copy_(lengths)
    kernel.scales.copy_(scales)
    bias = level
    if classes:
        weight, bias = _as_logits(weight, left_out + level, level, targets, weights)
    padded = torch.zeros(LANDMARKS, weight.shape[1], dtype=torch.float64)
    padded[: len(weight)] = weight
    return padded, bias


def _coded(targets: Tensor, classes: int) -> Tensor:
    """(rows, outputs): 1 and -1."""
    if classes == 2:
        return (2 * targets - 1)[:, None]
    return 2 * nn.functional.one_hot(targets.long(), classes).double() - 1


def _as_logits(weight: Tensor, told: Tensor, level: Tensor, targets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weight and bias such that the outputs are log-odds. told (rows, outputs): what each row is told, left out."""
    if told.shape[1] > 1:
        factor = 5 / temperature(5 * told, targets.long())
        return weight * factor, level * factor
    found = solve(Problem(told.numpy(), targets.long().numpy(), weights.numpy(), 2, l2=1e-2))
    slope, bias = float(found.weight[0, 0]), float(found.bias[0])
    return weight * slope, level * slope + bias


def _fitted(features: Tensor, wanted: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Length scales (width,) and scales (3,) with the greatest marginal likelihood, times their priors."""
    width = features.shape[1]
    told = torch.cat([features.std(0) > 0, torch.ones(3, dtype=torch.bool)])  # constant features have no length scale
    usual = torch.cat(
        [
            torch.full((width,), math.sqrt(2) + 0.5 * math.log(max(1, int(told.sum()) - 3)), dtype=torch.float64),
            torch.tensor([-0.5, math.log(0.3 / max(1, width)), -1.0], dtype=torch.float64),
        ]
    )
    doubt = torch.cat([torch.full((width,), math.sqrt(3)), torch.tensor([1.5, 1.5, 1.5])]).double()
    # The optimiser moves what the priors leave open in units of their width; constant features stay where they are.
    moves = torch.zeros(int(told.sum()), dtype=torch.float64, requires_grad=True)
    moves.data[: int(told.sum()) - 3] = -0.5
    rows, outputs = wanted.shape
    rule = torch.optim.LBFGS([moves], max_iter=STEPS, history_size=10, line_search_fn="strong_wolfe")

    def scaled() -> Tensor:
        return (usual + doubt * torch.zeros_like(usual).masked_scatter(told, moves.clamp(-6, 6))).exp()

    def value() -> Tensor:
        rule.zero_grad()
        every = scaled()
        whole = likeness(features, features, every[:width], every[width:])
        whole = whole + torch.diag((every[-1] + 1e-4) / weights)
        factor, failed = torch.linalg.cholesky_ex(whole)
        if int(failed):
            return torch.tensor(math.inf, dtype=torch.float64)
        solved = torch.linalg.solve_triangular(factor, wanted, upper=False)
        surprise = 0.5 * (solved**2).sum() + outputs * factor.diagonal().log().sum()
        total: Tensor = surprise / rows + 0.5 * (moves**2).sum() / rows
        total.backward()  # type: ignore[no-untyped-call]
        return total

    with torch.enable_grad():
        rule.step(value)  # type: ignore[no-untyped-call]
    every = scaled().detach()
    every[-1] += 1e-4
    return every[:width], every[width:]
