"""The schedule: from passes, from minutes, from both; bent by the clock, never broken."""

from __future__ import annotations

import itertools
import json
import math

import pytest

from matinee.core.plan import Plan, rate_at


def run(plan: Plan, per_step: float, drift: float = 1.0) -> tuple[float, list[float]]:
    """Walk through a schedule with a clock of our own. Returns seconds and the learning rates."""
    now, step, rates = 0.0, 0, []
    while plan.left:
        rates.append(rate_at(plan.share, "linear", 0.1))
        now += per_step * (drift if step > 100 else 1.0)
        step += 1
        plan.advance()
        if plan.due(step, now, 4):
            plan.fit((step, step // plan.steps_per_epoch), plan.budget - now, per_step, 0.0)
        elif plan.events and step % plan.steps_per_epoch == 0 and plan.left:
            plan.fit((step, step // plan.steps_per_epoch), plan.budget - now, now / step, 0.0)
        assert step < 1_000_000
    return now, rates


def test_passes_alone_never_ask_the_clock() -> None:
    plan = Plan.of(10, 5, math.inf)
    _, rates = run(plan, 1.0)
    assert len(rates) == 50 and not plan.events and plan.share == pytest.approx(1.0)


@pytest.mark.parametrize("per_step", [0.001, 0.1, 2.0])
def test_minutes_end_on_time_with_the_rate_at_zero(per_step: float) -> None:
    spent, rates = run(Plan.of(30, None, 60.0), per_step)
    assert spent == pytest.approx(60.0, rel=0.1)
    assert max(rates) > 0.8 and rates[-1] < 0.1 * max(rates)
    assert all(abs(a - b) < 0.5 for a, b in itertools.pairwise(rates))


def test_a_machine_that_slows_down_still_ends_on_time() -> None:
    spent, rates = run(Plan.of(20, None, 60.0), 0.1, drift=2.0)
    assert spent == pytest.approx(60.0, rel=0.15) and rates[-1] < 0.1


def test_one_step_a_pass_is_not_the_end_before_the_speed_is_known() -> None:
    spent, _ = run(Plan.of(1, None, 30.0), 0.01)
    assert spent == pytest.approx(30.0, rel=0.1)


def test_whichever_ends_first() -> None:
    assert len(run(Plan.of(10, 3, 1000.0), 0.1)[1]) == 30
    assert len(run(Plan.of(10, 1000, 20.0), 0.1)[1]) == pytest.approx(200, rel=0.1)


def test_a_plan_survives_json() -> None:
    for plan in (Plan.of(10, 5, math.inf), Plan.of(7, None, 12.5)):
        plan.apply({"step": 3, "epoch": 0, "left": 9, "every": 2})
        plan.advance()
        assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def test_a_decision_that_is_taken_again_is_not_taken_twice() -> None:
    first, again = Plan.of(100, None, 60.0), Plan.of(100, None, 60.0)
    assert first.due(10, 13.0, 4)
    first.fit((10, 0), 47.0, 1.3, 0.0)
    again.apply(first.events[0])
    assert not again.due(10, 13.0, 4) and not first.due(10, 13.0, 4)
    assert again.due(30, 25.0, 4)


def test_rates_rise_then_fall() -> None:
    for schedule in ("linear", "cosine"):
        assert rate_at(0.05, schedule, 0.1) == pytest.approx(0.5)
        assert rate_at(0.1, schedule, 0.1) == pytest.approx(1.0)
        assert rate_at(1.0, schedule, 0.1) == pytest.approx(0.0)
    assert rate_at(0.9, "constant", 0.0) == 1.0
