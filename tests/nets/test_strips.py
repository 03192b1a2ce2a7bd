"""Convolutions on strips: the same products as without."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from matinee.nets import strips
from matinee.nets.strips import Convolution


def _passes(convolution: Convolution, features: Tensor) -> tuple[Tensor, ...]:
    """Outputs, and the gradients of features and weights, for one and the same gradient of the outputs."""
    convolution.weight.grad = None
    given = features.clone(memory_format=torch.preserve_format).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        outputs = convolution(given)
    outputs.backward(torch.randn(outputs.shape, generator=torch.Generator().manual_seed(1)).to(outputs.dtype))
    assert given.grad is not None
    assert convolution.weight.grad is not None
    return outputs.detach(), given.grad, convolution.weight.grad.clone()


@pytest.mark.parametrize("side", [2, 3, 4, 7, 8, 15, 16])
@pytest.mark.parametrize("batch", [12, 64])
def test_strips_give_what_the_plain_convolution_gives(side: int, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strips, "_amx", lambda: True)  # the arithmetic is the same on every processor
    monkeypatch.setattr(strips, "WIDEST", 99)
    torch.manual_seed(0)
    convolution = Convolution(16, 24)
    features = torch.randn(batch, 16, side, side + 1).to(memory_format=torch.channels_last)
    laid = _passes(convolution, features)
    monkeypatch.setattr(strips, "WIDEST", 0)
    plain = _passes(convolution, features)
    for one, other in zip(laid, plain, strict=True):
        assert one.shape == other.shape
        # bfloat16 keeps 8 bits of each number; the order of sums differs.
        assert float((one.float() - other.float()).norm() / other.float().norm()) < 4e-3


@pytest.mark.parametrize("batch", [1, 7])
def test_batches_that_cannot_be_divided_take_the_plain_way(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strips, "_amx", lambda: True)
    convolution = Convolution(4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert convolution(torch.randn(batch, 4, 5, 5)).shape == (batch, 4, 5, 5)


def test_float32_is_left_alone() -> None:
    convolution, features = Convolution(4, 6), torch.randn(8, 4, 5, 5)
    expected = torch.nn.functional.conv2d(features, convolution.weight, padding=1)
    assert torch.equal(convolution(features), expected)
