"""Batches made ahead of the step that uses them, on one thread."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from matinee.core.task import Batch

WORTH = 256 * 1024  # bytes of input from which on handing a batch between threads costs less than gathering it


def ahead(batches: Iterator[Batch], allowed: bool = True, depth: int = 2) -> Iterator[Batch]:
    """The same batches in the same order; while one is used, the next `depth` are made, where they are large."""
    first = next(batches, None)
    if first is None:
        return
    if not allowed or first.inputs.numel() * first.inputs.element_size() < WORTH:
        yield first
        yield from batches
        return
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as thread:
        waiting: list[Future[Batch | None]] = [thread.submit(next, batches, None) for _ in range(depth)]
        try:
            yield first
            while (batch := waiting.pop(0).result()) is not None:
                waiting.append(thread.submit(next, batches, None))
                yield batch
        finally:
            for future in waiting:
                future.cancel()
