"""What training promises, over every task."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import matinee
from matinee.core.errors import DataError, MatineeError, SettingsError
from matinee.core.examples import Examples
from matinee.core.loop import Step, fit
from matinee.core.model import Model
from matinee.core.progress import Progress
from matinee.core.runtime import settled
from matinee.core.task import Data
from matinee.core.train_settings import TrainSettings
from matinee.tasks.image_classification import ImageClassification


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in model.network.state_dict().items()}


def test_a_network_of_one_size_refuses_growing_pictures() -> None:
    data = ImageClassification().toy()
    with pytest.raises(SettingsError, match="--progressive: linear takes one size only"):
        matinee.train(data, network="linear", progressive=True)


def test_it_learns(toy: Data, quiet: Progress) -> None:
    model = matinee.train(toy, epochs=6, progress=quiet)
    told = matinee.evaluate(model, toy)
    first, score = next(iter(told.scores.items()))
    below = first in toy.task.meter().lower_is_better
    worst = score.high if below else score.low
    theirs = [scores[first] for name, scores in told.baselines.items() if name == "trivial"]
    assert all(worst < each if below else worst > each for each in theirs)
    assert score.low <= score.value <= score.high


def test_the_same_seed_gives_the_same_bits_and_another_does_not(toy: Data, learned: Model, quiet: Progress) -> None:
    one = weights(learned)
    same, other = (weights(matinee.train(toy, epochs=1, seed=seed, progress=quiet)) for seed in (0, 1))
    assert all(torch.equal(one[k], same[k]) for k in one)
    assert any(not torch.equal(one[k], other[k]) for k in one)


def test_the_run_folder_holds_all_that_a_run_was(toy: Data, quiet: Progress, tmp_path: Path) -> None:
    model = matinee.train(toy, epochs=2, out=tmp_path / "run", progress=quiet)
    found = {p.name.split(".vm")[0] for p in (tmp_path / "run").iterdir()}
    wanted = {"settings.json", "ledger.json", "metrics.csv", "checkpoint", "model", "report.html", "result.json"}
    assert wanted <= found and any(name.startswith("events.out.tfevents") for name in found)
    with open(tmp_path / "run" / "metrics.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [1, 2]
    told = json.loads((tmp_path / "run" / "result.json").read_text())
    assert told["train_seconds"] <= told["seconds"]
    first = toy.task.meter().names_of_scores()[0]
    assert next(iter(told["test"])) == first and next(iter(told["valid"])) == first
    again = matinee.load(tmp_path / "run")
    batch = toy.task.collate(toy.test.gather(np.arange(9)))
    assert again.answer(batch.inputs) == model.answer(batch.inputs)


def test_the_epoch_that_was_kept_is_marked(quiet: Progress, tmp_path: Path) -> None:
    matinee.train(ImageClassification().toy(), epochs=3, out=tmp_path / "run", progress=quiet)
    kept = json.loads((tmp_path / "run" / "result.json").read_text())["kept_epoch"]
    page = (tmp_path / "run" / "report.html").read_text()
    assert 1 <= kept <= 3 and f"Kept are the weights at the end of epoch {kept}, chosen by accuracy" in page
    assert page.count("<td>kept</td>") == 1 and "FILE..." in page


def test_a_minute_is_a_minute(toy: Data, quiet: Progress, tmp_path: Path, own_clock: Callable[[], float]) -> None:
    began = own_clock()
    matinee.train(toy, minutes=0.1, out=tmp_path / "run", progress=quiet)
    assert own_clock() - began < 12  # 6 s asked for
    events = json.loads((tmp_path / "run" / "checkpoint" / "clock.json").read_text())
    assert events and events[-1]["left"] >= 1


def test_minutes_end_with_the_passes_that_pay(quiet: Progress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, plain = ImageClassification().toy(), ImageClassification.advice
    monkeypatch.setattr(ImageClassification, "advice", lambda task, count: {**plain(task, count), "most_epochs": 2})
    matinee.train(data, minutes=10, out=tmp_path / "run", progress=quiet)
    told = json.loads((tmp_path / "run" / "result.json").read_text())
    assert told["epochs"] == 2 and "ended after 2 passes with" in told["notes"][0]
    matinee.train(data, minutes=10, epochs=3, out=tmp_path / "other", progress=quiet)
    told = json.loads((tmp_path / "other" / "result.json").read_text())
    assert told["epochs"] == 3 and not any("passes" in note for note in told["notes"])


def test_hooks_act_by_what_they_return(toy: Data) -> None:
    seen: list[int] = []

    class Scale(matinee.Hook):
        def on_loss(self, step: Step, loss: torch.Tensor) -> torch.Tensor:
            seen.append(step.number)
            return loss * 0

        def on_epoch(self, step: Step, scores: dict[str, float]) -> bool:
            return True

    task = toy.task.choose(toy, None)
    network = task.build()
    before = {k: v.clone() for k, v in network.named_parameters()}
    settings = TrainSettings(epochs=3, weight_decay=0.0, optimiser="sgd", average=0.0).advised({})
    history = fit(replace(toy, task=task), network, settings, hooks=[Scale()]).history
    assert len(history) == 1 and seen == list(range(len(seen)))
    assert all(torch.equal(before[k], v) for k, v in network.named_parameters())


@pytest.mark.parametrize(
    "given",
    [
        {"optimiser": "sgd", "momentum": 0.0, "schedule": "constant", "warmup": 0.5, "average": 0.9},
        {"optimiser": "adam", "balanced": True, "l1": 1e-5, "clip": 1.0},
        {"optimiser": "rmsprop", "learning_rate": 1e-3, "precision": "float32", "batch_size": 7},
        {"optimiser": "muon", "batch_size": 5000},
    ],
    ids=str,
)
def test_every_setting_trains(toy: Data, given: dict[str, Any], quiet: Progress) -> None:
    if toy.task.labels(toy.train) is None:  # nothing to balance
        given = {name: value for name, value in given.items() if name != "balanced"}
    model = matinee.train(toy, epochs=1, progress=quiet, **given)
    assert all(torch.isfinite(v).all() for v in model.network.state_dict().values())


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"dropuot": 0.1}, "dropuot"),
        ({"learning_rate": 99}, "from 1e-07 to 10"),
        ({"optimiser": "adamm"}, "Did you mean adam"),
        ({"device": "cuda:77"}, "no such device"),
        ({"select": "beauty"}, "this task has the scores"),
        ({"freeze": 2}, "--start"),
        ({"start": "nowhere.safetensors"}, "nowhere"),
        ({"parallel": "sharded", "optimiser": "adamw"}, "torchrun"),
        ({"parallel": "both"}, "auto, data"),
    ],
)
def test_a_wrong_setting_is_named(toy: Data, given: dict[str, Any], words: str, quiet: Progress) -> None:
    with pytest.raises(MatineeError, match=words):
        matinee.train(toy, epochs=1, progress=quiet, **given)


def test_a_loss_that_is_no_number_says_what_to_do(toy: Data) -> None:
    class Spoil(matinee.Hook):
        def on_loss(self, step: Step, loss: torch.Tensor) -> torch.Tensor:
            return loss * float("nan")

    task = toy.task.choose(toy, None)
    with pytest.raises(MatineeError, match="--learning-rate"):
        fit(replace(toy, task=task), task.build(), TrainSettings(epochs=1).advised({}), hooks=[Spoil()])


def test_nothing_to_train_on_is_refused(toy: Data, quiet: Progress) -> None:
    empty = replace(toy, train=Examples(toy.train.columns, toy.train.rows[:0]))
    with pytest.raises(DataError, match="no examples"):
        matinee.train(empty, epochs=1, progress=quiet)


def test_a_folder_that_is_taken_is_left_alone(toy: Data, quiet: Progress, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(SettingsError, match="something in this folder"):
        matinee.train(toy, epochs=1, out=tmp_path / "mine", progress=quiet)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_training_starts_from_other_weights(toy: Data, learned: Model, quiet: Progress, tmp_path: Path) -> None:
    learned.save(tmp_path / "first")
    head = learned.task.head
    trunk = {k: v.clone() for k, v in learned.network.state_dict().items() if not k.startswith(head)}
    moved = matinee.train(
        toy, epochs=1, start=str(tmp_path / "first"), freeze=1, learning_rate=0.05, average=0.0, progress=quiet
    )
    own = dict(moved.network.named_parameters())
    assert all(torch.equal(trunk[k], own[k]) for k in trunk if k in own)
    assert any(not torch.equal(learned.network.state_dict()[k], v) for k, v in own.items() if k.startswith(head))


def test_without_validation_the_last_weights_are_kept(toy: Data, quiet: Progress, tmp_path: Path) -> None:
    none = Examples(toy.train.columns, toy.train.rows[:0])
    model = matinee.train(replace(toy, valid=none), epochs=1, out=tmp_path / "run", progress=quiet)
    assert model.facts["valid"] == {}
    none_at_all = matinee.train(replace(toy, valid=none, test=none), epochs=1, out=tmp_path / "bare", progress=quiet)
    assert (tmp_path / "bare" / "report.html").exists() and none_at_all.run is not None


def test_a_checkpoint_that_cannot_be_written_stops_the_training(
    toy: Data, quiet: Progress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, tensors: object, facts: object) -> None:
        raise MatineeError(f"{path}: the disk is full.")

    monkeypatch.setattr("matinee.core.runs.write_tensors", full)
    with pytest.raises(MatineeError, match="the disk is full"):
        matinee.train(toy, epochs=2, out=tmp_path / "run", progress=quiet)


def test_auto_looks_at_the_machine_that_was_asked_for(quiet: Progress, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, plain = [], ImageClassification.choose
    monkeypatch.setattr(ImageClassification, "choose", lambda *rest: seen.append(settled().precision) or plain(*rest))
    for precision in ("bfloat16", "float32"):
        matinee.train(ImageClassification().toy(), epochs=0, precision=precision, progress=quiet)
    assert seen[0] == torch.bfloat16 and seen[-1] == torch.float32


def test_a_setting_of_reading_comes_too_late(toy: Data, quiet: Progress) -> None:
    matinee.train(toy, epochs=0, test_share="0.2", progress=quiet)  # what it is already
    with pytest.raises(SettingsError, match="read already"):
        matinee.train(toy, epochs=1, test_share=0.3, progress=quiet)
