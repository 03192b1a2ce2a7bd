"""What comparing promises, over every task: the same examples or a clear refusal, and honest differences."""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import matinee
from matinee.cli import main
from matinee.core import paired
from matinee.core.model import Model
from matinee.core.progress import Progress
from matinee.core.task import Data
from matinee.verbs import compare as verb


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough to see what is promised."""
    monkeypatch.setattr(verb, "DRAWS", 100)
    monkeypatch.setattr(verb, "chance", functools.partial(paired.chance, draws=400))


def test_models_are_compared_in_pairs(toy: Data, learned: Model) -> None:
    models = {"model": learned, "again": learned, "trivial": toy.task.trivial(toy.train) or learned}
    told = matinee.compare(models, toy)
    assert told.examples == len(toy.test) and not told.notes
    first = next(iter(told.scores["model"]))
    assert [len(told.pairs), {next(iter(pair.margins)) for pair in told.pairs}] == [3, {first}]
    same = told.pairs[0]
    assert same.p == same.corrected == 1 and not same.sure and set(same.margins) == set(told.scores["model"])
    assert all(score.value == 0 for score in same.margins.values() if score.value == score.value)
    for pair in told.pairs:
        by = pair.margins[first]
        apart = told.scores[pair.better][first] - told.scores[pair.worse][first]
        assert by.value >= 0 and by.value == pytest.approx(abs(apart)) and 0 < pair.p <= pair.corrected <= 1
    assert json.dumps(told.to_json()) and "Holm" in str(told) and "better" in str(told)


def test_the_same_examples_in_another_order_are_the_same(toy: Data, learned: Model) -> None:
    turned = replace(toy, test=toy.test.take(np.random.default_rng(0).permutation(len(toy.test))))
    told = matinee.compare({"one": learned, "other": learned}, {"one": toy, "other": turned})
    assert told.pairs[0].p == 1 and told.examples == len(toy.test)


def test_other_examples_are_refused_unless_those_in_common_will_do(toy: Data, learned: Model) -> None:
    half, count = len(toy.test) // 2, len(toy.test)
    part = replace(toy, test=toy.test.take(np.arange(half)))
    models, data = {"one": learned, "other": learned}, {"one": toy, "other": part}
    with pytest.raises(matinee.DataError, match=f"another split: {half} examples are in both tests, of {count}"):
        matinee.compare(models, data)
    told = matinee.compare(models, data, common=True)
    assert told.examples == half and "left out" in told.notes[0]
    none = replace(toy, test=toy.test.take(np.arange(half, count)))
    with pytest.raises(matinee.DataError, match="nothing to compare on"):
        matinee.compare(models, {"one": none, "other": part}, common=True)
    with pytest.raises(matinee.DataError, match="no test examples"):
        matinee.compare(models, replace(toy, test=toy.test.take(np.arange(0))))
    with pytest.raises(matinee.SettingsError, match="two models"):
        matinee.compare({"one": learned}, toy)
    with pytest.raises(matinee.SettingsError, match="--select beauty"):
        matinee.compare(models, toy, select="beauty")


def test_other_seeds_of_a_task_that_plays_are_another_test(quiet: Progress) -> None:
    from matinee.core.registry import names, task_class

    plays = [kind for kind in map(task_class, names("tasks")) if not kind.prefetch]
    for kind in plays:
        one, other = kind().toy(0), kind().toy(1)
        model = matinee.train(one, epochs=1, progress=quiet)
        with pytest.raises(matinee.DataError, match="another split"):
            matinee.compare({"one": model, "other": model}, {"one": one, "other": other})


def table(path: Path, count: int = 120, start: int = 0) -> None:
    """Rows of two inputs, and of two numbers and a class that follow from them."""
    generator = np.random.default_rng(start)
    inputs = generator.normal(size=(count, 2)).round(4)
    noise = generator.normal(size=(count, 2))
    rows = [
        f"{start + n},{a},{b},{2 * a + 0.1 * c:.4f},{b - a + d:.4f},{'yn'[int(a > 0)]}"
        for n, ((a, b), (c, d)) in enumerate(zip(inputs, noise, strict=True))
    ]
    path.write_text("\n".join(["id,a,b,price,size,sold", *rows]) + "\n")


def trained(out: str, *more: str, source: str = "houses.csv") -> None:
    words = ["train", source, "--task", "table-prediction", "--ignore", "id", "--out", out, "--quiet", "--json"]
    assert main([*words, *more]) == 0


def compared(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Any]:
    capsys.readouterr()
    code = main(["compare", *words, "--quiet", "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table(tmp_path / "houses.csv")
    trained("linear", "--target", "price", "--network", "linear")
    trained("mean", "--target", "price", "--network", "constant")
    trained("tried", "--target", "price", "--network", "linear", "--l2-penalty", "1000")
    code, told = compared(capsys, "mean", "linear", "--out", "figures.json")
    (pair,) = told["pairs"]
    assert code == 0 and (pair["better"], pair["worse"], pair["sure"]) == ("linear", "mean", True)
    assert pair["margins"]["rmse"]["low"] > 0 and told["tested"] == "r2" and told["examples"] == 24
    assert json.loads((tmp_path / "figures.json").read_text()) == told
    assert told["scores"]["mean"]["r2"] == pytest.approx(
        json.loads((tmp_path / "mean" / "evaluation.json").read_text())["scores"]["r2"]["value"]
    )
    code, told = compared(capsys, "mean", "linear", "tried", "--select", "mae")
    assert code == 0 and len(told["pairs"]) == 3 and "3 pairs (Holm)" in told["test"]
    assert all(pair["p"] <= pair["corrected"] for pair in told["pairs"])
    assert main(["compare", "mean", "linear", "--quiet"]) == 0
    assert "surely better than mean" in capsys.readouterr().out


def test_what_is_not_the_same_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table(tmp_path / "houses.csv")
    table(tmp_path / "flats.csv", 40, 1000)
    table(tmp_path / "new.csv", 30, 5000)
    for out, *more in (
        ("price", "--target", "price"),
        ("size", "--target", "size"),
        ("sold", "--target", "sold"),
        ("seed", "--target", "price", "--split-seed", "5"),
    ):
        trained(out, "--network", "linear", *more)
    trained("flats", "--network", "linear", "--target", "price", source="flats.csv")
    for words, expected in (
        (["price", "size"], "--target price and size"),
        (
            ["price", "size", "--data", "new.csv"],
            "for 30 of 30 examples what is right for the one is wrong for the other",
        ),
        (["price", "sold"], "cannot be compared: they answer with other classes"),
        (["price", "seed"], "--split-seed 0 and 5"),
        (["price", "flats"], "flats.csv. Compare them on examples that both never saw: --data SOURCE"),
        (["price", "seed"], "Train them alike, or compare them on examples that both never saw"),
        (["price"], "two different runs"),
        (["price", "price"], "two different runs"),
        (["price", "seed", "--select", "f1"], "--select f1: this task has the scores r2"),
        (["price", "nowhere"], "nowhere: there is no such folder"),
    ):
        code, told = compared(capsys, *words)
        assert code in (1, 2) and expected in told["error"], told
    code, told = compared(capsys, "price", "seed", "--data", "houses.csv")
    assert code == 0 and 0 < told["examples"] < 24 and "learned from" in told["notes"][0]
    code, told = compared(capsys, "price", "flats", "--data", "houses.csv")
    assert code == 0 and told["examples"] == 24
    code, told = compared(capsys, "price", "seed", "flats", "--data", "new.csv")
    assert code == 0 and told["examples"] == 30 and not told["notes"]


def test_models_of_two_tasks_or_vocabularies_are_refused(tmp_path: Path, quiet: Progress) -> None:
    from matinee.core.registry import task_class

    texts, tables = task_class("text-classification")().toy(), task_class("table-prediction")().toy()
    one, other = (matinee.train(data, epochs=1, progress=quiet) for data in (texts, tables))
    with pytest.raises(matinee.DataError, match="the one is of the task text-classification"):
        matinee.compare({"one": one, "other": other}, texts)
    lines = [f"{'good' if n % 2 else 'bad'} word{n} here,{'pos' if n % 2 else 'neg'}" for n in range(60)]
    for name, part in (("first.csv", lines[:40]), ("second.csv", lines[20:])):
        (tmp_path / name).write_text("\n".join(["text,label", *part]))
    reads = [
        matinee.read(tmp_path / name, task="text-classification", progress=quiet)
        for name in ("first.csv", "second.csv")
    ]
    models = {str(n): matinee.train(data, epochs=0, network="linear", progress=quiet) for n, data in enumerate(reads)}
    with pytest.raises(matinee.DataError, match="words are not those of the model"):
        matinee.compare(models, reads[0])


def test_what_is_kept_of_answers_must_be_alike() -> None:
    from matinee.core.scores import ClassificationMeter

    meters = {"one": ClassificationMeter("ab"), "other": ClassificationMeter("ab")}
    rows = {"truth": np.zeros(3), "answer": np.zeros(3), "confidence": np.ones(3), "nll": np.ones(3)}
    verb._asked_the_same(meters, {"one": rows, "other": rows})
    with pytest.raises(matinee.DataError, match="for 1 of 3 examples what is right"):
        verb._asked_the_same(meters, {"one": rows, "other": {**rows, "truth": np.array([0, 1, 0])}})
    with pytest.raises(matinee.DataError, match="not scored alike, but by 1 of nll and by 2 of nll"):
        verb._asked_the_same(meters, {"one": rows, "other": {**rows, "nll": np.ones((3, 2))}})
