"""A training under way: what it was asked, what is written down of that, and the model that comes of it."""

from __future__ import annotations

import dataclasses
import datetime
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from matinee.core import processes
from matinee.core.model import Model
from matinee.core.progress import Progress, seconds
from matinee.core.reading import task_name
from matinee.core.runs import Run
from matinee.core.settings import rules, setting, to_json
from matinee.core.task import Data
from matinee.core.train_settings import TrainSettings

if TYPE_CHECKING:
    from torch import nn

    from matinee.core.loop import Hook
    from matinee.core.standing import Row


@dataclass(frozen=True)
class StartSettings:
    """Where to start."""

    start: str = setting("", "weights to start from: a run, a saved model or a safetensors file whose trunk fits")
    freeze: int = setting(0, "epochs in which only the new head learns, with --start", low=0, high=100_000)


@dataclass
class Job:
    """A training under way: the data with a task that has nothing left to "auto", and settings likewise.

    notes: what the user should know of how it went, in sentences.
    """

    data: Data
    settings: TrainSettings
    start: StartSettings
    progress: Progress
    run: Run | None = None
    began: float = dataclasses.field(default_factory=time.perf_counter)
    given: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    hooks: Sequence[Hook] = ()
    notes: list[str] = dataclasses.field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """settings.json: all that a resume or a reader needs."""
        source = self.data.origin.source
        return {
            "verb": "train",
            "version": version("matinee"),
            "source": source,
            "source_path": os.path.abspath(source) if os.path.exists(source) else source,  # noqa: PTH100, PTH110
            "digest": self.data.digest(),
            "task": task_name(type(self.data.task)),
            "fields": to_json(self.data.task),
            "train": to_json(self.settings),
            "start": to_json(self.start),
            "given": {**_read_as(self.data.task), **{name: v for name, v in self.given.items() if v is not None}},
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "python": platform.python_version(),
            **({"job": processes.job()} if processes.job() else {}),
        }

    def model(self, network: nn.Module, valid: Row) -> Model:
        """The network with all that its bundle tells. valid: its scores on the validation examples."""
        origin = self.data.origin
        tested = frozenset(origin.names[row] for row in self.data.test.rows) if len(origin.names) else frozenset()
        folder = self.run.folder if self.run is not None else None
        return Model(self.data.task, network, origin.manifest, self._facts(valid), folder, tested)

    def _facts(self, valid: Row) -> dict[str, Any]:
        """What the bundle tells of how it was made."""
        from matinee.core.measuring import selecting

        meter = self.data.task.meter()
        select = selecting(meter, self.settings.select)
        record = self.record()
        facts = {name: record[name] for name in ("version", "source", "source_path", "date", "train")}
        names = [select, *(name for name in meter.names_of_scores() if name != select)]
        return {**facts, "select": select, "valid": {name: valid[name] for name in names if name in valid}}

    def left(self) -> float:
        """Seconds of the minutes that are left; infinite where nobody counts them."""
        whole = 60 * self.settings.minutes if self.settings.minutes is not None else float("inf")
        return whole - (time.perf_counter() - self.began) - (self.run.before if self.run is not None else 0.0)

    def tell_enough(self, steps: int, wanted: int | None) -> None:
        """Say so where all passes that pay were made long before the minutes were over."""
        passes, minutes = self.settings.epochs, self.given.get("minutes")
        by_advice = minutes is not None and self.given.get("epochs") is None and passes and wanted is not None
        if by_advice and steps >= (wanted or 0) and self.left() > 0.25 * 60 * float(minutes or 0.0):
            self.notes.append(
                f"it ended after {passes} passes with {seconds(self.left())} left: in more of them so few examples are "
                "learned by heart. --epochs beside --minutes takes another number."
            )
            self.progress.note(f"note: {self.notes[-1]}")


def _read_as(task: Any) -> dict[str, Any]:
    """The settings of reading that are not the plain ones, wherever they were given."""
    plain = {f.name: f.default for f in dataclasses.fields(task)}
    settings = to_json(task, settings_only=True)
    return {
        name: settings[name] for name, rule in rules(task).items() if rule.reading and settings[name] != plain[name]
    }
