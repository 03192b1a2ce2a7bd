"""Train: a source of examples becomes a model in a run folder, with a report.

--minutes sets the time, or --epochs the passes; without either, the network's own recipe. Ctrl-C leaves a run that
`matinee resume` continues to the same bits.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from matinee.core import processes
from matinee.core.command import Answer, Call, Command, argument
from matinee.core.errors import BundleError, DataError, Interrupted, SettingsError
from matinee.core.evaluation import Evaluation
from matinee.core.job import Job, StartSettings
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
from matinee.core.watch import Watch
from matinee.verbs.check import Findings, check, refuse
from matinee.verbs.evaluate import compare_with, evaluate

if TYPE_CHECKING:
    from torch import nn

    from matinee.core.loop import Hook
    from matinee.core.standing import Standing

RESERVE = 0.06  # share of the minutes kept for the last scores, the baselines and the report


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
        record = job.record()
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
    with Watch(progress).over("choosing what was left open"):
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
    _look(job, network)
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
            if run is not None:
                run.check_asked()
        except Interrupted:
            _keep_what_there_is(job)
            raise
        job.tell_enough(ended.step, ended.plan.wanted)
        valid = {}
        if len(data.valid):
            with _last_watch(job).over(f"scoring {len(data.valid):,} examples that select"):
                calibrate(task, network, data.valid, where)
                valid = measure(task, network, data.valid, where)  # of the weights that were kept, as they are now
        model = job.model(network, valid)
        evaluation = None
        if run is not None:
            evaluation = _finish(job, model, ended, findings)
            run.check_asked()
    return _whole(model), evaluation


def _look(job: Job, network: nn.Module) -> None:
    """Let the task learn what it does at a look: of the minutes all where no step follows, else half of them."""
    run, task = job.run, job.data.task
    begun = processes.current().told("begun" if run is not None and run.begun else "")
    share = 0.0 if begun else 0.5 if job.settings.epochs != 0 else 1.0  # a checkpoint holds what was learned
    way_on = f"stopped before the first step. To go on: matinee resume {run.folder}" if run is not None else ""
    watch = Watch(job.progress, share * _budget(job) if share else 0.0, way_on)
    with watch.over(f"learning from {len(job.data.train):,} examples at a look"):
        task.study(network, job.data.train, watch)
    if run is not None:
        job.notes += run.looked(None if begun else watch.notes)


def _last_watch(job: Job) -> Watch:
    """For what comes after the training: half of what is left of the minutes, so that the report finds time too."""
    way_on = ""
    if job.run is not None:
        way_on = f"stopped after the training, before all was scored. To go on: matinee resume {job.run.folder}"
    return Watch(job.progress, max(_spare(job), 0.5 * job.left()), way_on)


def _spare(job: Job) -> float:
    """Seconds that the steps of the simplest network may take."""
    return 10.0 if job.settings.minutes is None else max(0.5, min(10.0, 0.02 * 60 * job.settings.minutes))


def _whole(model: Model) -> Model:
    """The model with all its weights where the processes have parts of them: on the first one, on its processor."""
    from matinee.core.sharding import is_sharded, unsharded

    if not is_sharded(model.network) or processes.current().alone:
        return model
    first = processes.current().first
    plain = unsharded(model.network, model.task.build(), first).eval()
    return dataclasses.replace(model, network=plain) if first else model


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


def _keep_what_there_is(job: Job) -> None:
    """A run that was stopped in order leaves a model too: the best so far."""
    run = job.run
    if run is None or not run.here or not (run.folder / "checkpoint" / "best.safetensors").exists():
        return
    job.progress.note("stopping: the best model so far is written, too.")
    network = job.data.task.build()
    network.load_state_dict(run.best())
    job.model(network.eval(), {}).save(run.folder / "model")


def _finish(job: Job, model: Model, ended: Standing, findings: Findings) -> Evaluation | None:
    """Model, scores, models to compare with, report, in the run folder: all processes score, the first one writes."""
    from matinee.report.ending import put, save
    from matinee.report.story import Story

    run, group = job.run, processes.current()
    if run is None:
        return None
    whole = _whole(model)
    group.leading(lambda: save(whole, run))
    learned = None if job.start.start or whole is not model else model.network
    watch = _last_watch(job)
    compared = compare_with(job.data, watch, _spare(job), job.settings.device, learned)
    split = "test" if len(job.data.test) else "valid"
    evaluation = None
    if count := len(job.data.splits()[split]):
        select = str(model.facts["select"])
        with watch.over(f"scoring {count:,} examples"):
            evaluation = evaluate(
                model, job.data, split=split, baselines=compared, select=select, progress=job.progress
            )
        evaluation = dataclasses.replace(evaluation, notes=(*job.notes, *watch.notes, *evaluation.notes))
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
