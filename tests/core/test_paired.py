"""Two models that answered the same examples."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from matinee.core import meter as meters
from matinee.core.meter import Meter, Rows, affordable, intervals
from matinee.core.paired import chance, holm, margins
from matinee.core.scores import ClassificationMeter


class Means(Meter):
    """The mean of one number, where less is better or more."""

    def collect(self, outputs: object, batch: object) -> dict[str, torch.Tensor]:
        return {}

    def score(self, rows: Rows) -> dict[str, float]:
        return {"mean": float(rows["x"].mean())}

    def names_of_scores(self) -> list[str]:
        return ["mean"]


class Errors(Means):
    """The same, where less is better."""

    lower_is_better = frozenset({"mean"})


def test_a_margin_is_that_of_paired_examples() -> None:
    generator = np.random.default_rng(0)
    hard = generator.normal(0, 10, 500)  # what is hard for one is hard for the other
    one, other = {"x": hard + 1 + generator.normal(0, 1, 500)}, {"x": hard}
    ahead = margins(Means(), one, other)["mean"]
    difference = one["x"] - other["x"]
    assert ahead.value == pytest.approx(difference.mean())
    assert ahead.high - ahead.low == pytest.approx(2 * 1.96 * difference.std() / math.sqrt(500), rel=0.2)
    assert ahead.low > 0 > margins(Means(), other, one)["mean"].high
    assert margins(Errors(), one, other)["mean"].high < 0
    few = margins(Means(), {"x": np.ones(3)}, {"x": np.zeros(3)})["mean"]
    assert few.value == 1 and few.low <= 0


def classified(right: np.ndarray) -> dict[str, np.ndarray]:
    """Rows of a classifier of two classes that is right where it is said."""
    truth = np.arange(len(right)) % 2
    told = {"truth": truth, "answer": np.where(right, truth, 1 - truth)}
    return {**told, "confidence": np.full(len(right), 0.8), "nll": np.ones(len(right))}


@pytest.mark.parametrize(("ours", "theirs"), [(8, 2), (12, 4), (5, 5), (6, 0), (3, 0)])
def test_for_accuracy_chance_is_mcnemar_s_exact_p_value(ours: int, theirs: int) -> None:
    right = np.ones((2, 60), bool)
    right[1, :ours] = False  # the one alone is right
    right[0, ours : ours + theirs] = False  # the other alone
    right[:, 50:] = False
    apart, least = ours + theirs, min(ours, theirs)
    exact = min(1.0, 2 * sum(math.comb(apart, k) for k in range(least + 1)) / 2**apart)
    told = chance(ClassificationMeter("ab"), "accuracy", classified(right[0]), classified(right[1]))
    assert told == pytest.approx(exact, abs=0.02)


def test_chance_is_even_where_models_are_alike_and_small_where_they_are_not() -> None:
    generator, found = np.random.default_rng(0), []
    for seed in range(100):
        rows = [{"x": generator.normal(size=40)} for _ in range(2)]
        found.append(chance(Means(), "mean", *rows, draws=99, seed=seed))
    assert 0.4 < np.mean(found) < 0.6 and np.mean(np.array(found) < 0.1) < 0.2
    better = {"x": rows[0]["x"] + 0.5}
    assert chance(Errors(), "mean", better, rows[0]) == pytest.approx(1 / 5001)
    assert chance(Means(), "mean", rows[0], rows[0], draws=99) == 1
    assert math.isnan(chance(Means(), "mean", {"x": np.full(9, np.nan)}, {"x": np.ones(9)}, draws=99))


def test_several_p_values_are_corrected_as_published() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])  # R: p.adjust(p, "holm")
    assert holm([0.8, 0.7]) == [1.0, 1.0] and holm([0.04]) == [0.04]
    told = holm([math.nan, 0.02, 0.03])
    assert math.isnan(told[0]) and told[1:] == pytest.approx([0.04, 0.04])


def test_slow_scores_are_drawn_again_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, calls = [0.0], [0]

    class Slow(Means):
        def score(self, rows: Rows) -> dict[str, float]:
            clock[0] += 0.1
            calls[0] += 1
            return super().score(rows)

    monkeypatch.setattr(meters.time, "process_time", lambda: clock[0])
    rows = {"x": np.random.default_rng(0).normal(size=50)}, {"x": np.zeros(50)}
    for draw, most in ((lambda: intervals(Slow(), rows[0]), 125), (lambda: margins(Slow(), *rows), 2 * 50)):
        calls[0] = 0
        draw()
        assert most <= calls[0] < most + 10
    calls[0] = 0
    assert chance(Slow(), "mean", *rows) > 0 and 2 * 250 <= calls[0] < 2 * 250 + 10
    assert affordable(1000, 100, lambda: None) == 1000 and affordable(50, 100, lambda: Slow().score(rows[0])) == 50
