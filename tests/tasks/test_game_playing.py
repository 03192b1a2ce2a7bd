"""Learning to play: what is special to it. The promises of all tasks are tested elsewhere."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import matinee
from matinee.cli import main
from matinee.core.measuring import collect
from matinee.core.pieces import Film
from matinee.core.progress import Progress
from matinee.core.runtime import machine
from matinee.media.playing import HELD_BACK
from matinee.tasks.game_playing import GamePlaying

SMALL = {"environments": 8, "moves": 16, "games": 6, "trials": 4}


def test_seeds_of_scored_games_are_never_learned_from(quiet: Progress) -> None:
    data = GamePlaying().toy()
    scored = np.concatenate([part.column("seed") for part in data.splits().values()])
    assert len(np.unique(scored)) == len(scored) and scored.min() >= HELD_BACK
    network = data.task.choose(data, None).build()
    list(data.task.batches(data.train, network, 64, np.arange(len(data.train))))
    assert network.memory.seeds.min() >= 0 and network.memory.seeds.max() < HELD_BACK


def test_another_order_is_another_chance() -> None:
    data = GamePlaying().toy()
    task = data.task.choose(data, None)

    def first(order: np.ndarray) -> torch.Tensor:
        torch.manual_seed(0)
        return next(iter(task.batches(data.train, task.build(), 64, order))).inputs

    order = np.arange(len(data.train))
    assert torch.equal(first(order), first(order)) and not torch.equal(first(order), first(order[::-1].copy()))


def test_the_best_and_the_worst_game_are_filmed() -> None:
    data = GamePlaying().toy()
    task = data.task.choose(data, None)
    meter = collect(task, task.build(), data.test, machine("cpu", "float32"))
    films = [piece for piece in meter.pieces(meter.rows()) if isinstance(piece, Film)]
    assert len(films) == 2 and all(len(piece.frames) > 1 for piece in films)
    returns = meter.rows()["return"]
    assert f"{returns.max():.3g}"[:3] in films[0].words and "worst" in films[1].words


@pytest.mark.parametrize("name", ["tic-tac-toe", "connect-four"])
@pytest.mark.parametrize("method", ["search", "ppo"])
def test_a_board_game_is_learned_by_self_play(name: str, method: str, quiet: Progress) -> None:
    data = matinee.read(name, opponent="random", progress=quiet, **SMALL)
    model = matinee.train(data, epochs=1, method=method, lookahead=1, progress=quiet)
    told = matinee.evaluate(model, data, baselines={})
    assert told.scores["wins"].value + told.scores["draws"].value + told.scores["losses"].value == pytest.approx(1)
    answer = model.predict([np.zeros(data.task.shape)])[0]
    assert answer["label"] == data.task.actions[answer["action"]]


def test_the_report_has_two_films(quiet: Progress, tmp_path: Path) -> None:
    matinee.train(GamePlaying().toy(), epochs=1, out=tmp_path / "run", progress=quiet)
    assert (tmp_path / "run" / "report.html").read_text().count("data:image/gif") == 2


def test_searching_is_for_board_games(quiet: Progress) -> None:
    with pytest.raises(matinee.SettingsError, match="corridor is no board game"):
        matinee.train(GamePlaying().toy(), method="search", epochs=1, progress=quiet)


def test_the_opponent_may_be_another_one_later(quiet: Progress) -> None:
    task = matinee.read("tic-tac-toe", opponent="random", progress=quiet, **SMALL).task
    assert task.read("tic-tac-toe:minimax-2", quiet).test.column("opponent").tolist() == [2] * 6
    assert task.read("tic-tac-toe", quiet).test.column("opponent").tolist() == [0] * 6
    with pytest.raises(matinee.DataError, match="playing tic-tac-toe, and plays nothing else"):
        task.read("connect-four", quiet)


def test_another_opponent_is_played_as_often_as_the_first(quiet: Progress, tmp_path: Path) -> None:
    data = matinee.read("tic-tac-toe", opponent="random", progress=quiet, **SMALL)
    matinee.train(data, epochs=1, lookahead=0, out=tmp_path / "run", progress=quiet)
    assert main(["evaluate", str(tmp_path / "run"), "tic-tac-toe:minimax-1", "--quiet"]) == 0
    assert json.loads((tmp_path / "run" / "evaluation.json").read_text())["examples"] == SMALL["games"]


def test_cart_pole_stands_for_longer(quiet: Progress) -> None:
    pytest.importorskip("gymnasium")
    data = matinee.read("CartPole-v1", progress=quiet, games=20, trials=4)
    model = matinee.train(data, epochs=3, progress=quiet)
    told = matinee.evaluate(model, data, baselines={"trivial": data.task.choose(data, None).trivial(data.train)})
    assert told.scores["return"].low > 2 * told.baselines["trivial"]["return"]
    assert model.predict(["[0, 0, 0.2, 1]"])[0]["action"] == 1
    assert model.predict(["[0, 0, -0.2, -1]"])[0]["action"] == 0


@pytest.mark.parametrize("name", ["Pendulum-v1", "Acrobot-v1", "CartPole-v1 pqn", "connect-four", "ALE/Pong-v5"])
def test_a_fresh_process_plays_on_as_the_old_one_would_have(name: str, quiet: Progress) -> None:
    pytest.importorskip("ale_py" if name.startswith("ALE") else "gymnasium")
    name, _, method = name.partition(" ")
    data = matinee.read(name, progress=quiet, environments=3, moves=12, games=1, trials=1)
    task = replace(data.task, method=method or "auto").choose(data, None)
    orders = [np.random.default_rng(i).permutation(36) for i in range(3)]
    torch.manual_seed(0)
    old, new = task.build(), task.build()
    for order in orders[:2]:
        list(task.batches(data.train, old, 18, order))
    new.load_state_dict(old.state_dict())  # all that a checkpoint has
    one, other = (list(task.batches(data.train, network, 18, orders[2])) for network in (old, new))
    for first, second in zip(one, other, strict=True):
        assert torch.equal(first.inputs, second.inputs)
        assert all(torch.equal(values, second.targets[key]) for key, values in first.targets.items())
    assert all(torch.equal(a, b) for a, b in zip(old.state_dict().values(), new.state_dict().values(), strict=True))


def test_a_misspelled_game_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("gymnasium")
    assert main(["train", "CartPool-v1", "--quiet"]) != 0
    told = capsys.readouterr().err
    assert "The closest is CartPole-v1" in told and "Traceback" not in told


def test_a_file_with_the_name_of_a_game_is_a_file(tmp_path: Path) -> None:
    assert GamePlaying.recognise("CartPole-v1") and GamePlaying.recognise("connect-four:random")
    (tmp_path / "CartPole-v1").write_text("notes")
    assert GamePlaying.recognise("CartPole-v1") is None


def test_what_each_choice_is_worth_is_learned_too(quiet: Progress) -> None:
    data = GamePlaying().toy()
    model = matinee.train(data, method="pqn", epochs=12, progress=quiet)
    told = matinee.evaluate(model, data, baselines={"trivial": data.task.trivial(data.train)})
    assert told.scores["return"].low > told.baselines["trivial"]["return"]
    answer = model.predict([[0.5, 1, 0.5]])[0]
    assert answer["action"] == 1 and answer["value"] == max(answer["values"]) and "probabilities" not in answer


@pytest.mark.parametrize(("method", "first"), [("ppo", 2), ("pqn", 0)])
def test_what_a_position_is_worth_is_told_in_the_units_of_rewards(method: str, first: int) -> None:
    data = GamePlaying(method=method).toy()
    task, seen = data.task.choose(data, None), torch.tensor([[0.75, 1.0, 0.75]])
    network = task.build().eval()
    network.memory.moments[2] = 9.0  # returns deviate by 3, and were learned as if by 1
    with torch.no_grad():
        raw, told = network(seen), task.infer(network, seen)
    assert torch.allclose(told[:, first:], 3 * raw[:, first:]) and torch.equal(told[:, :first], raw[:, :first])


def test_values_are_learned_of_choices_that_are_the_best_ones(quiet: Progress) -> None:
    with pytest.raises(matinee.SettingsError, match="have a worth and no chance"):
        matinee.train(GamePlaying().toy(), method="pqn", play="drawn", epochs=1, progress=quiet)
    pytest.importorskip("gymnasium")
    data = matinee.read("Pendulum-v1", progress=quiet, **SMALL)
    with pytest.raises(matinee.SettingsError, match="Pendulum-v1 is no choice but a row of 1"):
        matinee.train(data, method="pqn", epochs=1, progress=quiet)


def test_a_pass_that_fits_no_memory_is_refused(quiet: Progress) -> None:
    pytest.importorskip("ale_py")
    with pytest.raises(matinee.SettingsError, match="1024 --moves 8192: a pass of so many moves would fill 220 GB"):
        matinee.read("ALE/Pong-v5", environments=1024, moves=8192, progress=quiet)


def test_a_constant_network_has_nothing_to_learn_with(quiet: Progress) -> None:
    data = GamePlaying().toy()
    with pytest.raises(matinee.SettingsError, match="nothing in it that could learn"):
        matinee.train(data, network="constant", epochs=1, progress=quiet)
    assert replace(data.task, network="linear").simplest() is None
