"""What checking promises: every seeded fault is told, with the file's name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import matinee
from matinee.cli import main
from matinee.core.ledger import Entry
from matinee.core.progress import Progress
from matinee.core.registry import task_class
from matinee.core.task import Data, Origin
from matinee.verbs.check import _files, _reading, _reasons


def picture(path: Path, seed: int, size: tuple[int, int] = (40, 32)) -> Path:
    """A picture unlike those of other seeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 255, (5, 5, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of twelve good pictures."""
    for number in range(24):
        picture(tmp_path / "photos" / ("cat", "dog")[number % 2] / f"{number}.png", number)
    return tmp_path / "photos"


def kinds(source: Path, quiet: Progress) -> dict[str, str]:
    return {p.kind: p.severity for p in matinee.check(matinee.read(source, progress=quiet)).problems}


def test_toy_data_is_safe(toy: Data) -> None:
    findings = matinee.check(toy)
    assert not findings.errors
    assert sum(findings.counts["train"].values()) == len(toy.train)
    assert json.dumps(findings.to_json())


def test_lost_files_are_an_error_when_they_are_many(toy: Data) -> None:
    entries = tuple(Entry(f"{i}.x", "unreadable", "noise") for i in range(len(toy.train)))
    findings = matinee.check(replace(toy, origin=replace(toy.origin, entries=entries)))
    assert [p.kind for p in findings.errors] == ["unreadable"]
    few = matinee.check(replace(toy, origin=replace(toy.origin, entries=entries[:2])))
    assert not few.errors and few.ledger == {"unreadable": 2}


def test_each_reason_is_told_with_its_number_and_an_example() -> None:
    told = [Entry(f"{i}.x", "unreadable", f"its {i} bytes are no picture (code {i})") for i in range(3)]
    told += [Entry("odd.x", "unreadable", "no permission to read it")]
    toy = task_class("image-classification")().toy()
    words = _reading(replace(toy, origin=Origin("x", {}, [], tuple(told))))[0].words
    expected = "3 as 0.x: its 0 bytes are no picture (code 0); 1 as odd.x: no permission to read it"
    assert words == f"4 files left out (unreadable), {expected}"
    assert _reasons(told[:3]) == ", the first: its 0 bytes are no picture (code 0)" and _reasons(told[3:])[:4] == ": no"
    many = _reasons([Entry("a", "x", f"because of {letter}") for letter in "abcdefghi"])
    assert many.endswith("because of e; 4 for other reasons")


def test_equal_content_in_two_splits_is_a_leak(toy: Data) -> None:
    names = [str(i) for i in range(int(max(part.rows.max() for part in toy.splits().values())) + 1)]
    manifest = {name: f"{int(name):064x}" for name in names}
    row, twin = str(toy.test.rows[0]), str(toy.train.rows[0])
    manifest[row] = manifest[twin]
    findings = matinee.check(replace(toy, origin=Origin("x", manifest, names)))
    leak = next(p for p in findings.problems if p.kind == "leak")
    assert leak.files == (row,) and leak.severity == "error"


def test_good_pictures_are_safe(photos: Path, quiet: Progress) -> None:
    assert kinds(photos, quiet) == {}


def test_a_near_copy_a_leak_and_two_labels_are_told(photos: Path, quiet: Progress) -> None:
    Image.open(photos / "cat" / "0.png").resize((80, 64)).save(photos / "cat" / "larger.jpg", quality=80)
    (photos / "dog" / "same.png").write_bytes((photos / "cat" / "2.png").read_bytes())
    found = kinds(photos, quiet)
    assert found["near-duplicate"] == "warning" and found["two-labels"] == "error" and "leak" not in found


def test_leaks_between_given_splits_are_told(tmp_path: Path, quiet: Progress) -> None:
    for number in range(24):
        split = "test" if number > 17 else "train"
        picture(tmp_path / "s" / split / ("cat", "dog")[number % 2] / f"{number}.png", number)
    (tmp_path / "s" / "test" / "cat" / "leak.png").write_bytes(
        (tmp_path / "s" / "train" / "cat" / "0.png").read_bytes()
    )
    findings = matinee.check(matinee.read(tmp_path / "s", progress=quiet))
    assert findings.errors[0].kind == "leak" and findings.errors[0].files == (str(Path("test", "cat", "leak.png")),)


def test_broken_files_one_class_and_imbalance_are_told(photos: Path, tmp_path: Path, quiet: Progress) -> None:
    (photos / "cat" / "text.jpg").write_text("no picture")
    (photos / "cat" / "empty.jpg").write_bytes(b"")
    (photos / "cat" / "notes.txt").write_text("hello")
    found = kinds(photos, quiet)
    assert {"unreadable", "empty", "ignored"} <= found.keys()
    for number in range(4):
        picture(tmp_path / "one" / "cat" / f"{number}.png", number)
    assert kinds(tmp_path / "one", quiet)["one-class"] == "error"


def test_groups_that_are_the_classes_leave_nothing_to_score_on(photos: Path, quiet: Progress) -> None:
    def told(groups: str) -> dict[str, str]:
        return {p.kind: p.words for p in matinee.check(matinee.read(photos, groups=groups, progress=quiet)).problems}

    found = told("(cat|dog)/")
    assert "every class lies in one group" in found["no-test"] and "no-valid" in found
    assert not told("/(.)").keys() & {"no-test", "no-valid"}
    found = told("(cat/|dog/.)")
    assert "1 of 2 classes have no example in the test split" in found["no-test"] and found["no-test"].endswith("cat.")


def test_too_few_to_hold_any_back_are_told(tmp_path: Path, quiet: Progress) -> None:
    for number in range(2):
        picture(tmp_path / "two" / ("cat", "dog")[number] / f"{number}.png", number)
    assert kinds(tmp_path / "two", quiet)["no-test"] == "warning"


def test_great_imbalance_is_a_warning(toy: Data) -> None:
    labels = toy.task.labels(toy.train)
    if labels is None:
        pytest.skip("this task has no classes")
    rare = np.concatenate([np.repeat(np.flatnonzero(labels == 0), 20), np.flatnonzero(labels > 0)])
    one = np.flatnonzero(labels == 1)
    keep = rare[~np.isin(rare, one[1:])]
    findings = matinee.check(replace(toy, train=toy.train.take(keep)))
    assert {p.kind: p.severity for p in findings.problems}["imbalance"] == "warning"


def test_the_command_prints_one_object_and_an_honest_code(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(photos), "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["problems"] == []
    (photos / "dog" / "same.png").write_bytes((photos / "cat" / "2.png").read_bytes())
    assert main(["check", str(photos), "--json", "--quiet"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert not told["safe"] and any("same.png" in " ".join(p["files"]) for p in told["problems"])
    assert main(["check", str(photos), "--quiet"]) == 1
    assert "UNSAFE" in capsys.readouterr().out
    assert main(["train", str(photos), "--quiet", "--epochs", "1"]) == 1
    captured = capsys.readouterr()
    assert "unsafe" in captured.err and not Path("runs").joinpath("photos-1").exists()


def test_a_source_that_cannot_be_read_is_a_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["check", str(tmp_path / "empty"), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["problems"][0]["severity"] == "error"


def test_what_a_ledger_names_is_counted_in_its_own_words() -> None:
    assert _files(["a.csv#3", "a.csv#5"]) == "2 rows" and _files(["column age"]) == "1 column"
    assert _files(["ratings.txt", "trust.txt#3", "trust.txt#5"]) == "3 files or rows"
