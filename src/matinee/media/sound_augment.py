"""Varying whole batches of sounds: tensor work on the batch's own device, no Python per sound.

The same moment gives the same sounds. A policy that asks for nothing draws nothing.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from matinee.core.moment import Moment

FULL: Final = 0.75
"""Sounds that fill so much of the window are moved round in a circle; shorter ones lie anywhere in it."""
QUIETEST: Final = 0.03
"""Share of the loudest noise that the quietest has."""
_NOISE: Final = 1 << 18
_SILENCE: Final = 1e-8


@dataclass(frozen=True)
class SoundPolicy:
    """How far sounds are varied; the default is not at all, but for where in the window they lie.

    place: whether they are moved. speed: share by which they are played faster or slower, which moves their tones too.
    tilt: how far low tones are favoured over high ones or the other way, 0 to 0.9. noise: white noise at most so loud,
    as a share of the sound's own loudness.
    """

    place: bool = True
    speed: float = 0.0
    tilt: float = 0.0
    noise: float = 0.0


def lengths_of(waves: Tensor) -> Tensor:
    """int64 (batch,): how many samples each wave (batch, samples) has before the silence behind it, at least 1."""
    there = waves != 0
    behind = there.flip(1).int().argmax(1)
    return torch.where(there.any(1), waves.shape[1] - behind, 1)


def augment(waves: Tensor, window: int, policy: SoundPolicy, moment: Moment) -> Tensor:
    """Waves (batch, samples), zeros behind the shorter ones -> (batch, window): moved, sped up, tilted, with noise."""
    varied = waves
    if policy.place or policy.speed or waves.shape[1] != window:
        varied = _moved(waves, window, policy, moment)
    if policy.tilt:
        share = (2 * moment.uniform("tilt", len(waves), 1, device=waves.device) - 1) * policy.tilt
        # A filter of two taps: what is added of the sample before favours low tones, what is taken off high ones.
        varied = torch.cat([varied[:, :1], varied[:, 1:] + share * varied[:, :-1]], 1)
    if policy.noise:
        varied = _noisy(varied, policy.noise, moment)
    return varied


def _moved(waves: Tensor, window: int, policy: SoundPolicy, moment: Moment) -> Tensor:
    """Placing, cutting and speed in one resampling: every sample comes from between two neighbours."""
    device, length = waves.device, lengths_of(waves)[:, None].float()
    drawn = moment.uniform("place", len(waves), 2, device=device)
    speed = torch.exp((2 * drawn[:, 1:] - 1) * math.log1p(policy.speed))
    room = window - length / speed
    start = (drawn[:, :1] if policy.place else 0.5) * room
    full = (room < (1 - FULL) * window) & (room > -0.25 * window)
    # A full window has nowhere to go: it is turned round, from anywhere.
    start = torch.where(full, drawn[:, :1] * length if policy.place else torch.zeros_like(length), start)
    place = (torch.arange(window, device=device) - start) * speed
    place = torch.where(full, place.remainder(length), place)
    within = (place >= 0) & (place <= length - 1)
    place = torch.minimum(place.clamp(min=0), length - 1)
    before = place.floor()
    share = (place - before).to(waves.dtype)
    left = before.long()
    right = torch.minimum(left + 1, (length - 1).long())
    found = torch.lerp(waves.gather(1, left), waves.gather(1, right), share)
    return torch.where(within | full, found, 0.0)


def _noisy(waves: Tensor, most: float, moment: Moment) -> Tensor:
    """White noise, of each loudness in decibels as likely as another, up to a share of the wave's own."""
    drawn = moment.uniform("noise", len(waves), 2, device=waves.device)
    loud = most * QUIETEST ** drawn[:, :1] * waves.square().mean(1, keepdim=True).sqrt()
    noise = _white(waves.device)
    # Drawing fresh numbers for every sample would take longer than all else: each wave takes a stretch of the same.
    noise = noise.repeat(1 + -(-waves.shape[1] // len(noise)))
    starts = (drawn[:, 1] * (len(noise) - waves.shape[1])).long()
    return waves + loud * noise.unfold(0, waves.shape[1], 1)[starts]


@functools.cache
@torch.inference_mode(False)
def _white(device: torch.device) -> Tensor:
    """float32 (2^18,) of deviation 1, always the same; copied there once."""
    return torch.from_numpy(np.random.default_rng(0).standard_normal(_NOISE, np.float32)).to(device)


def mix(waves: Tensor, targets: Tensor, classes: int, share: float, moment: Moment) -> tuple[Tensor, Tensor]:
    """Mixes some of the sounds with their neighbour in the batch, heard as loud as a part that is drawn anew for each.

    waves (batch, samples), targets (batch,) class numbers; the mixed ones come back as probabilities (batch, classes).
    Between-class learning (Tokozume et al., 2017, arXiv 1711.10282): what is heard of each sound, not its amplitude, is
    its share. Both of a pair are mixed, each by a share of its own; a sound keeps at least half of itself.
    """
    count, device = len(waves), waves.device
    certain = torch.nn.functional.one_hot(targets, classes).to(waves.dtype)
    place = torch.arange(count, device=device)
    # Pairs by their place in the whole batch, so that they are the same where it is spread over processes.
    partner = ((place + moment.first) ^ 1) - moment.first
    partner = torch.where((partner >= 0) & (partner < count), partner, place)
    drawn = moment.uniform("mix", count, 2, device=device)
    own = torch.where(drawn[:, :1] < share, 1 - drawn[:, 1:] / 2, 1.0)
    loud = waves.square().mean(1, keepdim=True).add(_SILENCE).sqrt()
    part = 1 / (1 + loud / loud[partner] * (1 - own) / own)
    mixed = part * waves + (1 - part) * waves[partner]
    mixed = mixed / (part.square() + (1 - part).square()).sqrt()
    return mixed, torch.lerp(certain[partner], certain, own)
