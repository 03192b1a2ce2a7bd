"""Long recordings in pieces, and words of one that is still being made: as if all had been heard at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from matinee.nets.heard import Heard, unsearched
from matinee.nets.speech_chunks import LIVE, Listening, Pace, live, settled, stitched
from matinee.nets.transcribing import Search, greedy
from matinee.nets.transcript_times import spell

SYMBOLS = ("", *"abcdefgh", " ")
STRIDE, SECOND = 4, 100.0  # 25 frames a second


class Reads(nn.Module):
    """Rows (1, rows) are the numbers of the symbols; the edges of a piece are heard badly. -1: begin and end."""

    def __init__(self) -> None:
        super().__init__()
        self.longest = 0

    def forward(self, inputs: Tensor) -> Heard:
        self.longest = max(self.longest, inputs.shape[1])
        numbers = inputs[:, ::STRIDE].long().clamp(min=0)
        told = torch.full((*numbers.shape, len(SYMBOLS)), 0.01).scatter(2, numbers[..., None], 0.9)
        for edge, end in ((slice(0, 3), 0), (slice(-3, None), -1)):  # what came before or comes after is missing there
            if inputs[0, end] >= 0:
                told[:, edge] = 0.01
                told[:, edge, 5] = 0.9
        return unsearched(told.log(), torch.tensor([numbers.shape[1]]))


def spoken(words: int, seed: int = 0) -> tuple[str, Tensor]:
    """Words of letters of 80 ms with pauses of many lengths between; rows, some 8 s for 10 words."""
    generator = torch.Generator().manual_seed(seed)
    texts, path = [], [0] * 5
    for _ in range(words):
        letters = torch.randint(1, 9, (3,), generator=generator).tolist()
        texts.append("".join(SYMBOLS[n] for n in letters))
        for number in letters:
            path += [number, number, 0]
        path += [len(SYMBOLS) - 1] + [0] * int(torch.randint(1, 20, (), generator=generator))
    rows = torch.tensor([*path, *[0] * 10]).repeat_interleave(STRIDE).float()
    rows[0] = rows[-1] = -1
    return " ".join(texts), rows


@pytest.mark.parametrize("seed", range(4))
def test_pieces_are_as_the_whole(seed: int) -> None:
    text, rows = spoken(200, seed)
    network = Reads()
    log_probs, lengths = stitched(network, rows[None], STRIDE, SECOND, 12.0)
    assert lengths.tolist() == [len(rows) // STRIDE]
    assert spell(greedy(log_probs, lengths), 0, SYMBOLS) == text
    assert network.longest <= 12 * SECOND


@pytest.mark.parametrize("size", [37, 400, 100_000])
def test_words_come_while_it_is_being_said(size: int) -> None:
    text, rows = spoken(40)
    taken = 0

    def blocks() -> Iterator[Tensor]:
        nonlocal taken
        for block in rows.split(size):
            taken += len(block)
            yield block

    network, found, late = Reads(), [], 0.0
    listening = Listening(SYMBOLS, SECOND, STRIDE, search=Search(4))
    for word in live(network, blocks(), listening):
        found.append(word)
        late = max(late, taken / SECOND - word["end"])

    assert [word["word"] for word in found] == text.split()
    starts = [word["start"] for word in found]
    assert starts == sorted(starts)
    assert network.longest <= LIVE.longest * SECOND
    assert late < 4.5 + size / SECOND


def deaf(inputs: Tensor) -> Heard:
    """A network that takes all for the nothing behind an end."""
    return unsearched(torch.zeros(1, 3, 9), torch.tensor([0]))


def test_every_frame_is_told_once() -> None:
    _, rows = spoken(60)
    pieces = list(settled([rows], Reads(), STRIDE, SECOND, Pace(10.0, 2.0, 1.0)))
    ends = [piece.first + len(piece.log_probs) for piece in pieces]
    assert [piece.first for piece in pieces] == [0, *ends[:-1]]
    assert ends[-1] == len(rows) // STRIDE
    noise = torch.randint(1, 9, (4000,)).float()  # without a pause
    assert sum(len(piece.log_probs) for piece in settled([noise], Reads(), STRIDE, SECOND, Pace(5.0, 1.0, 0.5))) == 1000
    (silent,) = [torch.cat([one.log_probs for one in settled([noise], deaf, STRIDE, SECOND, Pace(5.0, 1.0, 0.5))])]
    assert len(silent) == 1000 and bool((silent.argmax(1) == 0).all())
    assert list(settled([], Reads(), STRIDE, SECOND, LIVE)) == []
    with pytest.raises(ValueError, match="too short"):
        Pace(3.0, 2.0, 1.0)
