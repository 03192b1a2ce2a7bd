"""What resuming promises, over every task: the same bits, whenever the run was stopped."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

import matinee
from matinee.core.errors import Interrupted, SettingsError
from matinee.core.examples import Examples
from matinee.core.loop import Step
from matinee.core.progress import Progress
from matinee.core.registry import task_class
from matinee.core.runs import Run
from matinee.core.storage import read_json, read_tensors
from matinee.core.task import Data, Task
from matinee.core.watch import Watch
from matinee.report import ending
from matinee.tasks.image_classification import ImageClassification
from matinee.verbs.verify_resume import CLOCK, _data, _job


class Stop(matinee.Hook):
    """Asks the run to stop after a step, as Ctrl-C does."""

    def __init__(self, step: int, number: int = signal.SIGINT) -> None:
        self.step, self.number = step, number

    def on_step(self, step: Step) -> None:
        if step.number == self.step:
            os.kill(os.getpid(), self.number)


class Break(matinee.Hook):
    """Breaks off without any chance to save, as a kill does."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, step: Step) -> None:
        if step.number == self.step:
            raise RuntimeError("power cut")


SETTINGS = {"epochs": 3, "batch_size": 64, "average": 0.9, "optimiser": "adamw", "checkpoint_steps": 2}


def same(one: Path, other: Path) -> None:
    for name in ("checkpoint/latest.safetensors", "checkpoint/best.safetensors", "model/model.safetensors"):
        (first, facts), (second, others) = read_tensors(one / name), read_tensors(other / name)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[k], second[k]) for k in first), name
        if "history" in facts:
            rows = [[{k: v for k, v in row.items() if k not in CLOCK} for row in f["history"]] for f in (facts, others)]
            assert rows[0] == rows[1]


def test_the_best_weights_are_written_with_the_checkpoint_that_refers_to_them(
    quiet: Progress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy, written, put = task_class("image-classification")().toy(), list[tuple[str, int]](), Run._put

    def listed(self: Run, path: Path, tensors: dict[str, Any], facts: dict[str, Any]) -> None:
        written.append((path.stem, facts["epoch"] if path.stem == "best" else facts["best_epoch"]))
        put(self, path, tensors, facts)

    monkeypatch.setattr(Run, "_put", listed)
    matinee.train(toy, out=tmp_path / "run", progress=quiet, epochs=5, checkpoint_steps=9_999)
    assert [name for name, _ in written] == ["best", "latest"] and written[0][1] == written[1][1]


class Ends(matinee.Hook):
    """A hook that does nothing but remember when it was called."""

    def __init__(self) -> None:
        self.ends: list[tuple[int, int]] = []

    def on_epoch(self, step: Step, scores: dict[str, float]) -> bool:
        self.ends.append((step.number, step.epoch))
        return False


@dataclass
class Whole:
    """A run that nothing stopped, and when its passes ended."""

    folder: Path
    ends: list[tuple[int, int]]


_wholes: dict[str, Whole] = {}


@pytest.fixture
def whole(
    toy: Data, quiet: Progress, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Whole:
    """The run of SETTINGS on the toy data, made once for each task; nobody may change it."""
    name = request.node.callspec.params["toy"]
    if name not in _wholes:
        folder, hook = tmp_path_factory.mktemp("whole") / "run", Ends()
        matinee.train(toy, out=folder, progress=quiet, hooks=[hook], **SETTINGS)
        _wholes[name] = Whole(folder, hook.ends)
    return _wholes[name]


@pytest.mark.parametrize("steps", [(0, 5, 9), (4, 4, 14)], ids=str)
def test_a_run_that_was_cut_off_reaches_the_same_bits(
    toy: Data, whole: Whole, steps: tuple[int, ...], quiet: Progress, tmp_path: Path
) -> None:
    with pytest.raises(RuntimeError, match="power cut"):
        matinee.train(toy, out=tmp_path / "torn", progress=quiet, hooks=[Break(steps[0])], **SETTINGS)
    for step in steps[1:]:
        with pytest.raises(RuntimeError, match="power cut"):
            matinee.resume(tmp_path / "torn", toy, hooks=[Break(step)], progress=quiet)
    matinee.resume(tmp_path / "torn", toy, progress=quiet)
    same(whole.folder, tmp_path / "torn")


@pytest.mark.parametrize(("step", "number"), [(8, signal.SIGINT), (9, signal.SIGTERM)])
def test_a_signal_saves_and_names_the_way_on(
    toy: Data, whole: Whole, step: int, number: int, quiet: Progress, tmp_path: Path
) -> None:
    """Within a pass, and on its last batch: hooks hear of each end of a pass that is left."""
    resumed = Ends()
    with pytest.raises(Interrupted, match="matinee resume"):
        matinee.train(toy, out=tmp_path / "run", progress=quiet, hooks=[Stop(step, number)], **SETTINGS)
    assert matinee.load(tmp_path / "run").facts["source"]  # the best so far can be used
    matinee.resume(tmp_path / "run", toy, progress=quiet, hooks=[resumed])
    assert whole.ends[-len(resumed.ends) :] == resumed.ends
    same(whole.folder, tmp_path / "run")


def test_a_stop_says_what_is_still_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Interrupted):
        matinee.train(
            ImageClassification().toy(), out=tmp_path / "run", progress=Progress(), hooks=[Stop(8)], **SETTINGS
        )
    told = capsys.readouterr().err
    assert "the checkpoint is written first" in told and "the best model so far is written, too" in told


@pytest.mark.parametrize(("question", "words"), [("study", "before the first step"), ("trivial", "after the training")])
def test_a_signal_beside_the_steps_stops_at_once_and_truly(
    question: str, words: str, quiet: Progress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = ImageClassification().toy()
    plain = getattr(ImageClassification, question)
    matinee.train(data, out=tmp_path / "whole", progress=quiet, **SETTINGS)

    def interrupted(*given: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("it went on")

    monkeypatch.setattr(ImageClassification, question, interrupted)
    with pytest.raises(Interrupted, match=f"{words}.*matinee resume"):
        matinee.train(data, out=tmp_path / "run", progress=quiet, **SETTINGS)
    assert not list((tmp_path / "run").rglob("*.part")) and not (tmp_path / "run" / "result.json").exists()
    monkeypatch.setattr(ImageClassification, question, plain)
    matinee.resume(tmp_path / "run", data, progress=quiet)
    assert (tmp_path / "run" / "result.json").exists()
    same(tmp_path / "whole", tmp_path / "run")


def test_a_signal_while_the_report_is_written_does_not_undo_it(
    quiet: Progress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = ending.put

    def late(*given: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        plain(*given)

    monkeypatch.setattr(ending, "put", late)
    with pytest.raises(Interrupted, match="all was done"):
        matinee.train(ImageClassification().toy(), out=tmp_path / "run", progress=quiet, epochs=1)
    assert matinee.load(tmp_path / "run").facts["test"]


def test_what_a_look_left_out_is_still_told_after_a_resume(
    quiet: Progress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, given = ImageClassification().toy(), []

    def study(task: Task, network: torch.nn.Module, examples: Examples, watch: Watch) -> None:
        task.prepare(network, examples)
        given.append(watch.left())
        watch.shortened("half of it was left out.")

    monkeypatch.setattr(ImageClassification, "study", study)
    with pytest.raises(Interrupted):
        matinee.train(data, out=tmp_path / "run", progress=quiet, minutes=20.0, hooks=[Stop(3)], **SETTINGS)
    matinee.resume(tmp_path / "run", data, progress=quiet)
    assert read_json(tmp_path / "run" / "result.json")["notes"][0] == "half of it was left out."
    assert 300 < given[0] < 600 and given[1] <= 0  # half of the minutes; nothing where a checkpoint holds it all


def test_a_run_that_has_ended_is_only_loaded(toy: Data, whole: Whole, quiet: Progress) -> None:
    before = (whole.folder / "result.json").stat().st_mtime_ns
    assert matinee.resume(whole.folder, toy, progress=quiet).run == whole.folder
    assert (whole.folder / "result.json").stat().st_mtime_ns == before


def test_with_minutes_the_clock_s_decisions_are_kept(toy: Data, quiet: Progress, tmp_path: Path, ticking: None) -> None:
    given = {"minutes": 0.3, "checkpoint_steps": 2, "batch_size": 32}
    with pytest.raises(RuntimeError, match="power cut"):
        matinee.train(toy, out=tmp_path / "run", progress=quiet, hooks=[Break(9)], **given)
    decided = tmp_path / "run" / "checkpoint" / "clock.json"
    before = read_json(decided) if decided.exists() else []
    matinee.resume(tmp_path / "run", toy, progress=quiet)
    assert read_json(tmp_path / "run" / "checkpoint" / "clock.json")[: len(before)] == before


def test_the_clock_s_decisions_in_one_step_are_all_taken_again(quiet: Progress, tmp_path: Path) -> None:
    data, decided = ImageClassification().toy(), tmp_path / "run" / "checkpoint" / "clock.json"
    given = {"minutes": 20.0, "checkpoint_steps": 2, "batch_size": 64}
    with pytest.raises(RuntimeError, match="power cut"):
        matinee.train(data, out=tmp_path / "run", progress=quiet, hooks=[Break(2)], **given)
    events = [{"step": 3, "epoch": 0, "left": left, "every": 1, "checked": 0.95} for left in (200, 2)]
    decided.write_text(json.dumps(events))
    matinee.resume(tmp_path / "run", data, progress=quiet)
    assert read_tensors(tmp_path / "run" / "checkpoint" / "latest.safetensors")[1]["step"] == 5
    assert read_json(decided) == events


def test_the_proof_finds_a_resume_exact(quiet: Progress) -> None:
    pytest.importorskip("sklearn")
    proof = matinee.verify_resume("digits", kills=2, seed=5, progress=quiet, network="linear", epochs=1)
    assert proof.exact and len(proof.kills) == 2 and proof.tensors > 10


def test_a_network_that_makes_no_step_has_nothing_to_interrupt(tmp_path: Path, quiet: Progress) -> None:
    lines = [f"{'a good day' if row % 2 else 'a bad night'} {row},{'yes' if row % 2 else 'no'}" for row in range(80)]
    (tmp_path / "days.csv").write_text("\n".join(["text,label", *lines]), "utf-8")
    with pytest.raises(matinee.SettingsError, match="nothing to interrupt"):
        matinee.verify_resume(str(tmp_path / "days.csv"), kills=1, progress=quiet, task="text-classification")


def test_a_job_that_is_started_again_goes_on_whatever_auto_would_choose_now(
    quiet: Progress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, given = ImageClassification().toy(), SETTINGS
    matinee.train(data, out=tmp_path / "whole", progress=quiet, **given)
    with pytest.raises(RuntimeError, match="power cut"):
        matinee.train(data, out=tmp_path / "torn", progress=quiet, hooks=[Break(5)], **given)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    plain = ImageClassification.choose
    monkeypatch.setattr(ImageClassification, "choose", lambda *rest: replace(plain(*rest), crop=3, dropout=0.5))
    torch.set_num_threads(2)
    matinee.train(data, out=tmp_path / "torn", progress=quiet, **given)
    same(tmp_path / "whole", tmp_path / "torn")
    with pytest.raises(SettingsError, match="something in this folder"):
        matinee.train(data, out=tmp_path / "torn", progress=quiet, **{**given, "epochs": 4})


def test_early_stopping_stays_stopped(toy: Data, quiet: Progress, tmp_path: Path) -> None:
    given = {**SETTINGS, "epochs": 30, "patience": 1, "learning_rate": 1e-7, "average": 0.0}
    matinee.train(toy, out=tmp_path / "run", progress=quiet, **given)
    ended = read_tensors(tmp_path / "run" / "checkpoint" / "latest.safetensors")[1]
    assert ended["epoch"] < 30 and ended["stopped"]
    (tmp_path / "run" / "result.json").unlink()  # as if killed while the report was written
    matinee.resume(tmp_path / "run", toy, progress=quiet)
    assert read_tensors(tmp_path / "run" / "checkpoint" / "latest.safetensors")[1]["step"] == ended["step"]


def test_other_labels_are_another_source(toy: Data, quiet: Progress, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="power cut"):
        matinee.train(toy, out=tmp_path / "run", progress=quiet, hooks=[Break(6)], **SETTINGS)
    with pytest.raises(matinee.DataError, match="not those that"):
        matinee.resume(tmp_path / "run", replace(toy, train=toy.test, test=toy.train), progress=quiet)


def test_the_proof_of_a_run_does_resume(quiet: Progress, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    data = matinee.read("digits", network="linear", progress=quiet)
    matinee.train(data, epochs=1, out=tmp_path / "run", progress=quiet)
    job = _job(str(tmp_path / "run"), {}) | {"own": None}
    assert _data(job, quiet)[1]["checkpoint_steps"] > 0
    assert matinee.verify_resume(tmp_path / "run", kills=1, progress=quiet).exact
