"""Music, from files to files: it reads, learns, composes, continues, and says what it left out."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import matinee
from matinee.cli import main
from matinee.core.progress import Progress
from matinee.core.task import Data
from matinee.media.piano_rolls import KEYS, OPEN
from matinee.tasks.music_generation import MusicGeneration


def rolls(path: Path, count: int = 30) -> Path:
    """A file of made-up rolls: the same four chords from different places on."""
    chords = [[48, 64, 67, 72], [53, 65, 69, 72], [55, 62, 67, 71], [48, 64, 67, 72]]
    pieces = [[chords[(place + start) % 4] for place in range(12 + start)] for start in range(count)]
    path.write_text(json.dumps({"train": pieces[: count - 10], "valid": pieces[-10:-5], "test": pieces[-5:]}))
    return path


@pytest.fixture
def learned(tmp_path: Path, quiet: Progress) -> tuple[matinee.Model, Data]:
    data = matinee.read(rolls(tmp_path / "songs.json"), size="s", transpose=0, progress=quiet)
    return matinee.train(data, epochs=20, out=tmp_path / "run", progress=quiet), data


def test_from_a_file_to_music(
    learned: tuple[matinee.Model, Data], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, data = learned
    assert data.task.most == 4 and data.task.grid == 1 and data.origin.given == {"train", "valid", "test"}
    told = matinee.evaluate(model, data)
    assert told.scores["frame_nll"].value < 1 < told.baselines["trivial"]["frame_nll"]
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert "composed from nothing" in page and "<audio" in page and "longest passage" in page
    answers = model.predict(["new", "new 1", "new"])
    assert answers[0] == answers[2] and answers[0]["notes"] != [] and answers[0]["frames"] == data.task.frames
    again = dataclasses.replace(model, task=dataclasses.replace(model.task, draw=5)).predict(["new"])
    assert again[0]["nats_per_frame"] != answers[0]["nats_per_frame"]
    pytest.importorskip("symusic")
    words = ["predict", str(tmp_path / "run"), "new", "new", "--out", str(tmp_path / "songs"), "--quiet"]
    assert main([*words, "--temperature", "0.5", "--tempo", "120"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["file"] for line in lines] == ["new", "new 1"] and all(line["tempo"] == 120 for line in lines)
    assert sorted(path.name for path in (tmp_path / "songs").iterdir()) == ["1.mid", "1.wav", "2.mid", "2.wav"]
    assert main(["predict", str(tmp_path / "run"), str(tmp_path / "songs"), "--quiet"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    begun = json.loads(json.dumps(lines[0]))
    assert begun["frames"] > data.task.frames and len(lines) == 2
    for wrong, message in (
        ("--dropout 0.1", "--dropout"),
        ("--temperature 9", "from 0.05 to 5"),
        ("--beams 2", "--beams"),
    ):
        assert main(["predict", str(tmp_path / "run"), "new", *wrong.split(), "--quiet"]) == 2
        assert message in capsys.readouterr().err


def test_the_published_averagings() -> None:
    from matinee.core.task import Batch

    cells = torch.ones(2, 3, KEYS, dtype=torch.uint8)
    cells[1, 2] = 0
    cells[:, :2, 40] = 2
    nats = torch.tensor([[4.0, 2.0, 3.0], [1.0, 5.0, 0.0]])
    meter = MusicGeneration().meter()
    meter.update((cells, nats), Batch(cells, torch.tensor([3, 2])))
    assert meter.score(meter.rows()) == pytest.approx(
        {"frame_nll": 15 / 5, "piece_nll": (3 + 3) / 2, "next_frame_nll": 10 / 3, "note_nll": 15 / 4}
    )
    assert all(
        np.isnan(value) for value in meter.score({name: rows[:0] for name, rows in meter.rows().items()}).values()
    )


def test_several_networks_answer_with_the_mean_of_their_probabilities() -> None:
    task, cells = MusicGeneration(), torch.ones(1, 2, KEYS, dtype=torch.uint8)
    shares = torch.tensor([[0.5, 0.2]]), torch.tensor([[0.1, 0.6]])
    merged = task.merge([(cells, -share.log()) for share in shares])
    assert torch.allclose((-merged[1]).exp(), torch.tensor([[0.3, 0.4]]))
    own = task.merge([(cells + number, -share.log()) for number, share in enumerate(shares)])
    assert torch.equal(own[0], cells) and torch.allclose((-own[1]).exp(), shares[0])  # each wrote a piece of its own


def test_a_trained_model_reads_other_music_in_its_own_terms(
    learned: tuple[matinee.Model, Data], tmp_path: Path, quiet: Progress
) -> None:
    model, _ = learned
    other = model.task.read(str(rolls(tmp_path / "others.json", 12)), quiet)
    assert other.task == model.task and len(other.test) == 5
    told = matinee.evaluate(model, other, baselines={})
    assert told.scores["frame_nll"].value < 1
    assert model.task.changes(str(tmp_path / "songs.json"), model.manifest) == {"changed": [], "missing": [], "new": []}
    rolls(tmp_path / "songs.json", 29)
    assert model.task.changes(str(tmp_path / "songs.json"), model.manifest)["missing"]
    with pytest.raises(matinee.DataError, match="frames to a quarter note"):
        model.task.read(str(rolls(tmp_path / "x-16th.json").rename(tmp_path / "y-16th.json")), quiet)


def test_what_cannot_be_read_is_said(tmp_path: Path, quiet: Progress) -> None:
    with pytest.raises(matinee.DataError, match="files that end in"):
        matinee.read(rolls(tmp_path / "songs.json").rename(tmp_path / "x.txt"), task="music-generation", progress=quiet)
    (tmp_path / "two").mkdir()
    rolls(tmp_path / "two" / "a.json")
    rolls(tmp_path / "two" / "b.json")
    with pytest.raises(matinee.DataError, match=r"a\.json, b\.json"):
        matinee.read(tmp_path / "two", progress=quiet)
    (tmp_path / "silence.json").write_text(json.dumps({"train": [[[-1], [-1]]]}))
    with pytest.raises(matinee.DataError, match="no piece of music"):
        matinee.read(tmp_path / "silence.json", progress=quiet)


def test_an_input_may_be_open_in_part() -> None:
    data = MusicGeneration(network="recurrent").toy()
    task = data.task.choose(data, None)
    network = task.build().eval()
    cells = task.collate(data.test.gather(np.arange(3))).inputs
    asked = cells.clone()
    asked[:, 6:][cells[:, 6:] > 0] = OPEN
    with torch.no_grad():
        done, nats = task.infer(network, asked)
    assert torch.equal(done[:, :6], cells[:, :6]) and torch.isfinite(nats).all()
    assert ((done > 0) == (cells > 0)).all() and int(done.max()) < OPEN
    assert len(task.show(asked, (done, nats))) == 3


@pytest.mark.real
def test_the_published_rolls(real: Path, quiet: Progress) -> None:
    found = {}
    for name, file in (("jsb", "poly_music/JSB_Chorales.mat"), ("json", "jsb_chorales/jsb-chorales-quarter.json")):
        if not (real / file).exists():
            pytest.skip(f"{file} is not there")
        found[name] = matinee.read(real / file, progress=quiet)
        assert [len(part) for part in found[name].splits().values()] == [229, 76, 77]
    assert int(found["jsb"].test.lengths("cells").sum()) == 4725
