"""Linear models agree with scikit-learn's coefficients."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from matinee.core.errors import SettingsError
from matinee.nets.linear_solvers import PENALTIES, Problem, _descent, choose_l2, solve

linear_model = pytest.importorskip("sklearn.linear_model")


def made(classes: int, rows: int = 150, width: int = 6) -> Problem:
    generator = np.random.default_rng(3)
    features = generator.normal(size=(rows, width))
    outputs = features @ generator.normal(size=(width, max(classes, 1))) + generator.normal(size=(rows, 1))
    targets = outputs.argmax(1) if classes > 2 else (outputs[:, 0] > 0.4).astype(int) if classes else outputs[:, 0]
    return Problem(features, targets.astype(np.int64) if classes else targets, np.ones(rows), classes)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("c", [0.01, 1.0, 100.0])
def test_logistic_and_softmax_regression(classes: int, c: float) -> None:
    problem = made(classes)
    found = solve(Problem(problem.features, problem.targets, problem.weights, classes, l2=1 / c))
    theirs = linear_model.LogisticRegression(C=c, tol=1e-10, max_iter=20_000).fit(problem.features, problem.targets)
    assert pytest.approx(theirs.coef_, abs=1e-4) == found.weight.T
    bias = found.bias - found.bias.mean() if classes > 2 else found.bias
    assert bias == pytest.approx(theirs.intercept_, abs=1e-3)
    descent = _descent(Problem(problem.features, problem.targets, problem.weights, classes, l2=1 / c))
    assert descent.weight == pytest.approx(found.weight, abs=1e-4)


def test_balanced_logistic_regression() -> None:
    problem = made(2)
    counts = np.bincount(problem.targets)
    weights = (len(problem.targets) / counts / 2)[problem.targets]
    found = solve(Problem(problem.features, problem.targets, weights, 2, l2=1.0))
    theirs = linear_model.LogisticRegression(class_weight="balanced", tol=1e-10).fit(problem.features, problem.targets)
    assert pytest.approx(theirs.coef_, abs=1e-4) == found.weight.T


@pytest.mark.parametrize("classes", [2, 3])
def test_logistic_regression_with_l1(classes: int) -> None:
    problem = made(classes)
    found = solve(Problem(problem.features, problem.targets, problem.weights, classes, l1=5.0))
    theirs = linear_model.LogisticRegression(C=0.2, l1_ratio=1, solver="saga", tol=1e-9, max_iter=100_000)
    theirs.fit(problem.features, problem.targets)
    assert pytest.approx(theirs.coef_, abs=1e-3) == found.weight.T
    assert (found.weight == 0).any()


@pytest.mark.parametrize("alpha", [0.0, 1.0, 50.0])
def test_ridge(alpha: float) -> None:
    problem = made(0)
    found = solve(Problem(problem.features, problem.targets, problem.weights, l2=alpha))
    theirs = linear_model.Ridge(alpha=alpha).fit(problem.features, problem.targets)
    assert found.weight[:, 0] == pytest.approx(theirs.coef_, abs=1e-8)
    assert found.bias[0] == pytest.approx(theirs.intercept_, abs=1e-8)


def test_lasso() -> None:
    problem = made(0)
    found = solve(Problem(problem.features, problem.targets, problem.weights, l1=0.3 * len(problem.targets)))
    theirs = linear_model.Lasso(alpha=0.3, tol=1e-10).fit(problem.features, problem.targets)
    assert found.weight[:, 0] == pytest.approx(theirs.coef_, abs=1e-6)
    assert (found.weight == 0).sum() == (theirs.coef_ == 0).sum() > 0


def test_absolute_errors_against_quantile_regression() -> None:
    problem = made(0)
    targets = problem.targets.copy()
    targets[:10] += 100
    found = solve(Problem(problem.features, targets, problem.weights, loss="mae"))
    theirs = linear_model.QuantileRegressor(alpha=0.0).fit(problem.features, targets)
    ours, best = (
        np.abs(targets - told).sum() for told in (found(problem.features)[:, 0], theirs.predict(problem.features))
    )
    assert ours == pytest.approx(best, rel=1e-4)
    plain = solve(Problem(problem.features, problem.targets, problem.weights, loss="mae"))
    assert np.abs(plain.weight - found.weight).max() < 0.5
    huber = solve(Problem(problem.features, targets, problem.weights, loss="huber"))
    assert np.abs(plain.weight - huber.weight).max() < 0.5


def test_the_penalty_is_that_of_leaving_each_out() -> None:
    problem = made(0, rows=40)
    theirs = linear_model.RidgeCV(alphas=PENALTIES).fit(problem.features, problem.targets)
    assert choose_l2(problem) == pytest.approx(theirs.alpha_)


def test_noise_is_penalised_more_than_signal() -> None:
    problem = made(2)
    noise = np.random.default_rng(0).integers(0, 2, len(problem.targets))
    noisy = Problem(problem.features, noise, problem.weights, 2)
    assert choose_l2(noisy) > choose_l2(problem)


def test_constant_and_equal_columns_have_an_answer() -> None:
    problem = made(0)
    twice = np.hstack([problem.features, problem.features[:, :1], np.ones((len(problem.targets), 1))])
    found = solve(Problem(twice, problem.targets, problem.weights))
    assert found.weight[0] == pytest.approx(found.weight[-2]) and abs(found.weight[-1, 0]) < 1e-8
    separable = Problem(np.arange(10.0)[:, None], (np.arange(10) > 4).astype(int), np.ones(10), 2)
    assert np.isfinite(solve(separable).weight).all()


def test_l1_with_absolute_errors_is_refused() -> None:
    with pytest.raises(SettingsError, match="--loss"):
        solve(Problem(np.ones((3, 1)), np.arange(3.0), np.ones(3), loss="mae", l1=1.0))


def test_features_that_are_always_zero_cost_and_change_nothing() -> None:
    for problem in (made(0), made(2), made(3)):
        penalised = replace(problem, l2=2.0)
        holed = replace(penalised, features=np.insert(problem.features, [0, 3], 0.0, axis=1))
        found, plain = solve(holed, solve(holed)), solve(penalised)
        assert (found.weight[[0, 4]] == 0).all()
        assert np.delete(found.weight, [0, 4], axis=0) == pytest.approx(plain.weight, abs=1e-6)


@pytest.mark.parametrize("classes", [0, 2, 3])
def test_more_features_than_examples(classes: int) -> None:
    problem = replace(made(classes, rows=40, width=300), l2=3.0)
    found = solve(problem)
    model = linear_model.LogisticRegression(C=1 / 3, tol=1e-10, max_iter=5000) if classes else linear_model.Ridge(3.0)
    theirs = model.fit(problem.features, problem.targets)
    assert pytest.approx(theirs.coef_.reshape(-1, 300), abs=1e-4) == found.weight.T
    assert choose_l2(problem) in PENALTIES
    assert np.abs(solve(replace(problem, l2=0.0, l1=2.0)).weight).max() > 0


@pytest.mark.parametrize("classes", [0, 2])
def test_the_penalty_is_chosen_with_groups_left_out_whole(classes: int) -> None:
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), 6)
    truth = generator.normal(size=30)[groups]
    # Each group can be told by what is its own: that helps where its rows are on both sides, and nowhere else.
    features = generator.normal(size=(30, 20))[groups]
    targets = (truth > 0).astype(np.int64) if classes else truth
    problem = Problem(features, targets, np.ones(180), classes)
    assert choose_l2(problem, groups) > 10 * choose_l2(problem)
    assert choose_l2(problem, np.full(180, -1)) == choose_l2(problem)
    assert choose_l2(problem, np.zeros(180, np.int64)) == PENALTIES[-1]
