"""Train: a source of examples becomes a model in a run folder, with a report.

--minutes sets the time, or --epochs the passes; without either, the network's own recipe. Ctrl-C leaves a run that
`matinee resume` continues to the same bits.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import math
import os
import platform
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from matinee.core import processes
from matinee.core.command import Answer, Call, Command, argument
from matinee.core.errors import BundleError, DataError, Interrupted, SettingsError
from matinee.core.evaluation import Evaluation
from matinee.core.model import Model, load
from matinee.core.progress import Progress
from matinee.core.reading import called, read, recognised, task_name
from matinee.core.registry import task_class
from matinee.core.runs import Run, new_folder
from matinee.core.settings import build, flag, from_json, rules, setting, to_json
from matinee.core.storage import nearby, read_foreign_tensors
from matinee.core.task import Data
from matinee.core.telling import NO_STEP, cautions, idle, said
from matinee.core.train_settings import TrainSettings
from matinee.verbs.check import Findings, check, refuse
from matinee.verbs.evaluate import compare_with, evaluate

if TYPE_CHECKING:
    from torch import nn

    from matinee.core.loop import Hook
    from matinee.core.standing import Row, Standing

RESERVE = 0.06  # share of the minutes kept for the last scores, the baselines and the report


@dataclass(frozen=True)
class StartSettings:
    """Where to start."""

    start: str = setting("", "weights to start from: a run, a saved model or a safetensors file whose trunk fits")
    freeze: int = setting(0, "epochs in which only the new head learns, with --start", low=0, high=100_000)


@dataclass
class Job:
    """A training under way: the data with a task that has nothing left to "auto", and settings likewise."""

    data: Data
    settings: TrainSettings
    start: StartSettings
    progress: Progress
    run: Run | None = None
    began: float = dataclasses.field(default_factory=time.perf_counter)
    given: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    hooks: Sequence[Hook] = ()


def train(
    data: Data,
    *,
    out: str | Path | None = None,
    anyway: bool = False,
    hooks: Sequence[Hook] = (),
    progress: Progress | None = None,
    **given: Any,
) -> Model:
    """Train a model on data.

    Args:
        out: folder for the run (settings, checkpoints, metrics, report); None keeps nothing but the model.
        anyway: train even where `check` finds the data unsafe.
        hooks: changes to the loop, see `matinee.Hook`.
        progress: where to show the progress; None: on standard error.
        given: settings of the training (`minutes=5`, `batch_size=64`), of the task (`network="lenet"`) and `start`.

    Raises DataError for unsafe data, SettingsError for a setting that is not allowed.
    """
    began = time.perf_counter()
    with processes.joined():
        job = prepare(data, given, progress or Progress(quiet=not processes.speaks()), began)
        job.hooks = [*job.hooks, *hooks]
        return begin(job, None if out is None else Path(out), anyway=anyway)


def begin(job: Job, out: Path | None, *, anyway: bool = False) -> Model:
    """Check the data, make the run folder, train."""
    data = job.data
    findings = check(data, thorough=False)
    if not anyway:
        refuse(findings)
    if not len(data.train):
        raise DataError(f"{data.origin.source}: there are no examples to train on.")
    group = processes.current()
    few = min(len(data.train), int(job.settings.batch_size or 1))
    if few < group.size:
        raise SettingsError(f"--batch-size {few}: each of the {group.size} processes needs an example of every batch.")
    group.agreeing("other examples", data.digest() if not group.alone else "")
    if out is not None:
        record = _record(job)
        if not group.alone:
            here = json.dumps([socket.gethostname(), record["source_path"]])
            record["sources"] = dict(json.loads(text) for text in group.all_told(here))
        known = group.leading(lambda: Run.again(out, record))
        if begun := group.told("" if known is None else json.dumps(known.settings)):
            fields, settings = (json.loads(begun)[name] for name in ("fields", "train"))
            job.data = dataclasses.replace(data, task=from_json(type(data.task), fields))
            job.settings = from_json(TrainSettings, settings)
        else:
            known = group.leading(lambda: _created(job, out, record, findings))
        job.run = known or Run(out, here=False)
        if group.told("ended" if job.run.here and job.run.finished else ""):
            return load(out) if job.run.here else Model(job.data.task, job.data.task.build(), run=out)
    return carry_out(job, findings)[0]


def _created(job: Job, out: Path, record: Mapping[str, Any], findings: Findings) -> Run:
    run = Run.create(out, record)
    run.write_ledger(job.data.origin.entries)
    run.write("check.json", findings.to_json())
    return run


def prepare(data: Data, given: Mapping[str, Any], progress: Progress, began: float) -> Job:
    """Sort the settings into those of the loop, of the task and of the start, and decide what is left to "auto"."""
    import torch

    from matinee.core import sharding
    from matinee.core.measuring import selecting
    from matinee.core.runtime import machine

    _read_already(data, given)
    known = {"training": rules(TrainSettings), "start": rules(StartSettings), "task": rules(data.task)}
    for name in given:
        if not any(name in part for part in known.values()):
            build(data.task.__class__, {name: given[name]}, base=data.task)  # raises, naming the closest
    training = build(TrainSettings, {k: v for k, v in given.items() if k in known["training"]})
    start = build(StartSettings, {k: v for k, v in given.items() if k in known["start"]})
    start = dataclasses.replace(start, start=str(Path(start.start).absolute()) if start.start else "")
    task = build(type(data.task), {k: v for k, v in given.items() if k in known["task"]}, base=data.task)
    machine(training.device, training.precision, training.threads)  # "auto" may look at its pace
    task = task.choose(dataclasses.replace(data, task=task), training.minutes)
    settings = training.advised(task.advice(len(data.train)))
    selecting(task.meter(), settings.select)
    # How sums are shared among threads decides their last bits: a resume must take as many as there were.
    settings = dataclasses.replace(settings, threads=torch.get_num_threads())
    if ":" in settings.device and not processes.current().alone:
        raise SettingsError(f"--device {settings.device}: each process has a device of its own. Leave the number out.")
    if settings.parallel == "sharded":
        if processes.current().alone:
            raise SettingsError("--parallel sharded: there is one process only. Start several with torchrun.")
        sharding.check(str(settings.optimiser), settings.l1)
    if start.freeze and not start.start:
        raise SettingsError("--freeze: there is nothing learned yet to keep still. Give --start as well.")
    if start.start:
        read_foreign_tensors(Path(start.start))
    return Job(dataclasses.replace(data, task=task), settings, start, progress, began=began, given=dict(given))


def _read_already(data: Data, given: Mapping[str, Any]) -> None:
    """Raises SettingsError for a setting that should have been given to `read`: the examples are read."""
    for name, rule in rules(data.task).items():
        if rule.reading and name in given:
            wanted = build(type(data.task), {name: given[name]}, base=data.task)
            if to_json(wanted)[name] != to_json(data.task)[name]:
                raise SettingsError(
                    f"{name}: the data is read already. Give it there: matinee.read(source, {name}=...)"
                )


def _record(job: Job) -> dict[str, Any]:
    """settings.json: all that a resume or a reader needs."""
    source = job.data.origin.source
    return {
        "verb": "train",
        "version": version("matinee"),
        "source": source,
        "source_path": os.path.abspath(source) if os.path.exists(source) else source,  # noqa: PTH100, PTH110
        "digest": job.data.digest(),
        "task": task_name(type(job.data.task)),
        "fields": to_json(job.data.task),
        "train": to_json(job.settings),
        "start": to_json(job.start),
        "given": {**_read_as(job.data.task), **{name: v for name, v in job.given.items() if v is not None}},
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        **({"job": processes.job()} if processes.job() else {}),
    }


def _read_as(task: Any) -> dict[str, Any]:
    """The settings of reading that are not the plain ones, wherever they were given."""
    plain = {f.name: f.default for f in dataclasses.fields(task)}
    settings = to_json(task, settings_only=True)
    return {
        name: settings[name] for name, rule in rules(task).items() if rule.reading and settings[name] != plain[name]
    }


def carry_out(job: Job, findings: Findings) -> tuple[Model, Evaluation | None]:
    """Train, or go on where the run's checkpoint stands; then score and report."""
    import torch

    from matinee.core.loop import fit
    from matinee.core.measuring import calibrate, measure
    from matinee.core.runtime import machine, seed_of

    task, data, settings, run = job.data.task, job.data, job.settings, job.run
    where = machine(settings.device, settings.precision, settings.threads)
    job.progress.note(
        f"{task_name(type(task))}: {len(data.train):,} to train, {len(data.valid):,} to select, "
        f"{len(data.test):,} to test"
    )
    torch.manual_seed(seed_of(settings.seed, 0))
    network = task.build()
    if settings.parallel != "sharded":  # then no device may be large enough for all of it
        where.place(network)
    task.prepare(network, data.train)
    if run is not None:
        run.every_steps = settings.checkpoint_steps
    hooks = [*job.hooks, *_started(network, job)]
    if idle(task, network, settings.epochs):
        job.progress.warn(NO_STEP)
    count = sum(p.numel() for p in network.parameters())
    job.progress.note(f"{called(task)} with {count:,} parameters, on {where.describe()}")
    with run.working() if run is not None else contextlib.nullcontext():
        try:
            ended = fit(data, network, settings, budget=_budget(job), hooks=hooks, keeper=run, progress=job.progress)
        except Interrupted:
            _keep_what_there_is(job)
            raise
        valid = {}
        if len(data.valid):
            calibrate(task, network, data.valid, where)
            valid = measure(task, network, data.valid, where)  # of the weights that were kept, as they are now
        model = _model(job, network, valid)
        evaluation = None
        if run is not None:
            evaluation = _finish(job, model, ended, findings)
            run.check_asked()
    return _whole(model), evaluation


def _whole(model: Model) -> Model:
    """The model with all its weights where the processes have parts of them: on the first one, on its processor."""
    from matinee.core.sharding import is_sharded, unsharded

    if not is_sharded(model.network) or processes.current().alone:
        return model
    first = processes.current().first
    plain = unsharded(model.network, model.task.build(), first).eval()
    return dataclasses.replace(model, network=plain) if first else model


def _model(job: Job, network: nn.Module, valid: Row) -> Model:
    origin, run = job.data.origin, job.run
    tested = frozenset(origin.names[row] for row in job.data.test.rows) if len(origin.names) else frozenset()
    return Model(job.data.task, network, origin.manifest, _facts(job, valid), run.folder if run else None, tested)


def _budget(job: Job) -> float:
    """Seconds that the loop may take."""
    if job.settings.minutes is None:
        return math.inf
    whole = 60 * job.settings.minutes
    return max(0.5, whole * (1 - RESERVE) - min(1.0, 0.1 * whole) - (time.perf_counter() - job.began))


def _started(network: nn.Module, job: Job) -> list[Hook]:
    """Put the weights to start from in place."""
    if not job.start.start:
        return []
    from matinee.core.starting import Freeze, put

    path = Path(job.start.start)
    if (job.run is None or not job.run.begun) and processes.current().first:  # the others take them from there
        fitted, whole = put(network, read_foreign_tensors(path), job.data.task.head)
        job.progress.note(f"{fitted} of {whole} weights start from {path}")
    return [Freeze(network, job.data.task.head, job.start.freeze)] if job.start.freeze else []


def _facts(job: Job, valid: Row) -> dict[str, Any]:
    """What the bundle tells of how it was made."""
    from matinee.core.measuring import selecting

    meter = job.data.task.meter()
    select = selecting(meter, job.settings.select)
    record = _record(job)
    facts = {name: record[name] for name in ("version", "source", "source_path", "date", "train")}
    names = [select, *(name for name in meter.names_of_scores() if name != select)]
    return {**facts, "select": select, "valid": {name: valid[name] for name in names if name in valid}}


def _keep_what_there_is(job: Job) -> None:
    """A run that was stopped in order leaves a model too: the best so far."""
    run = job.run
    if run is None or not run.here or not (run.folder / "checkpoint" / "best.safetensors").exists():
        return
    network = job.data.task.build()
    network.load_state_dict(run.best())
    _model(job, network.eval(), {}).save(run.folder / "model")


def _finish(job: Job, model: Model, ended: Standing, findings: Findings) -> Evaluation | None:
    """Model, scores, models to compare with, report, in the run folder: all processes score, the first one writes."""
    from matinee.report.ending import put, save
    from matinee.report.story import Story

    run, group = job.run, processes.current()
    if run is None:
        return None
    whole = _whole(model)
    group.leading(lambda: save(whole, run))
    spare = 10.0 if job.settings.minutes is None else max(0.5, min(10.0, 0.02 * 60 * job.settings.minutes))
    compared = compare_with(job.data, job.progress, spare, job.settings.device)
    split = "test" if len(job.data.test) else "valid"
    evaluation = None
    if len(job.data.splits()[split]):
        select = str(model.facts["select"])
        evaluation = evaluate(model, job.data, split=split, baselines=compared, select=select, progress=job.progress)
        scores = {name: score.value for name, score in evaluation.scores.items()}
        whole = dataclasses.replace(whole, facts={**whole.facts, split: scores})
    spent = time.perf_counter() - job.began + run.before
    if evaluation is not None:
        asked = 60 * job.settings.minutes if job.settings.minutes and "minutes" in job.given else math.inf
        notes = (*evaluation.notes, *cautions(asked, spent, idle(job.data.task, model.network, job.settings.epochs)))
        evaluation = dataclasses.replace(evaluation, notes=notes)
    problems = [(problem.severity, problem.words, problem.files) for problem in findings.problems]
    story = Story(run, whole, ended.history, evaluation, problems, findings.counts, spent, ended.best_epoch)
    group.leading(lambda: put(story, compared, job.data.origin.source))
    return evaluation


@dataclass(frozen=True, kw_only=True)
class Train(Command):
    """`matinee train SOURCE`."""

    groups: ClassVar[tuple[type[Any], ...]] = (TrainSettings, StartSettings)
    reads: ClassVar[bool] = True
    writes: ClassVar[str] = "run folder (default: runs/<source>-<n>)"

    source: str = argument("a folder, archive, table of files or well-known name (try: digits)")
    task: str = setting("", "task, where the layout alone does not tell it")
    anyway: bool = setting(False, "train even where check finds the data unsafe")

    def run(self, call: Call) -> Answer:
        """Read, check, train, score, report."""
        _allowed(self, call)
        with processes.joined() as group:
            return self._run(call, group)

    def _run(self, call: Call, group: processes.Processes) -> Answer:
        task, progress = self.task or None, call.progress
        data = group.in_turn(lambda: read(self.source, task=task, progress=progress, **call.tasks))
        job = prepare(data, {**call.settings, **call.tasks}, call.progress, call.began)
        job.given = {
            **job.given,
            **({"task": self.task} if self.task else {}),
            **({"anyway": True} if self.anyway else {}),
        }
        out = Path(group.told(str(group.leading(lambda: call.out or new_folder(self.source)))))
        try:
            model = begin(job, out, anyway=self.anyway)
        except (DataError, SettingsError, BundleError):
            with contextlib.suppress(OSError):
                if group.first:
                    out.rmdir()  # nothing was written: leave no empty folder behind
            raise
        return said(Run.open(out), model) if group.first else Answer({})


def _allowed(command: Train, call: Call) -> None:
    """Say what is wrong with the settings before minutes go into reading."""
    sorted_ = {group: {k: v for k, v in call.settings.items() if k in rules(group)} for group in command.groups}
    start = build(StartSettings, sorted_[StartSettings])
    build(TrainSettings, sorted_[TrainSettings])
    kind = task_class(command.task) if command.task else recognised(command.source)
    strangers = [name for name in call.tasks if name not in rules(kind)]
    if strangers:
        raise SettingsError(f"{flag(strangers[0])} is not a setting of {task_name(kind)}.")
    build(kind, call.tasks)
    if start.start and not Path(start.start).exists():
        raise SettingsError(f"--start {start.start}: there is no such file or folder.{nearby(Path(start.start))}")
