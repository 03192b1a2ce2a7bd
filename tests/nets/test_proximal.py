"""What playing is learned from: advantages, chances of actions, the clipped loss, and the networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from matinee.nets.players import FORBIDDEN, Normalise, Player, Shape, Twins, build
from matinee.nets.proximal import advantages, best, drawn, explored, ladder, log_probability, loss, loss_of_values
from matinee.nets.stretches import learned


def test_advantages_against_the_sum_by_hand() -> None:
    generator = np.random.default_rng(0)
    rewards, values, following = (generator.normal(size=(6, 2)) for _ in range(3))
    over = np.zeros((6, 2), bool)
    over[2, 0] = over[4, 1] = True
    found = advantages(rewards, values, following, over, (0.9, 0.8))
    errors = rewards + 0.9 * following - values
    for place in range(2):
        for move in range(6):
            whole, weight = 0.0, 1.0
            for later in range(move, 6):
                whole += weight * errors[later, place]
                weight *= 0.9 * 0.8
                if over[later, place]:
                    break
            assert found[move, place] == pytest.approx(whole)


def test_between_two_players_what_follows_is_worth_the_opposite() -> None:
    rewards = np.array([[0.0], [0.0], [1.0]])
    over = np.array([[False], [False], [True]])
    none = np.zeros((3, 1))
    found = advantages(rewards, none, none, over, (1.0, 1.0), turn=-1.0)
    assert found[:, 0].tolist() == [1.0, -1.0, 1.0]


def test_actions_are_drawn_by_their_chances() -> None:
    policy = np.log(np.array([[0.2, 0.5, 0.3]])).repeat(20_000, 0)
    counts = np.bincount(drawn(policy, np.random.default_rng(0).random(20_000), 3), minlength=3)
    assert counts / 20_000 == pytest.approx([0.2, 0.5, 0.3], abs=0.02)
    closed = np.array([[FORBIDDEN, 0.0, FORBIDDEN]]).repeat(3, 0)
    assert drawn(closed, np.array([0.0, 0.5, 1 - 2**-53]), 3).tolist() == [1, 1, 1]
    assert best(policy[:2], 3).tolist() == [1, 1]


def test_each_place_explores_in_its_own_share_and_never_what_is_forbidden() -> None:
    shares = ladder(16)
    assert shares[0] == pytest.approx(0.4) and shares[-1] == pytest.approx(0.4**8) and (np.diff(shares) < 0).all()
    worth = np.array([[1.0, 3.0, FORBIDDEN, 2.0]]).repeat(20_000, 0)
    chosen = explored(worth, np.random.default_rng(0).random(20_000), np.full(20_000, 0.3))
    assert np.bincount(chosen, minlength=4) / 20_000 == pytest.approx([0.1, 0.8, 0.0, 0.1], abs=0.01)
    assert explored(worth[:1], np.array([0.3]), np.array([0.3])).tolist() == [1]


def test_returns_of_values_against_the_sum_by_hand() -> None:
    torch.manual_seed(0)
    player = build("mlp", Shape((3,), 2, 0, False, 2, 50, values=True)).eval()
    assert isinstance(player, Player) and "value" not in player.head
    generator, moves = np.random.default_rng(0), 5
    ended, over = np.zeros((moves, 2), bool), np.zeros((moves, 2), bool)
    ended[1, 0] = over[1, 0] = over[3, 1] = True  # one ended, one broken off
    seen = generator.normal(size=(moves, 2, 3)).astype(np.float32)
    stretch = {
        "observations": seen, "actions": generator.integers(0, 2, (moves, 2)), "ended": ended, "over": over,
        "rewards": generator.normal(size=(moves, 2)), "last": seen[0], "broken": np.array([[3, 1]]),
        "unfinished": generator.normal(size=(1, 3)).astype(np.float32),
    }  # fmt: skip
    with torch.no_grad():
        _, told = learned(player, stretch, (0.9, 0.65), 1.0)
        most = {name: player(torch.from_numpy(stretch[name])).amax(-1) for name in ("last", "unfinished")}
        values = player(torch.from_numpy(seen).flatten(0, 1)).amax(-1).reshape(moves, 2)
    scale = player.memory.moments[2].item() ** -0.5
    for place in range(2):
        after = float(most["last"][place])
        for move in reversed(range(moves)):
            following = float(values[move + 1, place]) if move + 1 < moves else after
            if ended[move, place]:
                whole = 0.0
            elif over[move, place]:
                whole = float(most["unfinished"][0])
            else:  # Q(lambda), as the paper has it
                whole = 0.65 * after + 0.35 * following
            after = float(stretch["rewards"][move, place]) * scale + 0.9 * whole
            assert told["return"].reshape(moves, 2)[move, place] == pytest.approx(after, abs=1e-4)


def test_the_worth_of_what_was_not_played_is_left_alone() -> None:
    outputs = torch.tensor([[1.0, 5.0, 5.0]], requires_grad=True)
    whole = loss_of_values(outputs, {"action": torch.tensor([0]), "return": torch.tensor([3.0])}, 2)
    whole.backward()
    assert whole.item() == 2.0 and outputs.grad is not None and outputs.grad.tolist() == [[-2.0, 0.0, 0.0]]


def test_twins_are_two_networks_that_do_not_see_each_other() -> None:
    torch.manual_seed(0)
    twins = Twins(3, 4)
    seen = torch.randn(6, 3)
    for place in range(2):
        weights = slice(4 * place, 4 * place + 4)
        hidden = (seen @ twins.first.weight[weights].T + twins.first.bias[weights]).tanh()
        alone = (hidden @ twins.second[place] + twins.bias[place]).tanh()
        assert torch.allclose(twins(seen)[place], alone, atol=1e-6)


def test_chances_and_entropy_against_torch() -> None:
    outputs = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    actions = torch.tensor([0, 1, 2, 1, 0])
    known = torch.distributions.Categorical(logits=outputs[:, :3])
    logs, entropy = log_probability(outputs, actions, 3)
    assert (
        torch.allclose(logs, known.log_prob(actions))
        and entropy is not None
        and torch.allclose(entropy, known.entropy())
    )
    vectors = torch.randn(5, 2)
    wide = torch.cat((outputs[:, :2], outputs[:, 2:] * 0.3, outputs[:, :1]), -1)
    normal = torch.distributions.Normal(wide[:, :2], wide[:, 2:4].exp())
    logs, entropy = log_probability(wide, vectors, 0)
    assert torch.allclose(logs, normal.log_prob(vectors).sum(-1), atol=1e-5)
    assert entropy is not None and torch.allclose(entropy, normal.entropy().sum(-1), atol=1e-5)


def test_beyond_the_clip_there_is_nothing_to_gain() -> None:
    outputs = torch.tensor([[3.0, 0.0, 0.0]], requires_grad=True)
    told = {
        "action": torch.tensor([0]), "log_probability": torch.tensor([-1.0]), "advantage": torch.tensor([1.0]),
        "return": torch.tensor([0.0]),
    }  # fmt: skip
    loss(outputs, told, 2, 0.2, 0.0).backward()
    assert outputs.grad is not None and outputs.grad[0, :2].abs().max() == 0


def test_statistics_in_parts_are_those_of_all() -> None:
    seen = torch.randn(300, 3, generator=torch.Generator().manual_seed(0)) * 5 + 2
    layer = Normalise((3,), still=False)
    for part in seen.split(70):
        layer.learn(part)
    assert torch.allclose(layer.mean, seen.double().mean(0))
    assert torch.allclose(layer.variance, seen.double().var(0, correction=0))


@pytest.mark.parametrize("network", ["constant", "linear", "board"])
def test_moves_that_a_board_forbids_are_never_played(network: str) -> None:
    torch.manual_seed(0)
    player = build(network, Shape((2, 6, 7), 7, 0, False, 2, 42, "columns")).eval()
    boards = torch.zeros(1, 2, 6, 7)
    boards[0, 0, :, 3] = boards[0, 1, :, 5] = 1
    shares = player(boards).detach()[:, :-1].softmax(-1)[0]
    assert shares[[3, 5]].max() < 1e-6 and shares.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("network", "pixels"), [("mlp", False), ("linear", False), ("linear", True), ("cnn", True)])
def test_networks_answer_with_a_policy_and_a_value(network: str, pixels: bool) -> None:
    shape = Shape((4, 84, 84) if pixels else (5,), 0, 2, pixels, 2, 10)
    player = build(network, shape)
    assert isinstance(player, Player)
    seen = torch.randint(0, 255, (3, *shape.observation)).to(torch.uint8) if pixels else torch.randn(3, 5)
    outputs = player(seen)
    assert outputs.shape == (3, 5) and torch.equal(outputs[:, :4], player.policy(seen))
    assert outputs[:, :2].abs().max() < 2  # the first actions are small: nothing is preferred yet
