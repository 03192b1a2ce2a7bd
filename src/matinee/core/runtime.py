"""The machine: device, number format, memory format, threads and the start of all randomness."""

from __future__ import annotations

import functools
import os
import platform
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from matinee.core.errors import SettingsError
from matinee.core.examples import Array

_settled: list[Machine] = []  # the machine that settings asked for last
_MIX = 0x9E3779B97F4A7C15  # splitmix64's increment: seeds of neighbouring steps have nothing in common


@dataclass(frozen=True)
class Machine:
    """Where and how to compute."""

    device: torch.device
    precision: torch.dtype

    def autocast(self) -> AbstractContextManager[Any]:
        """Matrix products and convolutions in the machine's number format; the rest in float32."""
        if self.precision == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.precision)

    def place(self, network: nn.Module) -> nn.Module:
        """The network on the device, its 4-dimensional weights channels-last."""
        return network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

    def describe(self) -> str:
        """The machine in words, for the report."""
        if self.device.type == "cuda":
            name = torch.cuda.get_device_name(self.device)
        else:
            threads = torch.get_num_threads()
            name = f"{processor()}, {threads} thread{'s' if threads > 1 else ''}"
        return f"{name}, {str(self.precision).removeprefix('torch.')}"


def machine(device: str = "auto", precision: str = "auto", threads: int = 0, *, settle: bool = True) -> Machine:
    """The machine the settings ask for. Raises SettingsError for a device that is not there.

    settle: whether it may take half a second to find out how many threads pay; not worth it for a single answer.
    """
    chosen = _device(device)
    if chosen.type == "cuda":
        torch.backends.cudnn.deterministic = True
    elif settle:
        settle_threads()
    if threads:
        torch.set_num_threads(threads)
    half = multiplies_bfloat16(chosen) if precision == "auto" else precision == "bfloat16"
    found = Machine(chosen, torch.bfloat16 if half else torch.float32)
    if settle:
        _settled[:] = [found]
    return found


def settled() -> Machine:
    """The machine that settings asked for last; by default, what `machine` finds by itself."""
    return _settled[0] if _settled else machine()


@functools.cache
def settle_threads() -> None:
    """Compute on one thread where several are slower: on cores that other programs use, they wait for each other.

    Looks three times, a few hundredths of a second of the kind of work that a step is made of, so that a neighbour's
    short burst does not decide. docs/decisions/threads-that-pay.md has the figures.
    """
    several = torch.get_num_threads()
    if several == 1:
        return
    numbers = torch.ones(2**18)

    def per_piece(threads: int) -> float:
        torch.set_num_threads(threads)
        numbers.add_(1.0)
        began, count = time.perf_counter(), 0
        while count < 100 and time.perf_counter() - began < 0.03:
            numbers.mul_(1.0)
            count += 1
        return (time.perf_counter() - began) / count

    for pause in (0.0, 0.1, 0.2):
        time.sleep(pause)
        if per_piece(several) < 1.2 * per_piece(1):
            torch.set_num_threads(several)
            return
    torch.set_num_threads(1)


@functools.cache
def keep_memory() -> None:
    """Let this process keep the memory that a step frees for the next one, where the C library is GNU's.

    By default every large tensor is given back to the system and asked for again, page by page, in every step: a fifth
    of the time of a step. There is no way back, so it is for training alone. docs/decisions/memory-is-kept.md has the
    figures.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    import ctypes

    library = ctypes.CDLL(None)
    # M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD; M_ARENA_MAX: what one thread frees, another may use.
    for setting, value in ((-4, 0), (-1, 2**31 - 1), (-2, 256 * 2**20), (-8, 1)):
        library.mallopt(setting, value)


class Memory:
    """Gives the system what is kept and free, where steps begin to need pieces of other sizes and now and then.

    What lies between the pieces of a step grows with the steps; docs/decisions/memory-is-kept.md has the figures.
    """

    def __init__(self) -> None:
        self._effort, self._given = 0.0, time.perf_counter()

    def at(self, effort: float) -> None:
        """The next step's effort (`Task.effort`)."""
        if effort != self._effort or time.perf_counter() >= self._given + 20.0:
            self._effort = effort
            self.give()

    def give(self) -> None:
        """Give back what is free now."""
        self._given = time.perf_counter()
        if platform.libc_ver()[0] == "glibc":
            import ctypes

            ctypes.CDLL(None).malloc_trim(0)


def _device(name: str) -> torch.device:
    cuda = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if cuda else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise SettingsError(f"--device {name}: choose auto, cpu, cuda or cuda:1.") from None
    if device.type == "mps":
        raise SettingsError(
            "--device mps: Matinee computes some things in float64, which this device has not. Use --device cpu."
        )
    there = {"cpu": True, "cuda": cuda and (device.index or 0) < torch.cuda.device_count()}
    if not there.get(device.type, False):
        raise SettingsError(f"--device {name}: there is no such device on this machine. Leave it out for the best one.")
    return device


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the hardware multiplies this format natively; where it is emulated it only costs precision."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
    return False


def seed_of(*parts: int) -> int:
    """One 63-bit seed of several numbers (a run's seed, a step): the whole random state of that step.

    Nothing random needs to be stored for an exact resume: every step starts from its own seed.
    """
    state = 0
    for part in parts:
        state = (state ^ (part + _MIX)) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 27
        state = state * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state >> 1


def seed_torch(device: torch.device, seed: int) -> None:
    """Start torch's randomness on the CPU and on the device."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):  # else it would be the current one that is seeded
            torch.cuda.manual_seed(seed)


def order_of(count: int, seed: int, labels: Array | None = None) -> Array:
    """The positions 0..count-1 in random order; with labels, drawn so that every class comes equally often."""
    generator = np.random.default_rng(seed)
    if labels is None:
        return generator.permutation(count)
    classes = labels - labels.min()
    if classes.max() < 2**15:
        classes = classes.astype(np.int16)  # sorted by counting: as fast for ten million as for a thousand
    members, sizes = np.argsort(classes, kind="stable"), np.bincount(classes)
    drawn = np.flatnonzero(sizes)[generator.integers(0, np.count_nonzero(sizes), count)]
    begins = np.cumsum(sizes) - sizes
    chosen: Array = members[begins[drawn] + (generator.random(count) * sizes[drawn]).astype(np.int64)]
    return chosen


def of_like_lengths(order: Array, lengths: Array, size: int, seed: int) -> Array:
    """The same positions in an order whose batches of `size` have examples of like length, so that little is padding.

    Sorted by length within stretches of 64 batches, and the batches of a pass shuffled; what does not fill a batch
    stays at the end.
    """
    whole = len(order) // size * size
    stretches = [order[first : min(whole, first + 64 * size)] for first in range(0, whole, 64 * size)]
    stretches = [stretch[np.argsort(lengths[stretch], kind="stable")] for stretch in stretches]
    batches = np.concatenate([*stretches, order[:0]]).reshape(-1, size)
    mixed = batches[np.random.default_rng(seed).permutation(len(batches))].reshape(-1)
    return np.concatenate((mixed, order[whole:]))


def peak_memory() -> int:
    """Most bytes this process has held at once; 0 where the system does not say."""
    try:
        import resource
    except ImportError:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if platform.system() == "Darwin" else 1024)


def processor() -> str:
    """The processor's name and the cores this process may use."""
    cores = len(os.sched_getaffinity(0)) if _tells_cores() else os.cpu_count() or 1
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{name}, {cores} cores"


def _tells_cores() -> bool:
    """Whether the system tells which cores a process may use."""
    return "sched_getaffinity" in dir(os)


def detached(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A copy of named tensors that later steps cannot change."""
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}
