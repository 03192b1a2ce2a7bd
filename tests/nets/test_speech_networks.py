"""Networks that hear speech: what lies behind a recording changes nothing, what is varied keeps what is said."""

from __future__ import annotations

import pytest
import torch

from matinee.nets.heard import BLANK
from matinee.nets.speech import Always, SpeechNetwork, Training, build, fit, in_parts, settle, surprise
from matinee.nets.speech_front import SpeechShape, Varied, back_from_cepstra, hidden_moments, raised, stretched

SOUNDS = SpeechShape(4000, 0, False, 16, 6)
FRAMES = SpeechShape(0, 13, True, 24, 6)


def network(name: str, shape: SpeechShape) -> SpeechNetwork:
    torch.manual_seed(0)
    made = build(name, shape, "s", Training(Varied(0.1, 0.1, 0.2), 0.1))
    assert isinstance(made, SpeechNetwork)
    return made.eval()


@pytest.mark.parametrize("name", ["linear", "cnn", "lstm", "conformer"])
@pytest.mark.parametrize("shape", [SOUNDS, FRAMES])
def test_what_lies_behind_a_recording_changes_nothing(name: str, shape: SpeechShape) -> None:
    made = network(name, shape)
    inputs = torch.randn((2, 3000) if shape.rate else (2, 90, 13))
    inputs[1, inputs.shape[1] // 2 :] = 0
    with torch.no_grad():
        together = made(inputs)
        alone = made(inputs[1:, : inputs.shape[1] // 2])
        wider = made(torch.nn.functional.pad(inputs, (0, 500) if shape.rate else (0, 0, 0, 40)))
    assert together.lengths.tolist() == wider.lengths.tolist() and together.lengths[1] == alone.lengths[0]
    short = int(alone.lengths[0])
    assert torch.allclose(together.log_probs[1, :short], alone.log_probs[0, :short], atol=1e-4)
    assert torch.allclose(together.log_probs[0], wider.log_probs[0, : together.log_probs.shape[1]], atol=1e-4)
    assert torch.allclose(together.log_probs.exp().sum(-1), torch.ones(2, together.log_probs.shape[1]), atol=1e-4)
    parts = in_parts(made, inputs, 1000.0)
    assert torch.allclose(parts.log_probs[1, :short], alone.log_probs[0, :short], atol=1e-4)


def test_what_is_heard_in_training_can_be_learned_from() -> None:
    made = network("conformer", FRAMES).train()
    inputs, target = torch.randn(3, 80, 13), torch.tensor([[1, 2, 2, 0], [3, 0, 0, 0], [1] * 4])
    fit(made, [inputs[:1], inputs[1:]])
    loss = surprise(made(inputs), target, 3.0)
    loss.backward()
    assert torch.isfinite(loss) and all(p.grad is not None for p in made.parameters())
    long = surprise(made(inputs[:, :8]), torch.ones(3, 30, dtype=torch.int64), 3.0)
    assert float(long.detach()) == 0.0  # a text too long for its recording teaches nothing, and breaks nothing


def test_recordings_become_longer_and_shorter_and_keep_their_bands() -> None:
    torch.manual_seed(0)
    ramp = torch.linspace(0, 1, 100).repeat(50, 4, 1)
    found, lengths = stretched(ramp, torch.full((50,), 100), 0.2)
    assert 83 <= lengths.min() < 90 and 112 < lengths.max() <= 120
    last = found.gather(2, (lengths - 1)[:, None, None].expand(50, 4, 1))
    assert (last > 0.95).all() and found.shape[2] == lengths.max()
    peak = torch.zeros(50, 40, 1)
    peak[:, 20] = 1.0
    moved = raised(peak, 0.2).argmax(1)
    assert moved.min() < 19 and moved.max() > 21
    hidden = hidden_moments(torch.ones(50, 4, 200), torch.full((50,), 200), 0.2)
    assert 0.7 < float(hidden.mean()) < 0.95


def test_cepstra_become_the_spectrum_they_describe() -> None:
    bands = torch.randn(24)
    places = torch.arange(24) + 0.5
    cepstra = torch.stack([(bands * torch.cos(torch.pi / 24 * k * places)).mean() for k in range(24)])
    assert torch.allclose(back_from_cepstra(24, 24) @ cepstra, bands, atol=1e-4)


def test_the_commonest_text_is_always_said() -> None:
    made = Always(3, 6)
    made.numbers.copy_(torch.tensor([2, 2, 5]))
    heard = made(torch.randn(2, 100))
    path = heard.log_probs[1].argmax(-1)
    assert [n for n in path.unique_consecutive().tolist() if n != BLANK] == [2, 2, 5]


def test_words_are_looked_for_once_it_has_learned() -> None:
    made = network("lstm", SOUNDS)
    assert not made.search.any()
    settle(made, True)
    assert made.search[0] == 1


def test_a_long_recording_is_heard_in_pieces() -> None:
    made = network("linear", FRAMES)
    long, short = torch.randn(1, 3 * 3100, 13), torch.randn(1, 100, 13)
    both = torch.cat([long, torch.nn.functional.pad(short, (0, 0, 0, long.shape[1] - 100))])
    with torch.no_grad():
        heard, alone = in_parts(made, both, 100.0), made(short)
    assert heard.lengths.tolist() == [9300 // 4, 25]
    assert torch.allclose(heard.log_probs[1, :25], alone.log_probs[0], atol=1e-5)


@pytest.mark.parametrize("shape", [SOUNDS, FRAMES])
def test_a_saved_network_lacks_nothing(shape: SpeechShape) -> None:
    """A bundle's network is built without memory and then filled: what no file holds would stay empty."""
    with torch.device("meta"):
        made = build("conformer", shape, "s", Training(Varied()))
    assert {name for name, _ in made.named_buffers()} <= made.state_dict().keys()
