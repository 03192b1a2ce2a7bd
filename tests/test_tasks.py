"""The contract, over every task found: a new task is tested before its author writes a test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import TASKS
from matinee.core.measuring import collect
from matinee.core.model import Model
from matinee.core.moment import Moment
from matinee.core.pieces import Picture
from matinee.core.reading import task_name
from matinee.core.registry import task_class
from matinee.core.runtime import machine
from matinee.core.settings import from_json, rules, to_json
from matinee.core.task import Batch, Data


@pytest.fixture
def chosen(toy: Data) -> Data:
    """Toy data whose task has nothing left to "auto"."""
    from dataclasses import replace

    return replace(toy, task=toy.task.choose(toy, None))


def tail(values: Any, first: int) -> Any:
    """Targets, or what they are made of, without the first examples."""
    if isinstance(values, dict):
        return {name: tail(part, first) for name, part in values.items()}
    if isinstance(values, tuple | list):
        return type(values)(tail(part, first) for part in values)
    return values[first:]


def first_batch(data: Data, count: int = 8) -> Batch:
    return data.task.collate(data.train.gather(np.arange(count)))


def test_toy_data_is_the_same_for_the_same_seed(toy: Data) -> None:
    again = type(toy.task)().toy()
    one, other = toy.train.gather(np.arange(8)), again.train.gather(np.arange(8))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert all(len(part) > 10 for part in toy.splits().values())


def test_the_name_of_a_task_finds_it_again(toy: Data) -> None:
    assert task_class(task_name(type(toy.task))) is type(toy.task)


def test_settings_and_facts_survive_json(chosen: Data) -> None:
    text = json.dumps(to_json(chosen.task))
    assert from_json(type(chosen.task), json.loads(text)) == chosen.task


def test_every_setting_explains_itself(toy: Data) -> None:
    for name, rule in rules(toy.task).items():
        assert rule.help, name


def test_a_source_of_something_else_is_not_recognised(toy: Data, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "todo.md").write_text("buy milk")
    assert type(toy.task).recognise(str(tmp_path / "notes")) is None
    assert type(toy.task).recognise("no-such-thing") is None
    assert type(toy.task).layout


def test_building_depends_on_the_seed_alone(chosen: Data) -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(chosen.task.build().state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    with torch.device("meta"):
        assert {k: v.shape for k, v in chosen.task.build().state_dict().items()} == {
            k: v.shape for k, v in states[0].items()
        }


def test_a_step_reaches_every_weight_that_learns(chosen: Data) -> None:
    batch, network = first_batch(chosen, 32), chosen.task.build()
    chosen.task.prepare(network, chosen.train)
    loss = chosen.task.loss(chosen.task.forward(network, batch), batch)
    assert loss.shape == () and torch.isfinite(loss)
    loss.backward()
    assert all(p.grad is not None for p in network.parameters() if p.requires_grad)


def test_augmentation_is_a_function_of_its_moment(chosen: Data) -> None:
    batch = first_batch(chosen, 16)
    one, other, third = (chosen.task.augment(batch, Moment(s)) for s in (1, 1, 2))
    assert torch.equal(one.inputs, other.inputs)
    assert one.inputs.shape == third.inputs.shape == batch.inputs.shape
    assert len(one) == len(batch)


def test_a_part_of_a_batch_is_varied_as_in_the_whole(chosen: Data) -> None:
    batch = first_batch(chosen, 16)
    whole = chosen.task.augment(batch, Moment(3))
    rows = None if batch.rows is None else batch.rows[4:]
    part = chosen.task.augment(Batch(batch.inputs[4:], tail(batch.targets, 4), rows), Moment(3, first=4))
    assert torch.allclose(whole.inputs[4:], part.inputs, atol=1e-6)


def test_the_effort_of_a_step_is_told_against_the_last_one(chosen: Data) -> None:
    efforts = [chosen.task.effort(share / 10) for share in range(11)]
    assert all(effort > 0 for effort in efforts) and efforts[-1] == 1.0


def test_answers_are_json_one_for_each_example(chosen: Data) -> None:
    batch, network = first_batch(chosen, 5), chosen.task.build().eval()
    with torch.no_grad():
        outputs = chosen.task.infer(network, batch.inputs)
    answers = chosen.task.decode(outputs)
    assert len(answers) == 5 and json.loads(json.dumps(answers)) == answers
    pieces = chosen.task.show(batch.inputs, outputs)
    assert len(pieces) == 5 and not any(isinstance(p, Picture) for p in pieces)


def test_scores_are_named_bounded_and_the_same_in_any_batches(chosen: Data) -> None:
    network, where = chosen.task.build(), machine("cpu", "float32")
    meter = collect(chosen.task, network, chosen.test, where)
    scores = meter.score(meter.rows())
    assert list(scores) == list(meter.names_of_scores())
    assert all(meter.meanings.get(name) for name in scores)
    assert len(next(iter(meter.rows().values()))) == len(chosen.test)
    assert all(np.isfinite(value) for value in scores.values())
    halves = chosen.task.meter()
    for part in (chosen.test.take(np.arange(7)), chosen.test.take(np.arange(7, len(chosen.test)))):
        for batch in chosen.task.batches(part, network.eval(), len(part), None):
            with torch.no_grad():
                halves.update(chosen.task.infer(network, batch.inputs), batch)
    assert halves.score(halves.rows()) == pytest.approx(scores, abs=1e-4)
    assert json.dumps(meter.detail(meter.rows()))
    for positions in meter.worth_seeing(meter.rows()).values():
        assert all(meter.remark(meter.rows(), int(p)) for p in positions[:3])


def test_one_pass_visits_every_example_once_and_can_start_anywhere(toy: Data) -> None:
    order = np.random.default_rng(0).permutation(len(toy.train))
    # Where batches depend on the network, a pass cannot be entered midway.
    network = torch.nn.Identity() if toy.task.prefetch else toy.task.choose(toy, None).build()
    whole = [b.inputs for b in toy.task.batches(toy.train, network, 50, order)]
    assert len(whole) == toy.task.steps(toy.train, 50)
    if toy.task.prefetch:
        rest = [b.inputs for b in toy.task.batches(toy.train, network, 50, order, start=2)]
        assert all(torch.equal(a, b) for a, b in zip(whole[2:], rest, strict=True))
    every = list(toy.task.batches(toy.test, network, 7, None))
    assert sum(map(len, every)) == len(toy.test)


def test_labels_and_names_agree(toy: Data) -> None:
    labels = toy.task.labels(toy.train)
    if labels is not None:
        assert len(labels) == len(toy.train) and labels.min() >= 0 and labels.max() < len(toy.task.names())


def test_fingerprints_are_unit_vectors_that_find_a_copy(toy: Data) -> None:
    prints, threshold = toy.task.fingerprint(toy.train.take(np.array([0, 1, 0])))
    lengths = np.linalg.norm(prints, axis=1)
    assert np.all((np.abs(lengths - 1) < 1e-3) | (lengths == 0)) and 0 < threshold <= 1
    assert prints[0] @ prints[2] >= threshold or lengths[0] == 0


def test_rivals_are_models_of_the_same_problem(chosen: Data) -> None:
    trivial, simplest = chosen.task.trivial(chosen.train), chosen.task.simplest()
    batch = first_batch(chosen)
    if trivial is not None:
        assert len(trivial.answer(batch.inputs)) == len(batch)
    if simplest is not None:
        assert simplest.simplest() is None
        assert len(Model(simplest, simplest.build().eval()).answer(batch.inputs)) == len(batch)


def test_the_model_to_beat_is_there_before_anything_is_chosen(toy: Data) -> None:
    from dataclasses import replace

    known = rules(toy.task)
    open_ = {name: "auto" for name in ("network", "size") if name in known and "auto" in known[name].choices}
    trivial = replace(toy.task, **open_).trivial(toy.train)
    assert trivial is None or len(trivial.answer(first_batch(toy).inputs))


def test_at_least_one_task_is_found() -> None:
    assert TASKS
