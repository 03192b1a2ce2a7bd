"""From recordings of speech to frames that a network reads: spectra, and what is varied and hidden in training.

Sounds become log-mel spectra, features that were computed elsewhere stay what they are; cepstra are turned back into
the spectra that they describe. From here on both are varied alike, in time and in pitch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool1d

from matinee.nets.log_mel import Hidden, LogMel, MelShape

RANGE: Final = 18.4
"""Nepers of power, 80 dB: what is quieter than the loudest moment of a recording by more is taken for silence."""
STRETCHES: Final = 2  # of bands that are hidden
SIDE: Final = 32  # moments and bands of a thumbnail, at most
AT_ONCE: Final = 60.0  # seconds of sound whose spectra are computed together: their lines take ten times its room
WIDEST: Final = 25  # frames that one hidden moment has at most: a quarter of a second, hardly a word


@dataclass(frozen=True)
class SpeechShape:
    """What goes in and comes out.

    rate: samples a second, 0 where frames are given. channels: numbers of a given frame. cepstra: whether they are
    cepstra. bands: of the spectra. symbols: with the blank.
    """

    rate: int
    channels: int
    cepstra: bool
    bands: int
    symbols: int

    @property
    def rows(self) -> int:
        """Bands of what the network reads; of cepstra no more than they can tell apart."""
        return self.bands if self.rate else min(self.bands, 2 * self.channels) if self.cepstra else self.channels

    @property
    def hop(self) -> int:
        """Rows of the input that a frame is: samples, or 1."""
        return MelShape(self.rate, self.bands).hop_samples if self.rate else 1


@dataclass(frozen=True)
class Varied:
    """speed: share by which a recording is played faster or slower. pitch: share by which a voice is made higher or
    lower. hide: share of the bands that a stretch of them hides at most, and of the frames that are hidden together."""

    speed: float = 0.0
    pitch: float = 0.0
    hide: float = 0.0


class Front(nn.Module):
    """Waves (batch, samples) or frames (batch, frames, channels), zeros behind -> (batch, bands, frames), lengths.

    Of each recording every band has mean 0, so that neither room nor microphone matters (Furui, 1981); its deviation
    is that of the training recordings, a buffer.
    """

    deviation: Tensor

    def __init__(self, shape: SpeechShape, varied: Varied) -> None:
        super().__init__()
        self.shape, self.varied = shape, varied
        if shape.rate:
            self.spectra = LogMel(MelShape(shape.rate, shape.bands))
        self.register_buffer("deviation", torch.ones(shape.rows, 1))
        self.hide = Hidden(varied.hide, 0.0, STRETCHES)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        values, lengths = self.levelled(inputs)
        values = values / self.deviation
        if self.training:
            values, lengths = stretched(values, lengths, self.varied.speed)
            values = hidden_moments(self.hide(raised(values, self.varied.pitch)), lengths, self.varied.hide)
        return values, lengths

    def levelled(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Spectra whose bands have mean 0 over the real frames, zeros behind them."""
        values, lengths = self.spectral(inputs)
        there = within(lengths, values.shape[2])[:, None]
        mean = (values * there).sum(2, keepdim=True) / lengths[:, None, None].clamp(min=1)
        return (values - mean) * there, lengths

    def spectral(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Spectra as they are, and the frames of each."""
        if self.shape.rate:
            lengths = ends(inputs)
            inputs = inputs[:, : int(lengths.max())]
            some = max(1, int(AT_ONCE * self.shape.rate) // inputs.shape[1])
            values = torch.cat([self.spectra(part) for part in torch.split(inputs, some)])
            values = (values - values.amax((1, 2), keepdim=True)).clamp_min(-RANGE)
            return values, torch.div(lengths, self.shape.hop, rounding_mode="floor") + 1
        lengths = ends(inputs.abs().sum(2))
        values = inputs[:, : int(lengths.max())].float().transpose(1, 2)
        if self.shape.cepstra:  # no buffer that a bundle would lack: one built without memory would stay empty
            values = back_from_cepstra(self.shape.channels, self.shape.rows).to(values) @ values
        return values, lengths


def spectra_of(inputs: Tensor, shape: SpeechShape) -> tuple[Tensor, Tensor]:
    """What recordings (batch, ...) look like, (batch, bands, frames), and the frames of each, on the processor."""
    with torch.inference_mode():
        return Front(shape, Varied()).spectral(inputs.float().cpu())


def prints_of(inputs: Tensor, shape: SpeechShape) -> Tensor:
    """Thumbnails of whole recordings, unit vectors (batch, SIDE x SIDE), however long they are: power less its mean."""
    values, lengths = spectra_of(inputs, shape)
    small = [
        adaptive_avg_pool1d(value[None, :, :length], SIDE)[0]
        for value, length in zip(values, lengths.tolist(), strict=True)
    ]
    flat = adaptive_avg_pool1d(torch.stack(small).transpose(1, 2), min(SIDE, values.shape[1])).flatten(1)
    flat = flat - flat.mean(1, keepdim=True)
    units: Tensor = flat / flat.norm(dim=1, keepdim=True).clamp(min=1e-6)
    return units


def mirrored(values: Tensor, lengths: Tensor, frames: int) -> tuple[Tensor, Tensor]:
    """Recordings (batch, bands, frames) with so many frames before them, as if they had been heard backwards.

    Not the first two, which see the silence before: so nothing tells where a recording begins.
    """
    if not frames:
        return values, lengths
    place = torch.arange(frames + 1, 1, -1, device=values.device)
    place = torch.minimum(place, lengths[:, None] - 1)[:, None].expand(-1, values.shape[1], -1)
    before = values.gather(2, place)
    found = torch.cat([before, before[:, :, -1:], before[:, :, -1:], values[:, :, 2:]], 2)
    return found, lengths + frames


def ends(rows: Tensor) -> Tensor:
    """int64 (batch,): how many of the rows (batch, rows) there are up to the last that is not zero; at least 1."""
    there = rows != 0
    behind = there.flip(1).int().argmax(1)
    return torch.where(there.any(1), there.shape[1] - behind, 1)


def within(lengths: Tensor, longest: int) -> Tensor:
    """bool (batch, longest): the places before the end of each."""
    there: Tensor = torch.arange(longest, device=lengths.device) < lengths[:, None]
    return there


def back_from_cepstra(count: int, bands: int) -> Tensor:
    """float32 (bands, count): the inverse of the cosine transform of so many bands, of which `count` were kept.

    Scaled as for cepstra that are means over the bands (Davis and Mermelstein, 1980); other scales only make bands
    louder, which their deviation takes away.
    """
    order, band = torch.arange(count, dtype=torch.float32), torch.arange(bands, dtype=torch.float32) + 0.5
    weights = torch.cat([torch.ones(1), torch.full((count - 1,), 2.0)])
    return torch.cos(math.pi / bands * band[:, None] * order) * weights


def stretched(values: Tensor, lengths: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Each recording (batch, bands, frames) faster or slower by up to a share, and how long it is then.

    Speed perturbation (Ko et al., 2015) of frames: values between two frames are drawn from both.
    """
    if not share:
        return values, lengths
    speed = torch.exp((2 * torch.rand(len(values), device=values.device) - 1) * math.log1p(share))
    found = (lengths / speed).round().long().clamp(min=1)
    place = torch.arange(int(found.max()), device=values.device) * speed[:, None]
    place = torch.minimum(place, (lengths - 1)[:, None].float())
    left = place.floor()
    right = torch.minimum(left + 1, (lengths - 1)[:, None].float())
    part = (place - left)[:, None].to(values.dtype)
    shape = (-1, values.shape[1], -1)
    first, second = (values.gather(2, at.long()[:, None].expand(shape)) for at in (left, right))
    return torch.lerp(first, second, part) * within(found, place.shape[1])[:, None], found


def raised(values: Tensor, share: float) -> Tensor:
    """Each voice (batch, bands, frames) higher or lower by up to a share: its bands drawn apart or together.

    Vocal tract length perturbation (Jaitly and Hinton, 2013), on the bands themselves.
    """
    if not share:
        return values
    bands = values.shape[1]
    factor = torch.exp((2 * torch.rand(len(values), 1, device=values.device) - 1) * math.log1p(share))
    place = (torch.arange(bands, device=values.device) * factor).clamp(max=bands - 1)
    left = place.floor()
    right = (left + 1).clamp(max=bands - 1)
    both = torch.zeros(len(values), bands, bands, device=values.device)
    part = (place - left)[..., None]
    both.scatter_add_(2, left.long()[..., None], 1 - part).scatter_add_(2, right.long()[..., None], part)
    return both.to(values.dtype) @ values


def hidden_moments(values: Tensor, lengths: Tensor, share: float) -> Tensor:
    """Moments of each recording set to zero, none longer than WIDEST, up to a share of it in all.

    The masks in time of SpecAugment (Park et al., 2019), as many as the recording is long (Park et al., 2020).
    """
    if not share:
        return values
    times = max(1, round(share * values.shape[2] / WIDEST * 2))
    width, start = torch.rand(2, len(values), times, 1, device=values.device)
    # Drawn for the longest; a shorter recording has fewer of them, for the others begin behind its end.
    width = width * min(WIDEST, values.shape[2])
    start = start * (values.shape[2] - width)
    place = torch.arange(values.shape[2], device=values.device) + 0.5
    kept = ((place < start) | (place >= start + width)).all(1)
    found: Tensor = values * kept[:, None]
    return found
