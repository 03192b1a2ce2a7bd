"""Sources of labelled sounds: folders, zips, tables and names; what is left out, and why."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

import matinee
from matinee.core.errors import DataError, SettingsError
from matinee.core.progress import Progress
from matinee.core.task import Data
from matinee.media.sound_decoding import hear
from matinee.media.sound_listing import Wanted, fits, listed
from matinee.media.sound_serving import Source
from matinee.media.sounds import how_long
from matinee.media.stretches import cut, seconds_of, stretch_name

RATE = 4000


def put(path: Path, pitch: float, seconds: float = 0.3, rate: int = RATE, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng([int(pitch), seed])
    moments = np.arange(round(seconds * rate)) / rate
    wave = 0.3 * np.sin(2 * np.pi * pitch * generator.uniform(0.7, 1.4) * moments)
    soundfile.write(path, wave + generator.normal(0, 0.02, len(wave)), rate)


def folders(root: Path, each: int = 12) -> Path:
    for seed in range(each):
        put(root / "low" / f"{seed}.wav", 300, seed=seed)
        put(root / "high" / f"{seed}.flac", 900, seed=seed)
    return root


def read(source: Path, **settings: object) -> Data:
    return matinee.read(source, progress=Progress(quiet=True), **settings)


def total(data: Data) -> int:
    return sum(map(len, data.splits().values()))


def labels(data: Data) -> dict[str, str]:
    names = data.task.names()
    return {
        data.origin.names[row]: names[label]
        for part in data.splits().values()
        for row, label in zip(part.rows.tolist(), data.task.labels(part).tolist(), strict=True)  # type: ignore[union-attr]
    }


def test_class_folders_and_a_zip_of_them(tmp_path: Path) -> None:
    root = folders(tmp_path / "sounds")
    data = read(root)
    assert data.task.names() == ("high", "low") and total(data) == 24
    assert data.task.rate == RATE and data.task.window_length == 1200  # type: ignore[attr-defined]
    with zipfile.ZipFile(tmp_path / "sounds.zip", "w") as archive:
        for path in sorted(root.rglob("*.*")):
            archive.write(path, path.relative_to(tmp_path))
    again = read(tmp_path / "sounds.zip")
    assert labels(again) == {f"sounds/{name}": label for name, label in labels(data).items()}
    assert sorted(again.origin.manifest.values()) == sorted(data.origin.manifest.values())


def test_splits_that_folders_name_are_kept(tmp_path: Path) -> None:
    for split in ("train", "test"):
        folders(tmp_path / "sounds" / split, 6 if split == "train" else 3)
    # The same names and sounds on both sides are the source's own affair, but are told.
    data = read(tmp_path / "sounds")
    assert len(data.test) == 6 and data.origin.given == {"train", "test"}


@pytest.mark.parametrize("place", ["clips.csv", "meta/clips.csv"])
def test_a_table_names_sounds_that_lie_elsewhere_below(tmp_path: Path, place: str) -> None:
    for seed in range(10):
        put(tmp_path / "data" / "audio" / f"fold{seed % 2}" / f"a{seed}.wav", 300 + 600 * (seed % 2), seed=seed)
    table = tmp_path / "data" / place
    table.parent.mkdir(exist_ok=True)
    rows = [f"a{seed}.wav,{seed % 2},{'low' if seed % 2 == 0 else 'high'}" for seed in range(10)]
    table.write_text("\n".join(["filename,fold,category", *rows, "gone.wav,0,low", "a1.wav,1,low", "a2.wav,0,", ""]))
    for source in (tmp_path / "data", table):
        assert fits(source) == "a table of sound files and labels"
        data = read(source)
        told = {entry.file: entry for entry in data.origin.entries}
        assert told["clips.csv#12"].kind == "missing" and "no such sound" in told["clips.csv#12"].reason
        assert told["clips.csv#13"].kind == "duplicate-row" and "another label (high)" in told["clips.csv#13"].reason
        assert total(data) == 10 and set(labels(data).values()) == {"low", "high"}
        groups = data.task.together(data.train)
        assert groups is not None and set(groups) <= {0, 1}


def test_a_table_cannot_lead_out_of_its_folder(tmp_path: Path) -> None:
    put(tmp_path / "secret.wav", 300)
    for seed in range(6):
        put(tmp_path / "data" / f"a{seed}.wav", 300 + 600 * (seed % 2), seed=seed)
    rows = [f"a{seed}.wav,{seed % 2}" for seed in range(6)]
    absolute = f"{tmp_path / 'secret.wav'},1"
    (tmp_path / "data" / "t.csv").write_text("\n".join(["file,label", *rows, "../secret.wav,0", absolute, ""]))
    data = read(tmp_path / "data")
    out, outside = [entry.reason for entry in data.origin.entries if entry.kind == "missing"]
    assert total(data) == 6 and "leads out of the folder" in out and "the path is absolute" in outside


def test_names_may_say_the_label_the_test_and_what_belongs_together(tmp_path: Path) -> None:
    for seed in range(24):
        put(tmp_path / "r" / f"{seed % 2}_p{seed % 3}_{seed // 6}.wav", 300 + 600 * (seed % 2), seed=seed)
    with pytest.raises(
        DataError, match=r"in one folder.*--label-pattern.*2 classes: 0, 1;.*\{1\}.* 3 classes: p0, p1, p2;"
    ):
        read(tmp_path / "r")
    data = read(tmp_path / "r", label_pattern=r"^(\d)", test_pattern=r"_0\.wav$", groups=r"_(p\d)_")
    assert data.task.names() == ("0", "1") and len(data.test) == 6
    assert all(data.origin.names[row].endswith("_0.wav") for row in data.test.rows)
    together = data.task.together(data.train)
    assert together is not None and len(set(together)) <= 3
    with pytest.raises(SettingsError, match="--label-pattern"):
        read(tmp_path / "r", label_pattern="(")
    with pytest.raises(DataError, match="there is no label"):
        read(tmp_path / "r", label_pattern="x(y)")
    with pytest.raises(DataError, match="none of 24 file names"):
        read(tmp_path / "r", label_pattern="^.", test_pattern="x")


def test_what_cannot_be_used_is_in_the_ledger_and_the_rest_is_learned(tmp_path: Path) -> None:
    root = folders(tmp_path / "s")
    (root / "low" / "empty.wav").touch()
    (root / "low" / "words.wav").write_text("not a sound")
    (root / "low" / "notes.txt").write_text("about these")
    soundfile.write(root / "low" / "silent.wav", np.zeros(2000), RATE)
    soundfile.write(root / "high" / "short.wav", np.ones(20) * 0.1, RATE)
    put(root / "high" / "cut.wav", 900, 0.4, seed=77)
    (root / "high" / "cut.wav").write_bytes((root / "high" / "cut.wav").read_bytes()[:1600])
    data = read(root, task="audio-classification")
    told = {entry.file: entry.kind for entry in data.origin.entries}
    assert told == {
        "low/empty.wav": "empty",
        "low/words.wav": "unreadable",
        "low/notes.txt": "ignored",
        "low/silent.wav": "silent",
        "high/short.wav": "empty",
        "high/cut.wav": "event",
    }
    assert total(data) == 25


def test_silence_may_be_a_class(tmp_path: Path) -> None:
    root = folders(tmp_path / "s")
    (root / "silence").mkdir()
    for number in range(12):
        soundfile.write(root / "silence" / f"{number}.wav", np.zeros(1000 + number), RATE)
    data = read(root)
    assert total(data) == 36 and data.task.silence  # type: ignore[attr-defined]


def test_a_long_recording_becomes_examples_that_stay_together(tmp_path: Path) -> None:
    root = folders(tmp_path / "s")
    put(root / "low" / "long.wav", 300, 3.5, seed=5)
    data = read(root, longest=1.0, window=0.3)
    parts = [name for name in labels(data) if name.startswith("low/long")]
    assert sorted(parts) == ["low/long.wav", "low/long.wav#2", "low/long.wav#3", "low/long.wav#4"]
    where = [name for name, part in data.splits().items() for row in part.rows if "long" in data.origin.names[row]]
    assert len(set(where)) == 1
    assert data.task.changes(str(root), data.origin.manifest) == {"changed": [], "missing": [], "new": []}
    (root / "low" / "long.wav").unlink()
    put(root / "low" / "3.wav", 300, seed=99)
    put(root / "low" / "more.wav", 300, seed=98)
    told = data.task.changes(str(root), data.origin.manifest)
    assert told == {"changed": ["low/3.wav"], "missing": ["low/long.wav"], "new": ["low/more.wav"]}


def test_reading_again_opens_no_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folders(tmp_path / "s")
    first = read(root)
    monkeypatch.setattr("matinee.media.sound_table.hear", None)
    again = read(root)
    assert first.digest() == again.digest() and np.array_equal(first.train.rows, again.train.rows)


def test_copies_at_another_rate_and_loudness_stay_together(tmp_path: Path) -> None:
    root = folders(tmp_path / "s", 4)
    wave, _ = soundfile.read(root / "low" / "0.wav")
    soundfile.write(root / "low" / "copy.wav", wave * 0.3, RATE)
    data = read(root)
    prints, threshold = data.task.fingerprint(data.train.at(np.arange(total(data))))
    names = list(data.origin.names)
    alike = prints @ prints.T
    assert alike[names.index("low/0.wav"), names.index("low/copy.wav")] > threshold
    assert alike[names.index("low/0.wav"), names.index("high/0.flac")] < threshold


def test_what_holds_sounds_for_something_else_is_not_taken(tmp_path: Path) -> None:
    put(tmp_path / "speech" / "84" / "1.wav", 300)
    put(tmp_path / "speech" / "85" / "2.wav", 300)
    (tmp_path / "speech" / "84" / "84.trans.txt").write_text("1 HELLO")
    assert fits(tmp_path / "speech") is None
    put(tmp_path / "lj" / "wavs" / "1.wav", 300)
    (tmp_path / "lj" / "metadata.csv").write_text("1|hello|hello\n")
    assert fits(tmp_path / "lj") is None
    put(tmp_path / "loose" / "1_a.wav", 300)
    assert fits(tmp_path / "loose") == "a folder of sounds"


def test_a_table_may_name_stretches(tmp_path: Path) -> None:
    for seed in range(6):
        put(tmp_path / "s" / f"{seed}.wav", 300 + 600 * (seed % 2), 2.0, seed=seed)
    rows = [
        f"{seed}.wav,{start},{start + 0.5},{'low' if seed % 2 == 0 else 'high'}"
        for seed in range(6)
        for start in (0, 1)
    ]
    wrong = ["0.wav,1.5,1.5,low", "0.wav,x,2,low", "1.wav,9,10,high", "2.wav,1,1.5,low", "3.wav,1.8,2.5,high"]
    (tmp_path / "s" / "t.csv").write_text("\n".join(["file,start,end,label", *rows, *wrong, ""]))
    data = read(tmp_path / "s")
    told = {entry.file: (entry.kind, entry.reason) for entry in data.origin.entries}
    assert told["t.csv#14"][0] == told["t.csv#15"][0] == "unreadable" and "is no stretch" in told["t.csv#15"][1]
    assert told["1.wav#t=9,10"] == ("empty", "it ends after 2.00 s, before second 9")
    assert told["t.csv#17"][0] == "duplicate-row" and told["3.wav#t=1.8,2.5"][0] == "event"
    assert total(data) == 13 and labels(data)["4.wav#t=1,1.5"] == "low"
    assert set(np.diff(data.train.ragged("sound").offsets).tolist()) == {800, 2000}  # type: ignore[attr-defined]
    for groups in ("", "=(\\d)"):  # whatever a user says, the stretches of a recording stay together
        together = read(tmp_path / "s", groups=groups).task.together(data.train)
        assert together is not None and len(set(together)) <= 6 and -1 not in together
    assert data.task.changes(str(tmp_path / "s"), data.origin.manifest) == {"changed": [], "missing": [], "new": []}
    put(tmp_path / "s" / "5.wav", 900, 2.0, seed=50)
    assert data.task.changes(str(tmp_path / "s"), data.origin.manifest)["changed"] == ["5.wav#t=0,0.5", "5.wav#t=1,1.5"]


def test_times_in_longer_recordings_are_no_stretches_of_clips(tmp_path: Path) -> None:
    for seed in range(8):
        put(tmp_path / "s" / f"{seed}.wav", 300 + 600 * (seed % 2), 0.5, seed=seed)
    rows = [f"{seed}.wav,{10 * seed},{10 * seed + 0.5},{seed % 2}" for seed in range(8)]
    (tmp_path / "s" / "t.csv").write_text("\n".join(["slice_file_name,start,end,class", *rows, ""]))
    data = read(tmp_path / "s")
    assert total(data) == 8 and "cut out" in data.origin.entries[0].reason


@pytest.mark.parametrize(
    ("said", "seconds"), [("1:02.5", 62.5), ("", 7.0), ("3,5", 3.5), ("1e-1", 0.1), ("nan", 7.0), ("soon", None)]
)
def test_times_as_people_write_them(said: str, seconds: float | None) -> None:
    assert seconds_of(said, 7.0) == seconds


def test_lengths_are_told_in_words() -> None:
    assert how_long(np.array([5.0, 5.001, 5.0])) == "5.00 s each, 0.3 min in all"
    assert how_long(np.array([30.0, 90.0])) == "30.00 to 90.00 s, 2.0 min in all"


@pytest.mark.parametrize("name", ["a.wav#t=1,2", "a.wav#t=0.125,2.5", "a.wav#t=3", "a.wav"])
def test_names_of_stretches_are_read_as_written(name: str) -> None:
    assert stretch_name(*cut(name)) == name
    assert cut("a#t=.wav") == ("a#t=.wav", 0.0, math.inf)


WILD = """
import json, os, sys, time
sys.path[:] = json.loads(sys.argv[1])
import matinee.media.sound_serving as serving
plain = serving.decode
def decode(raw, *rest):
    name = os.path.basename(raw)
    time.sleep(600 * ("hangs" in name))
    os._exit(7) if "ends" in name else None
    return plain(raw, *rest)
serving.decode = decode
serving.serve()
"""


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Says how the children of a test begin; no child of another test serves it, and none of its own another."""
    monkeypatch.setattr("matinee.media.sound_decoding._idle", own := [])
    yield lambda begin: monkeypatch.setattr("matinee.media.sound_decoding._BEGIN", begin)
    for child in own:
        child.end()


def test_a_decoder_that_hangs_or_crashes_takes_its_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, children: Callable[[str], None]
) -> None:
    children(WILD)
    root = folders(tmp_path / "s", 3)
    for name in ("hangs", "ends"):
        put(root / "low" / f"{name}.wav", 300)
    with monkeypatch.context() as hurried:
        hurried.setattr("matinee.media.sound_decoding.PATIENCE", 0.5)
        heard = hear(Source(str(root / "low" / "hangs.wav")), RATE, 5)
    assert heard.failure == ("unreadable", "decoding it took longer than 0.5 s")
    (root / "low" / "hangs.wav").unlink()
    data = read(root)
    told = {entry.file: entry.reason for entry in data.origin.entries}
    assert told == {"low/ends.wav": "decoding it ended the process (code 7)"} and total(data) == 6


def test_a_child_that_cannot_start_is_told(tmp_path: Path, children: Callable[[str], None]) -> None:
    children("import sys; sys.exit('no luck')")
    with pytest.raises(DataError, match="ends at once \\(code 1: no luck"):
        read(folders(tmp_path / "s", 2))


def listing_of(root: Path) -> tuple[str | None, dict[str, str], dict[str, int]]:
    """What a first look says, the labels, and how many sounds are in each split."""
    data = read(root)
    assert type(data.task).__name__ == "AudioClassification"
    return fits(root), labels(data), {name: len(part) for name, part in data.splits().items()}


def table(path: Path, header: str, rows: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n")


@pytest.mark.parametrize(("header", "ending"), [("slice,label", ".wav"), ("ID,Class", ""), ("recording;genre", ".wav")])
def test_the_column_of_files_is_found_by_what_it_names(tmp_path: Path, header: str, ending: str) -> None:
    mark = ";" if ";" in header else ","
    for number in range(8):
        put(tmp_path / "train" / f"{number}.wav", 300 + 900 * (number % 2), seed=number)
        put(tmp_path / "test" / f"{number}.wav", 400, seed=number)  # a contest keeps its labels to itself
    table(tmp_path / "train.csv", header, [f"{n}{ending}{mark}{'ab'[n % 2]}" for n in range(8)])
    table(tmp_path / "test.csv", header.split(mark)[0], [f"{n}{ending}" for n in range(8)])
    table(tmp_path / "sample_submission.csv", header, [f"{n}{ending}{mark}a b" for n in range(8)])
    said, found, _ = listing_of(tmp_path)
    assert said == "a table of sound files and labels"
    assert found == {f"train/{number}.wav": "ab"[number % 2] for number in range(8)}


def test_tables_called_train_and_test_are_those_splits(tmp_path: Path) -> None:
    for part, count in (("train", 8), ("test", 4)):
        for number in range(count):
            put(tmp_path / part / f"{number}.wav", 300 + 900 * (number % 2), seed=number + 10 * (part == "test"))
        table(tmp_path / f"{part}.csv", "filename,label", [f"{n}.wav,{'ab'[n % 2]}" for n in range(count)])
    _, found, counts = listing_of(tmp_path)
    assert len(found) == 12 and counts["test"] == 4


def test_a_table_that_says_no_label_is_named(tmp_path: Path) -> None:
    for number in range(8):
        put(tmp_path / "clips" / f"{number}.wav", 300, seed=number)
    table(tmp_path / "notes.csv", "file,quality", [f"{number}.wav,good" for number in range(8)])
    with pytest.raises(DataError, match=r"A table nearly tells them: notes.csv: .*--label-column names one"):
        read(tmp_path, task="audio-classification")


def test_one_folder_around_the_classes_is_stepped_over(tmp_path: Path) -> None:
    folders(tmp_path / "genres", 4)
    (tmp_path / "genres" / "low" / "4.wav").write_bytes(b"no sound at all")
    data = read(tmp_path)
    assert data.task.names() == ("high", "low") and total(data) == 8
    assert [entry.kind for entry in data.origin.entries] == ["unreadable"]


def test_lists_beside_words_are_their_splits(tmp_path: Path) -> None:
    folders(tmp_path, 6)
    put(tmp_path / "_background_noise_" / "pink.wav", 500, 3)
    (tmp_path / "validation_list.txt").write_text("low/0.wav\nhigh/0.flac\n")
    (tmp_path / "testing_list.txt").write_text("low/1.wav\nhigh/1.flac\nhigh/77.flac\n")
    data = read(tmp_path)
    assert data.task.names() == ("high", "low") and data.task.window_length == 1200  # type: ignore[attr-defined]
    names = data.origin.names
    parts = {split: sorted(names[row] for row in part.rows.tolist()) for split, part in data.splits().items()}
    assert parts["valid"] == ["high/0.flac", "low/0.wav"] and parts["test"] == ["high/1.flac", "low/1.wav"]
    assert len(parts["train"]) == 8 and data.origin.given == {"train", "valid", "test"}
    told = {entry.file: entry.reason for entry in data.origin.entries}
    assert told["_background_noise_/pink.wav"] == "noise to be mixed in, no class"
    assert told["testing_list.txt"].startswith("1 of the 3 sounds that it names") and "validation_list.txt" not in told


def test_a_contest_may_have_folders_around_its_words_and_an_example_of_an_answer(tmp_path: Path) -> None:
    folders(tmp_path / "train" / "audio", 4)
    (tmp_path / "train" / "testing_list.txt").write_text("low/1.wav\nhigh/1.flac\n")
    put(tmp_path / "test" / "audio" / "clip.wav", 300)
    table(tmp_path / "sample_submission.csv", "fname,label", ["clip.wav,silence"])
    data = read(tmp_path)
    assert data.task.names() == ("high", "low") and len(data.test) == 2 and total(data) == 8
    assert {entry.file: entry.kind for entry in data.origin.entries}["test/audio/clip.wav"] == "no-label"
    with zipfile.ZipFile(tmp_path / "words.zip", "w") as archive:
        for path in sorted((tmp_path / "train").rglob("*.*")):
            archive.write(path, path.relative_to(tmp_path))
    again = read(tmp_path / "words.zip")
    assert again.task.names() == ("high", "low") and len(again.test) == 2


def test_folders_called_like_people_are_remarked_upon(tmp_path: Path) -> None:
    for actor in ("Actor_01", "Actor_02"):
        for emotion in (1, 3):
            for take in range(3):
                put(tmp_path / "s" / actor / f"03-01-{emotion:02d}-0{take}-{actor[-2:]}.wav", 300 * emotion, seed=take)
    (event,) = read(tmp_path / "s").origin.entries
    assert event.kind == "event" and "Actor_01, Actor_02" in event.reason and "--label-pattern" in event.reason
    data = read(tmp_path / "s", label_pattern=r"^\d+-\d+-(\d+)", groups=r"(\d+)\.wav")
    assert data.task.names() == ("01", "03") and not data.origin.entries


def test_what_lies_beside_sounds_does_not_stand_in_the_way(tmp_path: Path) -> None:
    folders(tmp_path, 6)
    for label in ("low", "high"):
        (tmp_path / label / "cover.jpg").write_bytes(b"\xff\xd8\xff\xe0")
        (tmp_path / label / "notes.txt").write_text("Recorded in the park.\nThe second one is loud.\n")
    data = read(tmp_path)
    assert data.task.names() == ("high", "low") and total(data) == 12
    assert "few files beside them: 2 for image-classification, 2 for text-" in data.origin.facts["taken for"]
    assert sum(entry.kind == "ignored" for entry in data.origin.entries) == 4


@pytest.mark.parametrize("texts", [["0.txt", "1.txt"], ["said.txt"]])
def test_texts_that_say_what_is_spoken_are_no_class_folders(tmp_path: Path, texts: list[str]) -> None:
    folders(tmp_path, 3)
    for label in ("low", "high"):
        for name in texts:
            (tmp_path / label / name).write_text("0 one word\n1 another word\n2 a third\n")
    assert fits(tmp_path) is None


def test_several_tables_are_those_of_the_splits_or_the_one_with_most_rows(tmp_path: Path) -> None:
    for split, seed in (("train", 0), ("test", 1)):
        for number in range(3):
            put(tmp_path / "one" / "data" / split / f"{number}.wav", 300 + 100 * number, seed=seed)
        text = "file_name,label\n" + "".join(f"{number}.wav,{'ab'[number % 2]}\n" for number in range(3))
        (tmp_path / "one" / "data" / split / "metadata.csv").write_text(text)
    found = listed(tmp_path / "one", Wanted())
    assert dict(zip(found.of.names, found.of.splits, strict=True)) == {
        f"data/{split}/{number}.wav": place for split, place in (("test", 2), ("train", 0)) for number in range(3)
    }  # fmt: skip
    assert not found.of.entries

    for number in range(4):
        put(tmp_path / "two" / "heard" / f"{number}.wav", 300)
    (tmp_path / "two" / "a_submission.csv").write_text("fname,label\n3.wav,x\n")
    table = "fname\tonset\toffset\tevent_label\n" + "".join(f"{number}.wav\t0\t0.1\tdog\n" for number in range(3))
    (tmp_path / "two" / "labels.tsv").write_text(table, encoding="utf-16")
    assert fits(tmp_path / "two") == "a table of sound files and labels"
    found = listed(tmp_path / "two", Wanted())
    assert (found.files, found.of.classes) == ([f"heard/{number}.wav" for number in range(3)], ("dog",))
    assert {entry.file for entry in found.of.entries} == {"a_submission.csv", "heard/3.wav"}
    (tmp_path / "two" / "a_submission.csv").unlink()
    assert fits(tmp_path / "two") == "a table of sound files and labels"


def test_folders_around_all_class_folders_are_no_classes(tmp_path: Path) -> None:
    for name in ("around/all/low/1.wav", "around/all/low/2.wav", "around/all/high/1.wav"):
        put(tmp_path / name, 300)
    found = listed(tmp_path, Wanted()).of
    assert (found.classes, found.labels) == (("high", "low"), [0, 1, 1])
    put(tmp_path / "other" / "1.wav", 300)
    assert listed(tmp_path, Wanted()).of.classes == ("around", "other")
