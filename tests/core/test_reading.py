"""What is said of a source that no task reads: the reason in one line, and the layouts only where nothing fits."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from PIL import Image

from conftest import TASKS
from matinee.cli import main
from matinee.core.errors import DataError
from matinee.core.progress import Progress
from matinee.core.reading import read, recognised
from matinee.core.registry import task_class


def reason(source: str) -> str:
    with pytest.raises(DataError) as error:
        recognised(source)
    return str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "", "the file is empty"),
        ("a.csv", "length,width,kind\n", "the columns length, width, kind and no row below them"),
        ("a.csv", "length,width\n1,2\n3,4\n", "2 rows: too few"),
        ("a.csv", "length\n" + "1\n" * 30, "the column length alone"),
        ("a.csv", "a,b,c\n" + "1,2,3\n1,2\n" * 15, "15 have not as many values (a.csv#3: 2 values"),
        ("a.txt", "Once upon a time\n", "a text without labels"),
    ],
)
def test_the_reason_is_one_line(tmp_path: Path, name: str, content: str, words: str) -> None:
    (tmp_path / name).write_text(content)
    said = reason(name)
    assert said.startswith(f"{name}: ") and words in said and "\n" not in said


def test_pictures_without_class_folders_are_told_what_to_do(tmp_path: Path) -> None:
    folder = tmp_path / "holiday"
    folder.mkdir()
    assert "the folder is empty" in reason("holiday")
    for number in range(3):
        Image.new("RGB", (8, 8)).save(folder / f"{number}.png")
    with zipfile.ZipFile("holiday.zip", "w") as archive:
        archive.write(folder / "0.png", "0.png")
    assert "3 pictures but no class folders" in reason("holiday") and "holiday/cat/1.jpg" in reason("holiday")
    assert "1 picture but no class folders" in reason("holiday.zip") and "holiday/cat/1.jpg" in reason("holiday.zip")
    assert "one picture" in reason("holiday/0.png")


def test_texts_without_class_folders_are_told_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").write_text("dear")
    assert "1 .txt file but no class folders" in reason("letters")


def test_films_without_class_folders_are_told_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "street").mkdir()
    (tmp_path / "street" / "a.mp4").write_bytes(b"film")
    assert "1 film but no class folders" in reason("street") and "street/walk/1.mp4" in reason("street")
    assert "one film" in reason("street/a.mp4")


def test_what_lies_in_a_folder_that_no_task_reads_is_named(tmp_path: Path) -> None:
    (tmp_path / "sets" / "letters" / "pos").mkdir(parents=True)
    (tmp_path / "sets" / "a.json").write_text("{}")
    for name in ("iris.data", "wine.data"):
        rows = [f"{row % 7},{row % 5},{'good' if row % 2 else 'bad'}" for row in range(60)]
        (tmp_path / "sets" / name).write_text("\n".join(rows))
    assert "sets/iris.data (table-prediction), sets/wine.data (table-prediction). Name that" in reason("sets")


def test_where_nothing_fits_each_task_shows_one_line(tmp_path: Path) -> None:
    (tmp_path / "odd" / "sub").mkdir(parents=True)
    (tmp_path / "odd" / "a.doc").write_text("x")
    said = reason("odd").splitlines()
    assert "1 folder and files: 1 .doc" in said[0]
    assert said[1:] == [task_class(name).layout.split("\n")[0] for name in TASKS]


@pytest.mark.parametrize(
    ("typed", "hint"), [("photo", "Did you mean photos?"), ("photoss/cats", "photos/cats?"), ("digit", "digits?")]
)
def test_a_slip_in_a_name_is_told(tmp_path: Path, typed: str, hint: str) -> None:
    (tmp_path / "photos" / "cats").mkdir(parents=True)
    assert reason(typed).endswith(hint)
    assert "Did you mean" not in reason("elephants")


def test_a_slip_is_told_where_the_task_is_named_too(tmp_path: Path, quiet: Progress) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(DataError, match=r"no such file or folder.*Did you mean photos\?$"):
        read("photo", task="image-classification", progress=quiet)


@pytest.mark.parametrize("verb", ["predict", "evaluate", "resume"])
def test_a_run_folder_of_nearly_that_name_is_told(
    tmp_path: Path, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs" / "digits-1").mkdir(parents=True)
    for typed in ("runs/digits-2", "run/digits-1", "digits-1"):
        assert main([verb, typed, *(["a.png"] if verb == "predict" else [])]) == 1
        assert "Did you mean runs/digits-1?" in capsys.readouterr().err
