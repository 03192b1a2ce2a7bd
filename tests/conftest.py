"""What all tests share: no network, one thread, a cache of their own, and toy data of every task."""

from __future__ import annotations

import functools
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

import matinee
from matinee.core.examples import Ragged
from matinee.core.model import Model
from matinee.core.progress import Progress
from matinee.core.registry import names, task_class
from matinee.core.task import Data
from matinee.media import crew

TASKS = names("tasks")

# The same examples every time, on machines of any speed.
settings.register_profile(
    "house", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("house")

# A job that a shell starts in the background ignores Ctrl-C, and so would what the tests send.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No test reaches the network or the user's own folders."""

    # Threads that wait for each other stand still on a busy machine; toy data needs one.
    torch.set_num_threads(1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def refuse(*args: Any, **rest: Any) -> None:
        raise AssertionError("a test reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("MATINEE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield


@functools.cache
def made(name: str) -> Data:
    """Toy data of a task, made once. As columns that are mapped from a file, nobody can write to them."""
    data = task_class(name)().toy()
    for column in data.train.columns.values():
        for values in vars(column).values() if isinstance(column, Ragged) else [column]:
            if isinstance(values, np.ndarray):
                values.flags.writeable = False
    return data


@pytest.fixture(params=TASKS)
def toy(request: pytest.FixtureRequest) -> Data:
    """Toy data of each task in turn."""
    return made(request.param)


_learned: dict[str, Model] = {}


@pytest.fixture
def learned(toy: Data, quiet: Progress, request: pytest.FixtureRequest) -> Model:
    """A model of the toy data after one pass over it, for all tests that need any; nobody may change it."""
    name = request.node.callspec.params["toy"]
    if name not in _learned:
        _learned[name] = matinee.train(toy, epochs=1, progress=quiet)
    return _learned[name]


@pytest.fixture
def own_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[], float]:
    """The package's clock counts what this process computes: what else the machine does takes none of its time."""
    monkeypatch.setattr(time, "perf_counter", time.process_time)
    return time.process_time


@pytest.fixture
def hangs(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder: while a worker that has put its number there lives, every look at the clock costs a crew an hour.

    So a hang is seen at once, and nothing else is taken for one, however busy the machine.
    """
    folder, plain, ahead = tmp_path_factory.mktemp("hangs"), time.monotonic, [0.0]

    def clock() -> float:
        for mark in folder.iterdir():
            with suppress(ProcessLookupError):
                os.kill(int(mark.name), 0)
                ahead[0] += 3600
        return plain() + ahead[0]

    monkeypatch.setattr(crew, "time", SimpleNamespace(monotonic=clock))
    monkeypatch.setenv("MATINEE_WORKERS", "1")
    return folder


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package's clock moves on by a tenth of a second when the main thread looks at it: alike on every machine."""
    now = [0.0]

    def tick() -> float:
        now[0] += 0.1 * (threading.current_thread() is threading.main_thread())
        return now[0]

    monkeypatch.setattr(time, "perf_counter", tick)


@pytest.fixture
def quiet() -> Progress:
    """Progress that says nothing."""
    return Progress(quiet=True)


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder of the real data sets."""
    folder = os.environ.get("MATINEE_DATA", "")
    if not folder:
        pytest.skip("MATINEE_DATA is not set: the real data sets are not here")
    return Path(folder)
