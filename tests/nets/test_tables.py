"""Networks for tables: what goes in, what is missing, and what members and heads say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from matinee.nets.linear_solvers import folds_of
from matinee.nets.table_choice import Trial, fitting
from matinee.nets.table_intake import BINS, RARE, Intake, Pieces
from matinee.nets.table_kernel import LANDMARKS, _Surprise, learn, likeness
from matinee.nets.table_solving import Terms, calibrate, loss, prepare
from matinee.nets.tables import TableNetwork, TableShape, build, names_of_features

LEVELS = (0, 0, 3)


def rows(count: int = 120) -> torch.Tensor:
    generator = np.random.default_rng(0)
    numbers = generator.normal([50.0, 3e4], [10.0, 1e4], (count, 2))
    return torch.from_numpy(np.column_stack([numbers, generator.integers(1, 4, count)])).float()


def test_features_are_standardised_and_categories_are_places() -> None:
    inputs, intake = rows(), Intake(LEVELS)
    inputs[:5, 0] = torch.nan
    intake.look(inputs)
    features = intake(inputs)
    assert features.shape == (120, intake.width) and intake.width == len(names_of_features("abc", ((), (), "xyz")))
    assert torch.isfinite(features).all()
    assert features[5:, 0].mean().abs() < 1e-5 and features[:, 1].std() == pytest.approx(1, abs=0.01)
    assert (features[:5, 0] == 0).all() and features[:, 2].sum() == 5 and features[:, 3].sum() == 0
    assert (features[:, 4:].sum(1) == 1).all() and features[:, 4].sum() == 0


def test_what_never_changes_and_what_is_rare_says_nothing() -> None:
    inputs, intake = rows(), Intake(LEVELS)
    inputs[:, 0] = 7.1
    inputs[:, 2] = 1
    inputs[: RARE - 1, 2] = 2
    intake.look(inputs)
    new = torch.tensor([[1e9, 3e4, 2.0], [-5.0, 3e4, 99.0], [7.1, 3e4, 0.0]])
    features = intake(new)
    assert (
        (features[:, 0] == 0).all() and torch.equal(features[0], features[1]) and torch.equal(features[1], features[2])
    )


def test_pieces_are_filled_in_order() -> None:
    pieces = Pieces(1)
    pieces.look(torch.linspace(-1, 1, 1001)[:, None])
    filled = pieces(torch.tensor([[-5.0], [0.0], [5.0]]))[:, 0]
    assert filled[0].sum() == 0 and filled[1].sum() == pytest.approx(BINS / 2, abs=0.05) and filled[2].sum() == BINS
    assert (filled.diff(dim=1) <= 0).all()
    few = Pieces(1)
    few.look(torch.tensor([0.0, 1.0] * 50)[:, None])
    assert torch.isfinite(few(torch.tensor([[0.5]]))).all()


@pytest.mark.parametrize("classes", [0, 2, 4])
@pytest.mark.parametrize("name", ["constant", "linear", "kernel", "mlp", "tabular"])
def test_what_networks_say(name: str, classes: int) -> None:
    inputs, generator = rows(), np.random.default_rng(1)
    targets = generator.integers(0, classes, 120) if classes else generator.normal(1000, 50, 120)
    network = build(name, TableShape(LEVELS, classes), size="s").eval()
    prepare(network, inputs, targets, Terms("cross-entropy" if classes else "mse"))
    with torch.no_grad():
        outputs, members = network(inputs), network.members(inputs)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(network(inputs), outputs)
    assert outputs.shape == (120, {0: 2, 2: 3, 4: 4}[classes])
    assert members.shape == (120, 16 if name == "tabular" else 1, max(1, classes))
    told = torch.from_numpy(targets).float() if not classes else torch.from_numpy(targets)
    terms = Terms("cross-entropy" if classes else "mae")
    values = [loss(o, told, terms, (30,) * classes, 50.0) for o in (outputs, members)]
    assert all(torch.isfinite(value) for value in values)
    before = outputs.clone()
    calibrate(network, outputs, told, 0.9, 0.1 if classes == 2 else None)
    if not classes:
        assert network.head.margin > 0 and torch.equal(network(inputs)[:, 0], before[:, 0])
    if name == "constant" and not classes:
        assert outputs[0, 0].item() == pytest.approx(targets.mean(), rel=1e-4)


def test_the_kernel_is_one_and_interpolates() -> None:
    one = torch.randn(30, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    whole = likeness(one, one, torch.ones(4).double(), torch.tensor([1.0, 0.1, 0.1]).double())
    assert torch.allclose(whole, whole.T) and torch.linalg.eigvalsh(whole).min() > -1e-9
    inputs = torch.linspace(-3, 3, 80)[:, None]
    network = build("kernel", TableShape((0,), 0)).eval()
    prepare(network, inputs, np.sin(2 * inputs[:, 0].numpy()), Terms("mse"))
    with torch.no_grad():
        assert (network(torch.tensor([[0.5]]))[0, 0] - np.sin(1.0)).abs() < 0.02
    assert network.head.weight.shape[1] == LANDMARKS


def test_the_kernel_takes_landmarks_of_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("matinee.nets.table_kernel.LANDMARKS", 40)
    monkeypatch.setattr("matinee.nets.tables.LANDMARKS", 40)
    monkeypatch.setattr("matinee.nets.table_kernel.MOST", 300)
    inputs = torch.linspace(-3, 3, 400)[:, None]
    network = build("kernel", TableShape((0,), 2)).eval()
    prepare(network, inputs, (inputs[:, 0] > 0).long().numpy(), Terms("cross-entropy"))
    with torch.no_grad():
        answers = network(inputs)[:, :2].argmax(1)
    assert (answers == (inputs[:, 0] > 0)).float().mean() > 0.97


def test_folds_of_a_trial_keep_groups_whole() -> None:
    groups = np.repeat(np.arange(20), 3)
    folds = folds_of(np.arange(60) % 2, groups, 3, np.random.default_rng(0))
    assert all(len(set(folds[groups == group])) == 1 for group in range(20)) and np.bincount(folds).min() >= 18
    alone = folds_of(np.arange(60) % 2, np.full(60, -1), 3, np.random.default_rng(0))
    assert np.bincount(alone).tolist() == [20, 20, 20]


def test_few_rows_take_the_first() -> None:
    few = np.zeros((12, 1), np.float32)

    def trained(name: str, part: np.ndarray) -> TableNetwork:
        raise AssertionError("there is nothing to try")

    assert fitting(("linear", "kernel"), Trial(few, few[:, 0], np.full(12, -1), np.ones(12)), trained) == "linear"


def test_the_slope_of_the_likelihood_is_that_of_its_values() -> None:
    generator = torch.Generator().manual_seed(0)
    features, wanted = (torch.randn(40, width, generator=generator).double() for width in (3, 2))
    surprise = _Surprise(features, wanted, torch.rand(40, generator=generator).double() + 0.5)
    place = 0.3 * torch.randn(6, generator=generator).double()
    slope = surprise(place.exp())[1]
    for which, step in enumerate(1e-5 * torch.eye(6).double()):
        ends = [float(surprise((place + sign * step).exp())[0]) for sign in (1, -1)]
        assert float(slope[which]) == pytest.approx((ends[0] - ends[1]) / 2e-5, abs=1e-8)


def test_a_race_of_networks() -> None:
    generator, asked = np.random.default_rng(0), []
    values = generator.normal(size=(300, 1)).astype(np.float32)
    trial = Trial(values, values[:, 0], np.full(300, -1), np.ones(300))
    bias = {"linear": 0.5, "kernel": 0.5, "tabular": 0.1}

    def trained(name: str, part: np.ndarray) -> TableNetwork:
        asked.append(name)
        network = build("linear", TableShape((0,), 0))
        with torch.no_grad():
            network.head.weight[0, 0] = 1.0
            network.head.bias[0] = bias[name]
        return network

    assert fitting(tuple(bias), trial, trained) == "tabular"
    assert asked.count("kernel") == 1 and asked.count("tabular") == 3  # what is not ahead is not tried again
    asked.clear()
    bias["tabular"] = 0.9
    assert fitting(tuple(bias), trial, trained) == "linear" and len(asked) == 3
    # A row that counts more is heard more.
    bias.update(linear=0.4, tabular=0.0)
    first = Trial(values, np.where(np.arange(300) < 30, values[:, 0] + 0.4, values[:, 0]), trial.groups,
                  np.where(np.arange(300) < 30, 100.0, 1.0), absolute=True)  # fmt: skip
    assert fitting(("linear", "tabular"), first, trained) == "linear"
    assert fitting(("linear", "tabular"), replace(first, weights=np.ones(300)), trained) == "tabular"


def test_the_kernel_of_many_rows_leaves_each_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Log-odds come from what is told of rows that are left out, though the landmarks are fewer than the rows."""
    seen = []
    monkeypatch.setattr("matinee.nets.table_kernel.LANDMARKS", 15)
    monkeypatch.setattr("matinee.nets.tables.LANDMARKS", 15)
    monkeypatch.setattr(
        "matinee.nets.table_kernel._as_logits",
        lambda weight, told, level, *more: (seen.append(told), (weight, level))[1],
    )
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(60, 2, generator=generator).double()
    targets = (features[:, 0] + torch.randn(60, generator=generator) > 0).double()
    kernel = build("kernel", TableShape((0, 0), 2)).trunk
    features = torch.cat([features, torch.zeros(60, 2)], 1)
    _, level = learn(kernel, features, targets, torch.ones(60).double(), 2)
    some, scales = kernel.landmarks[:15].double(), kernel.scales.double()
    across = likeness(features, some, kernel.lengths.double(), scales)
    inner = likeness(some, some, kernel.lengths.double(), scales) + 1e-6 * torch.eye(15)
    rest, wanted = torch.arange(60) != 3, (2 * targets - 1)[:, None] - level
    again = torch.linalg.solve(scales[2] * inner + across[rest].T @ across[rest], across[rest].T @ wanted[rest])
    assert float(seen[0][3] - level) == pytest.approx(float(across[3] @ again), abs=1e-4)
