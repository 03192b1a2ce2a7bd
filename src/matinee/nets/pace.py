"""How fast this machine is, tried out: machines differ by more than ten times."""

from __future__ import annotations

import functools
import time

import torch

from matinee.core.runtime import keep_memory, settled
from matinee.nets.choices import PictureShape
from matinee.nets.pictures import build

PICTURES = 128


def pace(shape: PictureShape) -> float:
    """Pixels a second that the medium network for small pictures learns from, by the quicker of two steps.

    On the device and in the number format that were settled on. Takes a fifth of a second to a second on two cores. The
    steps are without an optimiser, which is a few hundredths.
    """
    where = settled()
    if where.device.type == "cpu":
        keep_memory()  # as in training
    network = where.place(build("small", shape, size="m"))
    pictures = torch.rand(PICTURES, shape.channels, shape.height, shape.width, device=where.device)
    pictures = pictures.contiguous(memory_format=torch.channels_last)
    spent = []
    for _ in range(3):
        began = time.perf_counter()
        with where.autocast():
            outputs = network(pictures)
        loss = outputs.float().logsumexp(1).mean()
        loss.backward()
        loss.item()  # waits for a device that computes on its own
        network.zero_grad()
        spent.append(time.perf_counter() - began)
    return PICTURES * shape.height * shape.width / min(spent[1:])


@functools.cache
def products_a_second(device: torch.device) -> float:
    """Multiplications and additions a second in products of large matrices in single precision, the best of three."""
    numbers, spent = torch.ones(1024, 1024, device=device), []
    for _ in range(3):
        began = time.perf_counter()
        (numbers @ numbers)[0, 0].item()  # waits for a device that computes on its own
        spent.append(time.perf_counter() - began)
    return 2 * 1024**3 / min(spent)
