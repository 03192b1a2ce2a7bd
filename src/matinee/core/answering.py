"""Answering for many raws: the next batches are read and computed while the last one is told, in order.

Every thread of a pool reads a batch and runs the network over it, with its share of the cores: reading and computing
fill all cores whatever each of them costs, and no core waits for another in the middle of a layer. An accelerator
computes for one of them at a time. docs/decisions/answering-in-threads.md has the figures.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from threading import Lock
from typing import TYPE_CHECKING, Any

from matinee.core.errors import DataError

if TYPE_CHECKING:
    from matinee.core.model import Model

Told = dict[str, Any] | DataError

_FREE: AbstractContextManager[Any] = nullcontext()

BATCH = 64
FEW = 16  # up to this many raws, starting threads takes longer than they save
SLOW = 0.2  # seconds for one raw on one thread: from here on several threads are tried
MOST = 8  # threads of the pool: with more cores, several compute one batch


def answered(model: Model, raws: Iterable[Any], size: int | None = None) -> Iterator[list[tuple[Any, Told]]]:
    """Each raw with its answer, or with what is wrong with it; in order, in lists of up to `size`.

    size: None: BATCH, or fewer where the task says so (`Task.at_once`). Where 1 is asked for, each is answered
    before the next is asked for.
    """
    import torch

    waits, size = size == 1, size or min(BATCH, max(1, model.task.at_once()))
    rest, threads = iter(raws), torch.get_num_threads()
    each = -(-threads // MOST)  # threads for one batch
    workers = threads // each
    some = [] if waits else list(itertools.islice(rest, max(size * workers, FEW + 1)))
    if workers == 1 or len(some) <= FEW:
        for batch in _batches(itertools.chain(some, rest), size):
            yield _alone(model, batch)
        return
    turn: AbstractContextManager[Any] = _FREE if model.device.type == "cpu" else Lock()
    batches = _batches(itertools.chain(some, rest), min(size, -(-len(some) // workers)))
    waiting: deque[Future[list[tuple[Any, Told]]]] = deque()
    try:
        with ThreadPoolExecutor(workers, "answers", torch.set_num_threads, (each,)) as pool:
            try:
                for batch in batches:
                    waiting.append(pool.submit(_answers, model, batch, turn))
                    if len(waiting) > 2 * workers:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()
    finally:
        torch.set_num_threads(threads)  # a thread that starts later would take over the number of the last one


def _batches(raws: Iterable[Any], size: int) -> Iterator[list[Any]]:
    rest = iter(raws)
    while batch := list(itertools.islice(rest, size)):
        yield batch


def _alone(model: Model, raws: Sequence[Any]) -> list[tuple[Any, Told]]:
    """On one thread, until that proves slow: threads that wait for each other cost a small network far more."""
    import torch

    from matinee.core.runtime import settle_threads

    threads, began = torch.get_num_threads(), time.perf_counter()
    if threads == 1 or model.kept.slow or model.device.type != "cpu":
        return _answers(model, raws)
    torch.set_num_threads(1)
    try:
        return _answers(model, raws)
    finally:
        torch.set_num_threads(threads)
        if time.perf_counter() - began > SLOW * len(raws):
            model.kept.slow = True
            settle_threads()


def _answers(model: Model, raws: Sequence[Any], turn: AbstractContextManager[Any] = _FREE) -> list[tuple[Any, Told]]:
    """All at once; where the task cannot say which of them it cannot read, one by one."""
    try:
        inputs, errors = model.task.encode_each(raws)
    except DataError as error:
        if len(raws) == 1:
            return [(raws[0], error)]
        return [answer for raw in raws for answer in _answers(model, [raw], turn)]
    read = [raw for place, raw in enumerate(raws) if place not in errors]
    with turn:
        answers = iter(model.answer(inputs, read) if read else ())
    return [(raw, errors[place] if place in errors else next(answers)) for place, raw in enumerate(raws)]
