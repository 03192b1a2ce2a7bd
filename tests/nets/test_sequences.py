"""Networks that read tokens: what they answer does not depend on how it is computed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from matinee.nets.sequences import both_ways


@pytest.mark.parametrize("depth", [1, 2])
def test_both_directions_of_an_lstm_read_what_packed_ones_read(depth: int) -> None:
    torch.manual_seed(0)
    layers = nn.LSTM(5, 7, depth, batch_first=True, bidirectional=True)
    vectors, lengths = torch.randn(6, 9, 5), torch.tensor([9, 1, 4, 9, 2, 7])
    found = []
    for way in ("packed", "whole"):
        layers.zero_grad()
        read = vectors.clone().requires_grad_()
        if way == "packed":
            packed = nn.utils.rnn.pack_padded_sequence(read, lengths, True, enforce_sorted=False)
            states = nn.utils.rnn.pad_packed_sequence(layers(packed)[0], True, total_length=9)[0]
        else:
            states = both_ways(layers, read, lengths)
        states.square().sum().backward()
        assert read.grad is not None
        found.append([states, read.grad, *(weight.grad for weight in layers.parameters())])
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(*found, strict=True))
