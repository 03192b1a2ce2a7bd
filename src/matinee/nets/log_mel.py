"""What is heard when, and how high: the log-mel spectrogram of a sound as layers of a network, and hiding parts of it.

    features = LogMel(MelShape(rate=16_000))
    features(waves)                      # (batch, samples) -> (batch, bands, frames), natural logarithm of the power

Nothing in them is trained. They compute in float32 whatever the number format around them: the power of quiet sounds
is small against that of loud ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

FLOOR: Final = 1e-10
"""The least power that is told from silence, 100 dB below a band at full scale."""
FINEST: Final = 16.0
"""Hertz between two lines of the spectrum, at most: the lowest mel bands are hardly wider."""


@dataclass(frozen=True)
class MelShape:
    """rate: samples a second. bands: mel bands from `low` Hz to half the rate. frame, hop: seconds."""

    rate: int
    bands: int = 64
    frame: float = 0.025
    hop: float = 0.01
    low: float = 20.0

    @property
    def frame_samples(self) -> int:
        """Samples that one frame looks at."""
        return max(2, round(self.frame * self.rate))

    @property
    def hop_samples(self) -> int:
        """Samples from one frame to the next."""
        return max(1, round(self.hop * self.rate))

    @property
    def lines(self) -> int:
        """Samples of the Fourier transform, a power of two: the frame, zeros behind it."""
        return 1 << math.ceil(math.log2(max(self.frame_samples, self.rate / FINEST)))

    def frames(self, samples: int) -> int:
        """How many frames so many samples have."""
        return 1 + samples // self.hop_samples


def mel(hertz: float) -> float:
    """The mel scale of O'Shaughnessy (1987), as in the HTK book."""
    return 2595.0 * math.log10(1.0 + hertz / 700.0)


def mel_filters(shape: MelShape) -> np.ndarray[Any, Any]:
    """float32 (bands, lines / 2 + 1): triangles of height 1, evenly spaced on the mel scale, each from the middle of
    the one below to the middle of the one above (Davis and Mermelstein, 1980)."""
    edges = np.linspace(mel(shape.low), mel(shape.rate / 2), shape.bands + 2)
    hertz = 700.0 * (10.0 ** (edges / 2595.0) - 1.0)
    lines = np.arange(shape.lines // 2 + 1) * (shape.rate / shape.lines)
    up = (lines - hertz[:-2, None]) / (hertz[1:-1] - hertz[:-2])[:, None]
    down = (hertz[2:, None] - lines) / (hertz[2:] - hertz[1:-1])[:, None]
    return np.maximum(0.0, np.minimum(up, down)).astype(np.float32)


class LogMel(nn.Module):
    """Waves (batch, samples) -> (batch, bands, frames) float32: the logarithm of the power in each band.

    Frames are weighed by a Hann window and centred at multiples of the hop; before and behind the wave is silence.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, shape: MelShape) -> None:
        super().__init__()
        self.shape = shape
        turns = 2 * np.pi * np.arange(shape.frame_samples) / shape.frame_samples
        self.register_buffer("window", torch.tensor((0.5 - 0.5 * np.cos(turns)).astype(np.float32)))
        self.register_buffer("filters", torch.tensor(mel_filters(shape)))

    def forward(self, waves: Tensor) -> Tensor:
        with torch.autocast(waves.device.type, enabled=False):
            spectra = torch.stft(
                waves.float(),
                self.shape.lines,
                self.shape.hop_samples,
                self.shape.frame_samples,
                self.window,
                center=True,
                pad_mode="constant",
                return_complex=True,
            )
            power = spectra.real.square() + spectra.imag.square()
            found: Tensor = (self.filters @ power).clamp_min(FLOOR).log()
            return found


class Hidden(nn.Module):
    """In training, stretches of bands and of frames of each spectrogram (batch, bands, frames) become zero.

    SpecAugment without the warping (Park et al., 2019, arXiv 1904.08779). bands, frames: the widest stretch, as a share
    of all; `times` of each.
    """

    def __init__(self, bands: float, frames: float, times: int = 2) -> None:
        super().__init__()
        self.bands, self.frames, self.times = bands, frames, times

    def forward(self, spectra: Tensor) -> Tensor:
        if not self.training or not (self.bands or self.frames):
            return spectra
        kept = self._kept(spectra, self.bands, 1)[:, :, None] & self._kept(spectra, self.frames, 2)[:, None, :]
        return spectra * kept

    def _kept(self, spectra: Tensor, share: float, axis: int) -> Tensor:
        """bool (batch, places along the axis): what is not hidden."""
        length, device = spectra.shape[axis], spectra.device
        width, start = torch.rand(2, len(spectra), self.times, 1, device=device)
        width = width * (share * length)
        start = start * (length - width)
        place = torch.arange(length, device=device) + 0.5
        kept: Tensor = ((place < start) | (place >= start + width)).all(1)
        return kept
