"""What is special to sounds: from files to answers, windows of long recordings, how a batch is varied, the report."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import matinee
from matinee.cli import main
from matinee.core.errors import DataError
from matinee.core.moment import Moment
from matinee.core.pieces import Sound
from matinee.core.progress import Progress
from matinee.core.task import Data
from matinee.media.sound_augment import SoundPolicy, augment, lengths_of, mix
from matinee.tasks.audio_classification import AudioClassification

RATE = 4000


def tone(pitch: float, seconds: float, seed: int = 0) -> np.ndarray[Any, Any]:
    generator = np.random.default_rng([int(pitch), seed])
    moments = np.arange(round(seconds * RATE)) / RATE
    wave = 0.3 * np.sin(2 * np.pi * pitch * generator.uniform(0.9, 1.1) * moments)
    return (wave + generator.normal(0, 0.02, len(wave))).astype(np.float32)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sounds")
    for name, pitch in (("low", 300), ("high", 1200)):
        (root / name).mkdir()
        for seed in range(30):
            soundfile.write(root / name / f"{seed}.wav", tone(pitch, 0.2 + 0.01 * (seed % 10), seed), RATE)
    return root


def wav(wave: np.ndarray[Any, Any]) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, wave, RATE, format="WAV")
    return out.getvalue()


def test_files_are_learned_and_answered(
    sounds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], quiet: Progress
) -> None:
    assert main(["train", str(sounds), "--epochs", "12", "--network", "linear", "--out", "run", "--quiet"]) == 0
    (tmp_path / "ask").mkdir()
    soundfile.write(tmp_path / "ask" / "a.flac", tone(300, 0.25, 99), RATE)
    both = np.concatenate([tone(1200, 6.0, 98), tone(300, 3.0, 97), np.zeros(RATE, np.float32)])
    soundfile.write(tmp_path / "ask" / "b.wav", both, RATE)
    soundfile.write(tmp_path / "ask" / "c.wav", np.zeros(2000), RATE)
    (tmp_path / "ask" / "d.wav").write_text("nothing")
    capsys.readouterr()
    assert main(["predict", "run", "ask", "--quiet", "--out", "told"]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line.get("label") for line in lines] == ["low", "high", None, None]
    events = lines[1]["events"]
    assert [event.get("label") for event in events][:2] == ["high", "low"] and events[-1]["end"] == 10
    assert abs(events[0]["end"] - 6) < 0.2 and "nothing to hear" in events[-1]["error"]
    assert Path("told/1.txt").read_text().splitlines()[1].endswith("\tlow") and Path("told/1.vtt").exists()
    assert "nothing to hear" in lines[2]["error"] and "no sound file" in lines[3]["error"]
    page = Path("run/report.html").read_text()
    assert "<audio controls" in page and "data:audio/wav" in page and "said " in page
    model = matinee.load("run")
    raws = [wav(tone(300, 0.3, 7)), (tone(1200, 0.3, 8), RATE), tone(1200, 0.3, 8)]
    assert [answer["label"] for answer in model.predict(raws)] == ["low", "high", "high"]
    assert [answer["label"] for answer in model.predict(["ask/b.wav#t=6.5,7.5", "ask/b.wav"])] == ["low", "high"]
    with pytest.raises(DataError, match="it ends after 10"):
        model.predict(["ask/b.wav#t=11,12"])
    assert main(["evaluate", "run", "--quiet"]) == 0


@pytest.mark.parametrize("network", ["cnn", "attention"])
def test_networks_learn_toy_sounds(network: str, quiet: Progress) -> None:
    data = AudioClassification(network=network).toy()
    model = matinee.train(data, epochs=4, progress=quiet)
    scores = matinee.evaluate(model, data, progress=quiet).scores
    assert scores["accuracy"].value > 0.9


def test_a_long_sound_is_the_mean_of_its_windows(quiet: Progress) -> None:
    data = AudioClassification(network="cnn").toy()
    task, network = data.task, data.task.build().eval()
    task.prepare(network, data.train)
    parts = [torch.randn(1, 800) for _ in range(3)]
    with torch.no_grad():
        whole = task.infer(network, torch.cat(parts, 1))
        each = torch.cat([task.infer(network, part) for part in parts])
        beside = torch.cat([torch.cat(parts, 1), torch.nn.functional.pad(parts[1], (0, 1600))])
        both = task.infer(network, beside)
    assert torch.allclose(whole[0], each.mean(0), atol=1e-5)
    assert torch.allclose(both, torch.stack([each.mean(0), each[1]]), atol=1e-5)


def batch(data: Data, count: int = 16) -> torch.Tensor:
    return data.task.collate(data.train.gather(np.arange(count))).inputs


def test_sounds_are_moved_and_kept_whole() -> None:
    waves = torch.zeros(200, 1000)
    waves[:, :100] = 1.0
    moved = augment(waves, 1000, SoundPolicy(), Moment(0))
    assert torch.allclose(moved.sum(1), torch.full((200,), 100.0), atol=1.5)
    starts = (moved > 0.5).int().argmax(1)
    assert starts.min() < 100 and starts.max() > 800
    assert lengths_of(waves).tolist() == [100] * 200 and lengths_of(torch.zeros(1, 5)).tolist() == [1]
    kept = augment(waves, 1000, dataclasses.replace(SoundPolicy(), place=False), Moment(0))
    assert kept is waves
    full = torch.rand(50, 1000) + 0.5
    turned = augment(full, 1000, SoundPolicy(), Moment(0))  # in a circle: nothing is lost
    assert torch.allclose(turned.mean(1), full.mean(1), atol=0.02)
    cut = augment(torch.arange(1.0, 5001).repeat(50, 1), 1000, SoundPolicy(), Moment(0))
    assert (
        torch.allclose(cut[:, -1] - cut[:, 0], torch.full((50,), 999.0), atol=0.1) and len(set(cut[:, 0].tolist())) > 40
    )


def test_speed_moves_the_tone() -> None:
    wave = torch.sin(2 * torch.pi * 500 * torch.arange(4000) / 4000)
    found = augment(wave.repeat(100, 1), 4000, SoundPolicy(place=False, speed=0.2), Moment(1))
    pitches = torch.fft.rfft(found).abs().argmax(1).float()
    assert 410 < pitches.min() < 440 and 570 < pitches.max() < 605


def test_tilt_and_noise_change_the_colour() -> None:
    noise = torch.randn(100, 4000)
    tilted = torch.fft.rfft(augment(noise, 4000, SoundPolicy(place=False, tilt=0.5), Moment(0))).abs()
    ratio = tilted[:, 1500:].mean(1) / tilted[:, :500].mean(1)
    assert ratio.min() < 0.6 and ratio.max() > 1.7
    wave = torch.sin(torch.arange(4000.0)).repeat(100, 1)
    noisy = augment(wave, 4000, SoundPolicy(place=False, noise=0.1), Moment(0)) - wave
    loud = noisy.square().mean(1).sqrt() / wave.square().mean(1).sqrt()
    assert 0.002 < loud.min() < 0.01 and 0.05 < loud.max() < 0.11


def test_mixed_sounds_have_two_answers() -> None:
    waves, targets = torch.randn(100, 500), torch.arange(100) % 3
    waves[::2] *= 0.01  # what counts is what is heard
    mixed, shares = mix(waves, targets, 3, 0.5, Moment(0))
    own = shares.gather(1, targets[:, None])[:, 0]
    assert torch.allclose(shares.sum(1), torch.ones(100)) and (own >= 0.5).all()
    untouched = own == 1
    assert 20 < untouched.sum() < 90 and torch.allclose(mixed[untouched], waves[untouched], atol=1e-6)
    half = (own < 0.6).nonzero()[:, 0]
    quiet_, loud_ = (torch.nn.functional.cosine_similarity(mixed[half], w[half]) for w in (waves, waves[_partner()]))
    assert (quiet_ > 0.5).all() and (loud_ > 0.4).all()


def _partner() -> torch.Tensor:
    return torch.arange(100) ^ 1


def test_players_show_what_was_heard() -> None:
    data = AudioClassification(network="cnn").toy()
    inputs = batch(data, 3)
    with torch.no_grad():
        pieces = data.task.show(inputs, torch.eye(4)[:3])
    assert all(isinstance(piece, Sound) for piece in pieces)
    for piece, row in zip(pieces, data.train.ragged("sound"), strict=False):
        assert isinstance(piece, Sound) and piece.picture is not None
        assert piece.rate == RATE and np.abs(piece.samples.astype(int) - row).max() <= 1
    told = data.task.describe(data.task.build(), data.test)
    assert sum(isinstance(piece, Sound) for piece in told) == 8


@pytest.mark.real
def test_published_sounds_are_read_as_they_are(real: Path, quiet: Progress) -> None:
    digits = matinee.read(real / "fsdd", label_pattern=r"^(\d)", test_pattern=r"_[0-4]\.wav$", progress=quiet)
    assert len(digits.test) == 300 and len(digits.train) + len(digits.valid) == 2700
    assert digits.task.rate == 8000 and digits.task.names() == tuple("0123456789")  # type: ignore[attr-defined]
    events = matinee.read(real / "esc10_16k", groups=r"/(\d)-", progress=quiet)
    assert sum(map(len, events.splits().values())) == 400 and len(events.task.names()) == 10
    assert events.task.window_length == 80_000  # type: ignore[attr-defined]
    together = events.task.together(events.train)
    assert together is not None and len(set(together)) <= 5
