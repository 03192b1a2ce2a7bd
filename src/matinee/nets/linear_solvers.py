"""Linear models solved exactly, in double precision: least squares, robust, logistic and softmax regression.

What is made small is, over the examples i, with standardised targets where they are numbers,

    sum_i weight_i * loss_i  +  l2 / 2 * sum(w ** 2)  +  l1 * sum(|w|)

with loss_i half the squared error, the absolute or Huber's error, or the cross-entropy. The bias is free. In
scikit-learn's terms: `Ridge(alpha)` is l2 = alpha, `LogisticRegression(C)` is l2 = 1 / C, or l1 = 1 / C with
l1_ratio=1, and `Lasso(alpha)` is l1 = alpha * examples / deviation of the target.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from matinee.core.errors import SettingsError
from matinee.core.examples import Array

PENALTIES: Final = tuple(float(10.0**e) for e in np.arange(-2, 4.1, 0.5))
"""L2 penalties that `choose_l2` tries."""
NEWTON_LIMIT: Final = 1200
"""Unknowns up to which second derivatives are used."""
FOLDS: Final = 5
SOME: Final = 4000
"""Examples that the choice of a penalty looks at: its optimum hardly depends on their number."""


@dataclass(frozen=True)
class Problem:
    """What to fit. features (n, d); targets (n,), numbers, or class numbers where `classes` is 2 or more.

    weights (n,): what each example counts. loss: "mse", "mae" or "huber" (with `delta`), for numbers.
    """

    features: Array
    targets: Array
    weights: Array
    classes: int = 0
    loss: str = "mse"
    delta: float = 1.0
    l2: float = 0.0
    l1: float = 0.0

    @property
    def outputs(self) -> int:
        """Columns of the solution: one, or one for each of three and more classes."""
        return self.classes if self.classes > 2 else 1


@dataclass(frozen=True)
class Solution:
    """weight (d, outputs) and bias (outputs,): the outputs are features @ weight + bias."""

    weight: Array
    bias: Array

    def __call__(self, features: Array) -> Array:
        """(n, outputs)."""
        out: Array = features @ self.weight + self.bias
        return out


def solve(problem: Problem, start: Solution | None = None) -> Solution:
    """The minimum, from `start` on. Raises SettingsError for L1 with a loss that is not smooth."""
    if problem.l1 > 0 and not problem.classes and problem.loss == "mae":
        raise SettingsError("--l1-penalty: goes with --loss-function mse or huber, not with mae.")
    told: Array = np.any(problem.features, axis=0)
    if not told.all():  # a feature that is always 0 has no weight and costs as much as any other
        part = replace(problem, features=problem.features[:, told])
        found = solve(part, None if start is None else Solution(start.weight[told], start.bias))
        weight = np.zeros((len(told), problem.outputs))
        weight[told] = found.weight
        return Solution(weight, found.bias)
    if problem.l1 > 0:
        return _proximal(problem)
    if problem.features.shape[1] > len(problem.features):
        turned, axes = _turned(problem)
        found = solve(turned, None if start is None else Solution(axes @ start.weight, start.bias))
        return Solution(axes.T @ found.weight, found.bias)
    if problem.classes:
        small = (problem.features.shape[1] + 1) * problem.outputs <= NEWTON_LIMIT
        return _newton(problem, start) if small else _descent(problem)
    return _least_squares(problem) if problem.loss == "mse" else _reweighted(problem)


def _turned(problem: Problem) -> tuple[Problem, Array]:
    """The same problem in as many features as there are examples, and the axes (those, d): L2 knows no direction."""
    left, sizes, axes = np.linalg.svd(problem.features, full_matrices=False)
    return replace(problem, features=left * sizes), axes


def choose_l2(problem: Problem, groups: Array | None = None, seed: int = 0) -> float:
    """The L2 penalty with which examples left out are told best.

    Numbers: by the squared error of each example left out once, in closed form. Classes: by the cross-entropy in five
    folds. Where there are groups (n,), numbers -1 for none, they are left out whole: by five folds in both cases.
    """
    generator = np.random.default_rng([seed, 11])
    groups = np.full(len(problem.targets), -1) if groups is None else groups
    if len(problem.targets) > SOME:
        chosen = np.sort(generator.permutation(len(problem.targets))[:SOME])
        problem, groups = _part(problem, chosen), groups[chosen]
    if problem.features.shape[1] > len(problem.features):
        problem = _turned(problem)[0]
    if not problem.classes and not (groups >= 0).any():
        errors = _left_out(problem)
        return PENALTIES[int(np.argmin(errors))]
    folds = folds_of(problem.targets, groups, FOLDS, generator)
    lost = np.zeros(len(PENALTIES))
    for fold in range(min(FOLDS, int(folds.max(initial=0)) + 1)):
        rest, away = _part(problem, np.flatnonzero(folds != fold)), folds == fold
        if not len(rest.targets):
            return PENALTIES[-1]  # one group alone
        found: Solution | None = None
        for place in reversed(range(len(PENALTIES))):
            found = solve(replace(rest, l2=PENALTIES[place], l1=0.0), found)
            told, truth = found(problem.features[away]), problem.targets[away]
            losses = _surprise(told, truth) if problem.classes else (told[:, 0] - truth) ** 2
            lost[place] += (losses * problem.weights[away]).sum()
    return PENALTIES[int(np.argmin(lost))]


def folds_of(targets: Array, groups: Array, folds: int, generator: np.random.Generator) -> Array:
    """The fold of each row (n,): groups whole (-1: of none), low and high targets, or all classes, in each."""
    alone = np.where(groups < 0, groups.max(initial=0) + 1 + np.arange(len(groups)), groups)
    _, first, member = np.unique(alone, return_index=True, return_inverse=True)
    order = generator.permutation(len(first))
    order = order[np.argsort(targets[first[order]], kind="stable")]
    fold = np.empty(len(first), np.int64)
    fold[order] = np.arange(len(order)) % folds
    numbers: Array = fold[member.ravel()]
    return numbers


def _part(problem: Problem, rows: Array) -> Problem:
    return replace(
        problem, features=problem.features[rows], targets=problem.targets[rows], weights=problem.weights[rows]
    )


def _surprise(outputs: Array, classes: Array) -> Array:
    """Cross-entropy of each example (n,) for outputs (n, 1) or (n, classes)."""
    if outputs.shape[1] == 1:
        return np.logaddexp(0, np.where(classes == 1, -outputs[:, 0], outputs[:, 0]))
    shifted = outputs - outputs.max(1, keepdims=True)
    told: Array = np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(classes)), classes.astype(np.int64)]
    return told


def _shares(outputs: Array) -> Array:
    """Probabilities (n, outputs)."""
    if outputs.shape[1] == 1:
        half: Array = 0.5 * (1 + np.tanh(0.5 * outputs))
        return half
    powers = np.exp(outputs - outputs.max(1, keepdims=True))
    shares: Array = powers / powers.sum(1, keepdims=True)
    return shares


def _wanted(problem: Problem) -> Array:
    """(n, outputs): the target as the outputs should be."""
    if problem.classes > 2:
        return np.eye(problem.classes)[problem.targets.astype(np.int64)]
    return problem.targets.astype(np.float64)[:, None]


# -- numbers


def _centred(problem: Problem) -> tuple[Array, Array, Array, float]:
    """Features and targets times the root of the weights, without their weighted means; and the means."""
    weights = problem.weights / problem.weights.sum()
    middle, level = weights @ problem.features, float(weights @ problem.targets)
    root = np.sqrt(problem.weights)
    return (problem.features - middle) * root[:, None], (problem.targets - level) * root, middle, level


def _least_squares(problem: Problem) -> Solution:
    """Ridge by the eigenvectors of the normal equations; directions without any spread get no weight."""
    features, targets, middle, level = _centred(problem)
    values, vectors = np.linalg.eigh(features.T @ features)
    kept = values > 1e-10 * max(values.max(initial=0.0), 1e-30)
    inverse = np.where(kept, 1 / np.where(kept, values + problem.l2, 1.0), 0.0)
    weight = vectors @ (inverse * (vectors.T @ (features.T @ targets)))
    return Solution(weight[:, None], np.array([level - middle @ weight]))


def _reweighted(problem: Problem) -> Solution:
    """Absolute and Huber's errors as least squares with weights that follow the residuals (Holland & Welsch, 1977)."""
    found = _least_squares(replace(problem, loss="mse"))
    for _ in range(200):
        size = np.maximum(np.abs(problem.targets - found(problem.features)[:, 0]), 1e-6)
        share = np.minimum(1.0, problem.delta / size) if problem.loss == "huber" else 1 / size
        new = _least_squares(replace(problem, loss="mse", weights=problem.weights * share))
        moved = np.abs(new.weight - found.weight).max(initial=0.0) + np.abs(new.bias - found.bias).max()
        found = new
        if moved < 1e-8:
            break
    return found


def _left_out(problem: Problem) -> Array:
    """Squared error of every example when it is left out, summed, for each of PENALTIES (Allen's PRESS, 1974)."""
    features, targets, _, _ = _centred(problem)
    left, sizes, _ = np.linalg.svd(features, full_matrices=False)
    mean = problem.weights / problem.weights.sum()
    errors = []
    for l2 in PENALTIES:
        shrunk = sizes**2 / (sizes**2 + l2)
        residuals = targets - left @ (shrunk * (left.T @ targets))
        leverage = (left**2 * shrunk).sum(1) + mean
        errors.append(float(((residuals / np.maximum(1 - leverage, 1e-6)) ** 2).sum()))
    return np.array(errors)


# -- classes


def _value(problem: Problem, weight: Array, bias: Array) -> float:
    outputs = problem.features @ weight + bias
    losses = float((problem.weights * _surprise(outputs, problem.targets)).sum())
    return losses + 0.5 * problem.l2 * float((weight**2).sum())


def _newton(problem: Problem, start: Solution | None) -> Solution:
    """Newton's method with halved steps (iteratively reweighted least squares for two classes)."""
    rows, width = problem.features.shape
    design, wanted = np.hstack([problem.features, np.ones((rows, 1))]), _wanted(problem)
    unknown = np.zeros((width + 1, problem.outputs))
    if start is not None:
        unknown = np.vstack([start.weight, start.bias])
    ridge = np.full(width + 1, problem.l2)
    ridge[-1] = 0.0
    value = _value(problem, unknown[:-1], unknown[-1])
    for _ in range(100):
        shares = _shares(design @ unknown)
        slope = design.T @ (problem.weights[:, None] * (shares - wanted)) + ridge[:, None] * unknown
        step = _newton_step(design, shares, problem.weights, ridge, slope)
        length = 1.0
        while length > 1e-6:
            trial = unknown - length * step
            new = _value(problem, trial[:-1], trial[-1])
            if new <= value:
                break
            length /= 2
        if length <= 1e-6 or value - new <= 1e-12 * max(1.0, abs(value)):
            unknown = unknown if length <= 1e-6 else trial
            break
        unknown, value = trial, new
    return Solution(unknown[:-1], unknown[-1])


def _newton_step(design: Array, shares: Array, weights: Array, ridge: Array, slope: Array) -> Array:
    """The solution of (second derivatives) x step = slope, both (d + 1, outputs)."""
    width, outputs = slope.shape
    if outputs == 1:
        bend = design.T @ (design * (weights * shares[:, 0] * (1 - shares[:, 0]))[:, None])
        whole, flat = bend + np.diag(ridge), slope[:, 0]
    else:
        whole = np.zeros((outputs, width, outputs, width))
        for one in range(outputs):
            for other in range(one, outputs):
                both = weights * shares[:, one] * ((one == other) - shares[:, other])
                whole[one, :, other] = whole[other, :, one] = design.T @ (design * both[:, None])
            whole[one, :, one] += np.diag(ridge)
        whole, flat = whole.reshape(outputs * width, outputs * width), slope.T.ravel()
    # All biases may move together without any change: a little weight keeps the equations solvable.
    whole[np.diag_indices_from(whole)] += 1e-9 * max(1.0, float(np.trace(whole)) / len(whole))
    return np.linalg.solve(whole, flat).reshape(outputs, width).T


def _descent(problem: Problem) -> Solution:
    """Limited-memory BFGS, for many features or classes."""
    import torch
    from torch.nn.functional import cross_entropy, softplus

    features, weights = torch.from_numpy(problem.features), torch.from_numpy(problem.weights)
    targets = torch.from_numpy(problem.targets.astype(np.int64))
    weight = torch.zeros(features.shape[1], problem.outputs, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(problem.outputs, dtype=torch.float64, requires_grad=True)
    rule = torch.optim.LBFGS(
        [weight, bias], max_iter=500, history_size=20, tolerance_grad=1e-7, line_search_fn="strong_wolfe"
    )

    def value() -> torch.Tensor:
        rule.zero_grad()
        outputs = features @ weight + bias
        if problem.outputs == 1:
            losses = softplus(outputs[:, 0] * (1 - 2 * targets))
        else:
            losses = cross_entropy(outputs, targets, reduction="none")
        total: torch.Tensor = (weights * losses).sum() + 0.5 * problem.l2 * (weight**2).sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    with torch.enable_grad():
        rule.step(value)  # type: ignore[no-untyped-call]
    return Solution(weight.detach().numpy(), bias.detach().numpy())


# -- L1


def _proximal(problem: Problem) -> Solution:
    """Accelerated proximal gradients with restarts (Beck & Teboulle, 2009; O'Donoghue & Candes, 2015)."""
    features, wanted, weights = problem.features, _wanted(problem), problem.weights[:, None]
    scaled = features * np.sqrt(weights)
    products = scaled.T @ scaled if scaled.shape[1] <= len(scaled) else scaled @ scaled.T  # of the same eigenvalues
    largest = float(np.linalg.eigvalsh(products).max(initial=0.0)) + float(weights.sum())
    # The cross-entropy bends at most a quarter as much for two classes, half for more.
    rate = 1 / (largest * (1.0 if not problem.classes else 0.25 if problem.classes == 2 else 0.5) + problem.l2)
    weight, bias = np.zeros((features.shape[1], problem.outputs)), np.zeros(problem.outputs)
    ahead, ahead_bias, momentum = weight, bias, 1.0
    for _ in range(50_000):
        outputs = features @ ahead + ahead_bias
        residual = (_shares(outputs) if problem.classes else outputs) - wanted
        if not problem.classes and problem.loss == "huber":
            residual = residual.clip(-problem.delta, problem.delta)
        slope = weights * residual
        moved = ahead - rate * (features.T @ slope + problem.l2 * ahead)
        new = np.sign(moved) * np.maximum(np.abs(moved) - rate * problem.l1, 0)
        new_bias = ahead_bias - rate * slope.sum(0)
        change = max(np.abs(new - weight).max(initial=0.0), np.abs(new_bias - bias).max())
        if ((ahead - new) * (new - weight)).sum() + ((ahead_bias - new_bias) * (new_bias - bias)).sum() > 0:
            momentum = 1.0
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        share = (momentum - 1) / following
        ahead, ahead_bias = new + share * (new - weight), new_bias + share * (new_bias - bias)
        weight, bias, momentum = new, new_bias, following
        if change < 1e-10:
            break
    return Solution(weight, bias)
