"""How to train: the settings of the one loop."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from matinee.core.settings import rules, setting

OPTIMISERS = ("sgd", "adam", "adamw", "rmsprop", "muon", "muon-unit")


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How to train. None ("auto") is filled from the task's advice for its network and amount of data."""

    minutes: float | None = setting(
        None,
        "time to spend, reading and the final report included; with --epochs, whichever ends first",
        low=0.02,
        high=100_000,
        log=True,
    )
    epochs: int | None = setting(
        None,
        "passes over the training examples (0: no steps, where the network learns all at a look)",
        low=0,
        high=100_000,
    )
    batch_size: int | None = setting(None, "examples a step", low=1, high=65_536, log=True)
    optimiser: str | None = setting(None, "the rule that moves the weights", choices=OPTIMISERS)
    learning_rate: float | None = setting(None, "length of a step at its peak", low=1e-7, high=10.0, log=True)
    momentum: float | None = setting(None, "share of the last step that is kept", low=0.0, high=0.9999)
    weight_decay: float | None = setting(None, "L2 penalty on the weights", low=0.0, high=10.0)
    l1: float = setting(0.0, "L1 penalty on the weights", low=0.0, high=10.0)
    schedule: str | None = setting(
        None, "how the learning rate falls to zero", choices=("linear", "cosine", "constant")
    )
    warmup: float | None = setting(None, "share of the training that raises the learning rate", low=0.0, high=0.9)
    average: float | None = setting(
        None, "decay of the running average of the weights that is scored and kept (0: none)", low=0.0, high=0.99999
    )
    clip: float | None = setting(None, "longest gradient that is followed in full (0: any)", low=0.0, high=1e6)
    patience: int = setting(0, "stop after so many validations without a better score (0: never)", low=0, high=100_000)
    select: str = setting("", "score that selects the best model and stops early (empty: the task's first)")
    balanced: bool = setting(False, "draw rare classes as often as common ones")
    checkpoint_steps: int = setting(0, "steps between two checkpoints (0: one every 20 seconds)", low=0, high=1_000_000)
    seed: int = setting(0, "where all randomness of the training starts", low=0, high=2**31 - 1)
    device: str = setting("auto", "where to compute: auto, cpu, cuda, cuda:1")
    precision: str = setting(
        "auto", "number format: bfloat16 where the hardware multiplies it", choices=("auto", "float32", "bfloat16")
    )
    parallel: str = setting(
        "auto",
        "with torchrun, what a process holds: data, all weights and its part of each batch; sharded, a part of both",
        choices=("auto", "data", "sharded"),
    )
    threads: int = setting(0, "processor threads (0: all, or one where others use the cores)", low=0, high=1024)

    def advised(self, advice: Mapping[str, Any]) -> TrainSettings:
        """The same settings, with what was left to "auto" taken from `advice`, then from plain defaults."""
        known = {**_PLAIN, **{k: v for k, v in advice.items() if k in rules(self)}}
        if self.minutes is not None and self.epochs is None and known["epochs"]:
            known["epochs"] = advice.get("most_epochs")
        elif self.epochs is not None and self.minutes is None:
            known.pop("minutes")
        open_ = {k: v for k, v in known.items() if getattr(self, k) is None}
        return dataclasses.replace(self, **open_)


_PLAIN: dict[str, Any] = {
    "minutes": 10.0,
    "epochs": 20,
    "batch_size": 64,
    "optimiser": "adamw",
    "learning_rate": 1e-3,
    "momentum": 0.9,
    "weight_decay": 0.01,
    "schedule": "cosine",
    "warmup": 0.05,
    "average": 0.0,
    "clip": 1.0,
}
