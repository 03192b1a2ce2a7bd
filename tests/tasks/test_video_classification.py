"""Films from their sources to answers: what is read, left out, learned, told and shown."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import accuracy_score, f1_score

import matinee
from film_files import frame, write_film
from matinee.cli import main
from matinee.core.errors import DataError, SettingsError
from matinee.core.moment import Moment
from matinee.core.pieces import Film
from matinee.core.progress import Progress
from matinee.core.reading import recognised
from matinee.core.starting import put
from matinee.core.task import Batch
from matinee.media.film_changes import mirror_safe_films, vary
from matinee.media.film_listing import Wanted, fits, listed
from matinee.nets.choices import PictureShape
from matinee.nets.film_choices import SIZES, FilmShape
from matinee.nets.films import build as build_films
from matinee.nets.pictures import build as build_pictures
from matinee.report.films import film as drawn
from matinee.tasks.video_classification import VideoClassification

RISING, FALLING = list(range(0, 160, 20)), list(range(140, -20, -20))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve films of 0.8 s that grow brighter or darker, and what does not belong there."""
    for number in range(6):
        write_film(tmp_path / "films" / "rising" / f"{number}.mp4", [level + 5 * number for level in RISING])
        write_film(tmp_path / "films" / "falling" / f"{number}.mkv", [level + 5 * number for level in FALLING])
    (tmp_path / "films" / "rising" / "broken.mp4").write_bytes(b"nothing of a film" * 9)
    (tmp_path / "films" / "notes.txt").write_text("mine")
    return tmp_path / "films"


def test_class_folders(folder: Path, quiet: Progress) -> None:
    assert recognised(str(folder)) is VideoClassification
    data = matinee.read(folder, progress=quiet)
    task = data.task
    assert isinstance(task, VideoClassification)
    assert task.classes == ("falling", "rising") and (task.frames, task.clips) == (8, 1)
    assert task.span == pytest.approx(0.8, abs=0.05) and (task.height, task.width) == (48, 64)
    assert sum(map(len, data.splits().values())) == 12
    assert [(entry.file, entry.kind) for entry in data.origin.entries] == [
        ("notes.txt", "ignored"),
        ("rising/broken.mp4", "unreadable"),
    ]
    batch = task.collate(data.train.gather(np.arange(2)))
    assert batch.inputs.shape == (2, 1, 8, 3, 48, 64) and batch.inputs.min() >= 0 and batch.inputs.max() <= 1
    again = matinee.read(folder, progress=quiet)
    assert again.digest() == data.digest()
    assert task.changes(str(folder), data.origin.manifest) == {"changed": [], "missing": [], "new": []}
    (folder / "rising" / "0.mp4").unlink()
    write_film(folder / "rising" / "1.mp4", FALLING)
    told = task.changes(str(folder), data.origin.manifest)
    assert told == {"changed": ["rising/1.mp4"], "missing": ["rising/0.mp4"], "new": []}


def test_a_zip_of_them(folder: Path, tmp_path: Path, quiet: Progress) -> None:
    with zipfile.ZipFile(tmp_path / "films.zip", "w") as archive:
        for path in sorted(folder.rglob("*.mp4")) + sorted(folder.rglob("*.mkv")):
            archive.write(path, str(path.relative_to(tmp_path)))
    assert fits(tmp_path / "films.zip") == "a zip of films"
    data = matinee.read(tmp_path / "films.zip", task="video-classification", progress=quiet)
    plain = matinee.read(folder, progress=quiet)
    assert sum(map(len, data.splits().values())) == 12
    assert np.array_equal(np.sort(data.train.array("film").sum((1, 2, 3, 4))[:-1]),
                          np.sort(plain.train.array("film").sum((1, 2, 3, 4))[:-1]))  # fmt: skip


def test_a_table_of_stretches(tmp_path: Path) -> None:
    write_film(tmp_path / "a.mp4", RISING)
    write_film(tmp_path / "b.mp4", FALLING)
    (tmp_path / "clips.csv").write_text(
        "video,action,start,end,split\n"
        "a.mp4,walk,0,0.4,train\n"
        "a.mp4,run,0:00.4,0.8,test\n"
        "a.mp4,walk,0.4,0.8,test\n"
        "a.mp4,run,0.8,0.4,test\n"
        "a.mp4,,0,1,test\n"
        "b.mp4,run,NaN,1e1,test\n"
        "../b.mp4,run,,,test\n"
        "c.mp4,run,,,test\n"
    )
    found = listed(tmp_path / "clips.csv", Wanted())
    assert found.of.names == ["a.mp4#t=0,0.4", "a.mp4#t=0.4,0.8", "b.mp4#t=0,10"]
    assert found.of.splits == [0, 2, 2] and found.of.groups == [0, 0, 2] and found.of.classes == ("run", "walk")
    assert found.starts == [0, 0.4, 0] and found.ends == [0.4, 0.8, 10]
    assert "which says 'run' and not 'walk'" in found.of.entries[0].reason
    assert [(entry.file, entry.kind) for entry in found.of.entries] == [
        ("a.mp4#t=0.4,0.8", "duplicate-row"),
        ("a.mp4", "unreadable"),
        ("a.mp4", "no-label"),
        ("../b.mp4", "outside"),
        ("c.mp4", "missing"),
    ]
    # Also where --groups tells stretches of one film apart, or says nothing of them, they stay together.
    for expression in (r"#t=(\d.*)", "nothing"):
        groups = listed(tmp_path / "clips.csv", Wanted(groups=expression)).of.groups
        assert groups[0] == groups[1] != groups[2]
    assert fits(tmp_path / "clips.csv") == "a table of films and labels" == fits(tmp_path)
    assert recognised(str(tmp_path / "clips.csv")) is VideoClassification


def pictures(folder: Path, names: list[str]) -> None:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(frame(10 * number, 16, 16)[:, :, 0]).save(folder / name)


def test_folders_of_frames(tmp_path: Path, quiet: Progress) -> None:
    names = [f"{label}/{clip}/frame_{n}.png" for label in "ab" for clip in range(6) for n in (1, 2, 10)]
    pictures(tmp_path, names)
    assert fits(tmp_path) == "class folders of folders of frames"
    data = matinee.read(tmp_path, task="video-classification", progress=quiet)
    task = data.task
    assert isinstance(task, VideoClassification)
    assert (task.frames, task.height, task.width, task.channels) == (3, 16, 16, 1)
    film = data.train.array("film")[0, :, 12, 12, 0]
    assert film.tolist() == [0, 10, 20]  # frame 10 comes after frame 2


def test_frames_side_by_side(tmp_path: Path) -> None:
    pictures(tmp_path, [f"a/S1_{clip}_{n}.png" for clip in range(3) for n in range(2)] + ["b/S2_0_0.png", "b/odd.png"])
    found = listed(tmp_path, Wanted(groups=r"S\d+", sequences=r"S\d+_\d+"))
    assert found.of.names == ["a/S1_0", "a/S1_1", "a/S1_2", "b/S2_0"] and found.of.groups == [0, 0, 0, 1]
    assert found.files[0] == ("a/S1_0_0.png", "a/S1_0_1.png") and found.frames
    assert [(entry.file, entry.kind) for entry in found.of.entries] == [("b/odd.png", "no-label")]
    with pytest.raises(SettingsError, match="--sequences"):
        listed(tmp_path, Wanted(sequences="("))


def test_a_table_of_frames(tmp_path: Path) -> None:
    pictures(tmp_path, ["1.png", "2.png", "3.png"])
    (tmp_path / "frames.csv").write_text("file,label,sequence\n1.png,x,A\n2.png,x,A\n3.png,y,B\n1.png,y,A\n")
    found = listed(tmp_path / "frames.csv", Wanted())
    assert found.of.names == ["A", "B"] and found.files == [("1.png", "2.png"), ("3.png",)]
    assert [entry.kind for entry in found.of.entries] == ["duplicate-row"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file,label\n", "no row that can be used"),
        ("file,label\nno.mp4,x\n", "no row with a film that can be used; the first: no.mp4"),
        ("film,colour\na.mp4,x\n", "no column that looks like the label"),
    ],
)
def test_tables_without_use(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=words):
        listed(tmp_path / "t.csv", Wanted())


def test_sources_without_films(tmp_path: Path, quiet: Progress) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(DataError, match="no films: expected class folders"):
        matinee.read(tmp_path, task="video-classification", progress=quiet)
    (tmp_path / "a" / "1.mp4").write_text("no film")
    with pytest.raises(DataError, match=r"none of 1 films can be read \(1 unreadable\)"):
        matinee.read(tmp_path, task="video-classification", progress=quiet)
    with pytest.raises(DataError, match="no such file or folder"):
        listed(tmp_path / "nowhere", Wanted())


@pytest.mark.parametrize("name", [name for name in SIZES if name != "constant"])
def test_every_network_answers_for_each_moment(name: str) -> None:
    data = VideoClassification().toy()
    task = replace(data.task, network=name, size="auto").choose(data, None)
    batch = task.collate(data.train.gather(np.arange(4)))
    network = task.build()
    task.prepare(network, data.train)
    outputs = task.infer(network, batch.inputs)
    assert outputs.shape[0] == 4 and outputs.shape[2] == 4
    assert torch.allclose(task.logits(outputs), outputs.mean(1))
    if name != "linear":  # a longer film of two clips
        longer = batch.inputs.repeat(1, 2, 1, 1, 1, 1)
        assert task.infer(network.eval(), longer).shape[1] == 2 * task.infer(network, batch.inputs).shape[1]
    else:
        with pytest.raises(SettingsError, match="linear takes whole clips only"):
            replace(data.task, network=name, window=0.5).choose(data, None)


@pytest.mark.parametrize("name", ["recurrent", "attention", "frame", "motion"])
def test_a_trunk_that_has_learned_from_pictures_fits(name: str) -> None:
    learned = build_pictures("small", PictureShape(3, 24, 32, 5), size="s").state_dict()
    network = build_films(name, FilmShape(3, 24, 32, 4, 2), size="s")
    fitted, whole = put(network, learned, "head.")
    own = network.state_dict()
    same = [key for key in learned if key.startswith("trunk.") and torch.equal(own[key], learned[key])]
    assert fitted == whole if name != "motion" else fitted < whole
    assert len(same) >= 0.8 * sum(key.startswith("trunk.") for key in learned)


def test_a_cut_is_no_movement() -> None:
    network = build_films("motion", FilmShape(1, 24, 32, 8, 2), size="s")
    torch.manual_seed(0)
    scenes = torch.nn.functional.interpolate(torch.rand(2, 1, 3, 12), (24, 96), mode="bicubic")
    # A camera that turns; from frame 5 on another.
    frames = [scenes[int(k >= 5), :, :, 3 * k : 3 * k + 32] for k in range(8)]
    clip = torch.stack(frames)[None]
    seen, changes = network.seen(clip)[0], clip[0, 1:] - clip[0, :-1]
    assert torch.equal(seen[4], changes[3])
    assert torch.equal(seen[[0, 1, 2, 3, 5, 6]], changes[[0, 1, 2, 3, 5, 6]])
    assert torch.equal(network.seen(clip[:, 4:])[0, 0], changes[5])
    restless = torch.rand(1, 8, 1, 24, 32)  # where all is new at every moment nothing is a cut
    for other in (restless, clip[:, 4:6], torch.zeros(1, 8, 1, 24, 32)):
        assert torch.equal(network.seen(other), other[:, 1:] - other[:, :-1])


def test_all_frames_of_a_clip_are_varied_alike() -> None:
    data = VideoClassification().toy()
    task = replace(data.task, flip=True, crop=3, scale=0.2, rotate=20, colour=0.3, cutout=4, window=0.5)
    still = torch.rand(6, 1, 1, 3, 12, 12).expand(6, 2, 6, 3, 12, 12)
    varied = task.augment(Batch(still, torch.zeros(6)), Moment(5)).inputs
    assert varied.shape == (6, 1, 3, 3, 12, 12)  # one of two clips, half of its frames
    assert torch.allclose(varied, varied[:, :, :1].expand_as(varied), atol=1e-6)
    assert not torch.allclose(varied[:, :, 0], still[:, :1, 0], atol=0.1)
    from matinee.media.augment import NOTHING

    assert torch.equal(vary(still[:, :1], NOTHING, 1.0, Moment(1)), still[:, :1])


def test_movements_to_a_side_are_not_mirrored() -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(120) % 2
    films = generator.normal(90, 10, (120, 3, 16, 16, 1))
    for row, label in enumerate(labels):
        for time in range(3):
            place = 1 + 5 * (time if label else 2 - time)
            films[row, time, :, place : place + 4] += 80
    pixels, rows = films.clip(0, 255).astype(np.uint8), np.arange(120)
    assert not mirror_safe_films(pixels, rows, labels)
    for row in range(120):  # up or down instead
        films[row] = films[row].transpose(0, 2, 1, 3)
    assert mirror_safe_films(films.clip(0, 255).astype(np.uint8), rows, labels)


def test_scores_are_scikit_learns(quiet: Progress) -> None:
    data = VideoClassification().toy()
    task = data.task.choose(data, None)
    network, meter = task.build().eval(), task.meter()
    batch = task.collate(data.test.gather(np.arange(len(data.test))))
    with torch.no_grad():
        outputs = task.infer(network, batch.inputs)
    meter.update(outputs, batch)
    scores, answers = meter.score(meter.rows()), outputs.mean(1).argmax(-1)
    assert scores["accuracy"] == pytest.approx(accuracy_score(batch.targets, answers))
    assert scores["f1"] == pytest.approx(f1_score(batch.targets, answers, average="macro"))


def test_a_strip_shows_the_answer_over_time() -> None:
    data = VideoClassification().toy()
    task = data.task.choose(data, None)
    batch = task.collate(data.test.gather(np.arange(2)))
    piece = task.show(batch.inputs, task.infer(task.build().eval(), batch.inputs))[0]
    assert isinstance(piece, Film) and len(piece.frames) == 5 and len(piece.over_time) == 4
    page = drawn(piece)
    assert page.count("<img") == 1 and " %" in page and "data:image/" in page
    assert "No film to show" in drawn(Film([], "nothing", over_time=[1.0]))


def test_from_films_to_answers(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert main(["train", str(folder), "--epochs", "2", "--out", str(out), "--picture-size", "16"]) == 0
    page = (out / "report.html").read_text("utf-8")
    assert "length of the films" in page and "0.8" in page
    ledger = (out / "ledger.json").read_text()
    assert "broken.mp4" in ledger
    capsys.readouterr()
    long = write_film(tmp_path / "long.mp4", [*RISING, *FALLING] * 3)  # 4.8 s, of 0.8 s each
    names = [str(folder / "rising" / "0.mp4"), str(long), str(tmp_path / "none.mp4"), f"{long}#t=1,2"]
    assert main(["predict", str(out), *names, "--overlap", "0.25", "--out", str(tmp_path / "told")]) == 1
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["file"] for answer in answers] == names
    events = answers[1]["events"]
    assert events[0]["start"] == 0 and events[-1]["end"] == answers[1]["seconds"] == pytest.approx(4.8, abs=0.1)
    assert all(one["end"] == two["start"] and one["label"] != two["label"] for one, two in pairwise(events))
    assert answers[1]["written"] == [str(tmp_path / "told" / f"1{ending}") for ending in (".vtt", ".srt")]
    assert [answer.get("error") for answer in answers if "error" in answer] == ["there is no such file"]
    assert "written" not in answers[0] and len(list((tmp_path / "told").iterdir())) == 2
    assert all(answer["label"] in ("rising", "falling") for answer in answers if "label" in answer)
    model = matinee.load(out)
    film = np.stack([frame(level)[:, :, 0] for level in RISING])
    told = model.predict([film, (folder / "rising" / "1.mp4").read_bytes()])
    assert {answer["label"] for answer in told} <= {"rising", "falling"}
    with pytest.raises(DataError, match="is no film"):
        model.predict([np.zeros(3, np.uint8)])


def test_folders_that_are_answered_for(folder: Path, tmp_path: Path) -> None:
    task = VideoClassification(height=16, width=16, channels=1, frames=2, clips=1, span=60.0)
    found = task.inputs([str(folder)])
    assert len(list(found)) == 13 and [entry.file for entry in found.passed_over] == ["notes.txt"]
    pictures(tmp_path / "frames", ["x/1.png", "x/2.png", "y/1.png"])
    assert [Path(name).name for name in task.inputs([str(tmp_path / "frames")])] == ["x", "y"]
    inputs, errors = task.encode_each([str(tmp_path / "frames" / "x"), str(tmp_path / "frames")])
    assert inputs.shape == (1, 1, 2, 1, 16, 16) and "no pictures in this folder" in str(errors[1])
    (tmp_path / "nothing").mkdir()
    with pytest.raises(DataError, match="no films in this folder"):
        task.inputs([str(tmp_path / "nothing")])


@pytest.mark.real
def test_fights_are_read(real: Path, quiet: Progress) -> None:
    data = matinee.read(real / "surv_fight", progress=quiet)
    assert data.task.names() == ("fight", "noFight")
    assert sum(map(len, data.splits().values())) == 100
    assert [entry.kind for entry in data.origin.entries] == ["ignored"]


@pytest.mark.real
def test_expressions_are_read(real: Path, quiet: Progress) -> None:
    data = matinee.read(
        real / "ck48", task="video-classification", sequences=r"S\d+_\d+", groups=r"S\d+", progress=quiet
    )
    assert sum(map(len, data.splits().values())) == 327 and len(data.task.names()) == 7
    together = data.task.together(data.train)
    assert together is not None and not np.intersect1d(together, data.task.together(data.test)).size


def test_a_table_that_calls_films_by_their_names_alone(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / "videos").mkdir(exist_ok=True)
        (tmp_path / "videos" / f"id {number}.MP4").write_bytes(b"film")
    table = "video_id\tlabel\r\n" + "".join(f"id {number}\t{'ab'[number % 2]}\r\n" for number in range(4))
    (tmp_path / "labels.tsv").write_text(table, encoding="utf-16", newline="")
    assert fits(tmp_path) == "a table of films and labels"
    found = listed(tmp_path, Wanted()).of
    assert found.names == [f"videos/id {number}.MP4" for number in range(3)] and found.classes == ("a", "b")
    assert [(entry.file, entry.kind) for entry in found.entries] == [("id 3", "missing")]
    (tmp_path / "labels.tsv").write_text("video_id\tlabel\nsomething else\ta\n")
    assert fits(tmp_path) == "class folders of films"
