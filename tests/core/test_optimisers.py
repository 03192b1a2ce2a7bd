"""Optimisers by name: they descend, spare the right parameters, and come back from their state bit for bit."""

from __future__ import annotations

import subprocess
import sys
from copy import deepcopy as copy_of

import pytest
import torch
from torch import Tensor, nn

import matinee
from matinee.core import optimisers
from matinee.core.errors import SettingsError
from matinee.core.optimisers import NAMES, Muon, build, orthogonalise
from matinee.core.progress import Progress
from matinee.tasks.image_classification import ImageClassification

RATES = {"sgd": 0.05, "adam": 0.01, "adamw": 0.01, "rmsprop": 0.003, "muon": 0.03, "muon-unit": 0.003}


class _Network(nn.Module):
    """A convolution, a wide and a tall matrix, normalisation and a head: each kind of parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 16, 8), nn.Linear(8, 24)
        )
        self.head = nn.Linear(24, 3)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.trunk(images))
        return logits


def _network() -> _Network:
    torch.manual_seed(0)
    return _Network()


def _steps(network: nn.Module, optimiser: torch.optim.Optimizer, count: int, start: int = 0) -> list[float]:
    losses = []
    for number in range(start, start + count):
        generator = torch.Generator().manual_seed(number % 4)
        images = torch.rand(8, 1, 6, 6, generator=generator)
        targets = (images.mean((1, 2, 3)) * 40).long() % 3
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(network(images), targets)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize("name", NAMES)
def test_each_optimiser_descends(name: str) -> None:
    network = _network()
    losses = _steps(network, build(name, network, rate=RATES[name], weight_decay=1e-3), 40)
    assert sum(losses[-4:]) < 0.7 * sum(losses[:4])


@pytest.mark.parametrize("name", NAMES)
def test_state_round_trip_continues_to_the_bit(name: str) -> None:
    network = _network()
    optimiser = build(name, network, rate=RATES[name], weight_decay=1e-3)
    _steps(network, optimiser, 3)
    copy = _network()
    copy.load_state_dict(network.state_dict())
    copied = build(name, copy, rate=RATES[name], weight_decay=1e-3)
    copied.load_state_dict(copy_of(optimiser.state_dict()))  # torch would share the buffers
    assert _steps(network, optimiser, 3, 3) == _steps(copy, copied, 3, 3)
    for one, other in zip(network.parameters(), copy.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", NAMES)
def test_state_is_plain_tensors_and_numbers(name: str) -> None:
    network = _network()
    optimiser = build(name, network, rate=RATES[name])
    _steps(network, optimiser, 1)
    state = optimiser.state_dict()
    for buffers in state["state"].values():
        assert all(isinstance(value, (Tensor, int, float)) or value is None for value in buffers.values())
    plain = (int, float, bool, str, list, tuple, type(None))
    for group in state["param_groups"]:
        assert all(isinstance(value, plain) for value in group.values())


@pytest.mark.parametrize("name", NAMES)
def test_weight_decay_spares_biases_and_normalisation(name: str) -> None:
    network = _network()
    optimiser = build(name, network, rate=0.01, weight_decay=0.1)
    decays = {id(parameter): group["weight_decay"] for group in optimiser.param_groups for parameter in group["params"]}
    assert len(decays) == len(list(network.parameters()))
    for key, parameter in network.named_parameters():
        spared = parameter.ndim <= 1 or (name == "muon-unit" and not key.startswith("head."))
        assert decays[id(parameter)] == (0.0 if spared else 0.1)


def test_frozen_parameters_stay_out() -> None:
    network = _network()
    network.trunk.requires_grad_(False)
    for name in NAMES:
        optimiser = build(name, network, rate=0.01)
        assert sum(len(group["params"]) for group in optimiser.param_groups) == 2
    network.requires_grad_(False)
    before = [parameter.clone() for parameter in network.parameters()]
    for name in NAMES:
        build(name, network, rate=0.01).step()
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 16, 40), (1, 40, 16)])
@pytest.mark.parametrize("product_type", [torch.float32, torch.bfloat16])
def test_orthogonalised_matrices_have_singular_values_near_one(
    shape: tuple[int, int, int], product_type: torch.dtype
) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalise(matrices, 7, product_type))
    assert values.shape == (shape[0], min(shape[1:]))
    assert float(values.min()) > 0.5
    assert float(values.max()) < 1.4


def test_orthogonalising_keeps_the_singular_vectors() -> None:
    matrix = torch.randn(1, 12, 30, generator=torch.Generator().manual_seed(0))
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    result = orthogonalise(matrix, 6)
    assert float(nn.functional.cosine_similarity(result.flatten(), (left @ right).flatten(), dim=0)) > 0.97


def test_muon_orthogonalises_hidden_matrices_alone() -> None:
    network = _network()
    before = [parameter.detach().clone() for parameter in network.parameters()]
    optimiser = build("muon", network, rate=0.1)
    _steps(network, optimiser, 1)
    for (key, parameter), old in zip(network.named_parameters(), before, strict=True):
        step = (parameter.detach() - old).flatten(1) if parameter.ndim > 1 else parameter.detach() - old
        if parameter.ndim > 1 and not key.startswith("head."):
            rows, columns = step.shape
            largest = float(torch.linalg.matrix_norm(step, 2)) / max(1, rows / columns) ** 0.5
            assert 0.05 < largest < 0.14, key
        else:
            assert float(step.abs().max()) < 0.02, key


def test_unit_muon_keeps_filters_at_the_scale_of_orthogonal_ones() -> None:
    network = _network()
    optimiser = build("muon-unit", network, rate=0.01)
    _steps(network, optimiser, 5)
    for key, parameter in network.named_parameters():
        if parameter.ndim > 1 and not key.startswith("head."):
            # Rescaled, then moved by a hundredth of an orthogonal matrix.
            assert float(parameter.detach().norm()) == pytest.approx(parameter.shape[0] ** 0.5, rel=0.03), key


def test_an_unknown_optimiser_is_refused_with_what_is_allowed() -> None:
    with pytest.raises(SettingsError, match="sgd, adam, adamw, rmsprop, muon"):
        build("lion", _network(), rate=0.1)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_muon_multiplies_in_the_number_format_that_was_asked_for(
    precision: str, quiet: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[torch.dtype] = set()

    def spy(matrices: Tensor, iterations: int, kind: torch.dtype) -> Tensor:
        seen.add(kind)
        return orthogonalise(matrices, iterations, kind)

    monkeypatch.setattr(optimisers, "orthogonalise", spy)
    toy = ImageClassification().toy()
    matinee.train(toy, network="lenet", size="m", epochs=1, optimiser="muon", precision=precision, progress=quiet)
    assert seen == {getattr(torch, precision)}


def test_what_thaws_later_takes_the_steps_it_would_take_alone() -> None:
    def trained(apart: bool) -> list[Tensor]:
        late, early = (nn.Parameter(torch.ones(3)) for _ in range(2))
        lists = [[late], [early]] if apart else [[late, early]]
        optimiser = Muon([{"params": params, "lr": 0.01, "rule": "adamw"} for params in lists])
        for step in range(30):
            late.grad = torch.full((3,), 1.0 + step) if step >= 20 else None
            early.grad = torch.full((3,), 2.0 - step)
            optimiser.step()
        return [late.detach(), early.detach()]

    for one, other in zip(trained(True), trained(False), strict=True):
        assert torch.equal(one, other)


def test_a_filter_of_zeros_stays_a_number() -> None:
    network = _network()
    with torch.no_grad():
        network.get_parameter("trunk.0.weight").zero_()
    _steps(network, build("muon-unit", network, rate=0.003), 2)
    assert all(bool(parameter.isfinite().all()) for parameter in network.parameters())


QUICK = """
import sys, torch
from torch import nn
from matinee.core import quick
from matinee.core.optimisers import NAMES, build
for name in NAMES:
    network = nn.Linear(3, 3)
    rule = build(name, network, rate=0.1)
    network(torch.ones(1, 3)).sum().backward()
    before = network.weight.detach().clone()
    rule.step()
    rule.zero_grad(set_to_none=True)
    rule.load_state_dict(rule.state_dict())
    assert not torch.equal(before, network.weight) and quick._steps[0] and network.weight.grad is None
sys.exit("torch._dynamo" in sys.modules)
"""


def test_no_optimiser_imports_the_compiler() -> None:
    done = subprocess.run([sys.executable, "-c", QUICK], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop"])
def test_steps_are_those_of_torch(name: str) -> None:
    states = []
    for family in (optimisers, torch.optim):
        network = _network()
        rule = getattr(family, name)(network.parameters(), lr=0.01, weight_decay=0.1)
        for _ in range(3):
            rule.zero_grad()
            network(torch.ones(4, 1, 6, 6)).square().sum().backward()
            rule.step()
        states.append(network.state_dict())
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
