"""Sentences that espeak-ng speaks in two languages: a tiny network hears others, alone and in a row."""

from __future__ import annotations

import csv
import itertools
import wave
from pathlib import Path

import numpy as np
import pytest

import matinee
from matinee.core.progress import Progress
from matinee.nets.ngram_language import Language
from matinee.nets.search_tuning import distance
from matinee.nets.speech_chunks import LIVE, Listening, live
from matinee.nets.transcribing import Search
from speaking import RATE, speak

GRAMMARS = {
    "en": (" ", ("red", "old", "blue"), ("boat", "tree", "dog", "house"), ("sings", "falls", "waits")),
    "cmn": ("", ("红", "老", "蓝"), ("船", "树", "狗", "鸟"), ("唱歌", "睡觉", "等待")),
}
HEARD, CHOSEN = 28, 4  # sentences to learn from, and of them to select by; the others are the test
VOICES = ((30, 150), (45, 190), (60, 160), (75, 200))


def spoken(folder: Path, language: str) -> tuple[list[str], dict[str, list[float]]]:
    """A folder of recordings with a table; the sentences of the test, and when each word of theirs begins."""
    between, *words = GRAMMARS[language]
    sentences = [between.join(parts) for parts in itertools.product(*words)]
    order, begins = np.random.default_rng(0).permutation(len(sentences)).tolist(), {}
    with (folder / "speech.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(("audio_filepath", "text", "split"))
        for place, number in enumerate(order):
            split = "test" if place >= HEARD else "valid" if place >= HEARD - CHOSEN else "train"
            for pitch, speed in ((50, 170),) if split == "test" else VOICES:
                samples, begins[sentences[number]] = speak(sentences[number], language, pitch, speed)
                with wave.open(str(folder / f"{place}-{pitch}.wav"), "wb") as sound:
                    sound.setparams((1, 2, RATE, 0, "NONE", ""))
                    sound.writeframes(samples.tobytes())
                table.writerow((f"{place}-{pitch}.wav", sentences[number], split))
    return [sentences[number] for number in order[HEARD:]], begins


@pytest.mark.parametrize(("language", "most_wrong"), [("en", 0.15), ("cmn", 0.25)])
def test_sentences_never_heard_are_understood(
    tmp_path: Path, language: str, most_wrong: float, quiet: Progress
) -> None:
    sentences, begins = spoken(tmp_path, language)
    data = matinee.read(
        str(tmp_path / "speech.csv"), task="speech-recognition", sample_rate=8000, bands=24, network="linear",
        progress=quiet,
    )  # fmt: skip
    assert (len(data.train), len(data.valid), len(data.test)) == (4 * (HEARD - CHOSEN), 4 * CHOSEN, len(sentences))
    model = matinee.train(data, epochs=24, batch_size=8, learning_rate=0.004, progress=quiet)
    scores = matinee.evaluate(model, data).scores
    assert scores["wer"].value <= most_wrong
    for place, sentence in enumerate(sentences[:3] if language == "en" else ()):
        (answer,) = matinee.predict(model, [str(tmp_path / f"{HEARD + place}-50.wav")])
        if answer["text"] == sentence:
            starts = [word["start"] for word in answer["words"]]
            # The event before the first word says when the sentence begins.
            for start, known in zip(starts[1:], begins[sentence][1:], strict=False):
                assert abs(start - known) < 0.3, (sentence, starts, begins[sentence])
    in_a_row(model, sentences, tmp_path, most_wrong)


def in_a_row(model: matinee.Model, sentences: list[str], folder: Path, most_wrong: float) -> None:
    """All of the test as one recording, while it is being made."""
    task, network = model.task, model.network
    rows = np.concatenate([_samples(folder / f"{HEARD + place}-50.wav") for place in range(len(sentences))])
    inputs, _ = task.encode_each([(rows, RATE)])
    second = float(task.rate)
    listening = Listening(
        task.symbols, second, network.stride, Language.of(task.language), Search.of(network.search, 8), LIVE
    )
    words = list(live(network, inputs[0].split(1000), listening))
    told = "".join(word["word"] for word in words)
    truth = "".join("".join(sentences).split())
    assert distance(told, truth) <= 2 * most_wrong * len(truth)
    assert [word["start"] for word in words] == sorted(word["start"] for word in words)


def _samples(path: Path) -> np.ndarray:
    with wave.open(str(path)) as sound:
        return np.frombuffer(sound.readframes(sound.getnframes()), np.int16)
