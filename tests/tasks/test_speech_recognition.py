"""What is special to speech: from recordings to words with times, texts of any script, what cannot be used."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import matinee
from matinee.cli import main
from matinee.core.errors import DataError, SettingsError
from matinee.core.moment import Moment
from matinee.core.pieces import Gallery
from matinee.core.progress import Progress
from matinee.media.speech_columns import texts_of
from matinee.media.speech_toy import spelled_tones
from matinee.tasks.speech_recognition import SpeechRecognition

RATE = 4000


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tones that spell texts, some of which cannot be used."""
    root = tmp_path_factory.mktemp("spoken")
    sounds, texts = spelled_tones(0, 150)
    for place, (sound, text) in enumerate(zip(sounds, texts, strict=True)):
        soundfile.write(root / f"{place}.wav", sound, RATE)
        (root / f"{place}.txt").write_text(text.upper() + ".\n")
    (root / "0.txt").write_text("abc abc abc abc abc abc abc abc abc")
    (root / "1.txt").write_text("...")
    (root / "2.wav").write_bytes(b"RIFF")
    (root / "3.txt").unlink()
    return root


def test_recordings_are_learned_and_written_down(
    spoken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--network", "linear", "--epochs", "12", "--batch-size", "8", "--learning-rate", "0.02", "--bands", "16"]
    assert main(["train", str(spoken), *given, "--out", "run", "--quiet"]) == 0
    ledger = {entry["file"]: entry["kind"] for entry in json.loads(Path("run/ledger.json").read_text())["entries"]}
    told = {"0.wav": "text-too-long", "1.wav": "no-text", "2.wav": "unreadable", "3.wav": "no-text"}
    assert ledger == told
    (tmp_path / "ask").mkdir()
    sounds, texts = spelled_tones(7, 4)
    soundfile.write(tmp_path / "ask" / "a.flac", sounds[0], RATE)
    soundfile.write(tmp_path / "ask" / "b.wav", np.repeat(sounds[1], 2), 2 * RATE)
    soundfile.write(tmp_path / "ask" / "c.wav", np.zeros(900), RATE)
    (tmp_path / "ask" / "d.wav").write_text("nothing")
    capsys.readouterr()
    assert main(["predict", "run", "ask", "--quiet"]) == 1
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(answers) == 4 and "nothing to hear" in answers[2]["error"] and "error" in answers[3]
    assert [answer["text"] for answer in answers[:2]] == texts[:2]
    words = answers[0]["words"]
    assert [word["word"] for word in words] == texts[0].split()
    assert all(0 <= word["start"] < word["end"] <= len(sounds[0]) / RATE + 0.1 for word in words)
    page = Path("run/report.html").read_text()
    assert "<audio controls" in page and 'li class="wide"' in page and "word error rate" in page
    assert main(["predict", "run", "ask/a.flac", "--quiet", "--beams", "1"]) == 0
    pause = np.random.default_rng(0).normal(0, 60, RATE // 8).astype(np.int16)
    long = np.concatenate([part for sound in sounds for part in (sound, pause)] * 30)
    soundfile.write("long.wav", long, RATE)
    capsys.readouterr()
    assert main(["predict", "run", "long.wav", "--quiet", "--out", "said"]) == 0
    assert {path.name for path in Path("said").iterdir()} == {"1.vtt", "1.srt", "1.txt"}
    heard = json.loads(capsys.readouterr().out)
    pairs = list(zip(heard["text"].split(), " ".join(texts * 30).split(), strict=True))
    assert sum(told != said for told, said in pairs) < 0.03 * len(pairs)  # no window tells a word twice, or loses one
    assert heard["words"][-1]["end"] == pytest.approx(len(long) / RATE, abs=0.5)


def test_letters_that_the_training_has_not_are_told(tmp_path: Path, quiet: Progress) -> None:
    rows = ["file,text,split", *(f"{place}.npy,{'ab'[place % 2]},train" for place in range(8)), "8.npy,b\u00e9,test"]
    for place in range(9):
        np.save(tmp_path / f"{place}.npy", np.random.default_rng(place).normal(size=(30, 3)).astype(np.float32))
    (tmp_path / "speech.csv").write_text("\n".join(rows), "utf-8")
    data = matinee.read(tmp_path / "speech.csv", progress=quiet)
    assert isinstance(data.task, SpeechRecognition) and "\u00e9" not in data.task.symbols and len(data.test) == 1
    assert [(entry.file, entry.kind) for entry in data.origin.entries] == [("8.npy", "event")]
    assert texts_of(data.test) == ["b\u00e9"]  # it counts as an error


def test_the_commonest_transcript_is_the_answer_to_beat() -> None:
    data = SpeechRecognition(network="linear").toy()
    task = data.task.choose(data, None)
    assert isinstance(task, SpeechRecognition) and '"words"' in task.language
    trivial = task.trivial(data.train)
    assert trivial is not None
    said = {answer["text"] for answer in trivial.predict([np.sin(np.arange(500.0)), np.arange(900.0) / 900])}
    texts = texts_of(data.train)
    assert said == {max(set(texts), key=texts.count)}


def test_frames_and_letters_of_any_script(tmp_path: Path, quiet: Progress) -> None:
    generator = np.random.default_rng(0)
    rows = ["file,text"]
    for place, text in enumerate(["你好", "你 们", "好", "好 们"] * 10):
        np.save(tmp_path / f"{place}.npy", generator.normal(size=(40, 5)).astype(np.float32))
        rows.append(f"{place}.npy,{text}")
    np.save(tmp_path / "narrow.npy", np.ones((40, 4)) * np.arange(40)[:, None])
    rows += ["narrow.npy,好", "0.npy,好"]
    (tmp_path / "speech.csv").write_text("\n".join(rows), "utf-8")
    data = matinee.read(tmp_path / "speech.csv", progress=quiet)
    task = data.task
    assert isinstance(task, SpeechRecognition) and task.channels == 5 and set("你们好") <= set(task.symbols)
    assert [entry.kind for entry in data.origin.entries] == ["duplicate-row", "unreadable"]
    model = matinee.train(data, network="lstm", size="s", epochs=1, progress=quiet)
    assert "text" in model.predict([np.asarray(data.test.ragged("frames")[0])])[0]
    inputs = data.task.collate(data.test.gather(np.arange(2))).inputs
    with torch.no_grad():
        pieces = model.task.show(inputs, model.task.infer(model.network, inputs))
    assert all(isinstance(piece, Gallery) for piece in pieces)
    pairs = matinee.read(tmp_path / "speech.csv", written="pieces", vocabulary=30, progress=quiet)
    assert isinstance(pairs.task, SpeechRecognition) and " 你好" in pairs.task.symbols and pairs.task.build()
    (tmp_path / "other.csv").write_text("file,text\n0.npy,你 们\n1.npy,好 q", "utf-8")
    other = model.task.read(str(tmp_path / "other.csv"), quiet)
    assert [entry.kind for entry in other.origin.entries if entry.kind != "ignored"] == ["event"]
    with pytest.raises(DataError, match="wave"):
        matinee.read(spoken_frames(tmp_path), progress=quiet)


def spoken_frames(root: Path) -> Path:
    """A table whose only recording is none."""
    (root / "wave").mkdir()
    (root / "wave" / "speech.csv").write_text("file,text\na.npy,x\n")
    (root / "wave" / "a.npy").write_bytes(b"wave")
    return root / "wave" / "speech.csv"


def test_a_model_of_cepstra_is_loaded_again(tmp_path: Path) -> None:
    task = SpeechRecognition(symbols=("", "a"), channels=13, cepstra=True, network="lstm", size="s")
    values = np.random.default_rng(0).normal(size=(40, 13)).astype(np.float32)
    model = matinee.Model(task, task.build().eval())
    model.save(tmp_path / "model")
    assert matinee.load(tmp_path / "model").predict([values]) == model.predict([values])


def test_noise_stays_within_a_recording() -> None:
    data = SpeechRecognition(noise=0.5).toy()
    batch = data.task.collate(data.train.gather(np.arange(6)))
    noisy = data.task.augment(batch, Moment(1)).inputs
    behind = batch.inputs.flip(1).cumsum(1).flip(1) == 0
    assert not torch.equal(noisy, batch.inputs) and not noisy[behind & (batch.inputs == 0)].any()


def test_a_damaged_record_is_refused() -> None:
    with pytest.raises(SettingsError):
        SpeechRecognition(rate=-1)
    with pytest.raises(SettingsError):
        SpeechRecognition(symbols=("", "a"), usual=(7,))
    with pytest.raises(SettingsError, match="no texts"):
        SpeechRecognition().build()


@pytest.mark.real
def test_an4_and_yesno_are_read_as_published(real: Path, quiet: Progress) -> None:
    data = matinee.read(real / "an4_mfcc", progress=quiet)
    assert (len(data.train) + len(data.valid), len(data.test), data.origin.entries) == (948, 130, ())
    said = [set(data.train.columns["group"][part.rows]) for part in data.splits().values()]
    assert not said[0] & said[1] and not said[0] & said[2] and len(said[0] | said[1]) == 74
    assert sum(len(text.split()) for text in texts_of(data.test)) == 773
    data = matinee.read(real / "yesno", test_pattern="/1_", progress=quiet)
    assert (len(data.train) + len(data.valid), len(data.test), data.origin.entries) == (31, 29, ())
