"""What networks of music promise: exact likelihoods, no look ahead, drawing by what they say, given notes kept."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from matinee.nets.composers import (
    KEYS,
    OPEN,
    SILENT,
    STRUCK,
    Asked,
    Composer,
    Independent,
    Joint,
    RollShape,
    build,
    pick,
    sounds,
)
from matinee.nets.composing import Manner, begin_with, composed, scored, transposed
from matinee.nets.echoes import CONTEXTS, ENOUGH, LEVELS, echo, echoes

USED = (40, 44, 47, 50)


def pieces(seed: int = 0, batch: int = 3, frames: int = 9, holds: bool = False) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    cells = torch.full((batch, frames, KEYS), SILENT, dtype=torch.uint8)
    there = torch.rand(batch, frames, 30, generator=generator) < 0.1
    cells[:, :, 30:60][there] = STRUCK
    if holds:
        sounded = torch.cat([torch.zeros(batch, 1, KEYS, dtype=torch.bool), cells[:, :-1] == STRUCK], 1)
        cells[(cells == STRUCK) & sounded] = 3
    cells[-1, frames // 2 :] = 0
    return cells


@pytest.mark.parametrize("holds", [False, True])
@pytest.mark.parametrize("name", ["joint", "independent"])
def test_the_probabilities_of_all_chords_sum_to_one(name: str, holds: bool) -> None:
    torch.manual_seed(1)
    shape = RollShape(holds, 4, name == "joint")
    head = Joint(16, shape) if name == "joint" else Independent(16, shape)
    never = torch.ones(KEYS, dtype=torch.bool)
    never[list(USED)] = False
    with torch.no_grad():
        never = never.repeat(shape.states)
        bias = head.say.bias[1:] if name == "joint" else head.say.bias
        bias[never] = -1e4
        if name == "independent":
            head.say.weight[never] = 0
    chords = list(itertools.product(range(1 + shape.states), repeat=len(USED)))
    cells = torch.full((len(chords), KEYS), SILENT, dtype=torch.uint8)
    cells[:, list(USED)] = SILENT + torch.tensor(chords, dtype=torch.uint8)
    told = torch.zeros(KEYS * shape.states + LEVELS)
    told[[40, 47, KEYS * shape.states + 2]] = 1  # what a repeat would bring
    state = torch.cat([torch.randn(16), told]).expand(len(chords), -1)
    shares = (-head.surprise(state, cells)).exp()
    assert float(shares.detach().sum()) == pytest.approx(1, abs=1e-4)
    # What is drawn by evenly spread chance comes as often as it is likely.
    count = 4000
    chance = torch.from_numpy(np.random.default_rng(0).random((count, KEYS + 1), dtype=np.float32))
    free, must = torch.ones(count, KEYS * shape.states).bool(), torch.zeros(count, KEYS).bool()
    asked = Asked(free, must, must[:, 0], chance)
    with torch.no_grad():
        drawn = head.drawn(state[:1].expand(count, -1), asked)[0][:, list(USED)] - SILENT
    codes = (drawn * (1 + shape.states) ** torch.arange(len(USED) - 1, -1, -1)).sum(1)
    found = torch.bincount(codes, minlength=len(chords)) / count
    assert float((found - shares.detach()).abs().max()) < 0.035


def test_independent_keys_are_scored_as_published() -> None:
    """The loss of Bai et al. (2018) is the sum of 88 binary cross-entropies of each frame."""
    torch.manual_seed(0)
    network, cells = Composer("recurrent", RollShape(False, 4, joint=False, size="s")).eval(), pieces().repeat(1, 2, 1)
    states: list[Tensor] = []
    with torch.no_grad():
        nats = network(cells)[1]
        before, past = None, None
        for frame in range(cells.shape[1]):
            state, past = network.step(before, len(cells), past)
            states.append(network.head._logits(state)[:, 0])  # type: ignore[union-attr, operator]
            before = cells[:, frame].long()
    logits, truth = torch.stack(states, 1), (cells == STRUCK).float()
    wanted = binary_cross_entropy_with_logits(logits, truth, reduction="none").sum(-1) * (cells[:, :, 0] > 0)
    assert torch.allclose(nats, wanted, atol=1e-4)


@pytest.mark.parametrize("name", ["recurrent", "transformer"])
def test_frame_after_frame_is_as_all_at_once_and_nothing_looks_ahead(name: str) -> None:
    torch.manual_seed(0)
    network, cells = Composer(name, RollShape(True, 8, size="s")).eval(), pieces(holds=True)
    cells[0, 6:] = cells[0, 1:4]  # it repeats itself
    assert echoes(sounds(cells, network.shape))[0, 8, -LEVELS:].tolist() == [0, 1, 0, 0, 0]
    with torch.no_grad():
        whole = network(cells)[1]
        assert float(whole[-1, 5:].abs().sum()) == 0  # padding
        other = cells.clone()
        other[:, 6:] = pieces(5, holds=True)[:, 6:].clamp(min=1)
        assert torch.allclose(network(other)[1][:2, :6], whole[:2, :6], atol=1e-5)
        before, past, each = None, None, []
        for frame in range(cells.shape[1]):
            state, past = network.step(before, len(cells), past)
            each.append(network.head.surprise(state, cells[:, frame].clamp(min=1)))
            before = cells[:, frame].long()
    assert torch.allclose(torch.stack(each, 1)[:2], whole[:2], atol=1e-4)


@pytest.mark.parametrize("name", ["recurrent", "transformer", "linear", "constant"])
@pytest.mark.parametrize("joint", [True, False])
def test_what_is_given_stays_and_what_is_open_is_written(name: str, joint: bool) -> None:
    torch.manual_seed(0)
    network = build(name, RollShape(True, 3, joint, size="s")).eval()
    cells = torch.full((4, 6, KEYS), OPEN, dtype=torch.uint8)
    cells[:, :2] = pieces(holds=True)[:1, :2]
    cells[:, 3, 50], cells[:, 3, 51:] = STRUCK, SILENT
    cells[1:] = torch.where(cells[1:] == OPEN, cells[1:] + torch.arange(1, 4)[:, None, None].byte(), cells[1:])
    cells[3] = cells[1]
    done = composed(network, cells, Manner())
    assert int(done.max()) < OPEN and int(done.min()) >= SILENT
    assert torch.equal(done[:, :2], cells[:, :2])
    assert (done[:, 3, 50] == STRUCK).all() and (done[:, 3, 51:] == SILENT).all()
    held = done == 3
    assert not (held[:, 1:] & (done[:, :-1] == SILENT)).any() and not held[:, 0][:, 60:].any()
    assert torch.equal(done[3], done[1]) and not torch.equal(done[0], done[1])
    alone = composed(network, cells[1:2], Manner())
    assert torch.equal(alone[0], done[1])
    assert not torch.equal(composed(network, cells, Manner(draw=1)), done)
    assert torch.isfinite(scored(network, done)[1]).all()
    if joint and name in ("recurrent", "transformer"):
        assert int((done[:, 2:] > SILENT).sum(-1).max()) <= 3


def test_the_nucleus_leaves_the_unlikely_out() -> None:
    logits = torch.tensor([[0.6, 0.3, 0.1]]).log().expand(1000, 3)
    chance = torch.linspace(0, 1 - 2**-24, 1000)
    counts = torch.bincount(pick(logits, chance, 1.0), minlength=3) / 1000
    assert torch.allclose(counts, torch.tensor([0.6, 0.3, 0.1]), atol=0.005)
    counts = torch.bincount(pick(logits, chance, 0.7), minlength=3) / 1000
    assert torch.allclose(counts, torch.tensor([2 / 3, 1 / 3, 0.0]), atol=0.005)
    nothing = torch.tensor([[-torch.inf, 0.0, -torch.inf]]).expand(2, 3)
    assert pick(nothing, torch.tensor([0.0, 1 - 2**-24]), 1.0).tolist() == [1, 1]


def test_transposing_moves_whole_pieces_and_loses_no_note() -> None:
    cells = pieces()
    chance = torch.tensor([[0.0, 0.9], [0.999, 0.9], [0.999, 0.1]])
    moved = transposed(cells, 5, chance)
    assert torch.equal(moved[0, :, :-5], cells[0, :, 5:]) and torch.equal(moved[1, :, 5:], cells[1, :, :-5])
    assert torch.equal(moved[2], cells[2])
    edge = cells.clone()
    edge[0, 0, 0] = edge[0, 0, KEYS - 1] = STRUCK
    assert torch.equal(transposed(edge, 5, chance)[0], edge[0])


def test_keys_begin_as_likely_as_they_are() -> None:
    cells = pieces(batch=40, frames=30)
    network = build("constant", RollShape(False, 4))
    begin_with(network, [cells[:20], cells[20:]])
    shares = network.logits.detach().sigmoid()[0]  # type: ignore[union-attr]
    there = cells[:, :, 0] > 0
    wanted = (cells[there] == STRUCK).float().mean(0)
    assert torch.allclose(shares, wanted, atol=2e-3)


@pytest.mark.parametrize("name", ["recurrent", "transformer"])
def test_ways_to_go_on_follow_what_is_given(name: str) -> None:
    """A key that is given in every frame is met by what the network thinks likely with it, not only forced."""
    torch.manual_seed(0)
    network = Composer(name, RollShape(False, 4, size="s")).eval()
    cells = torch.full((3, 12, KEYS), OPEN, dtype=torch.uint8)
    cells[0, :, 40], cells[0, :, 44:] = STRUCK, SILENT
    cells[1] += 7
    cells[2] = cells[0]
    done = composed(network, cells, Manner(ways=8))
    assert (done[0, :, 40] == STRUCK).all() and torch.equal(done[0], done[2])
    assert torch.equal(done[1], composed(network, cells[1:2], Manner())[0])  # whatever stands beside it
    assert torch.equal(done[0], composed(network, cells[:1], Manner(ways=8))[0])

    some = cells[:1].expand(16, -1, -1) + (cells[:1] == OPEN) * torch.arange(16)[:, None, None].byte()
    with torch.no_grad():
        few, many = (scored(network, composed(network, some, Manner(ways=ways)))[1].sum() for ways in (1, 16))
    assert many < few


def test_echoes_are_what_followed_the_longest_context_the_last_time() -> None:
    generator = torch.Generator().manual_seed(0)
    tune = (torch.rand(3, 12, 6, generator=generator) < 0.3).float()
    frames = torch.cat([tune, tune, tune[:, :7], tune, tune, tune, torch.zeros(3, 4, 6), tune], 1)
    told, heard = echoes(frames), None
    for frame in range(1, frames.shape[1]):
        few, _ = echo(frames[:, frame - 1], heard)
        one, heard = echo(frames[:, frame - 1], heard, enough=99)
        assert torch.equal(one, told[:, frame])
        for row in range(3):
            level, follower, told_on = 0, torch.zeros(6), True
            for number, length in enumerate(CONTEXTS[: 1 + frame // 2]):
                context = frames[row, max(0, frame - length) : frame]
                ends = [end for end in range(length, frame) if torch.equal(frames[row, end - length : end], context)]
                if ends:
                    level, follower = number + 1, frames[row, ends[-1]]
                    told_on = torch.equal(few[row], one[row] if len(ends) <= ENOUGH else told[row, 0])
            assert told_on and torch.equal(told[row, frame, :6], follower) and told[row, frame, 6 + level] == 1
    assert told[:, :, -1].sum() >= 3 * 3 and told[:, 0, 6:].tolist() == [[1, 0, 0, 0, 0]] * 3


@pytest.mark.parametrize("joint", [True, False])
def test_who_would_write_silence_still_begins_with_a_note(joint: bool) -> None:
    torch.manual_seed(0)
    network = Composer("recurrent", RollShape(True, 4, joint, size="s")).eval()
    with torch.no_grad():
        bias = network.head.say.bias  # type: ignore[union-attr]
        bias.fill_(-30)  # type: ignore[operator]
        bias[0] = 30 if joint else -30  # type: ignore[operator, index]
    cells = torch.full((3, 5, KEYS), OPEN, dtype=torch.uint8)
    cells[1, [0, -1], :40], cells[1, [0, -1], 41:] = SILENT, SILENT  # a key, and so the tonic at both ends
    cells[2, 0], cells[2, 0, 50] = SILENT, STRUCK
    sounding = (composed(network, cells, Manner(ways=4)) > SILENT).sum(2)
    assert sounding.tolist() == [[1, 0, 0, 0, 0], [1, 0, 0, 0, 1], [1, 0, 0, 0, 0]]
