"""Examples: what a gather gives, from memory and from columns that are larger than it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from matinee.core import on_disk
from matinee.core.errors import DataError
from matinee.core.examples import Array, Examples, Ragged
from matinee.core.runtime import of_like_lengths

COUNT = 300
linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere all columns are gathered from the mapping")


@pytest.fixture
def far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Array], Array]:
    """Puts a column into a file and maps it; a memory of no bytes makes it larger than memory."""
    monkeypatch.setattr(on_disk, "memory", lambda: 0)

    def mapped(column: Array) -> Array:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.npy"
        np.save(path, column)
        loaded: Array = np.load(path, mmap_mode="r")
        return loaded

    return mapped


@linux
@pytest.mark.parametrize(
    ("shape", "kind"), [((32, 32, 3), "uint8"), ((7,), "float32"), ((), "int64"), ((5, 1), "int8"), ((3,), "bool")]
)
def test_rows_read_from_the_disk_are_those_of_the_mapping(
    far: Callable[[Array], Array], shape: tuple[int, ...], kind: str
) -> None:
    generator = np.random.default_rng(0)
    column = generator.integers(0, 200, (COUNT, *shape)).astype(kind)
    held, read = Examples.of({"x": column}), Examples.of({"x": far(column)})
    assert on_disk.beyond_memory(read.columns["x"]) is not None
    for rows in (generator.permutation(COUNT), np.array([5, 5, 299, 0, 5], np.int32), np.empty(0, np.int64)):
        expected, got = held.take(rows), read.take(rows)
        order = generator.permutation(len(rows))
        for following in (None, order[:3], order[:0]):
            batch = got.gather(order, following)["x"]
            assert torch.equal(batch, expected.gather(order)["x"])
            assert batch.dtype == expected.gather(order)["x"].dtype


@linux
def test_only_whole_columns_that_cannot_change_are_read_apart(
    far: Callable[[Array], Array], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    column = far(np.arange(600, dtype=np.int32).reshape(COUNT, 2))
    assert on_disk.beyond_memory(column) is not None
    assert on_disk.beyond_memory(column[1:]) is None
    assert on_disk.beyond_memory(np.array(column)) is None
    assert on_disk.beyond_memory(np.load(tmp_path / "0.npy", mmap_mode="c")) is None
    assert torch.equal(Examples.of({"x": column[1:]}).gather(np.array([2]))["x"], torch.tensor([[6, 7]]).int())
    monkeypatch.setattr(on_disk, "memory", lambda: 2 * column.nbytes)
    assert on_disk.beyond_memory(np.load(tmp_path / "0.npy", mmap_mode="r")) is None


@linux
def test_a_file_that_is_gone_is_gathered_from_its_mapping(far: Callable[[Array], Array], tmp_path: Path) -> None:
    column = far(np.arange(COUNT))
    (tmp_path / "0.npy").unlink()
    assert Examples.of({"x": column}).gather(np.array([7, 3]))["x"].tolist() == [7, 3]


@linux
def test_a_file_cut_short_is_said_to_be(far: Callable[[Array], Array], tmp_path: Path) -> None:
    examples = Examples.of({"x": far(np.arange(100_000))})
    examples.gather(np.array([0]))
    os.truncate(tmp_path / "0.npy", 5000)
    with pytest.raises(DataError, match=r"0\.npy is shorter than it was"):
        examples.gather(np.array([99_999]))


@linux
def test_rows_read_from_the_disk_do_not_stay_in_the_process(far: Callable[[Array], Array]) -> None:
    def of_files() -> int:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("RssFile"))

    examples = Examples.of({"x": far(np.ones((64, 2**20), np.uint8))})
    before = of_files()
    for row in range(64):
        examples.gather(np.array([row]))
    assert of_files() - before < 16 * 1024  # of 65,536


def test_memory_is_at_most_the_machine_s() -> None:
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if sys.platform == "linux" else sys.maxsize
    assert 0 < on_disk.memory() <= whole


def test_rows_of_their_own_length_are_padded_with_zeros() -> None:
    column = Ragged.of([np.array([1, 2, 3]), np.array([], np.int32), np.array([4])])
    some = Examples.of({"tokens": column, "label": np.arange(3)}).take(np.array([2, 0, 1, 2]))
    batch = some.gather(np.array([0, 1, 2]))
    assert batch["tokens"].tolist() == [[4, 0, 0], [1, 2, 3], [0, 0, 0]]
    assert some.lengths("tokens").tolist() == [1, 3, 0, 1]
    assert some.gather(np.array([2]))["tokens"].shape == (1, 1)
    assert column[0].tolist() == [1, 2, 3] and len(column) == 3
    with pytest.raises(TypeError):
        some.array("tokens")
    with pytest.raises(TypeError):
        some.ragged("label")


def test_batches_of_like_lengths_hold_every_position_once() -> None:
    lengths = np.random.default_rng(0).integers(1, 100, 1003)
    order = np.random.default_rng(1).permutation(1003)
    mixed = of_like_lengths(order, lengths, 10, seed=2)
    assert sorted(mixed) == list(range(1003)) and (mixed[1000:] == order[1000:]).all()
    spread = np.ptp(lengths[mixed[:1000]].reshape(-1, 10), axis=1)
    assert spread.mean() < 10 < np.ptp(lengths[order[:1000]].reshape(-1, 10), axis=1).mean()
    assert (mixed == of_like_lengths(order, lengths, 10, seed=2)).all()
    assert len(of_like_lengths(order[:5], lengths, 10, seed=2)) == 5
