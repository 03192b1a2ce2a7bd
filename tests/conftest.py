"""What all tests share: no network, one thread, a cache of their own, and toy data of every task."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, settings

from matinee.core.progress import Progress
from matinee.core.registry import names, task_class
from matinee.core.task import Data

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


@pytest.fixture(params=TASKS)
def toy(request: pytest.FixtureRequest) -> Data:
    """Toy data of each task in turn."""
    return task_class(request.param)().toy()


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
