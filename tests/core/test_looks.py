"""Networks that learn all at a look, and passes that play: what the loop makes of them, over every task."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import matinee
from matinee.core.loop import _Training, fit
from matinee.core.measuring import calibrate
from matinee.core.progress import Progress
from matinee.core.registry import task_class
from matinee.core.runs import Run
from matinee.core.runtime import machine
from matinee.core.storage import read_json
from matinee.core.task import Data, Task
from matinee.core.train_settings import TrainSettings


def chosen(toy: Data) -> Data:
    return replace(toy, task=toy.task.choose(toy, None))


def test_without_a_step_the_model_is_what_the_first_look_made(
    toy: Data, quiet: Progress, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = matinee.train(toy, epochs=0, out=tmp_path / "run", progress=quiet)
    needs_steps = chosen(toy).task.advice(len(toy.train)).get("epochs") != 0
    assert ("no step was asked for" in capsys.readouterr().err) == needs_steps
    notes, page = read_json(tmp_path / "run" / "result.json")["notes"], (tmp_path / "run" / "report.html").read_text()
    assert any("learns by steps" in note for note in notes) == needs_steps
    assert ("computed from the training examples at a look" in page) != needs_steps
    rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    assert len(rows) == 2 and model.facts["valid"]
    assert dict(zip(rows[0].split(","), rows[1].split(","), strict=True))["examples_per_second"] == "0.0"
    again = matinee.load(tmp_path / "run")
    for name, tensor in model.network.state_dict().items():
        assert torch.equal(tensor, again.network.state_dict()[name])


def test_a_network_with_nothing_to_train_is_scored_and_kept(toy: Data) -> None:
    data = chosen(toy)
    network = data.task.build().requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    settings = TrainSettings(minutes=5.0, device="cpu", precision="float32").advised({})
    ended = fit(data, network, settings, budget=60.0)
    assert (ended.step, ended.epoch, ended.stopped, ended.best_epoch) == (0, 1, True, 1)
    assert len(ended.history) == 1
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_minutes_do_not_make_a_closed_form_iterate() -> None:
    assert TrainSettings(minutes=5.0).advised({"epochs": 0}).epochs == 0
    assert TrainSettings(minutes=5.0).advised({"epochs": 3}).epochs is None
    assert TrainSettings(epochs=2).advised({"epochs": 0}).epochs == 2


@pytest.mark.parametrize("plays", [False, True])
@pytest.mark.parametrize("name", ["game-playing", "image-classification"])
def test_checkpoints_of_passes_that_play_fall_between_them(
    name: str, plays: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = chosen(task_class(name)().toy())
    monkeypatch.setattr(type(data.task), "prefetch", not plays)
    settings = TrainSettings(epochs=2, device="cpu", precision="float32", batch_size=50).advised({})
    run = Run.create(tmp_path / "run", {})
    run.every_steps = 1
    saved: list[int] = []
    save = run.save
    monkeypatch.setattr(run, "save", lambda tensors, facts: (saved.append(facts["batch"]), save(tensors, facts)))
    fit(data, data.task.build(), settings, keeper=run)
    assert set(saved) == {0} if plays else set(saved) > {0}


def test_a_batch_is_no_larger_than_what_there_is_to_learn_from(toy: Data) -> None:
    data = chosen(toy)
    settings = TrainSettings(epochs=1, device="cpu", batch_size=50_000).advised({})
    training = _Training(data, data.task.build(), settings, 1.0, None, Progress(quiet=True))
    assert training.size == len(data.train)


def test_no_more_examples_are_looked_at_together_than_the_task_says(
    quiet: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = task_class("image-classification")().toy()
    kind, seen = type(toy.task), list[int]()
    model = matinee.train(toy, epochs=0, progress=quiet)
    whole = matinee.evaluate(model, toy, baselines={})
    monkeypatch.setattr(kind, "at_once", lambda self: 5)
    monkeypatch.setattr(kind, "infer", lambda self, network, inputs: seen.append(len(inputs)) or network(inputs))
    parts = matinee.evaluate(model, toy, baselines={})
    assert max(seen) == 5 and len(parts.galleries) == len(whole.galleries)
    assert all(parts.scores[name].value == pytest.approx(whole.scores[name].value, abs=1e-6) for name in whole.scores)
    pixels = list(toy.test.array("image")[:20])
    assert len(model.predict(pixels)) == 20 and max(seen) == 5
    assert len(list(matinee.predict(model, pixels, batch_size=20))) == 20 and max(seen) == 20


@pytest.mark.parametrize(("asked", "looked_at"), [(4096, 80), (7, 7), (0, None)])
def test_calibrating_looks_at_as_many_as_the_task_says(
    asked: int, looked_at: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = chosen(task_class("image-classification")().toy())
    assert toy.task.calibrated_on() == 4096
    kind, told = type(toy.task), list[int]()
    monkeypatch.setattr(kind, "calibrated_on", lambda self: asked)
    monkeypatch.setattr(kind, "calibrate", lambda self, network, outputs, targets: told.append(len(targets)))
    calibrate(toy.task, toy.task.build(), toy.valid, machine("cpu", "float32"))
    assert told == [min(looked_at, len(toy.valid))] if looked_at is not None else not told
    monkeypatch.setattr(kind, "calibrate", Task.calibrate)
    monkeypatch.setattr(kind, "calibrated_on", Task.calibrated_on)
    assert toy.task.calibrated_on() == 0
