"""A watch: what takes long is told, signals act at once, and the time that is left is known."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from matinee.core import watch as module
from matinee.core.errors import Interrupted
from matinee.core.progress import Progress
from matinee.core.watch import Watch


def test_time_is_handed_on_in_parts() -> None:
    watch = Watch(time_left=100.0)
    part = watch.part(0.5)
    part.shortened("half of it was left out.")
    assert 99 < watch.left() <= 100 and 49 < part.left() <= 50 and watch.notes == ["half of it was left out."]
    assert Watch().part(0.5).left() == float("inf") and Watch(time_left=0).left() <= 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_what_is_watched(number: int) -> None:
    def asked(*_: object) -> None:
        raise AssertionError("the handler of the rest of the training is not asked")

    before = {each: signal.signal(each, asked) for each in module.SIGNALS}
    try:
        with pytest.raises(Interrupted, match="way on"), Watch(stopped="the way on").over("counting"):
            os.kill(os.getpid(), number)
            time.sleep(60)
        with pytest.raises(KeyboardInterrupt), Watch().over("counting"):
            os.kill(os.getpid(), number)
            time.sleep(60)
        assert all(signal.getsignal(each) is asked for each in module.SIGNALS)
        assert signal.set_wakeup_fd(-1) == -1
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def test_what_takes_long_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(module, "TELL_AFTER", 0.05)
    watch, said, until = Watch(Progress()), "", time.monotonic() + 60
    with watch.over("counting"):
        watch.tell("counting to three")
        while "counting to three, " not in said and time.monotonic() < until:
            time.sleep(0.01)
            said += capsys.readouterr().err
    assert "counting to three, " in said
    capsys.readouterr()
    monkeypatch.setattr(module, "TELL_AFTER", 60)
    with watch.over("counting"):
        pass
    assert not capsys.readouterr().err


DEAF = """
import hashlib, sys
from matinee import cli
from matinee.core.watch import Watch

def work(words, began):
    with Watch(stopped="stopped in the middle. To go on: matinee resume it").over("hashing"):
        print("ready", flush=True)
        hashlib.pbkdf2_hmac("sha256", b"", b"", 2_000_000_000)  # a call that looks at no signal

cli._dispatch = work
sys.exit(cli.main(["train", "--json"]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_call_that_hears_nothing_is_ended_on_the_command_line(number: int) -> None:
    process = subprocess.Popen([sys.executable, "-c", DEAF], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(number)
    try:
        out, err = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 130 and json.loads(out)["error"].startswith("stopped in the middle")
    assert err == "matinee: stopped in the middle. To go on: matinee resume it\n"
