"""The machine: seeds, orders, number formats."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from matinee.core.errors import SettingsError
from matinee.core.runtime import machine, order_of, peak_memory, processor, seed_of


def test_neighbouring_steps_have_seeds_of_their_own() -> None:
    seeds = {seed_of(run, part, step) for run in range(20) for part in range(3) for step in range(200)}
    assert len(seeds) == 20 * 3 * 200 and all(0 <= seed < 2**63 for seed in seeds)


def test_an_order_is_a_permutation_and_balanced_where_asked() -> None:
    assert sorted(order_of(50, 3).tolist()) == list(range(50))
    labels = np.repeat([0, 1], [950, 50])
    drawn = labels[order_of(1000, 3, labels)]
    assert 0.4 < drawn.mean() < 0.6 and len(drawn) == 1000


def test_the_machine_is_what_was_asked_for() -> None:
    assert machine("cpu", "bfloat16").precision == torch.bfloat16
    assert machine("cpu", "float32", threads=1).device.type == "cpu" and torch.get_num_threads() == 1
    for name in ("tpu", "cuda:99", "nonsense"):
        with pytest.raises(SettingsError):
            machine(name)
    assert processor() and peak_memory() > 0
    assert "thread" in machine("cpu").describe()
