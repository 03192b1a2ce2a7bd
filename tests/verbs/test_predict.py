"""What answering promises: one line per file, in order, errors included."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import matinee
from matinee.cli import main
from matinee.core.errors import SettingsError
from matinee.core.progress import Progress
from matinee.verbs.predict import _named


@pytest.fixture
def run(tmp_path: Path, quiet: Progress) -> Path:
    """A run on pictures of two plain colours, and the pictures."""
    generator = np.random.default_rng(0)
    for number in range(40):
        colour = np.array([(200, 40, 40), (40, 40, 200)][number % 2])
        pixels = (colour + generator.normal(0, 25, (16, 16, 3))).clip(0, 255).astype(np.uint8)
        path = tmp_path / "photos" / ("red", "blue")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    data = matinee.read(tmp_path / "photos", network="linear", progress=quiet)
    matinee.train(data, epochs=20, learning_rate=0.02, batch_size=8, out=tmp_path / "run", progress=quiet)
    return tmp_path / "run"


def test_a_line_for_each_file_in_order(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(tmp_path / "photos" / "red" / "0.png"), str(tmp_path / "photos" / "blue" / "1.png")]
    assert main(["predict", str(run), *files, "--quiet"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["file"] for line in lines] == files
    assert [line["label"] for line in lines] == ["red", "blue"]
    assert all(0.5 < line["probability"] <= 1 and len(line["others"]) == 1 for line in lines)


def test_a_file_that_cannot_be_read_is_told_and_the_others_answered(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_text("no picture")
    files = [str(bad), str(tmp_path / "photos" / "red" / "0.png"), str(tmp_path / "nowhere.png")]
    assert main(["predict", str(run), *files, "--quiet"]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert "error" in lines[0] and lines[1]["label"] == "red" and "error" in lines[2]
    assert main(["predict", str(run), *files, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["failed"] == 2 and len(told["answers"]) == 3


def test_a_folder_is_looked_into(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(run), str(tmp_path / "photos"), "--quiet", "--batch-size", "7"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 40
    assert sum(Path(line["file"]).parent.name == line["label"] for line in lines) >= 38


def test_what_is_no_picture_is_mentioned(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("notes.txt", "more.txt", ".hidden"):
        (tmp_path / "photos" / name).write_text("")
    (tmp_path / "photos" / "broken.png").write_text("no picture")
    torch.set_num_threads(2)
    assert main(["predict", str(run), str(tmp_path / "photos")]) == 1
    torch.set_num_threads(1)
    out, err = capsys.readouterr()
    lines = [json.loads(line) for line in out.splitlines()]
    assert len(lines) == 41 and ["error" in line for line in lines].count(True) == 1
    assert "passed over 2 files: not a picture" in err and "passed over 1 file: a hidden file" in err


def test_python_takes_paths_bytes_arrays_and_pictures(run: Path, tmp_path: Path) -> None:
    model, path = matinee.load(run), tmp_path / "photos" / "red" / "0.png"
    opened = Image.open(path)
    raws = [path, str(path), path.read_bytes(), np.asarray(opened), opened]
    answers = model.predict(raws)
    assert all(answer == answers[0] for answer in answers)
    assert model.predict([]) == []
    with pytest.raises(matinee.SettingsError, match="list"):
        model.predict(str(path))
    with pytest.raises(matinee.DataError):
        model.predict([tmp_path / "none.png"])


def test_a_model_is_saved_anywhere_and_answers_the_same(run: Path, tmp_path: Path) -> None:
    model, path = matinee.load(run), tmp_path / "photos" / "red" / "0.png"
    saved = matinee.load(model.save(tmp_path / "elsewhere" / "model"))
    assert saved.predict([path]) == model.predict([path])
    assert saved.manifest == model.manifest
    assert isinstance(model.network, __import__("torch").nn.Module)


def test_answers_that_are_words_alone_are_not_written(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["predict", str(run), str(tmp_path / "photos" / "red" / "0.png"), "--quiet"]
    assert main([*words, "--out", str(tmp_path / "answers")]) == 2
    assert "JSON alone" in capsys.readouterr().err and not (tmp_path / "answers").exists()


def test_settings_of_answering_are_those_of_the_model_s_task(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["predict", str(run), str(tmp_path / "photos" / "red" / "0.png"), "--quiet"]
    assert main([*words, "--temperature", "0.5"]) == 2
    assert "--temperature does not change how image-classification answers" in capsys.readouterr().err
    assert main([*words, "--dropout", "0.5"]) == 2
    assert "--dropout" in capsys.readouterr().err


def test_files_of_answers_go_on_after_those_that_are_there(tmp_path: Path) -> None:
    from matinee.tasks.music_generation import MusicGeneration
    from matinee.verbs.predict import Files

    class Words(MusicGeneration):
        """A task whose answers are files of one letter."""

        def files(self, answer: object) -> dict[str, bytes]:
            return {".a": b"one", ".b": b"two"}

    (tmp_path / "2.txt").touch()
    room = Files(tmp_path)
    (tmp_path / "4.b").write_bytes(b"not ours")
    written = [room.write(Words(), {}) for _ in range(2)]
    assert [[Path(name).name for name in names] for names in written] == [["3.a", "3.b"], ["5.a", "5.b"]]
    assert (tmp_path / "3.a").read_bytes() == b"one" and (tmp_path / "4.b").read_bytes() == b"not ours"
    assert Files(tmp_path / "new").last == 0 and not (tmp_path / "new").exists()
    with pytest.raises(SettingsError, match="this is a file"):
        Files(tmp_path / "2.txt")


def test_a_line_of_an_answer_is_json_whatever_its_numbers_are() -> None:
    told = _named(("a.jpg", {"score": float("nan"), "range": [float("-inf"), 1.5], "label": "cat"}))
    assert told == {"file": "a.jpg", "score": None, "range": [None, 1.5], "label": "cat"}
