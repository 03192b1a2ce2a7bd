"""Chance that belongs to places in the batch."""

from __future__ import annotations

import torch

from matinee.core.moment import Moment


def test_a_part_draws_what_the_whole_draws_there() -> None:
    whole = Moment(seed=2**62 + 1).uniform("shift", 10, 3)
    assert torch.equal(Moment(seed=2**62 + 1, first=6).uniform("shift", 4, 3), whole[6:])
    assert whole.dtype == torch.float32
    assert 0 <= float(whole.min()) < float(whole.max()) < 1


def test_purposes_and_steps_have_numbers_of_their_own() -> None:
    first = Moment(1).uniform("shift", 100)
    assert not torch.equal(first, Moment(1).uniform("flip", 100))
    assert not torch.equal(first, Moment(2).uniform("shift", 100))
    assert torch.equal(first, Moment(1).uniform("shift", 100))


def test_rows_take_turns() -> None:
    rows = torch.arange(20_000)
    first = Moment(run=3).alternately(rows)
    assert torch.equal(Moment(run=3, epoch=1).alternately(rows), ~first)
    assert torch.equal(Moment(seed=9, run=3, epoch=2).alternately(rows), first)
    for other in (Moment(run=4).alternately(rows), first.roll(1)):
        assert 0.48 < float((first == other).float().mean()) < 0.52
    assert 0.48 < float(first.float().mean()) < 0.52
