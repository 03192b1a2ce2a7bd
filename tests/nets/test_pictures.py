"""Every picture network, in every size, for every picture size it is meant for."""

from __future__ import annotations

import math

import pytest
import torch

from matinee.core.errors import SettingsError
from matinee.nets import choices
from matinee.nets.choices import SIZES, PictureShape, choose, stored_size
from matinee.nets.pace import pace
from matinee.nets.pictures import HEAD, Constant, Statistics, build, whiten
from matinee.nets.recipes import recommend
from matinee.nets.small import WhiteningLayer

ALL = [(name, size) for name, sizes in SIZES.items() for size in sizes]
LIGHT = ["linear", "lenet", "small-s", "residual-s"]


def _shape(channels: int, height: int, width: int, classes: int = 5) -> PictureShape:
    return PictureShape(channels, height, width, classes)


def _light(name: str) -> tuple[str, str]:
    network, _, size = name.partition("-")
    return network, size or "m"


@pytest.mark.parametrize(("name", "size"), ALL)
@pytest.mark.parametrize("side", [8, 28, 48, 96, 320])
def test_every_network_answers_logits_for_every_picture_size(name: str, size: str, side: int) -> None:
    with torch.device("meta"):
        network = build(name, _shape(3, side, side + 1), size=size)
        logits = network(torch.zeros(2, 3, side, side + 1))
    assert logits.shape == (2, 5)
    assert logits.dtype == torch.float32
    assert all(parameter.is_meta for parameter in network.state_dict().values())


@pytest.mark.parametrize("name", LIGHT)
@pytest.mark.parametrize("picture", [(1, 8, 8), (1, 28, 28), (3, 33, 47), (1, 56, 46)])
def test_real_pictures_pass_forward_and_backward_to_the_pixels(name: str, picture: tuple[int, int, int]) -> None:
    network_name, size = _light(name)
    torch.manual_seed(0)
    network = build(network_name, _shape(*picture), size=size).eval()
    pixels = torch.rand(3, *picture, requires_grad=True)
    network(pixels)[:, 0].sum().backward()
    assert pixels.grad is not None
    assert bool(pixels.grad.isfinite().all())
    assert float(pixels.grad.abs().sum()) > 0


@pytest.mark.parametrize("name", LIGHT)
def test_bfloat16_and_channels_last_give_float32_logits(name: str) -> None:
    network_name, size = _light(name)
    network = build(network_name, _shape(3, 16, 16), size=size).to(memory_format=torch.channels_last)
    pictures_in = torch.rand(4, 3, 16, 16).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        assert network(pictures_in).dtype == torch.float32


@pytest.mark.parametrize("name", [*LIGHT, "mlp-s", "constant"])
def test_a_build_depends_on_the_seed_alone_and_its_state_is_complete(name: str) -> None:
    network_name, size = _light(name)
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(build(network_name, _shape(1, 12, 12), size=size).state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    restored = build(network_name, _shape(1, 12, 12), size=size)
    restored.load_state_dict(states[0])
    original = build(network_name, _shape(1, 12, 12), size=size)
    original.load_state_dict(states[1])
    pixels = torch.rand(2, 1, 12, 12)
    assert torch.equal(restored.eval()(pixels), original.eval()(pixels))


@pytest.mark.parametrize("name", list(choices.NAMES))
def test_all_but_the_head_fits_another_number_of_classes(name: str) -> None:
    torch.manual_seed(0)
    few, many = (build(name, _shape(3, 16, 16, classes), size=SIZES[name][0]) for classes in (2, 7))
    state = {key: value for key, value in few.state_dict().items() if not key.startswith(HEAD)}
    missing, unexpected = many.load_state_dict(state, strict=False)
    assert not unexpected
    assert missing
    assert all(key.startswith(HEAD) for key in missing)


def test_whitening_decorrelates_patches_and_is_frozen() -> None:
    torch.manual_seed(0)
    smooth = torch.nn.functional.avg_pool2d(torch.rand(64, 3, 18, 18), 3, stride=1)
    network = build("small", _shape(3, 16, 16), size="s", statistics=Statistics((0.5,) * 3, (0.1,) * 3))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    whiten(network, smooth)
    changed = [key for key, value in network.state_dict().items() if not torch.equal(value, before[key])]
    assert len(changed) == 1
    layer = next(module for module in network.modules() if isinstance(module, WhiteningLayer))
    responses = layer((smooth - 0.5) / 0.1).detach()[:, :12].permute(1, 0, 2, 3).reshape(12, -1)
    second_moments = responses @ responses.T / responses.shape[1]
    assert float((second_moments - torch.diag(second_moments.diagonal())).abs().max()) < 0.02
    assert float(second_moments.diagonal().max()) <= 1.001
    assert not any("0.0.weight" in key for key, parameter in network.named_parameters())


def test_whitening_leaves_other_networks_alone() -> None:
    for name in ("linear", "constant"):
        network = build(name, _shape(1, 8, 8))
        before = [value.clone() for value in network.state_dict().values()]
        whiten(network, torch.rand(4, 1, 8, 8))
        assert all(torch.equal(new, old) for new, old in zip(network.state_dict().values(), before, strict=True))


def test_lenet_is_the_network_of_the_tutorial() -> None:
    network = build("lenet", _shape(3, 32, 32, 10))
    assert sum(parameter.numel() for parameter in network.parameters()) == 62006
    assert torch.equal(network.get_buffer("normalise.mean").flatten(), torch.full((3,), 0.5))


def test_normalisation_survives_a_channel_that_never_varies() -> None:
    network = build("linear", _shape(1, 8, 8), statistics=Statistics((0.2,), (0.0,)))
    assert bool(network(torch.full((1, 1, 8, 8), 0.2)).isfinite().all())


def test_the_constant_network_ignores_its_input() -> None:
    network = Constant(3)
    network.load_state_dict({"logits": torch.tensor([1.0, 2.0, 3.0])})
    pixels = torch.rand(4, 3, 9, 9, requires_grad=True)
    logits = network(pixels)
    assert torch.equal(logits, torch.tensor([[1.0, 2.0, 3.0]]).expand(4, 3))
    (gradient,) = torch.autograd.grad(logits.sum(), pixels)
    assert float(gradient.abs().sum()) == 0


@pytest.mark.parametrize("name", LIGHT)
def test_networks_can_be_exported(name: str) -> None:
    network_name, size = _light(name)
    network = build(network_name, _shape(1, 16, 16), size=size).eval()
    pixels = torch.rand(2, 1, 16, 16)
    exported = torch.export.export(network, (pixels,))
    assert torch.allclose(exported.module()(pixels), network(pixels), atol=1e-5)


def test_auto_takes_the_small_network_for_small_pictures() -> None:
    assert choose(_shape(3, 32, 32), 50_000)[0] == "small"
    assert choose(_shape(3, 160, 120), 300)[0] == "residual"
    for shape, examples in ((_shape(1, 8, 8), 1000), (_shape(3, 320, 320), 10**6)):
        name, size = choose(shape, examples)
        assert size in SIZES[name]


@pytest.mark.parametrize(("passes", "size"), [(1, "s"), (10, "m"), (100, "l")])
def test_auto_takes_the_size_that_there_is_time_for(passes: int, size: str) -> None:
    assert choose(_shape(3, 32, 32), 50_000, lambda: passes * 50_000.0 * 32 * 32) == ("small", size)


def test_time_is_asked_for_only_where_it_decides() -> None:
    assert choose(_shape(1, 28, 28), 50_000, lambda: 1 / 0) == choose(_shape(1, 28, 28), 50_000)


def test_the_pace_of_this_machine_is_measured() -> None:
    assert 0 < pace(_shape(3, 16, 16)) < math.inf


@pytest.mark.parametrize(("name", "size"), [("resnet", "m"), ("small", "xxl")])
def test_unknown_names_are_refused_with_what_is_allowed(name: str, size: str) -> None:
    with pytest.raises(SettingsError, match=r"small|s, m, l"):
        build(name, _shape(1, 8, 8), size=size)


def test_pictures_too_small_for_any_network_are_refused() -> None:
    with pytest.raises(SettingsError, match="at least 4 x 4"):
        build("small", _shape(1, 2, 8))


def test_pictures_are_stored_in_proportion_and_not_enlarged() -> None:
    assert stored_size(112, 92, 1, 200) == (56, 46)
    assert stored_size(28, 28, 1, 60_000) == (28, 28)
    assert stored_size(320, 240, 3, 245) == (160, 120)
    assert stored_size(1, 4000, 3, 245) == (4, 160)


def test_there_is_a_recipe_for_every_network_and_amount_of_data() -> None:
    for name, sizes in SIZES.items():
        for shape in (_shape(1, 8, 8), _shape(3, 32, 32), _shape(1, 48, 48), _shape(3, 160, 120)):
            for examples in (0, 1, 200, 5000, 10**6):
                recipe = recommend(name, sizes[0], shape, examples)
                assert recipe.epochs >= 1
                assert recipe.learning_rate > 0
    assert recommend("lenet", "m", _shape(3, 32, 32), 50_000).epochs == 2
    assert not recommend("small", "s", _shape(1, 28, 28), 60_000).flip
    assert recommend("small", "m", _shape(1, 56, 46), 200).flip
    with pytest.raises(SettingsError, match="networks for pictures"):
        recommend("resnet", "m", _shape(1, 8, 8), 10)
