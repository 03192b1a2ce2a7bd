"""Closed forms against their definitions, and what the sequence network learns from."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from matinee.core.watch import Watch
from matinee.nets import rating_networks, recommenders_closed, recommenders_linear
from matinee.nets.rating_networks import Gaussian, Kernel, Ratings, fit_gaussian
from matinee.nets.recommenders import Factors, Linear, by_length
from matinee.nets.recommenders_closed import Chosen, fit_factors, gram
from matinee.nets.recommenders_learned import Sequence
from matinee.nets.recommenders_linear import ByItems, ByPeople, Pair, Wanted, best_linear, fit_linear


def chosen(people: int = 60, items: int = 25) -> tuple[Chosen, torch.Tensor]:
    """Histories by lot, and as rows of ones."""
    rows = (torch.rand(people, items, generator=torch.Generator().manual_seed(3)) < 0.3).float()
    rows[:, 0] = 1
    person, item = rows.nonzero(as_tuple=True)
    return Chosen(person, item, people, items), rows


def test_products_in_blocks_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recommenders_closed, "BLOCK", 17)
    monkeypatch.setattr(recommenders_closed, "PANEL", 7)
    told, rows = chosen()
    lengths = rows.sum(1)
    whole = rows.T @ (rows * ((lengths / lengths.mean()) ** -0.5)[:, None])
    assert torch.allclose(gram(told, 0.5), whole, rtol=1e-5)


def test_people_alike_are_kernel_regression_over_people() -> None:
    told, rows = chosen()
    penalty, lengths = 20.0, rows.sum(1, keepdim=True)
    unit = (rows / (lengths / lengths.mean()).sqrt()).double()
    kernel = unit @ unit.T + recommenders_linear.EVEN * penalty * torch.eye(len(rows)).double()
    weights = unit.T @ torch.linalg.solve(kernel, rows.double())
    weights.fill_diagonal_(0)
    items, people = Pair(told, 0.5, True).weights(penalty)
    assert torch.allclose(people / people.norm(), (weights / weights.norm()).float(), atol=1e-5)
    assert torch.isclose((rows @ people).std(1).mean(), (rows @ items).std(1).mean(), rtol=1e-4)


@pytest.mark.parametrize("power", [0.0, 0.3, 0.5])
def test_an_unknown_of_each_person_gives_the_weights_that_one_of_each_item_does(power: float) -> None:
    told = chosen(people=30, items=50)[0]
    told = told.of(told.person != 4)  # who chose nothing says nothing
    one, other = ByItems(told, power, True), ByPeople(told, power, True)
    assert isinstance(Pair(told, power, True).solver, ByPeople) and isinstance(
        Pair(chosen()[0], 0, True).solver, ByItems
    )
    for penalty in (3.0, 200.0):
        assert torch.allclose(one.item_weights(penalty), other.item_weights(penalty), atol=1e-5)
        alike = one.people_weights(penalty), other.people_weights(penalty)
        assert alike[0] is not None and alike[1] is not None and torch.allclose(*alike, atol=1e-5)


def test_the_weights_are_the_sum_of_both_forms_and_settings_are_kept() -> None:
    told, rows = chosen()
    network = Linear(rows.shape[1])
    for share in (0.0, 1.5):
        fit_linear(network, told, Wanted(30.0, 0.5, share))
        items, people = Pair(told, 0.5, True).weights(30.0)
        assert torch.allclose(network.weights, items + share * people, atol=1e-6)
        assert not network.weights.diagonal().any()
    assert best_linear(told, Wanted(30.0, 0.5, None))[0] == 30.0 and best_linear(told, Wanted(None, 0.5, 0.0))[1] == 0.0


def test_a_penalty_is_judged_by_the_people_it_is_tried_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recommenders_linear, "TRIED_ON", 5)
    asked: list[torch.Tensor] = []
    plain = recommenders_linear.ndcg

    def spy(scores: torch.Tensor, seen: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        asked.append(wanted.clone() * seen)
        return plain(scores, seen, wanted)

    monkeypatch.setattr(recommenders_linear, "ndcg", spy)
    best_linear(chosen()[0], Wanted(30.0, 0.5, None))
    assert asked and not any(both.any() for both in asked)  # nothing wanted was seen by the same person


def test_a_look_without_time_does_what_it_can_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recommenders_linear, "LEAST", 10)
    told, rows = chosen()
    network, watch = Linear(rows.shape[1]), Watch(time_left=0.0)
    fit_linear(network, told, Wanted(None, 0.5, None), None, watch)
    assert network.weights[:10, :10].any() and not network.weights[10:].any() and not network.weights[:, 10:].any()
    assert "no settings were tried" in watch.notes[0] and "10 of 25 items" in watch.notes[1]
    factors, watch = Factors(rows.shape[1], 4), Watch(time_left=0.0)
    fit_factors(factors, told, passes=3, absent=0.2, penalty=0.01, watch=watch)
    assert factors.table.any() and "1 of 3 passes" in watch.notes[0]
    ratings = Ratings(told.person, told.item, 1.0 + told.item % 5, *rows.shape)
    monkeypatch.setattr(rating_networks, "LEAST", 10)
    gaussian, watch = Gaussian(rows.shape[1]), Watch(time_left=0.0)
    assert fit_gaussian(gaussian, ratings, torch.zeros(25, 1), watch) == Kernel()
    assert gaussian.covariance.any() and len(watch.notes) == 2 and "10 items" in watch.notes[1]


def test_settings_are_tried_as_long_as_there_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    class Short(Watch):
        asked = 0

        def left(self) -> float:
            self.asked += 1
            return 1e6 if self.asked < 5 else 0.0

    told, watch = chosen()[0], Short()
    penalty, share, kin = best_linear(told, Wanted(None, 0.5, None), None, watch)
    assert penalty in recommenders_linear.PENALTIES and share in recommenders_linear.ALIKE and not kin
    assert "of 10 penalties were tried" in watch.notes[0] and len(watch.notes) == 1


def test_friends_count_where_they_tell_what_is_held_back() -> None:
    told, rows = chosen()
    person, item = torch.ones_like(rows).nonzero(as_tuple=True)  # who chose all of it tells nothing
    friends = {True: replace(told, share=torch.full((len(told.item),), 0.5)), False: Chosen(person, item, *rows.shape)}
    for helps, those in friends.items():
        network = Linear(rows.shape[1], social=True)
        fit_linear(network, told, Wanted(30.0, 0.5, 1.0), those)
        assert (network.kin.item() > 0.01) == helps
    events = torch.tensor([[[1.0, 1, 0], [0, 0, 1]], [[1.0, 1, 0], [8, 1, 1]]])
    network.kin.fill_(0.5)
    alone, befriended = network(events)
    assert (befriended - alone).tolist() == [0.5 * (place == 7) for place in range(25)]


def test_rows_of_like_length_hold_every_event_once() -> None:
    events = torch.zeros(70, 9, 3)
    for row in range(70):
        events[row, : row % 10, 0] = torch.arange(1, row % 10 + 1).float()
    seen = torch.zeros(70, 9)
    for rows, places in by_length(events):
        seen[rows, places] += 1
    assert ((seen == 1) | (events[..., 0] == 0)).all() and seen.max() == 1


def test_a_long_history_is_learned_from_in_stretches() -> None:
    network = Sequence(40, 8, layers=1, length=6, dropout=0.0)
    events = torch.zeros(3, 30, 3)
    events[0, :30, 0] = torch.arange(1, 31).float()
    events[1, :6, 0] = torch.arange(1, 7).float()
    events[2, :2, 0] = torch.tensor([5.0, 9.0])
    assert network._recent(events)[0].tolist() == list(range(25, 31))
    torch.manual_seed(0)
    starts = set()
    for _ in range(200):
        long, full, short = network._recent(events, anywhere=True).tolist()
        assert long == list(range(long[0], long[0] + 6)) and full == list(range(1, 7)) and short == [0, 0, 0, 0, 5, 9]
        starts.add(long[0])
    assert starts == set(range(1, 26))
