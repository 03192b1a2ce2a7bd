"""Cross-validation, over every task."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from matinee.core.errors import SettingsError
from matinee.core.examples import Examples
from matinee.core.meter import Score
from matinee.core.progress import Progress
from matinee.core.task import Data
from matinee.tasks.table_prediction import TablePrediction
from matinee.verbs.cross_validate import CrossValidation, _fold, _folds, _pool, cross_validate


def test_every_example_is_answered_once(toy: Data, quiet: Progress) -> None:
    told = cross_validate(toy, folds=2, epochs=1, progress=quiet)
    assert told.examples == sum(len(part) for part in toy.splits().values())
    assert list(told.scores) == list(toy.task.meter().names_of_scores())
    assert all(len(values) == 2 for values in told.folds.values())
    assert all(score.low <= score.value <= score.high for score in told.scores.values())
    assert json.dumps(told.to_json()) and str(told)


def test_folds_are_even_and_keep_groups_whole(toy: Data) -> None:
    pool = _pool(toy)
    columns = {**toy.train.columns, "group": np.arange(len(next(iter(toy.train.columns.values())))) // 4}
    grouped = replace(toy, **{name: Examples(columns, part.rows) for name, part in toy.splits().items()})
    if grouped.task.together(grouped.train) is None:
        pytest.skip("this task has its own idea of what belongs together")
    grouped_pool = Examples(columns, pool.rows)
    numbers, whole = _folds(grouped, grouped_pool, 4)
    assert np.bincount(numbers).min() > 0.6 * len(pool) / 4
    for group in np.unique(columns["group"][pool.rows]):
        assert len(np.unique(numbers[columns["group"][pool.rows] == group])) == 1
    parts = _fold(grouped, grouped_pool, numbers == 0, whole, 0).splits().values()
    seen = [set(columns["group"][part.rows].tolist()) for part in parts]
    assert not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2])


def test_folds_have_low_and_high_numbers_alike() -> None:
    numbers = np.random.default_rng(0).lognormal(0, 1, 200)
    columns = {"values": np.arange(200, dtype=np.float32)[:, None], "number": numbers}
    rows = np.split(np.arange(200), [150, 170])
    data = Data(TablePrediction(), *(Examples(columns, part) for part in rows))
    folds = _folds(data, _pool(data), 4)[0]
    high = numbers > np.quantile(numbers, 0.8)
    assert np.bincount(folds[high]).tolist() == [10] * 4 and np.bincount(folds).tolist() == [50] * 4


def test_what_the_source_holds_back_is_left_alone(toy: Data) -> None:
    given = replace(toy, origin=replace(toy.origin, given=frozenset({"test"})))
    assert len(_pool(given)) == len(toy.train) + len(toy.valid)


@pytest.mark.parametrize("folds", [1, 10**6])
def test_too_few_or_too_many_folds_are_refused(toy: Data, folds: int, quiet: Progress) -> None:
    with pytest.raises(SettingsError, match="--folds"):
        cross_validate(toy, folds=folds, progress=quiet)


def test_folds_that_cannot_be_scored_are_left_out_of_the_mean() -> None:
    nan = float("nan")
    told = CrossValidation({"auroc": Score(0.8, 0.7, 0.9)}, {"auroc": [0.7, nan, 0.9]}, {}, {}, 30, 1.0)
    assert "0.8000" in str(told) and "nan" not in str(told) and "AUROC cannot be told of some folds" in str(told)
    assert "some folds" not in str(replace(told, folds={"auroc": [0.7, 0.9]}))


def test_shares_are_told_as_evaluate_tells_them() -> None:
    scores, folds = {"accuracy": Score(0.96, 0.94, 0.97)}, {"accuracy": [0.95, 0.97]}
    ahead, shares = {"linear": Score(0.02, 0.01, 0.03)}, frozenset({"accuracy"})
    told = CrossValidation(scores, folds, {"linear": {"accuracy": 0.94}}, ahead, 300, 1.0, shares=shares)
    assert "96.00 %  94.00 % to 97.00 %        96.00 %  1.41 points  94.00 %" in str(told)
    assert "accuracy: surely better than linear, by 2.00 points (1.00 to 3.00 points)" in str(told)
    assert told.to_json()["scores"]["accuracy"]["value"] == 0.96 and "shares" not in told.to_json()
