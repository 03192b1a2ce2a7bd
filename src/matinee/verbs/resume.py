"""Go on with a run that was stopped or killed, to the same bits that it would have reached undisturbed."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matinee.core import processes
from matinee.core.command import Answer, Call, Command, argument
from matinee.core.errors import BundleError, DataError, SettingsError
from matinee.core.job import Job, StartSettings
from matinee.core.model import Model, load
from matinee.core.progress import Progress
from matinee.core.registry import trusted_task_class
from matinee.core.runs import Run
from matinee.core.settings import from_json, setting
from matinee.core.task import Data, Task
from matinee.core.telling import said
from matinee.core.train_settings import TrainSettings
from matinee.verbs.check import check
from matinee.verbs.train import carry_out

if TYPE_CHECKING:
    from matinee.core.loop import Hook


@dataclass
class Resuming:
    """A run that is gone on with: its folder, its record and its data."""

    run: Run
    record: dict[str, Any]
    data: Data
    hooks: Sequence[Hook] = field(default_factory=tuple)


def resume(
    run: str | Path,
    data: Data | None = None,
    *,
    anyway: bool = False,
    task: str | None = None,
    hooks: Sequence[Hook] = (),
    progress: Progress | None = None,
) -> Model:
    """Go on with a run.

    Args:
        data: for a run that was trained on data made in Python; None: read from where the run read it.
        anyway: go on even if the source is no longer what it was.
        task: the importable module of a task of your own.

    Raises DataError where the source has changed, BundleError where there is no run.
    """
    shown, folder = progress or Progress(quiet=not processes.speaks()), Path(run)
    with processes.joined() as group:
        opened = group.leading(lambda: Run.open(folder)) or Run(folder, here=False)
        record = json.loads(group.told(json.dumps(group.leading(lambda: opened.settings))))
        if group.told("ended" if opened.here and opened.finished and (folder / "model").is_dir() else ""):
            shown.note(f"{folder}: this run has ended already; nothing was left to do.")
            return load(folder, task=task) if group.first else _unused(record, task, folder)
        data = group.in_turn(lambda: _data(record, data, task, shown))
        group.agreeing("other examples", data.digest() if not group.alone else "")
        if not anyway:
            _unchanged(folder, record, data)
        if opened.here and not (folder / "ledger.json").is_file():  # killed right after it began
            opened.write_ledger(data.origin.entries)
        training, start = _recorded(TrainSettings, record["train"]), _recorded(StartSettings, record["start"])
        job = Job(data, training, start, shown, opened, time.perf_counter(), record["given"], hooks)
        return carry_out(job, check(data, thorough=False))[0]


def _unused(record: dict[str, Any], own: str | None, folder: Path) -> Model:
    """What the other processes have of a run that had ended: its task, with weights that nobody asks for."""
    task: Task = _recorded(trusted_task_class(record["task"], own), record["fields"])
    return Model(task, task.build(), run=folder)


def _recorded(kind: type[Any], values: dict[str, Any]) -> Any:
    """What settings.json holds of one kind; what is not allowed there is not the user's wrong usage."""
    try:
        return from_json(kind, values)
    except SettingsError as error:
        raise BundleError(f"settings.json of the run: {error}") from None


def _data(record: dict[str, Any], data: Data | None, own: str | None, progress: Progress) -> Data:
    kind = trusted_task_class(record["task"], own)
    task: Task = _recorded(kind, record["fields"])
    if data is not None:
        return replace(data, task=task)
    path, places = record["source_path"], record.get("sources", {})
    own = places.get(socket.gethostname(), path)  # each machine may have the source at a place of its own
    there = [place for place in (own, path, *places.values()) if Path(place).exists()]
    return task.read(there[0] if there else path, progress)


def _unchanged(folder: Path, record: dict[str, Any], data: Data) -> None:
    """Raises DataError unless the examples are those that the run began with."""
    said, found = record.get("digest"), data.digest()
    if said is not None and said != found:
        raise DataError(
            f"{record['source_path']}: the files are not those that {folder} began with, so going on would mix two "
            "data sets. Put them back, train anew, or go on all the same with --anyway."
        )


@dataclass(frozen=True, kw_only=True)
class Resume(Command):
    """`matinee resume RUN`."""

    run_folder: str = argument("the run folder", name="RUN")
    anyway: bool = setting(False, "go on even if the source is no longer what it was")
    task: str = setting("", "importable module of a task of your own")

    def run(self, call: Call) -> Answer:
        """Go on, and say what `train` would have said."""
        folder = Path(self.run_folder)
        model = resume(folder, anyway=self.anyway, task=self.task or None, progress=call.progress)
        if model.run is None:
            raise BundleError(f"{folder}: this is not a run folder.")
        return said(Run.open(folder), model) if processes.speaks() else Answer({})
