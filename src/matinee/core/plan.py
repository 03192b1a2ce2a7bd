"""How long to train: from passes over the data, from minutes, or from whichever ends first.

The position in the schedule is a share from 0 to 1 that every step moves by (1 - share) / (steps left). When the clock
changes the number of steps left, the learning rate bends but never jumps. Each change is an event; a resumed run is
given the events of the run it continues, so that it takes the same path.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

VALIDATIONS = 40  # at most so many in one run, however short a pass is
PROBE_STEPS = 4  # steps whose time is not counted: the first ones pay for memory and kernels
GUESS = 20  # passes, for the first learning rates of a run whose length is not known yet
LOOKS = 32  # places of the schedule at which its effort is asked for
Event = dict[str, Any]  # a decision of the clock: "step", "epoch", "left", "every", and "checked" as in the plan
CHECKS = (0.04, 0.2, 0.4, 0.6, 0.75, 0.9)  # shares of budget or schedule at which the speed so far sets the length


@dataclass
class Plan:
    """Where a run stands in its schedule. `budget`: seconds of training, or infinite."""

    steps_per_epoch: int
    budget: float
    wanted: int | None  # steps asked for in all; None: as many as the budget allows
    left: int  # steps; a guess until the speed is known, where the budget alone decides
    every: int  # passes between two validations
    share: float = 0.0
    checked: float = 0.0  # share of budget or schedule that was behind when the length was last set
    events: list[Event] = field(default_factory=list)

    @staticmethod
    def of(steps_per_epoch: int, epochs: int | None, budget: float) -> Plan:
        """The plan before anything is known of the machine's speed."""
        passes = epochs if epochs is not None else GUESS
        wanted = None if epochs is None else epochs * steps_per_epoch
        every = max(1, math.ceil(passes / VALIDATIONS))
        return Plan(steps_per_epoch, budget, wanted, passes * steps_per_epoch, every)

    def advance(self) -> None:
        """One step was taken. A guessed length never ends the training: the schedule waits for the measured one."""
        if self.wanted is None and not self.events and self.left <= 2:
            return
        self.share += (1.0 - self.share) / self.left
        self.left -= 1

    def due(self, step: int, spent: float, probed: int) -> bool:
        """Whether it is time to set the length (again), and enough is known of the machine's speed."""
        if math.isinf(self.budget) or step - probed < 2:
            return False
        return any(self.checked < share <= self._behind(spent) for share in CHECKS)

    def _behind(self, spent: float) -> float:
        return max(spent / self.budget, self.share if self.events else 0.0)

    def fit(self, at: tuple[int, int], seconds_left: float, per_step: float, per_validation: float) -> None:
        """Set the steps that are left so that they, and the validations among them, end with the budget.

        at: the step and the pass, which say where a resumed run must take the same decision.
        """
        step, epoch = at
        self.checked = self._behind(self.budget - seconds_left)
        per_pass = self.steps_per_epoch * per_step
        # Validation may take a tenth of the time, and a run that is long in passes is looked at VALIDATIONS times.
        passes = seconds_left / max(per_pass, 1e-9)
        every = max(1, math.ceil(passes / VALIDATIONS), math.ceil(9 * per_validation / max(per_pass, 1e-9)))
        every = min(every, max(1, int(passes)))
        cost = per_step + per_validation / (every * self.steps_per_epoch)
        affordable = max(1, int((seconds_left - per_validation) / cost))
        if self.wanted is not None and affordable >= self.left and not self.events:
            return  # there is time for all that was asked for: the clock decides nothing, and the bits stay the same
        left = affordable if self.wanted is None else min(self.wanted - step, affordable)
        self.apply({"step": step, "epoch": epoch, "left": left, "every": every, "checked": self.checked})

    def apply(self, event: Event) -> None:
        """Take an event into account and remember it: its own run, or one that goes on with it, does not look again."""
        self.left, self.every = event["left"], event["every"]
        self.checked = event.get("checked", self.checked)
        self.events.append(event)

    def to_json(self) -> dict[str, Any]:
        """For the checkpoint. An infinite budget is written as null."""
        return {**asdict(self), "budget": None if math.isinf(self.budget) else self.budget}

    @staticmethod
    def from_json(value: dict[str, Any]) -> Plan:
        """The reverse of to_json."""
        return Plan(**{**value, "budget": math.inf if value["budget"] is None else value["budget"]})


def outlook(effort: Callable[[float], float], since: float, now: float) -> float:
    """How much dearer a step will be on average, until the end, than those from the shares `since` to `now` were."""

    def mean(low: float, high: float) -> float:
        return sum(effort(low + (high - low) * (place + 0.5) / LOOKS) for place in range(LOOKS)) / LOOKS

    return mean(now, 1.0) / mean(since, now)


def rate_at(share: float, schedule: str, warmup: float) -> float:
    """The learning rate at a place in the schedule, as a share of its peak."""
    if share < warmup:
        return max(0.02, share / warmup)
    rest = (share - warmup) / (1.0 - warmup)
    if schedule == "linear":
        return 1.0 - rest
    if schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * rest))
    return 1.0
