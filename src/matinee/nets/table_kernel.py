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
ENOUGH: Final = 0.02
"""A step that makes the likelihood of all rows better by less than this factor (as a logarithm) is the last one."""
JITTER: Final = 1e-6
LEAST_NOISE: Final = 1e-4


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
    near = scales[0] * torch.exp(-0.5 * apart.clamp(min=0))
    return near if scales[1] == 0 else near + scales[1] * (one @ other.T)


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
        solved = torch.linalg.solve(inner + across.T @ (across / noise[:, None]), across.T)
        weight = solved @ (wanted / noise[:, None])
        moved = (across.T * solved).sum(0) / noise  # by what an answer moves with its own target (Allen's PRESS, 1974)
        left_out = wanted - (wanted - across @ weight) / (1 - moved).clamp(min=1e-3)[:, None]
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
    told = features.std(0, correction=0) > 0  # constant features have no length scale, and stay where they are
    width = int(told.sum())
    usual = torch.full((width + 3,), math.sqrt(2) + 0.5 * math.log(max(1, width)), dtype=torch.float64)
    usual[width:] = torch.tensor([-0.5, math.log(0.3 / max(1, features.shape[1])), -1.0])
    doubt = torch.full((width + 3,), math.sqrt(3), dtype=torch.float64)
    doubt[width:] = 1.5
    # The optimiser moves what the priors leave open in units of their width.
    moves = torch.zeros(width + 3, dtype=torch.float64, requires_grad=True)
    moves.data[:width] = -0.5
    surprise = _Surprise(features[:, told], wanted, weights)
    rule = torch.optim.LBFGS(
        [moves], max_iter=STEPS, history_size=10, tolerance_change=ENOUGH / len(wanted), line_search_fn="strong_wolfe"
    )

    def value() -> Tensor:
        place = moves.detach()
        total, slope = surprise((usual + doubt * place.clamp(-6, 6)).exp())
        moves.grad = slope * doubt * (place.abs() < 6) + place / len(wanted)
        return total + 0.5 * (place**2).sum() / len(wanted)

    rule.step(value)  # type: ignore[no-untyped-call]
    found = (usual + doubt * moves.detach().clamp(-6, 6)).exp()
    lengths = torch.full((features.shape[1],), math.exp(math.sqrt(2)), dtype=torch.float64)
    lengths[told] = found[:width]
    return lengths, found[width:] + torch.tensor([0.0, 0.0, LEAST_NOISE])


class _Surprise:
    """The negative logarithm of the marginal likelihood, for each row, and its slope in the logarithms of the scales.

    Written out, since what autograd goes through for a Cholesky factor costs several times as much.
    """

    def __init__(self, features: Tensor, wanted: Tensor, weights: Tensor) -> None:
        self.features, self.wanted, self.share = features, wanted, 1 / weights
        self.products = features @ features.T

    def __call__(self, scales: Tensor) -> tuple[Tensor, Tensor]:
        """scales (width + 3,): lengths, then the variances of `likeness` and of the noise -> a scalar, (width + 3,)."""
        lengths, (bent, straight, noise) = scales[:-3], scales[-3:]
        rows, outputs = self.wanted.shape
        near = likeness(self.features, self.features, lengths, torch.tensor([1.0, 0.0]))
        whole = bent * near + straight * self.products
        whole.diagonal().add_((noise + LEAST_NOISE) * self.share)
        factor, failed = torch.linalg.cholesky_ex(whole)
        if int(failed):
            return torch.tensor(math.inf, dtype=torch.float64), torch.zeros_like(scales)
        inverse = torch.cholesky_inverse(factor)
        solved = inverse @ self.wanted
        value = 0.5 * (self.wanted * solved).sum() + outputs * factor.diagonal().log().sum()
        by_likeness = 0.5 * (outputs * inverse - solved @ solved.T)  # the slope in each entry of the matrix
        pulled = by_likeness * near
        apart = 2 * (pulled.sum(1) @ self.features**2 - (self.features * (pulled @ self.features)).sum(0))
        slope = torch.empty_like(scales)
        slope[:-3] = bent * apart / lengths**2
        slope[-3] = bent * pulled.sum()
        slope[-2] = straight * (by_likeness * self.products).sum()
        slope[-1] = noise * (by_likeness.diagonal() * self.share).sum()
        return value / rows, slope / rows
