"""Answering for many: everyone in order, bad ones told, little in memory, the same alone as among others."""

from __future__ import annotations

import copy
import dataclasses
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import matinee
from matinee.core import answering
from matinee.core.answering import answered
from matinee.core.errors import DataError
from matinee.core.model import Model
from matinee.tasks.image_classification import ImageClassification


@dataclasses.dataclass(frozen=True, kw_only=True)
class CannotTell(ImageClassification):
    """Refuses a batch as a whole, as a task does that leaves `encode_each` alone."""

    def encode_each(self, raws: Sequence[Any]) -> tuple[torch.Tensor, Mapping[int, DataError]]:
        return self.encode(raws), {}

    def encode(self, raws: Sequence[Any]) -> torch.Tensor:
        inputs, errors = super().encode_each(raws)
        if errors:
            raise DataError("one of them")
        return inputs


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    torch.set_num_threads(request.param)
    yield request.param
    assert torch.get_num_threads() == request.param
    torch.set_num_threads(1)


def some_model(kind: type[ImageClassification] = ImageClassification, network: str = "linear") -> Model:
    """Says which of twelve columns of the picture is the brightest."""
    task = kind(classes=tuple("abcdefghijkl"), height=12, width=12, channels=1, network=network, size="m")
    torch.manual_seed(0)
    built = task.build().eval()
    if network == "linear":
        with torch.no_grad():
            columns = torch.eye(12).repeat(1, 12)
            built.get_parameter("head.weight").copy_(columns)
            built.get_parameter("head.bias").zero_()
    return Model(task, built)


def picture(column: int) -> np.ndarray[Any, Any]:
    pixels = np.zeros((12, 12), np.uint8)
    pixels[:, column % 12] = 200
    return pixels


@pytest.mark.parametrize("kind", [ImageClassification, CannotTell])
@pytest.mark.parametrize("count", [0, 1, 16, 17, 150])
def test_order_is_kept_and_bad_ones_are_told(threads: int, kind: type[ImageClassification], count: int) -> None:
    bad = {3, 40, 41, count - 1} if count > 16 else set()
    raws = [b"no picture" if place in bad else picture(place) for place in range(count)]
    told = [pair for batch in answered(some_model(kind), iter(raws), 8) for pair in batch]
    assert all(a is b for (a, _), b in zip(told, raws, strict=True))
    for place, (_, answer) in enumerate(told):
        if place in bad:
            assert isinstance(answer, DataError)
        else:
            assert isinstance(answer, dict) and answer["label"] == "abcdefghijkl"[place % 12]


@pytest.mark.parametrize("cores", [2, 8, 9, 12, 15, 64])
def test_no_more_cores_idle_than_a_batch_would_use(cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    class Pool(ThreadPoolExecutor):
        def __init__(self, workers: int, name: str, initializer: Any, given: tuple[int, ...]) -> None:
            asked.append((workers, given[0]))
            super().__init__(1)

    monkeypatch.setattr(answering, "ThreadPoolExecutor", Pool)
    monkeypatch.setattr(torch, "get_num_threads", lambda: cores)
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    assert len(some_model().predict([picture(n) for n in range(40)])) == 40
    ((workers, each),) = asked
    assert workers <= answering.MOST and cores - each < workers * each <= cores


def test_nobody_is_left_where_all_are_bad(threads: int) -> None:
    told = [answer for batch in answered(some_model(), [b""] * 40, 8) for _, answer in batch]
    assert len(told) == 40 and all(isinstance(answer, DataError) for answer in told)


def test_little_is_read_ahead(threads: int) -> None:
    drawn = 0

    def endless() -> Iterator[Any]:
        nonlocal drawn
        while True:
            drawn += 1
            yield picture(drawn)

    batches = answered(some_model(), endless(), 8)
    for number in range(1, 10):
        next(batches)
        assert drawn <= 8 * (number + 3 * threads)
    batches.close()  # type: ignore[attr-defined]


def test_one_at_a_time_is_not_read_ahead(threads: int) -> None:
    drawn: list[int] = []
    raws = (drawn.append(place) or picture(place) for place in range(30))  # type: ignore[func-returns-value]
    for number, _ in enumerate(answered(some_model(), raws, 1), 1):
        assert len(drawn) == number


def test_what_goes_wrong_elsewhere_comes_out(threads: int) -> None:
    class Broken(torch.nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            raise ArithmeticError("in the network")

    model = Model(some_model().task, Broken())
    with pytest.raises(ArithmeticError, match="in the network"):
        list(answered(model, [picture(0)] * 40, 8))


@pytest.mark.parametrize("network", ["linear", "lenet", "small", "residual"])
def test_alone_as_among_others(network: str) -> None:
    torch.set_num_threads(2)
    model = some_model(network=network)
    raws = [np.random.default_rng(place).integers(0, 256, (12, 12)).astype(np.uint8) for place in range(24)]
    together = model.predict(raws)
    for raw, among in zip(raws[:4], together, strict=False):
        (alone,) = model.predict([raw])
        assert alone["probability"] == pytest.approx(among["probability"], abs=0.02)
    assert model.predict(raws) == together
    torch.set_num_threads(1)


def test_answers_follow_the_weights() -> None:
    model = some_model()
    assert model.predict([picture(3)])[0]["label"] == "d"
    with torch.no_grad():
        model.network.get_parameter("head.weight").copy_(torch.eye(12).flip(0).repeat(1, 12))
    assert model.predict([picture(3)])[0]["label"] == "i"
    other = copy.deepcopy(model)
    other.network.load_state_dict(some_model().network.state_dict())
    assert other.predict([picture(3)])[0]["label"] == "d" and model.predict([picture(3)])[0]["label"] == "i"


@pytest.mark.parametrize("training", [False, True])
def test_answers_follow_fused_steps_and_training(training: bool) -> None:
    model = some_model()
    model.network.train(training)
    (before,) = model.predict([picture(3)])
    optimiser = torch.optim.AdamW(model.network.parameters(), lr=0.3, fused=True)
    for _ in range(30):
        model.network(torch.rand(4, 1, 12, 12))[:, 0].mean().neg().backward()
        optimiser.step()
    (after,) = model.predict([picture(3)])
    assert (before["label"], after["label"]) == ("d", "a")
    assert model.network.training is training
    if training:
        model.network.get_parameter("head.bias").data[5] += 1e4
        assert model.predict([picture(3)])[0]["label"] == "f"


def test_loading_does_not_import_torchs_compiler(tmp_path: Path) -> None:
    """It takes longer than all else that a loaded model's first answer needs."""
    code = "import sys, matinee\nfor path in sys.argv[1:]: matinee.load(path)\nsys.exit('torch._dynamo' in sys.modules)"
    folders = [some_model(network=name).save(tmp_path / name) for name in ("linear", "lenet", "small", "residual")]
    done = subprocess.run([sys.executable, "-c", code, *map(str, folders)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert isinstance(matinee.load(folders[0]), Model)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SaysTheSize(ImageClassification):
    """Its answers tell how large the picture was before it was made to fit, and how bright what was made of it."""

    def decode_for(self, outputs: Any, inputs: torch.Tensor, raws: Sequence[Any]) -> list[dict[str, Any]]:
        told = zip(self.decode(outputs), inputs, raws, strict=True)
        return [{**answer, "size": raw.shape, "bright": float(given.mean())} for answer, given, raw in told]


def test_an_answer_may_depend_on_what_was_given() -> None:
    model = some_model(SaysTheSize)
    raws = [picture(1), b"no picture", np.ones((30, 20), np.uint8)]
    first, error, last = (answer for batch in answered(model, raws) for _, answer in batch)
    assert isinstance(error, DataError) and isinstance(first, dict) and isinstance(last, dict)
    assert first["size"] == (12, 12) and last["size"] == (30, 20) and first["label"] == "b"
    assert first["bright"] == pytest.approx(200 / 255 / 12) and last["bright"] == pytest.approx(1 / 255)
