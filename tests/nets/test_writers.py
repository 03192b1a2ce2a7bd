"""Networks that write: what is cached changes nothing, beams find what trying everything finds, losses are exact."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn.functional import cross_entropy

from matinee.nets.attention import attended
from matinee.nets.dropping import dropped
from matinee.nets.padding import joined
from matinee.nets.searching import BEGIN, END, State, Writing, write
from matinee.nets.teaching import Answers, best_of, surprise, taught
from matinee.nets.writers import WriterShape, build


def network(name: str, pieces: int = 20, shared: bool = True, layers: int = 2) -> Writing:
    torch.manual_seed(0)
    made = build(name, WriterShape(pieces, pieces, shared, 32, layers, 0.0)).eval()
    assert isinstance(made, Writing)
    return made


def sources() -> torch.Tensor:
    return torch.tensor([[5, 6, 7, 2], [8, 2, 0, 0], [9, 10, 2, 0]])


@pytest.mark.parametrize("name", ["transformer", "recurrent"])
@pytest.mark.parametrize("beams", [1, 3])
def test_step_by_step_says_what_all_at_once_says(name: str, beams: int) -> None:
    net, source = network(name, shared=False), sources()
    target = torch.tensor([[11, 12, 13, 2], [14, 2, 0, 0], [15, 16, 2, 0]])
    with torch.no_grad():
        whole = taught(net, source, target)
        state = net.begin(source, beams)
        for place in range(target.shape[1]):
            last = torch.full((3,), BEGIN) if place == 0 else target[:, place - 1]
            logits, state = net.step(last.repeat_interleave(beams), state)
            assert torch.allclose(logits[::beams], whole[:, place], atol=1e-5)
            if beams > 1:
                state = state.chosen(torch.tensor([2, 1, 0, 4, 5, 3, 8, 7, 6]))


@pytest.mark.parametrize("name", ["transformer", "recurrent"])
@pytest.mark.parametrize("beams", [1, 4])
def test_an_answer_does_not_depend_on_its_batch(name: str, beams: int) -> None:
    net, source = network(name), sources()
    limits = torch.tensor([9, 4, 6])
    together = write(net, source, limits, beams)
    for row in range(3):
        alone = write(net, source[row : row + 1, : int((source[row] > 0).sum())], limits[row : row + 1], beams)
        said = together.numbers[row][together.numbers[row] > 0]
        assert torch.equal(said, alone.numbers[0][alone.numbers[0] > 0]) and len(said) <= limits[row]
        assert together.score[row] == pytest.approx(float(alone.score[0]), abs=1e-5)


class Table(Writing):
    """The next piece depends on the last one alone."""

    def __init__(self, shares: torch.Tensor) -> None:
        super().__init__()
        self.shares = shares

    def forward(self, source: torch.Tensor, written: torch.Tensor) -> torch.Tensor:
        return self.shares[written]

    def begin(self, source: torch.Tensor, beams: int) -> State:
        return State([torch.zeros(len(source) * beams, 1)], [source])

    def step(self, last: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
        return self.shares[last], State(state.own, state.source, state.step + 1)

    def attention(self, source: torch.Tensor, written: torch.Tensor) -> torch.Tensor:
        return torch.zeros(*written.shape, source.shape[1])


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_wide_beams_find_what_trying_everything_finds(penalty: float) -> None:
    torch.manual_seed(1)
    pieces, longest = 6, 4
    net = Table(torch.randn(pieces, pieces) * 2)
    found = write(net, sources()[:1], torch.tensor([longest]), beams=64, penalty=penalty)
    best = -1e9
    # No piece 0 or 1 is ever written, and the last allowed one ends.
    shares = net.shares.log_softmax(1)
    for length in range(1, longest + 1):
        for middle in itertools.product(range(3, pieces), repeat=length - 1):
            words = [BEGIN, *middle, END]
            total = sum(float(shares[a, b]) for a, b in itertools.pairwise(words))
            best = max(best, total / length**penalty)
    count = int((found.numbers > 0).sum())
    assert float(found.score[0]) * count / count**penalty == pytest.approx(best, abs=1e-5)


def test_surprise_is_cross_entropy_with_smoothing() -> None:
    torch.manual_seed(0)
    target = torch.randint(0, 30, (300, 2))
    for dtype, near in ((torch.float32, 1e-5), (torch.bfloat16, 2e-2)):
        one = (torch.randn(300, 2, 30) * 3).to(dtype).requires_grad_()
        other = one.detach().float().requires_grad_()
        ours = surprise(one, target, 2.0, 0.1)
        flat = cross_entropy(
            other.flatten(0, 1), target.flatten(), ignore_index=0, label_smoothing=0.1, reduction="sum"
        )
        theirs = flat / 600
        ours.backward()
        theirs.backward()
        assert one.grad is not None and other.grad is not None
        assert float(ours.detach()) == pytest.approx(float(theirs.detach()), abs=1e-4)
        assert torch.allclose(one.grad.float() * 600, other.grad * 600, atol=near)


def test_attention_written_out_is_the_fused_one() -> None:
    torch.manual_seed(0)
    query, keys, contents = (torch.randn(2, 2, 5, 8) for _ in range(3))
    seen = (torch.arange(5) < torch.tensor([[5], [3]]))[:, None, None]
    fused = torch.nn.functional.scaled_dot_product_attention
    assert torch.allclose(attended(query, keys, contents, seen, False), fused(query, keys, contents, seen), atol=1e-5)
    causal = fused(query, keys, contents, is_causal=True)
    assert torch.allclose(attended(query, keys, contents, None, True), causal, atol=1e-5)


def test_dropout_keeps_the_mean_and_the_share() -> None:
    torch.manual_seed(0)
    values = torch.ones(1001, 101, requires_grad=True)
    out = dropped(values, 0.3, True)
    assert float((out == 0).float().mean()) == pytest.approx(0.3, abs=0.01)
    assert float(out.detach().mean()) == pytest.approx(1.0, abs=0.01)
    out.sum().backward()
    assert values.grad is not None and torch.equal(values.grad, out.detach())
    assert dropped(values, 0.3, False) is values


def test_batches_of_differing_lengths_are_joined() -> None:
    one = {"a": torch.ones(1, 2), "b": torch.ones(1)}
    other = {"a": torch.ones(2, 3), "b": torch.ones(2)}
    whole = joined([one, other])
    assert whole["a"].tolist() == [[1, 1, 0], [1, 1, 1], [1, 1, 1]] and whole["b"].shape == (3,)


def test_of_several_writers_the_surest_answers() -> None:
    rest = torch.zeros(2, 0, 0), torch.tensor([True, True])
    one = Answers(torch.tensor([[4, 2], [5, 2]]), torch.tensor([-1.0, -3.0]), *rest)
    other = Answers(torch.tensor([[6, 7, 2], [8, 9, 2]]), torch.tensor([-2.0, -1.0]), *rest)
    best = best_of([one, other])
    assert best.numbers.tolist() == [[4, 2, 0], [8, 9, 2]] and best.score.tolist() == [-1.0, -1.0]


def test_a_summed_loss_is_differentiated_with_what_stands_above_it() -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(4, 3, 30, requires_grad=True), torch.randint(1, 30, (4, 3))
    (once,) = torch.autograd.grad(surprise(logits, target, 3.0, 0.1), logits)
    (thrice,) = torch.autograd.grad(3 * surprise(logits, target, 3.0, 0.1), logits)
    assert torch.allclose(3 * once, thrice, atol=1e-6)


def test_nothing_is_learned_from_padding() -> None:
    net, source, target = network("transformer"), sources(), torch.tensor([[11, 12, 2], [14, 2, 0], [15, 16, 2]])
    wide = torch.nn.functional.pad(target, (0, 3)), torch.nn.functional.pad(source, (0, 4))
    losses = []
    for read, written in ((source, target), (wide[1], wide[0])):
        net.zero_grad()
        loss = surprise(taught(net, read, written), written, 3.0, 0.1)
        loss.backward()
        losses.append((float(loss.detach()), net.tables.written.weight.grad.clone()))  # type: ignore[union-attr]
    assert losses[0][0] == pytest.approx(losses[1][0], abs=1e-6)
    assert torch.allclose(losses[0][1], losses[1][1], atol=1e-6)
