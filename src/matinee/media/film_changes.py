"""Varying whole batches of films: every frame of a clip in the same way, as a camera that moves would see it."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from matinee.core.moment import Moment
from matinee.media.augment import Policy, augment
from matinee.media.thumbnails import ENOUGH, Array, mirror_safe


def vary(films: Tensor, policy: Policy, window: float, moment: Moment, flips: Tensor | None = None) -> Tensor:
    """Films (N, clips, frames, C, H, W), pixels 0 to 1 -> one clip of each, varied, (N, 1, frames, C, H, W).

    window: share of the frames of the clip that come back, from a random one on. flips (N,) bool: which are mirrored.
    """
    clips = _cut(films, window, moment)
    count, frames, channels, height, width = clips.shape
    shape = dataclasses.replace(policy, colour=0.0)  # which is told apart by channels: here they are frames as well
    varied = augment(clips.reshape(count, frames * channels, height, width), shape, moment, flips)
    if policy.colour:
        varied = _recolour(varied, policy.colour, moment)
    return varied.view(count, 1, frames, channels, height, width)


def mirror_safe_films(films: Array, rows: Array, labels: Array) -> bool:
    """Whether a film, uint8 (n, frames, h, w, c), keeps its label when it is mirrored, as far as can be told.

    As for pictures (media/thumbnails.py), with the first, middle and last frames one above the other, so that a
    movement to the left is told from one to the right.
    """
    order = np.random.default_rng(0).permutation(len(rows))[:ENOUGH]
    chosen = rows[order]
    last = films.shape[1] - 1
    above = np.concatenate([films[chosen, place] for place in (0, last // 2, last)], 1)
    return mirror_safe(above, np.arange(len(chosen)), labels[order])


def _cut(films: Tensor, window: float, moment: Moment) -> Tensor:
    """One clip of each film, and of that a part: (N, frames, C, H, W)."""
    count, clips, frames = films.shape[:3]
    every = torch.arange(count, device=films.device)
    chosen = films[:, 0]
    if clips > 1:
        chosen = films[every, (moment.uniform("clip", count, device=films.device) * clips).long()]
    kept = max(1, round(window * frames))
    if kept == frames:
        return chosen
    first = (moment.uniform("window", count, device=films.device) * (frames - kept + 1)).long()
    return chosen[every[:, None], first[:, None] + torch.arange(kept, device=films.device)]


def _recolour(pictures: Tensor, share: float, moment: Moment) -> Tensor:
    """Brightness and contrast, each by a factor from 1 - share to 1 + share: alike in all frames of a clip."""
    factors = 1 + (moment.uniform("colour", len(pictures), 2, device=pictures.device) * 2 - 1) * share
    brightness, contrast = factors.to(pictures.dtype)[:, :, None, None, None].unbind(1)
    mean = pictures.mean((1, 2, 3), keepdim=True)
    return torch.addcmul(mean * (brightness - contrast), pictures, contrast).clamp_(0, 1)
