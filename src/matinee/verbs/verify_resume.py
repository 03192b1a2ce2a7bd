"""Prove on the spot that a resume is exact: train, get killed at random steps, resume, compare every bit.

Two runs are made in a temporary folder: one undisturbed, one killed (signal 9) at random steps and resumed each time.
Every tensor of the last checkpoint and of the model, and every logged number but the times, must be equal.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from matinee.core.command import Answer, Call, Command, argument
from matinee.core.errors import MatineeError, SettingsError
from matinee.core.loop import Hook, Step
from matinee.core.progress import Progress
from matinee.core.reading import read
from matinee.core.registry import trusted_task_class
from matinee.core.runs import Run
from matinee.core.runtime import machine
from matinee.core.settings import build, from_json, rules, setting
from matinee.core.storage import read_tensors
from matinee.core.task import Data
from matinee.core.train_settings import TrainSettings
from matinee.verbs.resume import resume
from matinee.verbs.train import begin, prepare

if TYPE_CHECKING:
    from torch import Tensor

CLOCK = ("seconds", "examples_per_second")  # the only logged numbers that two equal runs may differ in
BATCHES = 12  # of training examples: a proof takes seconds, whatever the size of the source
STEPS, CHECKPOINT_STEPS = 30, 4  # at least so many in all; most kills fall between two checkpoints


@dataclass(frozen=True)
class Proof:
    """What was compared. differences: names of tensors and numbers that were not equal."""

    kills: tuple[int, ...]
    steps: int
    tensors: int
    numbers: int
    differences: tuple[str, ...]

    @property
    def exact(self) -> bool:
        """Whether all of it was equal to the bit."""
        return not self.differences


class Kill(Hook):
    """Ends its own process, as the power would, after a step."""

    def __init__(self, step: int) -> None:
        self._step = step

    def on_step(self, step: Step) -> None:
        """No handler runs, no buffer is flushed."""
        if step.number == self._step:
            os.kill(os.getpid(), signal.SIGKILL)


def verify_resume(
    source: str | Path,
    *,
    kills: int = 3,
    seed: int = 0,
    task: str | None = None,
    progress: Progress | None = None,
    **given: Any,
) -> Proof:
    """Prove it on a source or on the source of a run, with the run's settings.

    Args:
        kills: how often the second run is killed.
        seed: of the random steps.
        task: the task, where the layout does not tell it; the importable module of a task of your own.
        given: settings of the training and the task.
    """
    shown = progress or Progress()
    machine(threads=given.get("threads", 0))
    given = {**given, "threads": torch.get_num_threads()}  # every child the same, however busy the machine is then
    job = _job(str(source), given) | {"own": task}
    with tempfile.TemporaryDirectory(prefix="matinee-") as room:
        whole, torn = Path(room, "whole"), Path(room, "torn")
        shown.live("training undisturbed")
        _child(job | {"out": str(whole), "kill": -1}, killed=False)
        steps = int(_history(whole)[-1]["step"])
        if not steps:
            raise SettingsError("this network is computed at a look, without a step: there is nothing to interrupt.")
        points = sorted(random.Random(seed).choices(range(steps), k=kills))
        for number, point in enumerate(points):
            shown.live(f"killed {number} of {kills} times, next at step {point} of {steps}")
            _child(job | {"out": str(torn), "kill": point}, killed=True)
        _child(job | {"out": str(torn), "kill": -1}, killed=False)
        shown.clear()
        return _compare(whole, torn, tuple(points), steps)


def _job(source: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """What the child processes are to do: the source, the task and the settings, as JSON."""
    path = Path(source)
    if (path / "settings.json").is_file():
        record = Run.open(path).settings
        given = {**{k: v for k, v in record["train"].items() if k not in ("minutes", "epochs")}, **given}
        return {
            "source": record["source_path"],
            "task": record["task"],
            "fields": record["fields"],
            "given": dict(given),
        }
    return {"source": os.path.abspath(source) if path.exists() else source, "given": dict(given)}  # noqa: PTH100


def _child(job: Mapping[str, Any], *, killed: bool) -> None:
    """One process of the proof. Raises MatineeError unless it ends as it should."""
    command = [sys.executable, "-c", "import sys; from matinee.verbs.verify_resume import main; main(sys.argv[1])"]
    done = subprocess.run([*command, json.dumps(job)], capture_output=True, text=True, check=False)
    wanted = -signal.SIGKILL if killed else 0
    if done.returncode != wanted:
        said = done.stderr.strip().splitlines()
        words = said[-1].removeprefix("matinee.core.errors.").split("Error: ", 1)[-1] if said else ""
        raise MatineeError(f"a training of the proof ended with code {done.returncode}: {words}")


def main(text: str) -> None:
    """Begin the run or go on with it, in a process of its own."""
    job = json.loads(text)
    out, kill = Path(job["out"]), [Kill(job["kill"])] if job["kill"] >= 0 else []
    quiet = Progress(quiet=True)
    data, given = _data(job, quiet)
    if (out / "settings.json").exists():
        run = Run.open(out)
        resume(run.folder, data, anyway=True, task=job["own"], hooks=kill, progress=quiet)
        return
    prepared = prepare(data, given, quiet, 0.0)
    prepared.settings = dataclasses.replace(prepared.settings, minutes=None)
    prepared.hooks = kill
    begin(prepared, out, anyway=True)


def _data(job: Mapping[str, Any], progress: Progress) -> tuple[Data, dict[str, Any]]:
    """The examples, few enough for a quick proof, and the settings that are left for the training."""
    given = dict(job["given"])
    if "task" in job:
        task = from_json(trusted_task_class(job["task"], job["own"]), job["fields"])
        data = task.read(job["source"], progress)
    else:
        data = read(job["source"], task=job["own"], progress=progress)
        own = {name: given.pop(name) for name in list(given) if name in rules(data.task)}
        data = dataclasses.replace(data, task=build(type(data.task), own, base=data.task))
    chosen = data.task.choose(data, None)
    advised = build(TrainSettings, given).advised(chosen.advice(len(data.train)))
    few = int(advised.batch_size or 1) * BATCHES
    rows = np.random.default_rng(0).permutation(len(data.train))[:few]
    train, valid = data.train.take(rows), data.valid.take(np.arange(min(500, len(data.valid))))
    given.setdefault("epochs", max(3, math.ceil(STEPS / chosen.steps(train, int(advised.batch_size or 1)))))
    # A run's record says 0, by the clock: no checkpoint would fall into a proof of seconds.
    given["checkpoint_steps"] = int(given.get("checkpoint_steps") or 0) or CHECKPOINT_STEPS
    return dataclasses.replace(data, task=chosen, train=train, valid=valid, test=valid), given


def _history(folder: Path) -> list[dict[str, float]]:
    history: list[dict[str, float]] = read_tensors(folder / "checkpoint" / "latest.safetensors")[1]["history"]
    return history


def _compare(whole: Path, torn: Path, kills: tuple[int, ...], steps: int) -> Proof:
    differences: list[str] = []
    tensors = numbers = 0
    for name in ("checkpoint/latest.safetensors", "checkpoint/best.safetensors", "model/model.safetensors"):
        first, second = read_tensors(whole / name)[0], read_tensors(torn / name)[0]
        differences += [f"{name}: {key}" for key in sorted(first.keys() ^ second.keys())]
        for key in first.keys() & second.keys():
            tensors += 1
            if not _equal(first[key], second[key]):
                differences.append(f"{name}: {key}")
    for one, other in zip(_history(whole), _history(torn), strict=True):
        for key in (one.keys() | other.keys()) - set(CLOCK):
            numbers += 1
            if one.get(key) != other.get(key) and not (math.isnan(one[key]) and math.isnan(other[key])):
                differences.append(f"metrics, epoch {one['epoch']:.0f}: {key}")
    return Proof(kills, steps, tensors, numbers, tuple(differences))


def _equal(first: Tensor, second: Tensor) -> bool:
    """To the bit: two NaN of the same bits are equal, 0.0 and -0.0 are not."""
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    return first.contiguous().numpy().tobytes() == second.contiguous().numpy().tobytes()


@dataclass(frozen=True, kw_only=True)
class VerifyResume(Command):
    """`matinee verify-resume RUN_OR_SOURCE`."""

    groups: ClassVar[tuple[type[Any], ...]] = (TrainSettings,)
    reads: ClassVar[bool] = True

    source: str = argument("a run folder, or a source to train on", name="RUN_OR_SOURCE")
    kills: int = setting(3, "how often the run is killed", low=1, high=1000)
    task: str = setting("", "task, where the layout does not tell it; importable module of a task of your own")

    def run(self, call: Call) -> Answer:
        """Exit code 1 if a single bit differs."""
        given = {k: v for k, v in {**call.settings, **call.tasks}.items() if k != "minutes"}
        proof = verify_resume(self.source, kills=self.kills, task=self.task or None, progress=call.progress, **given)
        value = {**dataclasses.asdict(proof), "exact": proof.exact, "differences": list(proof.differences)}
        points = ", ".join(map(str, proof.kills))
        if proof.exact:
            words = (
                f"bit-identical: killed at steps {points} of {proof.steps} and resumed, {proof.tensors} tensors and "
                f"{proof.numbers} logged numbers equal those of the undisturbed run."
            )
        else:
            words = f"NOT identical after kills at steps {points} of {proof.steps}:\n  " + "\n  ".join(
                proof.differences
            )
        return Answer(value, words, 0 if proof.exact else 1)
