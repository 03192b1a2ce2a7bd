"""The spectrogram against its formula, the networks against their promises."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from matinee.core.errors import SettingsError
from matinee.nets.log_mel import Hidden, LogMel, MelShape, mel_filters
from matinee.nets.sound_choices import NAMES, SoundShape
from matinee.nets.sounds import SoundNetwork, Training, build, fit, heard, saliency

SHAPE = SoundShape(4000, 800, 16, 3)


def test_the_spectrogram_is_that_of_the_formula() -> None:
    shape = MelShape(1000, 6, 0.032, 0.016, low=0.0)
    wave = np.random.default_rng(0).normal(0, 0.3, 200)
    window = np.array([0.5 - 0.5 * math.cos(2 * math.pi * n / 32) for n in range(32)])
    lines, filters = shape.lines, mel_filters(shape)
    padded = np.concatenate([np.zeros(lines // 2), wave, np.zeros(lines // 2)])
    wanted = np.empty((6, 1 + 200 // 16))
    for frame in range(wanted.shape[1]):
        # The frame stands in the middle of the transform's samples.
        part = padded[frame * 16 : frame * 16 + lines][(lines - 32) // 2 : (lines + 32) // 2] * window
        turns = np.exp(-2j * np.pi * np.outer(np.arange(lines // 2 + 1), np.arange(32)) / lines)
        wanted[:, frame] = np.log(np.maximum(filters @ np.abs(turns @ part) ** 2, 1e-10))
    found = LogMel(shape)(torch.tensor(wave, dtype=torch.float32)[None])[0].numpy()
    assert found.shape == wanted.shape == (6, shape.frames(200))
    assert np.abs(found - wanted).max() < 1e-3


def test_the_mel_filters_are_triangles_between_neighbours() -> None:
    shape = MelShape(16_000, 40)
    filters = mel_filters(shape)
    peaks = filters.argmax(1) * shape.rate / shape.lines
    # 1000 mel are 1000 Hz, and the 40 bands lie evenly from 31.7 mel (20 Hz) to 2840 mel (8000 Hz).
    mels = 2595 * np.log10(1 + peaks / 700)
    wanted = np.linspace(31.75, 2840.02, 42)[1:-1]
    assert np.abs(mels - wanted).max() < 20 and (filters.max(1) > 0.7).all() and filters.max() <= 1
    whole = filters.sum(0)[filters[0].argmax() + 1 : filters[-1].argmax()]
    assert np.allclose(whole, 1, atol=1e-5)  # each line between two middles is shared between the two


@pytest.mark.parametrize(("rate", "bands"), [(4000, 64), (8000, 64), (16_000, 128), (48_000, 64)])
def test_every_band_hears_something(rate: int, bands: int) -> None:
    assert (mel_filters(MelShape(rate, bands)).sum(1) > 0).all()


def test_stretches_are_hidden_in_training_only() -> None:
    spectra, layer = torch.ones(50, 20, 30), Hidden(0.3, 0.3)
    kept = layer(spectra)
    assert 0.3 < float(kept.mean()) < 0.95 and not torch.equal(kept[0], kept[1])
    bands, frames = kept.amax(2), kept.amax(1)
    assert torch.equal(kept, bands[:, :, None] * frames[:, None])
    assert torch.equal(layer.eval()(spectra), spectra)


@pytest.mark.parametrize("name", NAMES)
def test_networks_take_any_length_and_forget_loudness(name: str) -> None:
    torch.manual_seed(0)
    network = build(name, SHAPE, size="s").eval()
    waves = torch.randn(4, 800) * 0.1
    with torch.no_grad():
        logits = network(waves)
        assert logits.shape == (4, 3) and logits.dtype == torch.float32
        assert torch.allclose(network(waves * 5), logits, atol=1e-3)
        assert network(waves[:, :300]).shape == (4, 3) and network(torch.zeros(1, 800)).isfinite().all()
        assert isinstance(network, SoundNetwork)
        quick = network.quick(torch.float32)(waves)
    assert torch.allclose(quick, logits, atol=1e-3)


def test_what_is_heard_is_the_mean_over_the_windows() -> None:
    torch.manual_seed(0)
    network = build("cnn", SHAPE, size="s").eval()
    waves = torch.randn(3, 2400) * 0.1
    waves[1, 700:] = 0
    with torch.no_grad():
        found = heard(network, waves, torch.tensor([2400, 700, 1000]), 800)
        assert torch.allclose(found[0], network(waves[0].view(3, 800)).mean(0), atol=1e-5)
        assert torch.allclose(found[1], network(waves[1:2, :800])[0], atol=1e-5)
        assert torch.allclose(found[2], network(torch.stack([waves[2, :800], waves[2, 200:1000]])).mean(0), atol=1e-5)


def test_bands_are_brought_to_mean_0_and_deviation_1() -> None:
    network, waves = build("cnn", SHAPE, size="s"), torch.randn(20, 800)
    assert isinstance(network, SoundNetwork)
    fit(network, waves)
    seen = network.normalise(network.features(waves))
    assert seen.mean((0, 2)).abs().max() < 1e-3 and (seen.std((0, 2)) - 1).abs().max() < 0.02


def test_what_speaks_for_an_answer_is_found_where_it_is() -> None:
    torch.manual_seed(0)
    network = build("linear", SHAPE)
    assert isinstance(network, SoundNetwork)
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.weight[1, 5] = 10.0  # the mean of the sixth band
        network.head.bias[1] = 100.0
    found = saliency(network, torch.randn(2, 800))
    assert found is not None
    weights = found[1].abs().sum(2)
    assert (weights.argmax(1) == 5).all() and torch.allclose(weights.sum(1), weights[:, 5])
    assert saliency(build("constant", SHAPE), torch.randn(2, 800)) is None


def test_unknown_networks_are_refused() -> None:
    with pytest.raises(SettingsError, match="networks for sounds"):
        build("lstm", SHAPE, training=Training())
