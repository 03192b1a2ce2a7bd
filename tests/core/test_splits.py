"""Splits: stratified, groups whole, fixed by the seed; and the near duplicates that make the groups."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matinee.core.duplicates import groups
from matinee.core.splits import Splits, divide, held_back, layers


def alone(count: int) -> np.ndarray:
    return np.arange(count)


def test_every_class_gives_its_share() -> None:
    labels = np.repeat([0, 1, 2], [1000, 100, 10])
    away = held_back(labels, alone(1110), 0.2, 0)
    assert [away[labels == c].sum() for c in range(3)] == [200, 20, 2]


def test_numbers_are_divided_low_and_high_alike() -> None:
    values = np.random.default_rng(0).lognormal(0, 1, 203)
    assert set(np.bincount(layers(values))) <= {40, 41}
    assert np.unique(layers(np.r_[np.zeros(90), np.arange(1, 11)])).size == 2 and layers(np.zeros(0)).size == 0
    away = held_back(layers(values), alone(203), 0.1, 0)
    assert [int((away & (layers(values) == layer)).sum()) for layer in range(5)] == [4] * 5


def test_the_seed_alone_decides() -> None:
    labels = np.arange(400) % 4
    assert (held_back(labels, alone(400), 0.2, 3) == held_back(labels, alone(400), 0.2, 3)).all()
    assert (held_back(labels, alone(400), 0.2, 3) != held_back(labels, alone(400), 0.2, 4)).any()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 200), st.integers(1, 8), st.integers(1, 40), st.floats(0, 0.9), st.integers(0, 99))
def test_groups_stay_whole_and_no_class_is_emptied(
    count: int, classes: int, sets: int, share: float, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    labels, together = generator.integers(0, classes, count), generator.integers(0, sets, count)
    away = held_back(labels, together, share, seed)
    for number in np.unique(together):
        assert len(np.unique(away[together == number])) == 1
    assert not away.all()


def test_splits_that_are_given_are_kept() -> None:
    named = np.array([0] * 60 + [2] * 20 + [1] * 20)
    known = Splits(alone(100), named, np.arange(100) % 2, np.full(100, -1))
    parts = divide(known, lambda rows: (rows,), (0.1, 0.2, 0))
    assert [len(parts[n]) for n in ("train", "valid", "test")] == [60, 20, 20]
    assert (parts["test"] == np.arange(60, 80)).all()


def test_what_is_missing_is_held_back() -> None:
    known = Splits(alone(200), np.full(200, -1), np.arange(200) % 2, np.full(200, -1))
    parts = divide(known, lambda rows: (np.arange(len(rows)) // 4 * 4,), (0.1, 0.2, 0))
    assert sum(map(len, parts.values())) == 200 and 30 <= len(parts["test"]) <= 50
    for rows in parts.values():
        assert len(rows) % 4 == 0 or len(np.unique(rows // 4)) * 4 == len(rows)


def test_near_duplicates_are_grouped_and_chained() -> None:
    generator = np.random.default_rng(0)
    prints = generator.standard_normal((50, 64)).astype(np.float32)
    prints[7] = prints[3] + 0.01 * generator.standard_normal(64)
    prints[9] = prints[7] + 0.01 * generator.standard_normal(64)
    prints[20] = prints[30]
    prints[40] = prints[41] = 0
    prints /= np.maximum(np.linalg.norm(prints, axis=1, keepdims=True), 1e-9)
    found = groups(prints, 0.99)
    assert found[3] == found[7] == found[9] == 3 and found[20] == found[30] == 20
    assert found[40] != found[41] and len(np.unique(found)) == 47
    assert len(groups(prints[:0], 0.99)) == 0


def test_many_examples_are_compared_by_hashing(monkeypatch: pytest.MonkeyPatch) -> None:
    import matinee.core.duplicates as duplicates

    generator = np.random.default_rng(0)
    prints = generator.standard_normal((3000, 64)).astype(np.float32)
    prints[1::2] = prints[::2] + 0.05 * generator.standard_normal((1500, 64))
    prints /= np.linalg.norm(prints, axis=1, keepdims=True)
    whole = groups(prints, 0.99)
    monkeypatch.setattr(duplicates, "ALL_PAIRS", 100)
    hashed = groups(prints, 0.99)
    assert (whole[::2] == whole[1::2]).mean() > 0.99
    assert (hashed == whole).mean() > 0.98
