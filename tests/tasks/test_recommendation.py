"""Recommendation: learns, answers strangers, explains, and keeps what was held back out of sight."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import matinee
from matinee.cli import main
from matinee.core.errors import DataError, SettingsError
from matinee.core.evaluation import LINEAR
from matinee.core.measuring import collect
from matinee.core.progress import Progress
from matinee.core.runtime import machine
from matinee.core.watch import Watch
from matinee.tasks.recommendation import RANKING, Recommendation
from matinee.verbs.evaluate import compare_with

STEPS = {"pairwise": 8, "autoencoder": 8, "graph": 5, "sequence": 8, "blend": 4}


@pytest.fixture
def ratings(tmp_path: Path) -> Path:
    """A folder as MovieLens lays it out: three tastes, titles with genres, and friends."""
    data = Recommendation().toy()
    history = data.train.ragged("history")
    lines = ["userId,movieId,rating,timestamp"]
    for who, row in enumerate(data.train.rows):
        lines += [f"{who},{item},{3 + item % 3},{who + place}" for place, item in enumerate(history[row].tolist())]
    folder = tmp_path / "films"
    folder.mkdir()
    (folder / "ratings.csv").write_text("\n".join(lines))
    names = ["movieId,title,genres"]
    names += [
        f'{i},"Film, {name} (1999)",{"Drama" if name[0] == "a" else "War"}' for i, name in enumerate(data.task.items, 1)
    ]
    (folder / "movies.csv").write_text("\n".join(names))
    return folder


@pytest.mark.parametrize("network", [name for name in RANKING if name != "popular"])
def test_every_network_beats_what_is_popular(network: str, quiet: Progress) -> None:
    data = Recommendation(network=network).toy()
    model = matinee.train(data, progress=quiet, **({"epochs": STEPS[network]} if network in STEPS else {}))
    told = matinee.evaluate(model, data)
    assert told.scores["ndcg_10"].low > told.baselines["trivial"]["ndcg_10"]


def test_the_model_to_beat_is_not_learned_twice_where_it_is_a_part_of_the_model(quiet: Progress) -> None:
    data = Recommendation(network="blend").toy()
    model = matinee.train(data, epochs=1, progress=quiet)
    part = compare_with(data, Watch(), learned=model.network)[LINEAR]
    assert part.network is model.network.get_submodule("members.linear")
    again = compare_with(data, Watch())[LINEAR].network.state_dict()
    assert all(torch.equal(value, again[name]) for name, value in part.network.state_dict().items())


def test_ratings_are_predicted_within_their_range(quiet: Progress) -> None:
    data = Recommendation(objective="rating").toy()
    model = matinee.train(data, progress=quiet)
    told = matinee.evaluate(model, data)
    assert told.scores["rmse"].value < told.baselines["trivial"]["rmse"]
    answer = model.predict([{"history": ["a1", "a2"], "ratings": [5, 5]}])[0]
    assert all(2 <= item["rating"] <= 5 for item in answer["items"])


def test_scores_against_a_plain_computation(quiet: Progress) -> None:
    data = Recommendation(network="linear").toy()
    model = matinee.train(data, progress=quiet)
    meter = collect(model.task, model.network, data.test, machine("cpu", "float32"))
    weights = model.network.state_dict()["weights"].numpy()
    ndcg, hits, ranks = [], [], []
    for row in data.test.rows:
        seen = data.test.ragged("history")[row] - 1
        wanted = set((data.test.ragged("target")[row] - 1).tolist())
        scores = weights[seen].sum(0)
        scores[seen] = -np.inf
        order = np.argsort(-scores)
        gain = sum(1 / math.log2(place + 2) for place, item in enumerate(order[:10]) if item in wanted)
        ndcg.append(gain / sum(1 / math.log2(place + 2) for place in range(min(10, len(wanted)))))
        hits.append(bool(wanted & set(order[:10].tolist())))
        ranks.append(1 / (1 + min(place for place, item in enumerate(order) if item in wanted)))
    scores = meter.score(meter.rows())
    assert scores["ndcg_10"] == pytest.approx(np.mean(ndcg), abs=1e-5)
    assert scores["hit_10"] == pytest.approx(np.mean(hits)) and scores["mrr"] == pytest.approx(np.mean(ranks), abs=1e-5)
    assert 0 < scores["coverage"] <= 1 and scores["novelty"] > 0


def test_nothing_chosen_before_is_recommended_and_reasons_are_of_the_history(quiet: Progress) -> None:
    data = Recommendation(network="linear").toy()
    model = matinee.train(data, progress=quiet)
    answer = model.predict([["a1", "a2", "a3"]])[0]
    names = [item["item"] for item in answer["items"]]
    assert len(names) == 10 and not {"a1", "a2", "a3"} & set(names)
    assert sum(name[0] == "a" for name in names) >= 8
    assert {item["because"] for item in answer["items"][:5]} <= {"a1", "a2", "a3"}
    everything = model.predict([list(data.task.items)])[0]
    assert everything == {"items": []}


def test_new_items_are_ranked_by_their_kinds(quiet: Progress) -> None:
    model = matinee.train(Recommendation(network="linear").toy(), progress=quiet)
    fresh = [{"title": "x", "kinds": ["a"]}, {"title": "y", "kinds": ["b"]}]
    told = model.predict([{"history": ["a1", "a2"], "new": fresh}, ["b1"]])
    assert told[0]["new"][0]["score"] > told[0]["new"][1]["score"] and "new" not in told[1]
    with pytest.raises(DataError, match="there are a, b, c"):
        model.predict([{"history": ["a1"], "new": [{"kinds": ["z"]}]}])


def test_friends_change_what_is_recommended(quiet: Progress) -> None:
    data = Recommendation(network="graph").toy()
    model = matinee.train(data, epochs=5, progress=quiet)
    alone, befriended = model.predict([["a1"], {"history": ["a1"], "friends": [["b1", "b2", "b3"], ["b4", "b5"]]}])
    count = [sum(item["item"][0] == "b" for item in told["items"]) for told in (alone, befriended)]
    assert count[1] > count[0]
    assert not replace(model.task, social=False).collate(data.test.gather(np.arange(4))).inputs[..., 2].any()


def test_histories_mean_when_asked_what_they_mean_in_training() -> None:
    task = Recommendation(network="graph").toy().task
    twice = {"history": ["a1", "b1", "a1"], "friends": [["b1", "b2", "b2"], ["b1"], []]}
    events = task.encode([twice])[0].tolist()
    number = {name: float(place) for place, name in enumerate(task.items, 1)}
    assert [event[0] for event in events[:2]] == [number["b1"], number["a1"]]  # once, where it was last
    friends = {event[0]: event[1] for event in events if event[2] == 1}
    assert friends == pytest.approx({number["b1"]: 2 / 3, number["b2"]: 1 / 3})


def test_the_whole_slice_by_the_command(ratings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(ratings), "--network", "linear", "--out", "run", "--quiet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["test"]["ndcg_10"] > 0.2
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Recommendations for some people" in page and "Film, " in page
    for place in ratings.iterdir():
        place.unlink()  # it answers without what it learned from
    (tmp_path / "asked.csv").write_text('"Film, a1 (1999)","film, A2 (1999)"\nnonsense\n')
    assert main(["predict", "run", "asked.csv", "Film, b1 (1999); Film, b2 (1999)", "--quiet"]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0]["items"][0]["title"].startswith("Film, a") and "no item is called 'nonsense'" in lines[1]["error"]
    assert lines[2]["items"][0]["because"].startswith("Film, b")


def test_a_model_scores_again_and_tells_who_changed(ratings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "train",
        str(ratings),
        "--network",
        "linear",
        "--regularisation",
        "50",
        "--out",
        "run",
        "--quiet",
        "--json",
    ]
    assert main(words) == 0
    trained = json.loads(capsys.readouterr().out)["test"]
    assert main(["evaluate", "run", "--quiet", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["scores"]["ndcg_10"]["value"] == pytest.approx(trained["ndcg_10"])
    with (ratings / "ratings.csv").open("a") as file:
        file.write("\n0,unheard,3,9\n999,1,3,9\n999,2,3,9")
    assert main(["evaluate", "run", "--quiet", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["changed"]
    assert any("user 999" in name for name in told["new"])


def test_a_model_without_rare_items_scores_again(ratings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = (ratings / "ratings.csv").read_text().split("\n")
    rare = [f"{who},{1000 + who % 40},3,7" for who in range(120)]  # each of these items is chosen by three
    (ratings / "ratings.csv").write_text("\n".join([lines[0], *rare, *lines[1:]]))
    words = ["--network", "linear", "--regularisation", "50", "--fewest", "5", "--out", "run", "--quiet", "--json"]
    assert main(["train", str(ratings), *words]) == 0
    trained = json.loads(capsys.readouterr().out)["test"]
    assert main(["evaluate", "run", "--quiet", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["scores"]["ndcg_10"]["value"] == pytest.approx(trained["ndcg_10"])
    assert not any(told["changed"].values())


def test_a_person_in_several_parts_counts_once() -> None:
    data = Recommendation(network="popular").toy()
    network = data.task.build()
    data.task.prepare(network, data.train)
    once = network.state_dict()["counts"].clone()
    twice = data.train.at(np.concatenate([data.train.rows, data.train.rows[:50]]))
    data.task.prepare(network, twice)
    assert torch.equal(network.state_dict()["counts"], once)


def test_several_models_answer_as_one(quiet: Progress) -> None:
    for objective in ("ranking", "rating"):
        data = Recommendation(objective=objective).toy()
        task = replace(data.task, network={"ranking": "linear", "rating": "biases"}[objective])
        network = task.build()
        task.prepare(network, data.train)
        inputs = task.encode([["a1", "a2"], {"history": ["b1"], "new": [{"kinds": ["a"]}]}])
        one = task.infer(network, inputs)
        both = task.merge([one, one])
        assert torch.allclose(both["scores"], one["scores"]) and set(both) <= set(one)
        assert [each["items"][0]["item"] for each in task.decode(both)] == [
            each["items"][0]["item"] for each in task.decode(one)
        ]


def test_the_loss_needs_nothing_but_what_a_step_told() -> None:
    data = Recommendation(network="autoencoder").toy()
    network = data.task.build().train()
    batch = next(iter(data.task.batches(data.train, network, 16, None)))
    lesson = data.task.forward(network, batch)
    assert lesson.cost.shape == (16,) and (lesson.cost > 0).all()
    plain = data.task.loss(lesson._replace(cost=None), batch)
    assert data.task.loss(lesson, batch).item() == pytest.approx((plain + lesson.cost.mean()).item(), rel=1e-6)


@pytest.mark.parametrize("network", ["linear", "factors", "gaussian", "sequence"])
def test_an_answer_is_the_same_in_any_company(network: str) -> None:
    objective = "rating" if network == "gaussian" else "ranking"
    data = Recommendation(objective=objective, network=network).toy()
    model = data.task.build()
    data.task.prepare(model, data.train)
    asked = [["a1"], ["a1", "a2", "b3"], list(data.task.items[:40]), ["c1", "c2"]]
    raws = [{"history": names, "ratings": [3.0] * len(names)} for names in asked]
    with torch.no_grad():
        together = data.task.decode(data.task.infer(model.eval(), data.task.encode(raws)))
        alone = [data.task.decode(data.task.infer(model, data.task.encode([raw])))[0] for raw in raws]
    for one, other in zip(together, alone, strict=True):
        assert [each["item"] for each in one["items"]] == [each["item"] for each in other["items"]]
        assert [each.get("because") for each in one["items"]] == [each.get("because") for each in other["items"]]


def test_two_items_are_enough_for_every_network(tmp_path: Path, quiet: Progress) -> None:
    rows = ["user,item,rating,timestamp"]
    rows += [f"{who},{item},{who % 5},{who}" for who in range(20) for item in "xy"[: 1 + who % 2]]
    (tmp_path / "ratings.csv").write_text("\n".join(rows))
    for network in (*RANKING, "biases", "gaussian"):
        objective = "ranking" if network in RANKING else "rating"
        data = matinee.read(tmp_path / "ratings.csv", objective=objective, network=network, progress=quiet)
        model = matinee.train(data, progress=quiet, epochs=2 if network in STEPS else None, anyway=True)
        told = model.predict([["x"]])[0]["items"]
        assert [each["item"] for each in told] == ["y"]
        assert math.isfinite(told[0]["score" if objective == "ranking" else "rating"])


def test_what_cannot_be_done_is_said(ratings: Path, tmp_path: Path, quiet: Progress) -> None:
    with pytest.raises(SettingsError, match="for --objective rating there are mean, biases, gaussian"):
        Recommendation(objective="rating", network="linear")
    (tmp_path / "user_movies.txt").write_text("1 10 20 30 40 50\n2 10\n3 20 30\n")
    with pytest.raises(DataError, match="there are no ratings to predict"):
        matinee.read(tmp_path / "user_movies.txt", objective="rating", progress=quiet)
    with pytest.raises(DataError, match="there are no times to split by"):
        matinee.read(tmp_path / "user_movies.txt", split="time", progress=quiet)
    model = matinee.train(matinee.read(ratings, network="linear", progress=quiet), progress=quiet)
    bad_rating = {"history": ["1"], "ratings": ["good"]}
    said: list[tuple[str, object]] = [
        ("not JSON", "{"),
        ("a history is", {"history": []}),
        ("a history is a list", 7),
        ("a rating is", bad_rating),
        ("a rating is", {"history": ["1"], "ratings": [math.inf]}),
        ("no 'rating' in", {"history": ["1"], "rating": [3]}),
        ("friends are lists", {"history": ["1"], "friends": ["2", "3"]}),
        ("new items are", {"history": ["1"], "new": "x"}),
        ("a list, like", {"history": ["1"], "new": [{"kinds": "War"}]}),
    ]
    for words, raw in said:
        with pytest.raises(DataError, match=words):
            model.predict([raw])


def test_long_and_short_histories_score_alike_in_any_company(quiet: Progress) -> None:
    task = matinee.train(Recommendation(network="sequence", length=5).toy(), epochs=1, progress=quiet)
    alone = task.task.encode([["a1", "a2"]])
    both = task.task.encode([["a1", "a2"], [f"b{number}" for number in range(12)]])
    with torch.no_grad():
        one, two = task.task.infer(task.network, alone), task.task.infer(task.network, both)
    assert torch.allclose(one["scores"][0, 40:], two["scores"][0, 40:], atol=1e-5)
