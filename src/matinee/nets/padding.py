"""Batches of differing lengths as one: padded behind with zeros."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad


def joined(batches: Sequence[Any]) -> Any:
    """Tensors (batch, ...), or mappings or tuples of them, one after the other, each as wide as the widest."""
    first = batches[0]
    if isinstance(first, Mapping):
        return {name: joined([batch[name] for batch in batches]) for name in first}
    if isinstance(first, tuple):
        parts = [joined(list(each)) for each in zip(*batches, strict=True)]
        return type(first)(*parts) if "_fields" in dir(first) else tuple(parts)
    return torch.cat(alike(batches))


def alike(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The same tensors, zeros behind, so that all but their first sides are equal."""
    sides = [max(each) for each in zip(*(tensor.shape[1:] for tensor in tensors), strict=True)]
    padded = []
    for tensor in tensors:
        room = [(0, side - now) for side, now in zip(sides, tensor.shape[1:], strict=True)]
        padded.append(pad(tensor, [n for pair in reversed(room) for n in pair]) if any(map(any, room)) else tensor)
    return padded
