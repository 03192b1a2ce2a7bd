"""The floor: what this machine multiplies and copies. Prints TFLOP/s in bf16 and fp32, and GB/s.

A product of two 2,048 x 2,048 matrices (8,192 on a GPU), the best of several: what nothing that is made of products can
beat. A copy reads and writes: of 512 MiB, the bytes that were copied (not twice) in a second.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import torch

from matinee.core.runtime import processor

REPEATS = 12


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """The shortest of several."""
    best = float("inf")
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return best


def matrix_rate(kind: torch.dtype, device: torch.device) -> float:
    """FLOP/s of a square matrix product."""
    side = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(side, side, device=device, dtype=kind) for _ in range(2))
    out = torch.empty_like(a)
    return 2 * side**3 / seconds(lambda: torch.mm(a, b, out=out), device)


def copy_rate(device: torch.device) -> float:
    """Bytes copied in a second."""
    source = torch.ones(2**29, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return source.numel() / seconds(lambda: target.copy_(source), device)


def main() -> None:
    """One line of JSON."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rates = {
        "bf16_tflops": matrix_rate(torch.bfloat16, device) / 1e12,
        "fp32_tflops": matrix_rate(torch.float32, device) / 1e12,
        "copy_gbs": copy_rate(device) / 1e9,
    }
    device_words = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    print(json.dumps({**rates, "device": device_words, "torch": torch.__version__, "processor": processor()}))


if __name__ == "__main__":
    main()
