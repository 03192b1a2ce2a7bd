"""The published data sets, read as their users have them, and a little learned from each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import matinee
from matinee.core.progress import Progress

pytestmark = pytest.mark.real


def test_mnist_is_read_as_published(real: Path, quiet: Progress) -> None:
    data = matinee.read(real / "mnist", progress=quiet)
    assert (len(data.train) + len(data.valid), len(data.test)) == (60_000, 10_000)
    assert (data.task.height, data.task.width, data.task.channels) == (28, 28, 1)
    assert np.bincount(data.task.labels(data.test)).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_a_name_is_found_in_the_data_folder(real: Path, quiet: Progress) -> None:
    assert len(matinee.read("mnist", progress=quiet).test) == 10_000
    assert len(matinee.read("cifar10", progress=quiet).test) == 10_000


def test_cifar10_keeps_its_official_split(real: Path, quiet: Progress) -> None:
    data = matinee.read(real / "cifar10", progress=quiet)
    assert (len(data.train), len(data.valid), len(data.test)) == (45_000, 5_000, 10_000)
    assert data.task.classes[0] == "airplane" and data.task.channels == 3
    again = matinee.read(real / "cifar10", progress=quiet)
    assert (again.train.rows == data.train.rows).all()


def test_faces_of_one_person_stay_together_where_asked(real: Path, quiet: Progress) -> None:
    data = matinee.read(real / "ck48", groups=r"(S\d+)_", progress=quiet)
    people = [
        {data.origin.names[row].split("/")[-1].split("_")[0] for row in part.rows} for part in data.splits().values()
    ]
    assert not people[0] & people[2] and not people[0] & people[1] and not people[1] & people[2]
    assert sum(map(len, data.splits().values())) == 981


def test_near_copies_never_fall_into_two_splits(real: Path, quiet: Progress) -> None:
    data = matinee.read(real / "ck48", progress=quiet)
    findings = matinee.check(data)
    assert not [p for p in findings.problems if "leak" in p.kind]
    assert next(p for p in findings.problems if p.kind == "near-duplicate").count > 500


def test_orl_faces_are_learned_in_seconds_by_a_linear_network(real: Path, quiet: Progress) -> None:
    data = matinee.read(real / "orl_faces", network="linear", progress=quiet)
    assert len(data.task.classes) == 40 and data.task.classes[1] == "s2"
    told = matinee.evaluate(matinee.train(data, epochs=40, progress=quiet), data, baselines={})
    assert told.scores["accuracy"].value > 0.6


def test_photographs_of_any_size_are_stored_alike(real: Path, quiet: Progress) -> None:
    data = matinee.read(real / "hymenoptera", progress=quiet)
    assert (len(data.valid), len(data.train) + len(data.test)) == (153, 245)
    assert data.train.columns["image"].shape[1:] == (160, 160, 3)


def test_no_sample_of_the_real_sets_is_lost(real: Path, quiet: Progress) -> None:
    for name, count in (("orl_faces", 400), ("ck48", 981), ("hymenoptera", 398)):
        data = matinee.read(real / name, progress=quiet)
        assert sum(map(len, data.splits().values())) == count, name
        assert {e.kind for e in data.origin.entries} <= {"ignored"}
