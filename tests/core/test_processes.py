"""What several processes promise: the same training as one, whatever happens to one of them."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import matinee
from matinee.core import optimisers, processes
from matinee.core.errors import MatineeError, SettingsError
from matinee.core.gradients import Gradients
from matinee.core.loop import fit
from matinee.core.processes import ALONE, STEP, Processes, current, joined
from matinee.core.progress import Progress
from matinee.core.runtime import machine
from matinee.core.storage import read_json, read_tensors
from matinee.core.together import Team
from matinee.core.train_settings import TrainSettings
from matinee.tasks.image_classification import ImageClassification

# In float32, sums that are added up in another order differ in their last digits: losses show as little. Now and then
# that decides which of two pixels is the largest, which moves single weights more.
LOSSES, TENSORS = 1e-5, 2e-3
WORDS = """
--epochs 2 --batch-size 33 --precision float32 --optimiser sgd --learning-rate 0.02 --average 0.9 --clip 1 --flip
--crop 1 --rotate 8 --colour 0.2 --label-smoothing 0.1 --network small --size s --checkpoint-steps 3 --quiet
"""
TRAIN = WORDS.split()
WORKER = Path(__file__).with_name("worker_processes.py")


@dataclass
class Room:
    """A folder of pictures and what was trained on it, made once for all tests of this file."""

    folder: Path

    def torchrun(self, *words: str, restarts: int = 0) -> tuple[int, str, str]:
        """Exit code, standard output and standard error of two processes."""
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
        command += [f"--max-restarts={restarts}", *words]
        with subprocess.Popen(
            command, cwd=self.folder, env=self.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            try:
                out, err = process.communicate(timeout=400)  # starting three of them takes a minute on busy cores
            except subprocess.TimeoutExpired:
                process.terminate()  # the agent ends its workers
                raise
        return process.returncode, out, err

    def alone(self, *words: str) -> None:
        command = [sys.executable, "-m", "matinee", *words]
        subprocess.run(command, cwd=self.folder, env=self.environment, check=True, capture_output=True)

    def stop(self, out: str, number: str, step: int) -> str:
        """A program that trains, and in which the second process gets a signal in a step, once."""
        path = self.folder / f"{out}.py"
        words = (
            STOPPED.replace("NUMBER", number)
            .replace("STEP", str(step))
            .replace("MARK", str(self.folder / f"{out}.mark"))
        )
        path.write_text(words)
        return str(path)

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {"OMP_NUM_THREADS": "1", "MATINEE_CACHE": str(self.folder / "cache")}


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Room:
    """Two classes of 8 x 8 pictures; `whole` was trained by one process, `both` by two."""
    folder = tmp_path_factory.mktemp("processes")
    generator = np.random.default_rng(0)
    for name, brightness in (("dark", 80), ("light", 140)):
        (folder / "pictures" / name).mkdir(parents=True)
        for number in range(130):
            pixels = generator.normal(brightness, 40, (8, 8, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "pictures" / name / f"{number}.png")
    made = Room(folder)
    made.alone("train", "pictures", *TRAIN, "--out", "whole")
    code, _, err = made.torchrun("-m", "matinee", "train", "pictures", *TRAIN, "--out", "both")
    assert code == 0, err
    return made


def differences(one: Path, other: Path) -> dict[str, float]:
    """The largest difference in each kind of number that two runs keep."""
    found: dict[str, float] = {}
    for name in ("checkpoint/latest", "checkpoint/best", "model/model"):
        (first, facts), (second, others) = (read_tensors(run / f"{name}.safetensors") for run in (one, other))
        for tensors in (first, second):
            tensors.pop("loop.loss_sum", None)
        assert first.keys() == second.keys()
        found[name] = max(_difference(first[k], second[k]) for k in first)
        for row, same in zip(facts.get("history", ()), others.get("history", ()), strict=True):
            found["loss"] = max(found.get("loss", 0.0), abs(row["loss"] - same["loss"]))
            found["nll"] = max(found.get("nll", 0.0), abs(row["nll"] - same["nll"]))
    return found


def close(found: dict[str, float]) -> bool:
    """Whether two runs are the same but for the order of sums."""
    return all(value < (LOSSES if kind in ("loss", "nll") else TENSORS) for kind, value in found.items())


def _difference(one: torch.Tensor, other: torch.Tensor) -> float:
    """The largest difference of two numbers in the same place, as a share of the largest number there is."""
    one, other = one.double(), other.double()
    return float((one - other).abs().max() / one.abs().max().clamp(min=1e-2))


def test_two_processes_train_as_one_does(room: Room) -> None:
    found = differences(room.folder / "whole", room.folder / "both")
    assert close(found), found
    results = [read_json(room.folder / run / "result.json") for run in ("whole", "both")]
    assert results[0]["test"]["accuracy"] == results[1]["test"]["accuracy"]
    assert results[0]["steps"] == results[1]["steps"]
    counted = [read_json(room.folder / run / "evaluation.json")["examples"] for run in ("whole", "both")]
    assert counted[0] == counted[1]


def test_gradients_statistics_and_rows_are_those_of_the_whole_batch(room: Room) -> None:
    code, out, err = room.torchrun(str(WORKER))
    assert code == 0, err
    told = json.loads(out.strip().splitlines()[-1])
    assert told.pop("bfloat16") < 0.01
    assert told.pop("waits") == [STEP.total_seconds()] * 3
    # One that is at work when the interpreter ends aborts the process. Those of the first of four groups are left here,
    # as DTensor keeps for good what weights were spread over.
    assert told.pop("threads") <= 3
    assert told.pop("held") == pytest.approx(0.5, abs=0.01)
    assert told.pop("rows") == list(range(7))
    assert told.pop("absent") == [True, True]
    assert told.pop("error") == ["DataError", "the second process found nothing"]
    assert max(told.values()) < 1e-5, told


def test_weights_spread_over_processes_train_as_on_one(room: Room) -> None:
    words = ("-m", "matinee", "train", "pictures", *TRAIN, "--parallel", "sharded", "--out", "spread")
    code, _, err = room.torchrun(*words)
    assert code == 0, err
    found = differences(room.folder / "both", room.folder / "spread")
    assert close(found), found
    assert matinee.load(room.folder / "spread").facts["test"]["accuracy"] >= 0


def test_the_elastic_agent_starts_a_killed_training_again_and_nothing_shows(room: Room) -> None:
    program = room.stop("killed", "SIGKILL", 8)
    code, _, err = room.torchrun(program, "train", "pictures", *TRAIN, restarts=2)  # its folder is found again
    assert code == 0, err
    assert (room.folder / "killed.mark").exists()
    assert set(differences(room.folder / "both", room.folder / "runs" / "pictures-1").values()) == {0.0}


def test_a_stop_is_agreed_on_and_resumed_to_the_same_bits(room: Room) -> None:
    program = room.stop("stopped", "SIGTERM", 4)  # one process hears of it: all of them stop
    code, _, err = room.torchrun(program, "train", "pictures", *TRAIN, "--out", "stopped")
    assert code != 0 and err.count("matinee resume stopped") == 1, err
    assert not (room.folder / "stopped" / "result.json").exists()
    shutil.copytree(room.folder / "stopped", room.folder / "fewer")
    code, out, err = room.torchrun("-m", "matinee", "resume", "stopped", "--quiet")
    assert code == 0 and "accuracy" in out, err
    assert set(differences(room.folder / "both", room.folder / "stopped").values()) == {0.0}
    room.alone("resume", "fewer")  # one process goes on with what two began
    found = differences(room.folder / "whole", room.folder / "fewer")
    assert close(found), found


STOPPED = """
import os, pathlib, signal, sys
from matinee.cli import main
from matinee.core import loop

plain, mark = loop._Training.pause, pathlib.Path("MARK")

def pause(self):
    ended = plain(self)
    if self.now.step == STEP and os.environ["RANK"] == "1" and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.NUMBER)
    return ended

loop._Training.pause = pause
sys.exit(main())
"""


def test_an_error_is_told_once_and_ends_the_job(room: Room) -> None:
    code, out, err = room.torchrun("-m", "matinee", "train", "pictures", "--out", "both", *TRAIN)
    assert code == 1 and out == ""
    assert err.count("something in this folder already") == 1


def test_a_process_by_itself_makes_no_group(quiet: Progress) -> None:
    with joined() as group:
        assert group is ALONE and current() is ALONE
    assert not torch.distributed.is_initialized()
    assert ALONE.sums([1.0, 2.0]) == [1.0, 2.0] and ALONE.told("a") == "a"
    assert ALONE.in_turn(lambda: 3) == ALONE.leading(lambda: 3) == 3


class Pretended(Processes):
    """One of two that has nobody to talk to."""

    def equalise(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """They are equal."""


@pytest.mark.parametrize("learns", [False, True])
def test_an_error_leaves_the_network_as_it_was(learns: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_now", [Pretended(0, 2)])
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4)).requires_grad_(learns)
    kinds = [type(module) for module in network.modules()]
    with pytest.raises(KeyError), Team(network, machine("cpu"), TrainSettings(), 8):
        assert [type(module) for module in network.modules()] != kinds
        raise KeyError
    assert [type(module) for module in network.modules()] == kinds
    assert not any(parameter._post_accumulate_grad_hooks for parameter in network.parameters())  # type: ignore[attr-defined]


def test_an_error_before_the_first_step_leaves_the_network_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_now", [Pretended(0, 2)])
    data = ImageClassification(network="small").toy()
    network = data.task.build()
    kinds = [type(module) for module in network.modules()]

    def fail(*words: object, **named: object) -> None:
        raise SettingsError("no such rule")

    monkeypatch.setattr(optimisers, "build", fail)
    with pytest.raises(SettingsError, match="no such rule"):
        fit(data, network, TrainSettings(epochs=1, device="cpu").advised({}))
    assert [type(module) for module in network.modules()] == kinds
    assert not any(p._post_accumulate_grad_hooks for p in network.parameters())  # type: ignore[attr-defined]


def test_a_process_that_has_gone_is_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[object] = []

    def gone(*tensors: object, group: object = None) -> None:
        waited.append(group)
        raise RuntimeError("[gloo/pair.cc:544] Connection closed by peer [127.0.0.1]:1234")

    monkeypatch.setattr(torch.distributed, "all_gather", gone)
    group = Processes(0, 2, steps="ten minutes")
    for ask in (lambda: group.told("a"), lambda: group.agreeing("other files", "a"), lambda: group.leading(int)):
        with pytest.raises(MatineeError, match=r"Connection closed by peer.*matinee resume"):
            ask()
    assert waited == ["ten minutes", "ten minutes", None]  # what the first one does alone may be long


def test_a_sum_that_nobody_answers_keeps_its_group(monkeypatch: pytest.MonkeyPatch) -> None:
    parameter, kept = torch.nn.Parameter(torch.ones(2)), []

    class Slow:
        def wait(self) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr(torch.distributed, "all_reduce", lambda *tensors, **named: Slow())
    monkeypatch.setattr("matinee.core.gradients.abandon", kept.append)
    gradients = Gradients([parameter], Processes(0, 2, gradients="its group"))
    with pytest.raises(KeyboardInterrupt):
        gradients.backward((parameter * 2).sum())
    gradients.close()
    assert kept == ["its group"]


def test_a_device_for_each_process_is_not_one_for_all(quiet: Progress, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_now", [Pretended(0, 2)])
    with pytest.raises(SettingsError, match="a device of its own"):
        matinee.train(ImageClassification().toy(), epochs=1, device="cpu:0", progress=quiet)


@pytest.mark.parametrize(("count", "size"), [(7, 3), (2, 2), (100, 7), (64, 64)])
def test_parts_are_contiguous_even_and_whole(count: int, size: int) -> None:
    parts = [Processes(rank, size).part(count) for rank in range(size)]
    assert parts[0][0] == 0 and parts[-1][1] == count
    assert all(one[1] == other[0] for one, other in itertools.pairwise(parts))
    assert max(b - a for a, b in parts) - min(b - a for a, b in parts) <= 1
