"""What is special to tables: types of columns, missing values, exact linear solutions, thresholds, choices."""

from __future__ import annotations

import itertools
import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import matinee
from matinee.cli import main
from matinee.core.errors import DataError, SettingsError
from matinee.core.event_scores import EventMeter
from matinee.core.examples import Examples
from matinee.core.pieces import Bars
from matinee.core.progress import Progress
from matinee.core.regression_scores import RegressionMeter
from matinee.core.scores import ClassificationMeter, auroc
from matinee.core.task import Batch, Data
from matinee.tasks.table_prediction import TablePrediction


def written(path: Path, rows: int = 240, seed: int = 0) -> Path:
    """Customers: whether they leave, and what they spend, by age, city, date and plan; some values are missing."""
    generator = np.random.default_rng(seed)
    age, plan = generator.integers(18, 80, rows), generator.integers(0, 3, rows)
    city = generator.choice(["Rome", "Oslo", "Bern"], rows)
    day = generator.integers(1, 29, rows)
    odds = (age - 50) / 10 + 2.0 * (city == "Oslo") - plan
    leaves = generator.random(rows) < 1 / (1 + np.exp(-odds))
    spends = 3.0 * age + 20 * plan + 5 * np.sin(age / 5) + generator.normal(0, 3, rows)
    lines = ["id,age,city,since,plan,spends,leaves"]
    for i in range(rows):
        shown = "?" if i % 12 == 0 else str(age[i])
        word = "yes" if leaves[i] else "no"
        lines.append(f"c{i},{shown},{city[i]},2024-{1 + i % 12:02d}-{day[i]:02d},{plan[i]},{spends[i]:.2f},{word}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def customers(tmp_path: Path) -> Path:
    return written(tmp_path / "customers.csv")


def read(path: Path | str, **given: Any) -> Data:
    return matinee.read(path, task="table-prediction", progress=Progress(quiet=True), **given)


def train(data: Data, **given: Any) -> matinee.Model:
    return matinee.train(data, progress=Progress(quiet=True), **given)


def test_from_a_file_to_answers(customers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(tmp_path / "run")
    given = ["--ignore", "spends", "--network", "tabular", "--epochs", "12"]
    assert main(["train", str(customers), *given, "--out", run, "--quiet", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["task"] == "table-prediction" and told["test"]["auroc"] > 0.75
    page = (tmp_path / "run" / "report.html").read_text()
    assert "mixed up among 48 of the examples" in page and "ROC" in page
    assert "This model tells it where its probability is above 0.5" in page and "--target-column" not in page
    # What was read, and the rows that are worth seeing, with their truth.
    assert (
        "a table with named columns: 3 of categories, 3 of numbers, 1 of dates (no other task fits" in page
        and "guessed; --target names another" in page
    )
    assert re.search(r"customers\.csv#\d+: said (yes|no) \(\d+ %\), is (yes|no)", page)
    new = tmp_path / "new.csv"
    new.write_text("city,age,since,plan,id\nOslo,79,2024-02-01,0,x\nOslo,old,2024-02-01,0,x\nParis,,,2,y\n")
    row = '{"city": "Bern", "age": 20, "since": null, "plan": 2}'
    assert main(["predict", run, str(new), row, '{"age": 3}', "none.csv", "--json"]) == 1
    answers = json.loads(capsys.readouterr().out)["answers"]
    assert [answer["file"] for answer in answers[:3]] == ["new.csv#2", "new.csv#3", "new.csv#4"]
    assert answers[0]["label"] == "yes" and answers[3]["label"] == "no"
    assert "'old' is no number" in answers[1]["error"] and answers[2]["label"] in ("yes", "no")
    assert "'city', 'since', 'plan' are missing" in answers[4]["error"] and "no such file" in answers[5]["error"]
    assert main(["evaluate", run, "--quiet", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["scores"]["accuracy"]["value"] == pytest.approx(told["test"]["accuracy"])
    customers.write_text(customers.read_text().replace("c7,", "c7x,"))
    assert main(["evaluate", run, "--quiet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["changed"]["changed"] == ["customers.csv#9"]


def test_a_number_with_its_range(customers: Path) -> None:
    data = read(customers, target="spends", ignore="leaves")
    model = train(data, network="kernel")
    told = matinee.evaluate(model, data)
    assert told.scores["r2"].value > 0.5 and told.scores["r2"].low > told.baselines["trivial"]["r2"]
    answer = model.predict([{"age": 50, "city": "Rome", "since": "2024-05-05", "plan": "1"}])[0]
    assert answer["from"] < answer["value"] < answer["to"] and answer["value"] == pytest.approx(165, abs=15)
    assert told.detail["in_range"] > 0.75


@pytest.mark.parametrize("network", ["linear", "kernel", "mlp", "tabular"])
@pytest.mark.parametrize("target", ["leaves", "spends", "city"])
def test_every_network_learns_every_kind_and_comes_back(
    customers: Path, tmp_path: Path, network: str, target: str
) -> None:
    data = read(customers, target=target)
    model = train(data, network=network, epochs=None if network in ("linear", "kernel") else 2)
    model.save(tmp_path / "model")
    again = matinee.load(tmp_path / "model")
    batch = data.task.collate(data.test.gather(np.arange(20)))
    assert again.answer(batch.inputs) == model.answer(batch.inputs)
    assert len(data.task.show(batch.inputs[:2], again.network(batch.inputs[:2]))) == 2


def test_columns_keep_what_they_are(customers: Path) -> None:
    task = read(customers, categories="plan", target="leaves").task
    assert isinstance(task, TablePrediction)
    kinds = dict(zip(task.columns, task.kinds, strict=True))
    assert kinds == {"age": "number", "city": "category", "since": "date", "plan": "category", "spends": "number"}
    assert task.classes[1] == "yes" and "id" in task.others


def test_logistic_regression_has_the_coefficients_of_scikit_learn() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    data = read("breast-cancer")
    network = train(data, network="linear", l2_penalty=1.0).network
    scaler = preprocessing.StandardScaler().fit(data.train.column("values").astype(np.float64))
    values = scaler.transform(data.train.column("values").astype(np.float64))
    theirs = linear_model.LogisticRegression(tol=1e-10, max_iter=10_000).fit(values, data.train.column("label"))
    assert network.head.weight.detach().numpy()[0, :30, 0] == pytest.approx(theirs.coef_[0], abs=1e-4)
    assert network.head.bias.item() == pytest.approx(theirs.intercept_[0], abs=1e-4)


def test_statistics_are_of_the_training_rows_alone(customers: Path) -> None:
    data = read(customers, target="spends")
    network = train(data, network="linear").network
    ages = data.train.column("values")[:, 0]
    assert float(network.intake.mean[0]) == pytest.approx(np.nanmean(ages), rel=1e-5)
    assert float(network.intake.flagged[0]) == 1.0
    # A fold with other rows has other statistics.
    half = replace(data, train=data.train.take(np.arange(60)))
    assert float(train(half, network="linear").network.intake.mean[0]) == pytest.approx(np.nanmean(ages[:60]), rel=1e-5)


def test_categories_too_rare_in_training_count_as_unknown(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = [f"{'rare' if i < 2 else 'ab'[i % 2]},{i % 7},{i % 2}" for i in range(100)]
    path.write_text("kind,n,y\n" + "\n".join(rows))
    model = train(read(path, valid_share=0, test_share=0), network="linear")
    rare, unknown = model.predict([{"kind": "rare", "n": 3}, {"kind": "never seen", "n": 3}])
    assert rare == unknown != model.predict([{"kind": "a", "n": 3}])[0]


@pytest.mark.parametrize(
    ("target", "given", "words"),
    [
        ("leaves", {"loss_function": "mae"}, "cross-entropy"),
        ("spends", {"loss_function": "cross-entropy"}, "mse, mae or huber"),
        ("spends", {"false_alarm_budget": 0.1}, "needs two classes"),
        ("city", {"cost_of_miss": 5}, "--event makes two"),
        ("leaves", {"cost_of_miss": 5, "class_weights": "balanced"}, "without --class-weights"),
        ("leaves", {"cost_of_miss": 5, "false_alarm_budget": 0.1}, "either a budget or costs"),
        ("spends", {"network": "kernel", "loss_function": "huber"}, "--network linear"),
        ("spends", {"network": "mlp", "l2_penalty": 0.0}, "--l2-penalty: is of --network linear"),
        ("leaves", {"network": "kernel", "l1_penalty": 1.0}, "--l1-penalty: is of --network linear"),
        ("spends", {"network": "linear", "loss_function": "mae", "l1_penalty": 1.0}, "--loss"),
    ],
)
def test_settings_that_do_not_go_together(customers: Path, target: str, given: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        train(read(customers, target=target), **given)


def rare(rows: int = 3000) -> Data:
    """One event in ten."""
    generator = np.random.default_rng(2)
    label = (generator.random(rows) < 0.1).astype(np.int64)
    columns = {"values": (generator.normal(size=(rows, 1)) + 1.5 * label[:, None]).astype(np.float32), "label": label}
    task = TablePrediction(
        columns=("x",), kinds=("number",), levels=((),), classes=("fine", "fault"), counts=(9, 1), network="linear"
    )
    third = rows // 3
    train_, valid, test = (Examples(columns, np.arange(k * third, (k + 1) * third)) for k in range(3))
    return Data(task, train_, valid, test)


def test_a_budget_of_false_alarms_is_met() -> None:
    data = rare()
    told = matinee.evaluate(train(data, false_alarm_budget=0.05), data)
    assert next(iter(told.scores)) == "auroc"
    assert 0.02 < told.scores["false_alarms"].value < 0.08 and told.scores["missed"].value < 0.7
    none = train(data, false_alarm_budget=0.0)
    assert matinee.evaluate(none, data).scores["false_alarms"].value == 0
    with pytest.raises(SettingsError, match="--valid-share"):
        train(replace(data, valid=data.valid.take(np.arange(0))), false_alarm_budget=0.05)


def test_dear_misses_lower_the_threshold() -> None:
    data = rare()
    plain, dear = train(data), train(data, cost_of_miss=9.0)
    told = {
        name: matinee.evaluate(model, data, baselines={}).scores
        for name, model in {"plain": plain, "dear": dear}.items()
    }
    assert next(iter(told["dear"])) == "cost"
    assert told["dear"]["missed"].value < told["plain"]["missed"].value - 0.3
    answer = dear.predict([{"x": 1.5}])[0]
    assert answer["label"] == "fault" and answer["threshold"] == pytest.approx(0.1)
    assert "threshold" not in plain.predict([{"x": 1.5}])[0]
    # What is told agrees with what is scored.
    batch = dear.task.collate(data.test.gather(np.arange(500)))
    labels = [answer["label"] == "fault" for answer in dear.answer(batch.inputs)]
    meter = dear.task.meter()
    meter.update(dear.network(batch.inputs), batch)
    assert meter.rows()["answer"].astype(bool).tolist() == labels


def test_balanced_classes_find_more_events() -> None:
    data = rare()
    for network in ("linear", "kernel", "mlp"):
        recall = [
            1
            - matinee.evaluate(train(data, network=network, class_weights=w), data, baselines={}).scores["missed"].value
            for w in ("none", "balanced")
        ]
        assert recall[1] > recall[0] + 0.2, network


def test_absolute_errors_are_not_moved_by_outliers() -> None:
    generator = np.random.default_rng(1)
    values = generator.normal(size=(300, 2)).astype(np.float32)
    numbers = (values @ np.array([2.0, -1.0]) + 5).astype(np.float32)
    numbers[:20] += 500
    columns = {"values": values, "number": numbers}
    task = TablePrediction(columns=("a", "b"), kinds=("number",) * 2, levels=((), ()), network="linear")
    part = Examples.of(columns)
    data = Data(task, part, part.take(np.arange(0)), part.take(np.arange(200, 300)))
    errors = {
        loss: matinee.evaluate(train(data, loss_function=loss), data, baselines={}).scores["mae"].value
        for loss in ("mse", "mae", "huber")
    }
    assert errors["mae"] < 0.1 and errors["huber"] < 0.5 * errors["mse"]


def curved(bend: bool) -> Data:
    generator = np.random.default_rng(4)
    values = generator.normal(size=(200, 3)).astype(np.float32)
    truth = np.sin(2 * values[:, 0]) * values[:, 1] if bend else values @ np.array([1.0, 2.0, 0.0])
    columns = {"values": values, "number": (truth + 0.1 * generator.normal(size=200)).astype(np.float32)}
    task = TablePrediction(columns=("a", "b", "c"), kinds=("number",) * 3, levels=((), (), ()))
    return Data(task, *(Examples(columns, np.arange(*ends)) for ends in ((0, 150), (150, 170), (170, 200))))


def test_the_network_is_chosen_by_trial() -> None:
    assert curved(False).task.choose(curved(False), None).network == "kernel"  # which has the linear one in it
    assert curved(True).task.choose(curved(True), None).network == "kernel"
    assert replace(curved(False).task, loss_function="mae").choose(curved(False), None).network == "linear"
    straight = curved(False)
    labels = {
        "values": straight.train.columns["values"],
        "label": (straight.train.columns["number"] > 0).astype(np.int64),
    }
    parts = (Examples(labels, part.rows) for part in straight.splits().values())
    classes = Data(replace(straight.task, classes=("low", "high")), *parts)
    assert classes.task.choose(classes, None).network == "linear"
    asked = replace(curved(True).task, l2_penalty=1.0)
    assert asked.choose(curved(True), None).network == "linear"


def test_equal_rows_stay_on_one_side(customers: Path) -> None:
    text = customers.read_text().splitlines()
    customers.write_text("\n".join([*text, *text[1:60]]) + "\n")
    findings = matinee.check(read(customers))
    assert not findings.errors and {problem.kind for problem in findings.problems} >= {"duplicate"}


def test_folds_that_choose_other_networks_have_one_rival(customers: Path) -> None:
    def choose(self: TablePrediction, data: Data, minutes: float | None) -> TablePrediction:
        return replace(self, network="linear" if data.train.rows[0] == 0 else "kernel", size="s")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TablePrediction, "choose", choose)
        told = matinee.cross_validate(read(customers, target="spends"), folds=3, progress=Progress(quiet=True))
        assert set(told.rivals) == {"trivial", "linear"}
    linear = read(customers, target="spends")
    told = matinee.cross_validate(linear, folds=2, network="linear", progress=Progress(quiet=True))
    assert set(told.rivals) == {"trivial"}


def test_groups_stay_on_one_side(customers: Path) -> None:
    data = read(customers, target="leaves", group_column="since")
    assert "since" not in data.task.columns
    parts = [set(part.column("group").tolist()) for part in data.splits().values()]
    assert not parts[0] & parts[2] and not parts[0] & parts[1]


def test_splits_of_the_source_are_kept(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    written(tmp_path / "t" / "train.csv", 100)
    written(tmp_path / "t" / "test.csv", 40, seed=1)
    data = read(tmp_path / "t")
    assert len(data.test) == 40 and data.origin.given >= {"test"}


def test_a_predicted_row_must_be_a_mapping(customers: Path) -> None:
    model = train(read(customers, target="leaves", ignore="spends"), network="linear")
    with pytest.raises(DataError, match="mapping"):
        model.predict(["Rome"])
    row = {"age": 50, "city": "Rome", "since": "2024-05-05", "plan": 1}
    with pytest.raises(DataError, match="knows no column 'agee'"):
        model.predict([{**row, "agee": 3}])
    assert model.predict([{**row, "leaves": "yes", "id": "c9"}])[0] == model.predict([row])[0]


def test_scores_against_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 2, 300)
    odds = np.round(generator.normal(size=300) + truth, 1)
    assert auroc(truth > 0, odds) == pytest.approx(metrics.roc_auc_score(truth, odds))
    outputs = torch.from_numpy(np.column_stack([np.zeros(300), odds, np.full(300, 0.35)]))
    meter = EventMeter(("no", "yes"), (5.0, 1.0))
    meter.update(outputs, Batch(torch.zeros(300, 1), torch.from_numpy(truth)))
    told, answers = meter.score(meter.rows()), odds > 0.35
    assert told["f1"] == pytest.approx(metrics.f1_score(truth, answers, average="macro"))
    assert told["missed"] == pytest.approx(1 - metrics.recall_score(truth, answers))
    assert told["cost"] == pytest.approx((5 * (truth & ~answers).sum() + ((1 - truth) & answers).sum()) / 300)
    numbers = RegressionMeter()
    numbers.update(
        torch.from_numpy(np.column_stack([odds, 0 * odds])), Batch(torch.zeros(300, 1), torch.from_numpy(truth))
    )
    told = numbers.score(numbers.rows())
    assert told["r2"] == pytest.approx(metrics.r2_score(truth, odds), abs=1e-5)
    assert told["rmse"] == pytest.approx(metrics.root_mean_squared_error(truth, odds), abs=1e-5)
    assert told["mae"] == pytest.approx(metrics.mean_absolute_error(truth, odds), abs=1e-5)


def test_auroc_of_several_classes_against_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 4, 200)
    logits = torch.from_numpy(np.round(generator.normal(size=(200, 4)) + np.eye(4)[truth], 1))  # with ties
    meter = ClassificationMeter("abcd", ranked=True)
    meter.update(logits, Batch(torch.zeros(200, 1), torch.from_numpy(truth)))
    told = meter.score(meter.rows())
    shares = logits.float().softmax(-1).numpy()
    assert told["auroc"] == pytest.approx(metrics.roc_auc_score(truth, shares, multi_class="ovr"), abs=1e-6)
    assert list(told) == list(meter.names_of_scores())
    one = {name: values[truth == 2] for name, values in meter.rows().items()}
    assert np.isnan(meter.score(one)["auroc"])
    many = ClassificationMeter([str(i) for i in range(60)], ranked=True)
    assert "auroc" not in many.names_of_scores()


def test_what_cannot_be_scored_is_no_zero() -> None:
    meter = EventMeter(("no", "yes"))
    meter.update(torch.tensor([[0.0, 1, 0], [0, -1, 0]]), Batch(torch.zeros(2, 1), torch.tensor([0, 0])))
    told = meter.score(meter.rows())
    assert np.isnan(told["missed"]) and np.isnan(told["auroc"]) and told["false_alarms"] == 0.5


def test_a_budget_that_cannot_be_shown_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"of which there are 8\d\d.*Give 0.001"):
        train(rare(), false_alarm_budget=0.001)


def test_a_budget_is_kept_where_many_rows_are_equal() -> None:
    generator = np.random.default_rng(0)
    values = generator.integers(0, 2, (600, 2)).astype(np.float32)
    label = (generator.random(600) < 0.1 + 0.4 * values[:, 0]).astype(np.int64)
    task = TablePrediction(
        columns=("a", "b"), kinds=("number",) * 2, levels=((), ()), classes=("no", "yes"), network="linear"
    )
    columns = {"values": values, "label": label}
    data = Data(task, *(Examples(columns, np.arange(k, k + 200)) for k in (0, 200, 400)))
    for budget in (0.05, 0.2, 0.5, 0.9):
        told = matinee.evaluate(train(data, false_alarm_budget=budget), data, split="valid", baselines={})
        assert told.scores["false_alarms"].value <= budget


def test_a_solved_network_tells_of_no_steps(customers: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert (
        main(["train", str(customers), "--target", "spends", "--network", "linear", "--out", str(run), "--quiet"]) == 0
    )
    page = (run / "report.html").read_text()
    assert "computed from the training examples at a look" in page and "examples a second while" not in page
    assert "training loss" not in page and ">R2<" in page


def test_what_a_loss_must_know_is_of_the_rows_it_learns_from(customers: Path) -> None:
    data = read(customers, target="leaves")
    few = replace(data, train=data.train.take(np.flatnonzero(data.train.column("label") == 1)))
    assert few.task.choose(few, None).counts == (0, len(few.train)) != data.task.counts
    numbers = read(customers, target="spends")
    half = replace(numbers, train=numbers.train.take(np.arange(40)))
    chosen = replace(numbers.task, network="mlp").choose(half, None)
    assert chosen.deviation == pytest.approx(half.train.column("number").std(), rel=1e-6) != numbers.task.deviation


def wide(rows: int, columns: int) -> Data:
    generator = np.random.default_rng(5)
    values = generator.normal(size=(rows, columns)).astype(np.float32)
    label = (values[:, 7] + 0.3 * generator.normal(size=rows) > 0).astype(np.int64)
    task = TablePrediction(
        columns=tuple(f"g{i}" for i in range(columns)), kinds=("number",) * columns, levels=((),) * columns,
        classes=("no", "yes"),
    )  # fmt: skip
    ends = (0, rows // 2, rows // 2, rows)
    parts = (Examples({"values": values, "label": label}, np.arange(*pair)) for pair in itertools.pairwise(ends))
    return Data(task, *parts)


def test_a_table_of_many_columns_is_solved_in_seconds() -> None:
    data, began = wide(600, 4000), time.process_time()
    model = train(data)
    assert model.task.network == "linear"
    pieces = matinee.evaluate(model, data, baselines={}).pieces
    bars = next(piece for piece in pieces if isinstance(piece, Bars))
    assert bars.names[0] == "g7" and "100 of 4,000 columns" in bars.caption
    assert time.process_time() - began < 30


def test_check_counts_rows_and_columns(customers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    customers.write_text(customers.read_text().replace(",yes\n", ",\n", 2))
    assert main(["check", str(customers), "--target", "leaves"]) == 0
    told = capsys.readouterr().out
    assert "2 rows left out (no-label)" in told and "1 column passed over (ignored): 238 different words" in told
    assert (
        "taken for: a table with named columns: 3 of categories, 3 of numbers, 1 of dates (no other task fits; --task"
        in told
    )
    assert main(["check", str(customers), "--target", "spends"]) == 0
    assert "\nclass " not in capsys.readouterr().out


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "given", "score", "least"),
    [
        ("processed.cleveland.data", {"event": ">0", "categories": "column_3,column_7,column_13"}, "accuracy", 0.80),
        ("auto-mpg.data", {"target": "mpg", "categories": "origin"}, "r2", 0.85),
    ],
)
def test_real_tables(real: Path, name: str, given: dict[str, Any], score: str, least: float) -> None:
    told = matinee.cross_validate(read(real / "tabular" / name, **given), folds=3, progress=Progress(quiet=True))
    assert told.scores[score].value > least
