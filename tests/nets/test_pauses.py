"""A long pause ends a word, where the network says no blank."""

from __future__ import annotations

import pytest
import torch

from matinee.nets.heard import unsearched
from matinee.nets.pauses import parted
from matinee.nets.speech import SpeechNetwork, Training, build, searched, settle
from matinee.nets.speech_front import SpeechShape, Varied
from matinee.nets.transcribing import greedy
from matinee.nets.transcript_times import spell

SYMBOLS = ("", " ", "a", "b", "\u4f60")


def heard(*path: int) -> torch.Tensor:
    """Log-probabilities of one recording in which these symbols are nearly sure, frame by frame."""
    return torch.eye(len(SYMBOLS))[list(path)].mul(0.9).add(0.02).log()[None]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ((0, 0, 0, 0, 0, 0, 2, 0, 3, 0, 0, 0, 0, 0, 0), "ab"),  # no pause within, and silence around is none
        ((2, 3, 0, 0, 0, 0, 0, 3, 2), "ab ba"),
        ((2, 0, 0, 0, 0, 0, 2), "a a"),
        ((2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 3), "a b"),  # it is said already
        ((4, 0, 0, 0, 0, 0, 4), "\u4f60\u4f60"),  # characters that are words need none
    ],
)
def test_a_pause_parts_words(path: tuple[int, ...], text: str) -> None:
    lengths = torch.tensor([len(path)])
    told = parted(heard(*path), lengths, SYMBOLS, 4.0)
    assert spell(greedy(told, lengths), 0, SYMBOLS) == text
    assert parted(told, lengths, ("", "c", "a", "b", "d"), 4.0) is told


@pytest.mark.parametrize("settled", [False, True])
def test_what_was_heard_stays_what_it_was(settled: bool) -> None:
    network = build("linear", SpeechShape(0, 13, False, 13, len(SYMBOLS)), "s", Training(Varied()))
    assert isinstance(network, SpeechNetwork)
    settle(network, settled)
    rows = heard(2, 3, *[0] * 30, 3, 2)
    found = searched(unsearched(rows, torch.tensor([34])), network, SYMBOLS, "", 4, 25.0)
    assert torch.equal(found.log_probs, rows) and spell(found, 0, SYMBOLS) == "ab ba"
