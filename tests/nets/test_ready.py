"""The form that answers fastest says what the network says."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from matinee.nets.choices import SIZES, PictureShape
from matinee.nets.pictures import PictureNetwork, build
from matinee.nets.ready import ready

ALL = [(name, size) for name, sizes in SIZES.items() for size in sizes if name != "constant"]


def trained(name: str, size: str) -> PictureNetwork:
    """A network whose normalisations have seen something, of scales and shifts as training leaves them."""
    torch.manual_seed(1)
    network = build(name, PictureShape(3, 32, 32, 7), size=size, dropout=0.3).train()
    assert isinstance(network, PictureNetwork)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, -0.5, 1.5)
            nn.init.uniform_(layer.bias, -0.5, 0.5)
            layer.momentum = None
    with torch.no_grad():
        network(torch.rand(16, 3, 32, 32))
    return network.eval().to(memory_format=torch.channels_last)


@pytest.mark.parametrize(("name", "size"), ALL)
def test_answers_agree(name: str, size: str) -> None:
    network, pictures = trained(name, size), torch.rand(5, 3, 32, 32)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with torch.inference_mode():
        exact = network(pictures)
        spread = exact.std()
        assert (ready(network, torch.float32)(pictures) - exact).abs().max() < 1e-4 * spread + 1e-6
        with torch.autocast("cpu", torch.bfloat16):
            off = (network(pictures) - exact).abs().max()
            form = ready(network, torch.bfloat16)
            assert form(pictures).dtype == torch.float32
            assert (form(pictures) - exact).abs().max() < 2 * off + 0.02 * spread
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_photographs_answer_without_normalisation() -> None:
    form = ready(trained("residual", "s"), torch.bfloat16)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in form.modules())
    assert all(layer.weight.dtype == torch.bfloat16 for layer in form.modules() if isinstance(layer, nn.Conv2d))
