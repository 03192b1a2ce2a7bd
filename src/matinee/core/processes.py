"""The processes that train together where `torchrun` started several: which one this is, and how they agree.

A process that is alone makes no group and pays nothing. Every process runs the same program on the same data; it
gathers its own part of each batch, and the first one alone (rank 0) speaks and writes. What they tell each other beside
gradients and statistics goes through here, as tensors and JSON, on the processor's side.
"""

from __future__ import annotations

import functools
import json
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from matinee.core import errors
from matinee.core.errors import MatineeError

if TYPE_CHECKING:
    from torch import Tensor

    from matinee.core.examples import Array

READING = timedelta(days=1)  # what the others wait for the one that decodes a machine's data
STEP = timedelta(minutes=10)  # what a step waits for a process that may be lost

Result = TypeVar("Result")


@dataclass(frozen=True)
class Processes:
    """This process among `size`. rank: 0 for the first. leads: the first on its machine.

    gradients, statistics: groups of their own for what is summed in a step, so that the order of one kind of sum never
    depends on the other's. steps: for what else they tell each other in a training; like those two, it waits for STEP.
    """

    rank: int = 0
    size: int = 1
    leads: bool = True
    gradients: Any = None
    statistics: Any = None
    steps: Any = None

    @property
    def alone(self) -> bool:
        """Whether there is nobody to agree with."""
        return self.size == 1

    @property
    def first(self) -> bool:
        """Whether this process speaks and writes."""
        return self.rank == 0

    def part(self, count: int) -> tuple[int, int]:
        """Where this process's part of `count` things begins and ends: contiguous, as even as can be."""
        return self.rank * count // self.size, (self.rank + 1) * count // self.size

    def sums(self, values: Sequence[float]) -> list[float]:
        """The sum of each number over all processes, the same everywhere; all must be here within STEP."""
        if self.alone:
            return list(values)
        import torch

        numbers = torch.tensor(values, dtype=torch.float64)
        with _heard():
            torch.distributed.all_reduce(numbers, group=self.steps)
        return numbers.tolist()

    def told(self, text: str) -> str:
        """The first process's text, on every process; all must be here within STEP."""
        return text if self.alone else self.all_told(text if self.first else "")[0]

    def all_told(self, text: str) -> list[str]:
        """Every process's text, by rank; all must be here within STEP."""
        return self._texts(text, self.steps)

    def _texts(self, text: str, group: Any) -> list[str]:
        import numpy as np

        parts = self._parts(np.frombuffer(text.encode(), np.uint8), group)
        return [part.tobytes().decode() for part in parts]

    def gathered(self, rows: Array) -> Array:
        """The rows of every process (any number, ...), first process first, on all; they must be here within STEP."""
        if self.alone:
            return rows
        import numpy as np

        return np.concatenate(self._parts(rows, self.steps))

    def _parts(self, rows: Array, group: Any) -> list[Array]:
        """Every process's array (any number, ...) by rank; all must have one type and one shape of a row."""
        if self.alone:
            return [rows]
        import numpy as np
        import torch

        counts = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        with _heard():
            torch.distributed.all_gather(counts, torch.tensor([len(rows)]), group=group)
        longest = max(int(count) for count in counts)
        mine = np.zeros((longest, *rows.shape[1:]), rows.dtype)
        mine[: len(rows)] = rows
        # As bytes: not every library sums or sends every type.
        flat = torch.from_numpy(mine.reshape(-1).view(np.uint8))
        parts = [torch.empty_like(flat) for _ in range(self.size)]
        with _heard():
            torch.distributed.all_gather(parts, flat, group=group)
        shaped = [part.numpy().view(rows.dtype).reshape(mine.shape) for part in parts]
        return [part[: int(count)] for part, count in zip(shaped, counts, strict=True)]

    def spread(self, tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        """The first process's tensors by name, one after the other, on every process: none holds all of another's."""
        if self.alone:
            yield from tensors.items()
            return
        import torch

        listed = [[name, str(t.dtype).removeprefix("torch."), list(t.shape)] for name, t in tensors.items()]
        for name, kind, shape in json.loads(self.told(json.dumps(listed))):
            if self.first:
                tensor = tensors[name].detach().cpu().contiguous()
            else:
                tensor = torch.empty(shape, dtype=getattr(torch, kind))
            if tensor.numel():
                with _heard():
                    torch.distributed.broadcast(tensor.view(-1).view(torch.uint8), 0, group=self.steps)
            yield name, tensor

    def equalise(self, tensors: Mapping[str, Tensor]) -> None:
        """Give every process the first one's values, in place."""
        if self.alone:
            return
        import torch

        with torch.no_grad():
            for name, tensor in self.spread(tensors):
                tensors[name].copy_(tensor)

    def leading(self, work: Callable[[], Result], leads: bool | None = None) -> Result | None:
        """What `work` gives on the first process (or on those with `leads`); the others wait for it and get None.

        They wait for READING, as the work may be long; a process that has ended is noticed at once. A MatineeError
        there is raised on every process.
        """
        if self.alone:
            return work()
        result, error = None, None
        if self.first if leads is None else leads:
            try:
                result = work()
            except MatineeError as caught:
                error = caught
        said = self._texts(json.dumps([type(error).__name__, str(error)]) if error is not None else "", None)
        for kind, words in (json.loads(text) for text in said if text):
            error = error or _KINDS.get(kind, MatineeError)(words)
        if error is not None:
            error.everywhere = True
            raise error
        return result

    def in_turn(self, work: Callable[[], Result]) -> Result:
        """What `work` gives: on each machine one process goes first, and the others find what it has put there."""
        early = self.leading(work, self.leads)
        late = early if self.alone else self.leading(work, not self.leads)
        return early if self.leads else late  # type: ignore[return-value]

    def agreeing(self, what: str, mine: str) -> None:
        """Raises DataError, naming the machine, where a process has something else than the first one."""
        if self.alone:
            return
        said = [json.loads(text) for text in self.all_told(json.dumps([socket.gethostname(), mine]))]
        for rank, (host, other) in enumerate(said):
            if other != said[0][1]:
                where = f"{host} (process {rank})" if host == said[0][0] else host
                raise errors.DataError(
                    f"{where} has {what} than {said[0][0]} (process 0). Give every machine the same files."
                )


ALONE = Processes()
_KINDS = {kind.__name__: kind for kind in (errors.DataError, errors.BundleError, errors.SettingsError)}
_now = [ALONE]  # those that train together now; the last one counts


@contextmanager
def _heard() -> Iterator[None]:
    """Raises MatineeError where another process has ended, or does not answer for as long as the group waits."""
    try:
        yield
    except RuntimeError as error:
        why = str(error).strip().splitlines()[-1][:200] if str(error).strip() else "no answer"
        raise MatineeError(
            f"another process of this job has ended or does not answer ({why}). What the first one to fail said is the "
            "reason. Mend it and start the job again; `matinee resume` goes on where the run's checkpoint stands."
        ) from error


def current() -> Processes:
    """The processes that train together at this moment: outside `joined`, this one alone."""
    return _now[-1]


@contextmanager
def joined() -> Iterator[Processes]:
    """All processes that `torchrun` started work together within; each must come here, and do the same there."""
    _now.append(_group() if current().alone else current())
    try:
        yield current()
    finally:
        _now.pop()


def speaks() -> bool:
    """Whether this process is the one that prints: the first, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def restarts() -> int:
    """How often the elastic agent has started this job anew."""
    number = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return int(number) if number.isdigit() else 0


def job() -> str:
    """A name that this machine's processes of one `torchrun` share, also after a restart; empty without it."""
    name = os.environ.get("TORCHELASTIC_RUN_ID", "")
    return f"{name} {socket.gethostname()} {os.getppid()}" if name else ""


@functools.cache
def _group() -> Processes:
    """The processes of this job, connected; made once."""
    size = int(os.environ.get("WORLD_SIZE", "1")) if os.environ.get("TORCHELASTIC_RUN_ID") else 1
    if size == 1:
        return ALONE
    import atexit

    import torch
    import torch.distributed as dist
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    local = int(os.environ["LOCAL_RANK"])
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(local % torch.cuda.device_count())
        backend = "cpu:gloo,cuda:nccl"
    if not dist.is_initialized():
        store, rank, _ = next(rendezvous("env://", timeout=READING))
        room = PrefixStore(_meeting(store, rank, size), store)
        dist.init_process_group(backend, store=room, rank=rank, world_size=size, timeout=READING)
        atexit.register(_leave)
    groups = (dist.new_group(timeout=STEP) for _ in range(3))
    return Processes(dist.get_rank(), size, local == 0, *groups)


def _meeting(store: Any, rank: int, size: int) -> str:
    """A name that exactly those have in common that are here now.

    The elastic agent keeps one store for all its restarts, with the addresses of processes that are no more in it.
    Every process sends the first one a word of its own; who gets an answer to that is known to be here.
    """
    mine = uuid.uuid4().hex
    if rank:
        store.set(f"arrived/{rank}", mine)
        name = str(store.get(f"welcome/{mine}").decode())
        store.set(f"here/{name}/{rank}", "")
        return name
    missing, answered = set(range(1, size)), set()
    while missing:
        for other in sorted(missing):
            if store.check([f"here/{mine}/{other}"]):
                missing.discard(other)
            elif store.check([f"arrived/{other}"]):
                word = store.get(f"arrived/{other}").decode()
                if word not in answered:
                    store.set(f"welcome/{word}", mine)
                    answered.add(word)
        time.sleep(0.01)
    return mine


def abandon(group: Any) -> None:
    """Never wait for what is under way in a group: an error has ended this process's work, and nobody may answer.

    A group waits for its sums when it goes, also where the interpreter ends, while the others wait for this process to
    end. It must therefore never go.
    """
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(group))


def _leave() -> None:
    """End the groups, and their threads: one that lets go of a tensor while the interpreter ends aborts the process."""
    import gc

    import torch.distributed as dist

    _now[:] = [ALONE]
    _group.cache_clear()  # a group goes, and its threads end, when nobody holds it any more
    if dist.is_initialized():
        dist.destroy_process_group()
    gc.collect()
