"""Wrong words and letters as jiwer counts them, what is told of them, and how transcripts are written."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import jiwer
import numpy as np
import pytest
import torch

from matinee.core.errors import DataError
from matinee.core.meter import intervals
from matinee.core.task import Batch
from matinee.media.text_scores import kept_text
from matinee.media.transcript_scores import TranscriptMeter, normalised

PAIRS = [
    ("the cat sat on the mat", "the cat sat on the mat"),
    ("the cat sat", "a cat sat down"),
    ("yes", ""),
    ("no no no", "no"),
    ("zebra crossing", "zeebra crossing here"),
]


def met(pairs: list[tuple[str, str]], how: str = "none") -> tuple[TranscriptMeter, dict[str, Any]]:
    symbols = ("", *sorted({letter for pair in pairs for text in pair for letter in text}))
    numbers = [torch.tensor([symbols.index(letter) for letter in said], dtype=torch.int64) for _, said in pairs]
    heard = SimpleNamespace(numbers=torch.nn.utils.rnn.pad_sequence(numbers, batch_first=True))
    kept = [torch.from_numpy(kept_text([truth]).copy()) for truth, _ in pairs]
    meter = TranscriptMeter(symbols, how)
    reference = torch.nn.utils.rnn.pad_sequence(kept, batch_first=True)
    meter.update(heard, Batch(torch.zeros(len(pairs)), {"reference": reference}))
    return meter, meter.rows()


def test_as_jiwer_counts() -> None:
    meter, rows = met(PAIRS)
    truth, said = [pair[0] for pair in PAIRS], [pair[1] for pair in PAIRS]
    scores = meter.score(rows)
    assert scores["wer"] == pytest.approx(jiwer.wer(truth, said))
    assert scores["cer"] == pytest.approx(jiwer.cer(truth, said))
    assert scores["sentences"] == 1 / 5
    whole = jiwer.process_words(truth, said)
    detail = meter.detail(rows)
    assert (detail["substitutions"], detail["deletions"], detail["insertions"]) == (
        whole.substitutions, whole.deletions, whole.insertions,
    )  # fmt: skip
    assert {"truth": "no", "said": "", "times": 2} in detail["commonest"]
    assert {"truth": "zebra", "said": "zeebra", "times": 1} in detail["commonest"]
    assert list(scores) == list(meter.names_of_scores())
    assert meter.remark(rows, 0) == "all of 6 words right"
    assert 0 not in meter.worth_seeing(rows)["Most mistakes"]
    assert len(meter.pieces(rows)) == 3


def test_many_draws_are_quick_and_rows_hold_no_texts() -> None:
    meter, rows = met(PAIRS * 100)
    assert sum(column[0].size for column in rows.values()) < 40
    score = intervals(meter, rows, draws=200)["wer"]
    assert score.low < score.value < score.high


def test_characters_that_stand_alone_count_as_words() -> None:
    meter, rows = met([("我爱北京 yes", "我爱东京 yes"), ("你好", "你好")])
    assert meter.score(rows)["wer"] == pytest.approx(1 / 7)
    meter, rows = met([("שלום עולם", "שלום עולט")])
    assert meter.score(rows)["wer"] == 0.5
    assert meter.score(rows)["cer"] == pytest.approx(1 / 9)


def test_nothing_said_and_a_lot_told() -> None:
    meter, rows = met([("", "what"), ("", "")])
    assert np.isnan(meter.score(rows)["wer"])
    assert meter.detail(rows)["insertions"] == 1
    meter, rows = met([("yes", "no " * 9)])
    assert meter.score(rows)["wer"] == 9
    assert meter.pieces({name: column[:0] for name, column in rows.items()}) == ()


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("none", "Don\u2019t say: \u00abnaïve\u00bb, Mr. O'Neil!"),
        ("case", "don\u2019t say: \u00abnaïve\u00bb, mr. o'neil!"),
        ("case-and-marks", "don't say naïve mr o'neil"),
    ],
)
def test_how_a_transcript_is_written(how: str, told: str) -> None:
    assert normalised("  Don\u2019t say:\n \u00abnai\u0308ve\u00bb,  Mr. O'Neil! ", how) == told


def test_vowel_signs_are_letters() -> None:
    assert normalised("हिन्दी, में।", "case-and-marks") == "हिन्दी में"
    assert normalised("「今天」，ＯＫ", "case-and-marks") == "今天 ok"
    with pytest.raises(DataError, match="case-and-marks"):
        normalised("x", "upper")
