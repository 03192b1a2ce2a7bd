"""Networks for sounds, by name: `build("cnn", SoundShape(16_000, 80_000, 64, 10))`.

Every network takes waves (batch, samples) from -1 to 1 and answers float32 logits (batch, classes). Its parts are
`features` (the log-mel spectrogram), `normalise` (mean and deviation of each band, buffers), `hide` (what is hidden in
training), `trunk` and `head`. A wave may be longer or shorter than the window that the network was built for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from matinee.core.quick import Quick
from matinee.nets.linear_solvers import Problem, solve
from matinee.nets.log_mel import Hidden, LogMel, MelShape
from matinee.nets.pictures import Constant
from matinee.nets.sequences import Block, rotations
from matinee.nets.sound_choices import SoundShape, check

RANGE: Final = 18.4
"""Nepers of power, 80 dB: what is quieter than the loudest moment of a window by more is taken for silence."""
WIDTHS: Final = {"s": (16, 32, 64, 128), "m": (32, 64, 128, 256), "l": (64, 128, 256, 512)}
"""Channels of the four groups of `cnn`."""
LAYERS: Final = {"s": (128, 3), "m": (192, 4), "l": (256, 6)}
"""Units and layers of `attention`."""
HEAD: Final = 32  # units of one head of attention


@dataclass(frozen=True)
class Training:
    """dropout: share of units. hide: share of bands and of frames that a stretch in training hides at most."""

    dropout: float = 0.0
    hide: float = 0.0


class Normalise(nn.Module):
    """(batch, bands, frames) log power -> how loud against the loudest moment, about mean 0 and deviation 1 a band."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((bands, 1), -RANGE / 2))
        self.register_buffer("deviation", torch.full((bands, 1), RANGE / 4))

    def relative(self, spectra: Tensor) -> Tensor:
        """Against the loudest moment, from -RANGE to 0: how near the microphone was does not matter."""
        return (spectra - spectra.amax((1, 2), keepdim=True)).clamp_min(-RANGE)

    def forward(self, spectra: Tensor) -> Tensor:
        return (self.relative(spectra) - self.mean) / self.deviation


class SoundNetwork(Quick):
    """Waves (batch, samples) -> float32 logits (batch, classes)."""

    def __init__(self, features: LogMel, trunk: nn.Sequential, head: nn.Linear, training: Training) -> None:
        super().__init__()
        self.features = features
        self.normalise = Normalise(features.shape.bands)
        self.hide = Hidden(training.hide, training.hide)
        self.trunk = trunk
        self.dropout = nn.Dropout(training.dropout)
        self.head = head
        # Confidence is set here, after the last product, so that calibrating moves no answer.
        self.head.register_buffer("sharpness", torch.ones(()))

    def forward(self, waves: Tensor) -> Tensor:
        return self.judged(self.normalise(self.features(waves)))

    def judged(self, spectra: Tensor) -> Tensor:
        """Logits of normalised spectrograms (batch, bands, frames)."""
        logits: Tensor = self.head(self.dropout(self.trunk(self.hide(spectra)))).float()
        return logits * self.head.get_buffer("sharpness")

    def quick(self, precision: torch.dtype) -> nn.Module:
        from matinee.nets.ready import ready

        return ready(self, precision)


class Summaries(nn.Module):
    """(batch, bands, frames) -> (batch, 3 bands): mean, deviation and maximum of each band over time."""

    def forward(self, spectra: Tensor) -> Tensor:
        return torch.cat([spectra.mean(2), spectra.std(2, unbiased=False), spectra.amax(2)], 1)


class Convolutions(nn.Module):
    """(batch, bands, frames) -> (batch, widths[-1]): four groups of 3 x 3 convolutions, each but the last halving both
    sides; the mean over the bands, then the mean and the maximum over time together.

    After "PANNs" (Kong et al., 2019, arXiv 1912.10211), narrower, with one convolution where the map is large.
    """

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 1
        for place, width in enumerate(widths):
            layers += _normalised(inputs, width)
            if place > 1:
                layers += _normalised(width, width)
            if place < len(widths) - 1:
                layers.append(nn.MaxPool2d(2, ceil_mode=True))
            inputs = width
        self.layers = nn.Sequential(*layers)

    def forward(self, spectra: Tensor) -> Tensor:
        found = self.layers(spectra[:, None]).mean(2)
        pooled: Tensor = found.mean(2) + found.amax(2)
        return pooled


def _normalised(inputs: int, outputs: int) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]


class Attention(nn.Module):
    """(batch, bands, frames) -> (batch, 2 units): two strided convolutions, then layers of attention over time with
    rotary places; the mean and the maximum over time.

    After "AST" (Gong et al., 2021, arXiv 2104.01778), whose patches would need far more examples than a folder has.
    """

    def __init__(self, bands: int, units: int, layers: int, share: float) -> None:
        super().__init__()
        channels = units // 4
        first, second = nn.Conv2d(1, channels, 3, 2, 1), nn.Conv2d(channels, channels, 3, 2, 1)
        self.stem = nn.Sequential(first, nn.ReLU(), second, nn.ReLU())
        self.into = nn.Linear(channels * -(-bands // 4), units)
        self.blocks = nn.ModuleList(Block(units, units // HEAD, share) for _ in range(layers))
        self.last = nn.LayerNorm(units)

    def forward(self, spectra: Tensor) -> Tensor:
        places = self.stem(spectra[:, None]).flatten(1, 2).transpose(1, 2)
        states, longest = self.into(places), places.shape[1]
        turns = rotations(longest, HEAD, spectra.device)
        everything = torch.ones(1, 1, 1, longest, dtype=torch.bool, device=spectra.device)
        for block in self.blocks:
            states = block(states, everything, turns)
        states = self.last(states)
        return torch.cat([states.mean(1), states.amax(1)], 1)


def build(name: str, shape: SoundShape, *, size: str = "m", training: Training | None = None) -> nn.Module:
    """Builds the network called `name`. Raises SettingsError for an unknown one."""
    if name == "constant":
        return ConstantSound(shape.classes)
    check(name)
    training = training or Training()
    hop = shape.hop
    features = LogMel(MelShape(shape.rate, shape.bands, 2.5 * hop, hop))
    if name == "linear":
        training = Training()
        trunk, numbers = nn.Sequential(Summaries()), 3 * shape.bands
    elif name == "cnn":
        trunk, numbers = nn.Sequential(Convolutions(WIDTHS[size])), WIDTHS[size][-1]
    else:
        units, layers = LAYERS[size]
        trunk, numbers = nn.Sequential(Attention(shape.bands, units, layers, training.dropout)), 2 * units
    return SoundNetwork(features, trunk, nn.Linear(numbers, shape.classes), training)


class ConstantSound(Constant):
    """The same logits (classes,) for every sound."""

    def forward(self, pictures: Tensor) -> Tensor:
        return super().forward(pictures[:, None, None])


AT_ONCE: Final = 64  # windows that go through the network together where sounds have several


def heard(network: nn.Module, waves: Tensor, lengths: Tensor, window: int) -> Tensor:
    """Logits (batch, classes) of waves (batch, samples) of these lengths: the mean over the windows of each.

    The windows of a wave that is longer than one lie evenly, from its beginning to its end, and may overlap.
    """
    if waves.shape[1] <= window:
        logits: Tensor = network(waves)
        return logits
    counts = (-(-lengths // window)).clamp(min=1)
    owner = torch.repeat_interleave(torch.arange(len(waves), device=waves.device), counts)
    number = torch.arange(len(owner), device=waves.device) - (counts.cumsum(0) - counts)[owner]
    room = (lengths - window).clamp(min=0)[owner]
    starts = (room * number) // (counts[owner] - 1).clamp(min=1)
    views = waves.unfold(1, window, 1)
    parts = [
        network(views[owner[first : first + AT_ONCE], starts[first : first + AT_ONCE]])
        for first in range(0, len(owner), AT_ONCE)
    ]
    found = torch.cat(parts)
    total = found.new_zeros(len(waves), found.shape[1]).index_add(0, owner, found)
    return total / counts[:, None]


def saliency(network: nn.Module, waves: Tensor) -> tuple[Tensor, Tensor] | None:
    """Log power (batch, bands, frames) of waves (batch, samples), and how much each place of it spoke for the answer.

    The gradient of the likeliest class's logit, times how far the place is from the average (Shrikumar et al., 2016,
    arXiv 1605.01713). None for a network that looks at no spectrogram.
    """
    if not isinstance(network, SoundNetwork):
        return None
    with torch.inference_mode(False), torch.enable_grad():
        spectra = network.features(waves.clone())
        seen = network.normalise(spectra).detach().requires_grad_()
        logits = network.judged(seen)
        (gradient,) = torch.autograd.grad(logits.amax(1).sum(), seen)
    return spectra.detach(), (gradient * seen).detach()


@torch.no_grad()
def fit(network: nn.Module, waves: Tensor) -> None:
    """Sets mean and deviation of each band by training sounds (sounds, samples); other networks stay as they are."""
    if not isinstance(network, SoundNetwork):
        return
    found = torch.cat([network.normalise.relative(network.features(some)) for some in torch.split(waves, 64)])
    network.normalise.mean.copy_(found.mean((0, 2))[:, None])
    network.normalise.deviation.copy_(found.std((0, 2), unbiased=False).clamp(min=0.1)[:, None])


@torch.no_grad()
def solve_linear(network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Sets the head of `linear` to the softmax regression on training sounds, as it is at its minimum.

    batches: waves (batch, samples) and class numbers (batch,). Features are told in deviations; the penalty is half the
    sum of the squared weights (L2 of 1). Other networks stay as they are.
    """
    if not isinstance(network, SoundNetwork) or not isinstance(network.trunk[0], Summaries):
        return
    found, truths = [], []
    for waves, labels in batches:
        found.append(network.trunk(network.normalise(network.features(waves))).double().cpu())
        truths.append(labels.cpu())
    features, head = torch.cat(found), network.head
    middle, spread = features.mean(0), features.std(0, unbiased=False).clamp(min=1e-3)
    standard, classes = ((features - middle) / spread).numpy(), head.out_features
    problem = Problem(standard, torch.cat(truths).numpy(), np.ones(len(standard)), max(2, classes), l2=1.0)
    solution = solve(problem)
    weight, bias = torch.from_numpy(solution.weight).T, torch.from_numpy(solution.bias)
    if problem.outputs == 1:  # of two classes it gives the log-odds of the second
        weight, bias = torch.cat([-weight / 2, weight / 2])[:classes], torch.cat([-bias / 2, bias / 2])[:classes]
    weight = weight / spread
    head.weight.copy_(weight)
    head.bias.copy_(bias - weight @ middle)
