"""Networks that hear speech, by name: `build("conformer", SpeechShape(16_000, 0, False, 80, 30))`.

Every network takes waves (batch, samples) from -1 to 1 or given frames (batch, frames, channels), zeros behind, and
answers a `Heard` that nobody has searched yet: for each of its frames how likely each symbol is, symbol 0 being the
blank of connectionist temporal classification (Graves et al., 2006). Its parts are `front`, `stem`, `body` and `head`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.functional import ctc_loss, glu, pad, silu

from matinee.core.errors import SettingsError
from matinee.nets.attention import attended
from matinee.nets.dropping import dropped
from matinee.nets.heard import BLANK, Heard, unsearched
from matinee.nets.ngram_language import Language
from matinee.nets.padding import joined
from matinee.nets.pauses import PAUSE, parted
from matinee.nets.sequences import both_ways, rotations, turned
from matinee.nets.speech_chunks import LONGEST, stitched
from matinee.nets.speech_front import Front, SpeechShape, Varied, ends, mirrored, within
from matinee.nets.transcribing import KEPT, USUAL, Search, beam_search, greedy

NAMES: Final = ("linear", "cnn", "lstm", "conformer")
SIZES: Final = {"s": (96, 4), "m": (144, 6), "l": (256, 8)}
"""Units and layers of `conformer` and `cnn`; of `lstm`, the units of one direction."""
DEPTH: Final = {"s": 2, "m": 3, "l": 4}
"""Layers of `lstm`."""
CHANNELS: Final = 32  # of the two convolutions before the layers
HEAD: Final = 32  # units of one head of attention, about
KERNEL: Final = 15  # frames that a layer's convolution sees
SHORT: Final = (
    5  # those that it sees where the network hears no more than what is around: 0.35 s before and behind, in "s"
)
CONTEXT: Final = 11  # frames that the linear network sees at once
QUIET: Final = -30.0  # logarithm of the probability of a symbol that is out of the question


@dataclass(frozen=True)
class Training:
    """What only training knows. dropout: share of units."""

    varied: Varied
    dropout: float = 0.0


class SpeechNetwork(nn.Module):
    """Front, stem, body, head. stride: rows of the input that one frame of the answer is. margin: frames of an answer
    that are heard before a recording begins, as its mirror.

    search: buffer (8,), how words are looked for in what it hears (`transcribing.Search`); zeros while it learns.
    """

    search: Tensor

    def __init__(self, shape: SpeechShape, units: int, training: Training) -> None:
        super().__init__()
        self.front = Front(shape, training.varied)
        self.stem: nn.Module = Stem(shape.rows, units)
        self.body: nn.Module = Through()
        self.head = nn.Linear(units, shape.symbols)
        self.share = training.dropout
        self.stride, self.margin = shape.hop * 4, 0
        self.register_buffer("search", torch.zeros(KEPT))

    def forward(self, inputs: Tensor) -> Heard:
        values, lengths = self.front(inputs)
        values, lengths = mirrored(values, lengths, 4 * self.margin)
        values, lengths = self.stem(values, lengths)
        values = self.body(dropped(values, self.share, self.training), lengths)[:, self.margin :]
        return unsearched(self.head(values).float().log_softmax(-1), lengths - self.margin)


class Through(nn.Module):
    """Frames (batch, frames, units) as they are."""

    def forward(self, values: Tensor, lengths: Tensor) -> Tensor:
        return values


class Stem(nn.Module):
    """(batch, bands, frames) -> (batch, frames / 4, units): two convolutions that halve both sides."""

    def __init__(self, bands: int, units: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, CHANNELS, 3, 2, 1)
        self.second = nn.Conv2d(CHANNELS, CHANNELS, 3, 2, 1)
        self.into = nn.Linear(CHANNELS * -(-bands // 4), units)
        self.norm = nn.LayerNorm(units)

    def forward(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        values = values[:, None]
        for layer in (self.first, self.second):
            values, lengths = layer(values).relu(), (lengths + 1) // 2
            # What lies behind the end must stay nothing, or the answer would depend on how far it was padded.
            values = values * within(lengths, values.shape[3])[:, None, None]
        found: Tensor = self.norm(self.into(values.flatten(1, 2).transpose(1, 2)))
        return found, lengths


class LinearStem(nn.Module):
    """(batch, bands, frames) -> (batch, frames / 4, bands x CONTEXT): what lies around every fourth frame."""

    def forward(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        around = pad(values, (CONTEXT // 2, CONTEXT // 2)).unfold(2, CONTEXT, 4)
        return around.transpose(1, 2).flatten(2), (lengths + 3) // 4


class Recurrent(nn.Module):
    """LSTM layers (Hochreiter and Schmidhuber, 1997) in both directions: (batch, frames, units) -> (..., 2 units)."""

    def __init__(self, units: int, depth: int, share: float) -> None:
        super().__init__()
        self.layers = nn.LSTM(2 * units, units, depth, batch_first=True, bidirectional=True, dropout=share)
        with torch.no_grad():
            for name, bias in self.layers.named_parameters():
                if name.startswith("bias_ih"):  # what is not yet known to be useless is kept (Gers et al., 2000)
                    bias[units : 2 * units] += 1.0
        self.share = share

    def forward(self, values: Tensor, lengths: Tensor) -> Tensor:
        if values.device.type == "cpu":
            return dropped(both_ways(self.layers, values, lengths), self.share, self.training)
        packed = nn.utils.rnn.pack_padded_sequence(values, lengths.cpu(), True, enforce_sorted=False)
        found = nn.utils.rnn.pad_packed_sequence(self.layers(packed)[0], True, total_length=values.shape[1])[0]
        return dropped(found, self.share, self.training)


class Conformer(nn.Module):
    """Layers (batch, frames, units) -> the same.

    Gulati et al. (2020, arXiv 2005.08100), with rotary places (Su et al., 2021) in place of relative ones, and norms
    over the units of a frame: a batch of few recordings says little of all. local: short convolutions, no attention.
    """

    def __init__(self, units: int, depth: int, share: float, local: bool = False) -> None:
        super().__init__()
        layers = [Layer(units, share, local) for _ in range(depth)]
        self.layers, self.width = nn.ModuleList(layers), layers[0].width
        self.last = nn.LayerNorm(units)

    def forward(self, values: Tensor, lengths: Tensor) -> Tensor:
        there = within(lengths, values.shape[1])
        turns = rotations(values.shape[1], self.width, values.device)
        for layer in self.layers:
            values = layer(values, there, turns)
        found: Tensor = self.last(values)
        return found


class Layer(nn.Module):
    """Half a step of thinking, attention to all frames, a convolution over those around, half a step of thinking."""

    def __init__(self, units: int, share: float, local: bool) -> None:
        super().__init__()
        self.share, self.heads, self.local = share, max(1, units // HEAD), local
        while units % (2 * self.heads):
            self.heads -= 1
        self.width = units // self.heads
        self.norms = nn.ModuleList(nn.Identity() if local and n == 1 else nn.LayerNorm(units) for n in range(6))
        self.think, self.again = (nn.Sequential(nn.Linear(units, 4 * units), nn.SiLU(), nn.Linear(4 * units, units))
                                  for _ in range(2))  # fmt: skip
        if not local:
            self.ask, self.answer = nn.Linear(units, 3 * units), nn.Linear(units, units)
        self.gate, self.out = nn.Linear(units, 2 * units), nn.Linear(units, units)
        kernel = SHORT if local else KERNEL
        self.around = nn.Conv1d(units, units, kernel, padding=kernel // 2, groups=units)

    def forward(self, values: Tensor, there: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
        values = values + 0.5 * self._kept(self.think(self.norms[0](values)))
        if not self.local:
            values = values + self._kept(self._attended(self.norms[1](values), there, turns))
        values = values + self._kept(self._convolved(self.norms[2](values), there))
        values = values + 0.5 * self._kept(self.again(self.norms[3](values)))
        found: Tensor = self.norms[4](values)
        return found

    def _kept(self, values: Tensor) -> Tensor:
        return dropped(values, self.share, self.training)

    def _attended(self, values: Tensor, there: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
        asked = self.ask(values).unflatten(2, (3, self.heads, self.width)).permute(2, 0, 3, 1, 4)
        query, key = turned(asked[0], turns), turned(asked[1], turns)
        found = attended(query, key, asked[2], there[:, None, None])
        answer: Tensor = self.answer(found.transpose(1, 2).flatten(2))
        return answer

    def _convolved(self, values: Tensor, there: Tensor) -> Tensor:
        values = glu(self.gate(values), -1) * there[..., None]
        found = self.around(values.transpose(1, 2)).transpose(1, 2)
        answer: Tensor = self.out(silu(self.norms[5](found)))
        return answer


class Always(nn.Module):
    """The same symbols, whatever is heard. numbers: buffer (length,)."""

    numbers: Tensor

    def __init__(self, length: int, symbols: int) -> None:
        super().__init__()
        self.symbols = symbols
        self.register_buffer("numbers", torch.zeros(length, dtype=torch.int64))

    def forward(self, inputs: Tensor) -> Heard:
        # A frame for each symbol and a blank behind it, so that two equal ones stay two.
        path = torch.stack([self.numbers, torch.full_like(self.numbers, BLANK)], 1).flatten()
        path = torch.cat([path.new_full((1,), BLANK), path])
        told = torch.full((len(inputs), len(path), self.symbols), QUIET, device=inputs.device)
        told.scatter_(2, path.expand(len(inputs), -1)[..., None], 0.0)
        return unsearched(told, torch.full((len(inputs),), len(path), device=inputs.device))


def build(name: str, shape: SpeechShape, size: str, training: Training) -> nn.Module:
    """Builds the network called `name`. Raises SettingsError for an unknown one."""
    if name not in NAMES:
        raise SettingsError(f"--network {name}: the networks for speech are {', '.join(NAMES)}, or auto.")
    units, depth = SIZES[size]
    if name == "linear":
        network = SpeechNetwork(shape, shape.rows * CONTEXT, Training(Varied()))
        network.stem = LinearStem()
        return network
    network = SpeechNetwork(shape, 2 * units if name == "lstm" else units, training)
    if name == "lstm":
        network.body = Recurrent(units, DEPTH[size], training.dropout)
    else:
        network.body = Conformer(units, depth, training.dropout, local=name == "cnn")
    if name == "cnn":
        # Where all recordings begin with the same word, a network that knows the beginning says it there, in silence,
        # and every other word at the place of the one before. This one cannot tell a beginning from a pause.
        network.margin = depth * (SHORT // 2) + 1
    return network


def surprise(heard: Heard, target: Tensor, usual: float) -> Tensor:
    """How little was expected what was said: the loss of connectionist temporal classification, for an example of
    `usual` symbols.

    target: (batch, longest) symbols, zeros behind. A text too long for its recording has no loss.
    """
    told, lengths = heard.log_probs.transpose(0, 1), (target > 0).sum(1)
    total = ctc_loss(told, target, heard.lengths, lengths, BLANK, reduction="sum", zero_infinity=True)
    return total / (max(1.0, usual) * len(target))


@torch.no_grad()
def fit(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Sets the deviation of each band by training recordings; networks without a front stay as they are."""
    if isinstance(network, SpeechNetwork):
        total, frames = torch.zeros_like(network.front.deviation[:, 0]), 0
        for inputs in batches:
            values, lengths = network.front.levelled(inputs)
            total, frames = total + values.square().sum((0, 2)), frames + int(lengths.sum())
        network.front.deviation.copy_((total / max(1, frames)).sqrt().clamp(min=1e-3)[:, None])


def in_parts(network: nn.Module, inputs: Tensor, second: float) -> Heard:
    """What the network hears in a batch; where there are long recordings in it, one by one, and those in pieces.

    second: rows of the input in one. Answers do not depend on what is heard together.
    """
    if not isinstance(network, SpeechNetwork) or inputs.shape[1] <= LONGEST * second:
        told: Heard = network(inputs)
        return told
    found: Heard = joined([_one(network, each[None], second) for each in inputs])
    return found


def _one(network: SpeechNetwork, recording: Tensor, second: float) -> Heard:
    """One recording (1, rows, ...) of any length."""
    there = recording[:, : int(ends(recording if recording.dim() == 2 else recording.abs().sum(2)))]
    if there.shape[1] <= LONGEST * second:
        heard: Heard = network(there)
        return heard
    return unsearched(*stitched(network, there, network.stride, second))


def searched(
    heard: Heard, network: nn.Module, symbols: Sequence[str], language: str, beams: int, second: float
) -> Heard:
    """The words in what was heard: the likeliest symbols of a network that still learns, then the best of beams.

    language: a model of which words are likely, as `ngram_language.learn` writes it, or "". second: frames of one.
    """
    if not isinstance(network, SpeechNetwork):
        return greedy(heard.log_probs, heard.lengths)
    search, told = Search.of(network.search, beams), parted(heard.log_probs, heard.lengths, symbols, PAUSE * second)
    if search.beams == 1:
        found = greedy(told, heard.lengths)
    else:
        found = beam_search(told, heard.lengths, symbols, Language.of(language) if language else None, search)
    return found._replace(log_probs=heard.log_probs)


@torch.no_grad()
def settle(network: nn.Module, settled: bool) -> None:
    """Say whether the network has learned: only then are words looked for with beams."""
    if isinstance(network, SpeechNetwork):
        network.search.copy_(torch.tensor(Search(weight=USUAL).numbers() if settled else [0.0] * KEPT))
