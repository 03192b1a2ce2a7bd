"""What scoring promises, over every task."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import matinee
from matinee.cli import main
from matinee.core.evaluation import Evaluation, difference
from matinee.core.examples import Examples
from matinee.core.meter import Rows, Score, intervals, wilson
from matinee.core.model import Model
from matinee.core.pieces import Code, Film, Gallery, Lines, Picture, Piece, Table, Text, Words, remarked
from matinee.core.progress import Progress
from matinee.core.registry import task_class
from matinee.core.scores import ClassificationMeter
from matinee.core.settings import from_json, to_json
from matinee.core.task import Batch, Data, Task
from matinee.verbs.evaluate import _cautions


def test_scores_come_with_intervals_and_rivals(toy: Data, learned: Model) -> None:
    told = matinee.evaluate(learned, toy)
    assert told.examples == len(toy.test) and told.split == "test"
    assert all(s.low <= s.value <= s.high for s in told.scores.values() if not math.isnan(s.value))
    assert ("trivial" in told.baselines) == (toy.task.trivial(toy.train) is not None)
    assert json.dumps(told.to_json()) and "95 % interval" in str(told)
    assert told.scores == matinee.evaluate(learned, toy, baselines={}).scores


def test_nothing_to_score_is_said(toy: Data, learned: Model) -> None:
    none = replace(toy, test=Examples(toy.test.columns, toy.test.rows[:0]))
    with pytest.raises(matinee.DataError, match="no test examples"):
        matinee.evaluate(learned, none)


def test_a_model_no_better_than_its_rivals_is_told_so(toy: Data, quiet: Progress) -> None:
    trivial = toy.task.trivial(toy.train)
    if trivial is None:
        pytest.skip("this task has no trivial answer")
    told = matinee.evaluate(trivial, toy, baselines={"trivial": trivial})
    assert any("not surely better" in note for note in told.notes)


def test_what_a_model_is_surely_better_than_is_said() -> None:
    from matinee.core.evaluation import Evaluation

    score = Score(0.5, 0.4, 0.6)
    margins = {"trivial": Score(0.2, 0.1, 0.3), "linear": Score(0.1, -0.1, 0.3)}
    told = Evaluation({"f1": score}, {}, 9, "test", 1.0, names={"trivial": "Lead"}, margins=margins)
    assert len(told.better()) == 1 and "surely better than Lead: F1 by 0.2000" in str(told)
    assert told.to_json()["margins"]["linear"]["low"] == -0.1


def test_examples_worth_seeing_are_drawn_with_their_truth_their_file_and_what_is_said_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    toy = task_class("image-classification")().toy()
    toy = replace(toy, origin=replace(toy.origin, names=[f"{row}.png" for row in range(len(toy.train.array("image")))]))
    model = toy.task.trivial(toy.train)
    assert model is not None

    def beside(self: Task, outputs: Any, batch: Batch) -> list[Piece]:
        assert batch.rows is not None and len(outputs) == len(batch.targets)
        return [Text(f"row {row}, truth {truth}") for row, truth in zip(batch.rows, batch.targets, strict=True)]

    monkeypatch.setattr(type(toy.task), "show_scored", beside)
    mistakes = matinee.evaluate(model, toy, baselines={}).galleries[0]
    said, drawn = (piece.words for piece in mistakes.pieces[:2] if isinstance(piece, Text))
    row = int(toy.test.rows[int(said.split(".png: said")[0]) - toy.test.rows[0]])
    truth = int(toy.task.labels(toy.test)[row - toy.test.rows[0]])
    assert drawn == f"row {row}, truth {truth}" and said.endswith(f"is {toy.task.names()[truth]}")


def test_a_network_is_described_beside_what_it_learned_from(monkeypatch: pytest.MonkeyPatch) -> None:
    toy = task_class("image-classification")().toy()
    model = toy.task.trivial(toy.train)
    assert model is not None

    def counts(self: Task, network: Any, examples: Examples, train: Examples) -> list[Piece]:
        return [Text(f"{len(examples)} of {len(train)}")]

    monkeypatch.setattr(type(toy.task), "describe_with", counts)
    told = matinee.evaluate(model, toy, baselines={})
    assert told.pieces[-1] == Text(f"{len(toy.test)} of {len(toy.train)}")


def test_what_is_said_of_an_example_reaches_every_kind_of_piece() -> None:
    picture = Picture(np.zeros((2, 2), np.uint8), "a cat")
    pair, table = Gallery([picture, picture], "found, true"), Table(("a", "b", "c"), [(1, 2, 3)])
    drawn = [pair, table, Code("{}"), Words(["cat"]), Film([picture.pixels], "meow"), Lines({})]
    told = remarked(drawn, list("123456"))
    assert told[0] == replace(pair, caption="found, true (1)") and told[1] == replace(table, caption="2")
    assert told[2:4] == [Text("3"), Code("{}")] and told[4] == Words(["cat"], caption="4")
    assert isinstance(told[5], Film) and told[5].words == "5" and told[6] == Lines({}, caption="6")
    assert remarked([Gallery([picture])] * 2, ["1", ""]) == [Gallery([replace(picture, words="1"), picture])]
    rows = [Table(("column", "value"), [("age", age)]) for age in (1, 2)]
    assert remarked(rows, ["x", "y"]) == [Table(("", "age"), [("x", 1), ("y", 2)])]


def test_shares_and_their_differences_have_the_same_units_everywhere() -> None:
    by = Score(0.0167, 0.002, 0.031)
    told = Evaluation({"accuracy": Score(0.96, 0.94, 0.97)}, {"linear": {"accuracy": 0.9433}}, 360, "test", 1.0,
                      shares=frozenset({"accuracy"}), margins={"linear": by})  # fmt: skip
    assert "accuracy  96.00 %  94.00 % to 97.00 %  94.33 %" in str(told)
    assert "accuracy by 1.67 points (95 % interval of the difference 0.20 to 3.10 points" in told.better()[0]
    worse = {"linear": Score(-0.01, -0.04, 0.02)}
    (note,) = _cautions("accuracy", (Score(0.5, 0.4, 0.6), True), worse, {"linear": {"accuracy": 0.51}}, {})
    assert note.startswith("accuracy 50.00 % is not surely better than linear (51.00 %)")
    assert note.endswith("the difference is -4.00 to 2.00 points (95 %).")
    assert difference(by, False) == ("0.0167", "0.0020 to 0.0310")


def test_what_is_told_of_each_class_has_the_columns_of_its_meter() -> None:
    classes = {"road": {"examples": 1200, "iou": 0.9, "edges": 2.5}, "sky": {"examples": 3, "iou": None, "edges": 1.0}}
    score, shares = Score(0.5, 0.4, 0.6), frozenset({"mean_iou", "iou"})
    told = Evaluation({"mean_iou": score}, {}, 9, "test", 1.0, detail={"classes": classes}, shares=shares)
    assert [line.split() for line in str(told).splitlines()[4:7]] == [
        ["class", "examples", "IoU", "edges"],
        ["road", "1,200", "90.00", "%", "2.5000"],
        ["sky", "3", "-", "1.0000"],
    ]


def test_wilson_against_the_published_formula() -> None:
    low, high = wilson(1.0, 10)
    assert high == pytest.approx(1.0) and low == pytest.approx(0.7225, abs=1e-4)
    low, high = wilson(0.5, 100)
    assert (low, high) == (pytest.approx(0.4038, abs=1e-4), pytest.approx(0.5962, abs=1e-4))


def rows_of(truth: list[int], answer: list[int], confidence: float = 0.8) -> dict[str, np.ndarray]:
    pairs = np.array(truth, float), np.array(answer, float)
    return {
        "truth": pairs[0],
        "answer": pairs[1],
        "confidence": np.full(len(truth), confidence),
        "nll": np.ones(len(truth)),
    }


def test_scores_of_a_classifier_against_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 5, 400)
    answer = np.where(generator.random(400) < 0.6, truth, generator.integers(0, 5, 400))
    scores = ClassificationMeter("abcde").score(rows_of(truth.tolist(), answer.tolist()))
    assert scores["accuracy"] == pytest.approx(metrics.accuracy_score(truth, answer))
    assert scores["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(truth, answer))
    for ours, theirs in (
        ("precision", metrics.precision_score),
        ("recall", metrics.recall_score),
        ("f1", metrics.f1_score),
    ):
        assert scores[ours] == pytest.approx(theirs(truth, answer, average="macro"))
    assert scores["ece"] == pytest.approx(abs(0.8 - (truth == answer).mean()))
    confusion = ClassificationMeter("abcde").confusion(rows_of(truth.tolist(), answer.tolist()))
    assert (confusion == metrics.confusion_matrix(truth, answer)).all()


@pytest.mark.parametrize("heat", [1.0, 2.0])
def test_the_interval_of_the_calibration_error_holds_the_figure_and_the_truth(heat: float) -> None:
    meter, generator, inside = ClassificationMeter("ab"), np.random.default_rng(2), 0

    def answered(count: int) -> Rows:
        chance = 1 - 0.5 * generator.beta(2, 3, count)
        told = 1 / (1 + ((1 - chance) / chance) ** heat)  # heat 1: as sure as it is right
        rows = rows_of([0] * count, (generator.random(count) > chance).astype(int).tolist())
        return {**rows, "confidence": told}

    truth = meter.score(answered(400_000))["ece"] if heat > 1 else 0.0
    for seed in range(40):
        score = intervals(meter, answered(300), draws=100, seed=seed)["ece"]
        assert 0 <= score.low <= score.value <= score.high
        inside += score.low <= truth <= score.high
    assert inside >= 36


def test_the_bootstrap_covers_the_truth() -> None:
    generator, inside = np.random.default_rng(1), 0
    for seed in range(60):
        truth = generator.integers(0, 2, 150)
        answer = np.where(generator.random(150) < 0.8, truth, 1 - truth)
        score = intervals(ClassificationMeter("ab"), rows_of(truth.tolist(), answer.tolist()), draws=200, seed=seed)
        inside += score["balanced_accuracy"].low <= 0.8 <= score["balanced_accuracy"].high
    assert inside >= 52  # 57 expected of 60


def test_the_command_scores_again_and_tells_what_changed(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn")
    assert main(["train", "digits", "--network", "linear", "--epochs", "2", "--out", "run", "--quiet", "--json"]) == 0
    trained = json.loads(capsys.readouterr().out)
    assert main(["evaluate", "run", "--quiet", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {n: s["value"] for n, s in told["scores"].items()} == pytest.approx(trained["test"])
    assert {"value", "low", "high"} == set(next(iter(told["scores"].values())))
    assert told["changed"] == {"changed": [], "missing": [], "new": []}
    assert main(["evaluate", "run", "--split", "valid", "--quiet", "--json"]) == 0
    valid = json.loads(capsys.readouterr().out)
    assert valid["scores"]["accuracy"]["value"] == pytest.approx(trained["valid"]["accuracy"])
    assert "these examples chose among the weights" in valid["notes"][0]


def test_new_files_do_not_turn_training_examples_into_test_examples(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def picture(number: int) -> None:
        folder = tmp_path / "photos" / ("cat", "dog")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")

    for number in range(60):
        picture(number)
    assert main(["train", "photos", "--network", "linear", "--epochs", "1", "--out", "run", "--quiet", "--json"]) == 0
    trained = json.loads(capsys.readouterr().out)
    for number in range(60, 120):
        picture(number)
    assert main(["evaluate", "run", "--quiet", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["examples"] == 12 and len(told["changed"]["new"]) == 60
    assert {n: s["value"] for n, s in told["scores"].items()} == pytest.approx(trained["test"])
    assert any("60 source files new" in note for note in told["notes"])
    assert main(["evaluate", "run", "photos/cat/..", "--quiet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["examples"] == 12
    for path in list((tmp_path / "photos").glob("*/*.png")):
        path.rename(path.with_name(f"was-{path.name}"))
    assert main(["evaluate", "run", "--quiet", "--json"]) == 1
    assert "none of the examples that were held back" in json.loads(capsys.readouterr().out)["error"]


def test_data_numbered_for_other_classes_is_refused(toy: Data, learned: Model) -> None:
    names = toy.task.names()
    if not names:
        pytest.skip("this task has no classes")
    turned = from_json(type(toy.task), {**to_json(toy.task), "classes": [*names[1:], names[0]]})
    with pytest.raises(matinee.DataError, match="classes are not those"):
        matinee.evaluate(learned, replace(toy, task=turned))


def test_five_of_five_is_not_certainty() -> None:
    scores = intervals(ClassificationMeter("ab"), rows_of([0, 1, 0, 1, 0], [0, 1, 0, 1, 0]), draws=100)
    assert all(scores[name].low < 0.7 and scores[name].high == 1.0 for name in ("accuracy", "f1", "recall"))


def test_a_model_scores_where_its_training_data_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for place in ("old", "new"):
        for number in range(40):
            folder = tmp_path / place / ("cat", "dog")[number % 2]
            folder.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng([number, len(place), ord(place[0])]).integers(
                0, 255, (8, 8, 3), dtype=np.uint8
            )
            Image.fromarray(pixels).save(folder / f"{number}.png")
    assert main(["train", "old", "--network", "linear", "--epochs", "1", "--out", "run", "--quiet", "--json"]) == 0
    capsys.readouterr()
    (tmp_path / "old").rename(tmp_path / "gone")
    assert main(["evaluate", "run", "new", "--quiet", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["examples"] == 40 and any("cannot be told" in note for note in told["notes"])
