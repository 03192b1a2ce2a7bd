"""The machine: seeds, orders, number formats."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import torch

from matinee.core.errors import SettingsError
from matinee.core.progress import Progress
from matinee.core.runtime import (
    keep_memory,
    machine,
    order_of,
    peak_memory,
    processor,
    seed_of,
    seed_torch,
    settled,
)


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


def test_what_was_settled_last_is_known_and_a_single_answer_settles_nothing() -> None:
    for precision in (torch.bfloat16, torch.float32):
        machine("cpu", str(precision).removeprefix("torch."))
        assert settled().precision == precision
    machine("cpu", "bfloat16", settle=False)
    assert settled().precision == torch.float32


def test_memory_is_kept_by_training_alone() -> None:
    keep_memory.cache_clear()
    machine("cpu")
    assert keep_memory.cache_info().currsize == 0


def test_a_device_without_float64_is_refused_and_never_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert machine("auto", settle=False).device.type == "cpu"
    with pytest.raises(SettingsError, match="float64"):
        machine("mps")


def test_the_device_that_computes_is_the_one_that_is_seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    current, seeded = [0], []

    @contextlib.contextmanager
    def device(chosen: torch.device):  # type: ignore[no-untyped-def]
        current.append(chosen.index)
        yield
        current.pop()

    monkeypatch.setattr(torch.cuda, "device", device)
    monkeypatch.setattr(torch.cuda, "manual_seed", lambda seed: seeded.append((current[-1], seed)))
    seed_torch(torch.device("cuda:1"), 7)
    assert seeded == [(1, 7)]


def test_a_live_line_that_a_log_would_not_show_is_not_asked_for() -> None:
    assert not Progress().due()  # standard error is no terminal here
