"""From frames to texts: beams against every path there is, times, how sure words are, what is chosen on examples."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict

import numpy as np
import pytest
import torch

from matinee.nets.ngram_language import Language, learn
from matinee.nets.search_tuning import distance, tuned
from matinee.nets.transcribing import USUAL, Search, beam_search, greedy, n_best
from matinee.nets.transcript_times import over, spell, told, trusted, words_of

SYMBOLS = ("", "a", "b", " ")
Spoken = tuple[torch.Tensor, torch.Tensor]


def noise(frames: int, symbols: int, seed: int, sharp: float = 1.0) -> np.ndarray:
    logits = torch.randn(frames, symbols, generator=torch.Generator().manual_seed(seed)) * sharp
    return logits.log_softmax(-1).numpy()


def every_path(row: np.ndarray) -> dict[tuple[int, ...], float]:
    """The probability of each text: the sum over all paths that say it."""
    found: dict[tuple[int, ...], float] = defaultdict(float)
    for path in itertools.product(range(row.shape[1]), repeat=len(row)):
        text = tuple(n for at, n in enumerate(path) if n and (at == 0 or path[at - 1] != n))
        found[text] += math.exp(sum(row[at, n] for at, n in enumerate(path)))
    return found


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("fused", [False, True])
def test_beams_are_every_path(seed: int, fused: bool) -> None:
    row = noise(5, 4, seed)
    language = Language.of(learn(["ab a", "b ab", "aa b a"])) if fused else None
    search = Search(beams=5000, weight=0.7 if fused else 0.0, bonus=0.4 if fused else 0.0, faint=0.0)
    expected, shares = {}, every_path(row)
    for numbers, share in shares.items():
        text = "".join(SYMBOLS[n] for n in numbers)
        extra = 0.7 * language.log_probability(text) + 0.4 * len(text.split()) if language else 0.0
        expected[numbers] = math.log(share) + extra
    found = n_best(row, SYMBOLS, language, search)
    assert {one.numbers for one in found} == set(expected)
    for one in found:
        assert one.score == pytest.approx(expected[one.numbers], abs=1e-6)
        assert one.heard == pytest.approx(math.log(shares[one.numbers]), abs=1e-6)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    assert n_best(row, SYMBOLS, language, Search(64, search.weight, search.bonus))[0].numbers == found[0].numbers


def said(text: str, symbols: tuple[str, ...] = SYMBOLS, sure: float = 0.9) -> torch.Tensor:
    """Frames that say a text letter by letter, two frames each and a blank between; log-probabilities."""
    path = [n for letter in text for n in (0, symbols.index(letter), symbols.index(letter))] + [0]
    table = torch.full((len(path), len(symbols)), (1 - sure) / (len(symbols) - 1))
    table[torch.arange(len(path)), torch.tensor(path)] = sure
    return table.log()


def batch(*texts: str, sure: float = 0.9) -> Spoken:
    rows = [said(text, sure=sure) for text in texts]
    padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1.0)
    return padded, torch.tensor([len(row) for row in rows])


def test_texts_and_times_do_not_depend_on_the_batch() -> None:
    log_probs, lengths = batch("ab ba", "a", "bb a b")
    for heard in (greedy(log_probs, lengths), beam_search(log_probs, lengths, SYMBOLS, None, Search(8))):
        assert [spell(heard, place, SYMBOLS) for place in range(3)] == ["ab ba", "a", "bb a b"]
        first, second = words_of(heard, 0, SYMBOLS, 0.04)
        assert (first["word"], first["start"], first["end"]) == ("ab", 0.04, 0.24)
        assert (second["word"], second["start"], second["end"]) == ("ba", 0.4, 0.6)
        assert 0.8 < first["confidence"] <= 1
        alone = greedy(log_probs[2:, : lengths[2]], lengths[2:])
        assert told(alone)[0] == told(heard)[2]
    assert words_of(greedy(log_probs, lengths.new_zeros(3)), 0, SYMBOLS, 0.04) == []


def test_viterbi_is_the_best_way_of_all() -> None:
    for seed in range(4):
        row, text = noise(6, 3, seed), (1, 1, 2) if seed % 2 else (2, 1)
        laid = over(row, text)
        found = max(
            (sum(row[at, n] for at, n in enumerate(path)), path)
            for path in itertools.product(range(3), repeat=6)
            if tuple(n for at, n in enumerate(path) if n and (at == 0 or path[at - 1] != n)) == text
        )[1]
        begins = [at for at, n in enumerate(found) if n and (at == 0 or found[at - 1] != n)]
        assert laid.begins == begins
        assert [found[end - 1] for end in laid.ends] == list(text)
    crowded = over(noise(2, 3, 0), (1, 1, 2))  # too many for the frames
    assert crowded.begins == sorted(crowded.begins) and len(crowded.ends) == 3


def test_a_language_mends_what_was_hardly_heard() -> None:
    symbols = ("", *"abcdefghijklmnopqrstuvwxyz", " ")
    row = said("the kat sat", symbols, 0.99)
    at = int(row[:, symbols.index("k")].argmax())
    row[at : at + 2, symbols.index("c")] = math.log(0.2)
    row[at : at + 2, symbols.index("k")] = math.log(0.79)
    language = Language.of(learn(["the cat sat", "a cat sat there", "the cat ran"]))
    one, length = row[None], torch.tensor([len(row)])
    assert spell(beam_search(one, length, symbols, None, Search(16)), 0, symbols) == "the kat sat"
    heard = beam_search(one, length, symbols, language, Search(16, 0.5))
    assert spell(heard, 0, symbols) == "the cat sat"
    words = words_of(heard, 0, symbols, 0.02)
    assert words[1]["confidence"] < words[0]["confidence"]
    # Chosen by itself, where examples ask for it; not where they do not.
    chosen = tuned(one.expand(6, -1, -1), length.expand(6), ["the cat sat"] * 6, symbols, language)
    assert chosen.weight > 0
    assert 0 < USUAL <= chosen.weight
    assert tuned(one, length, ["the kat sat"], symbols, language).weight == 0.15  # the nearest to it that mends nothing
    kept = Search.of(torch.tensor(chosen.numbers()), 16)
    assert kept.weight == pytest.approx(chosen.weight) and kept.trust == pytest.approx(chosen.trust, rel=1e-4)
    assert Search.of(torch.zeros(8), 16).beams == 1


def test_long_recordings_are_searched_in_pieces() -> None:
    text = " ".join(["ab", "ba", "a b"] * 100)
    log_probs, lengths = batch(text)
    assert lengths[0] > 2000
    heard = beam_search(log_probs, lengths, SYMBOLS, None, Search(4))
    assert spell(heard, 0, SYMBOLS) == text
    assert heard.begins[0].tolist() == greedy(log_probs, lengths).begins[0].tolist()


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_what_a_broken_network_says_has_no_words(value: float) -> None:
    log_probs, lengths = torch.full((1, 4, 4), value), torch.tensor([4])
    assert told(beam_search(log_probs, lengths, SYMBOLS, None, Search(4))) == [[]]
    assert told(beam_search(log_probs, lengths * 0, SYMBOLS, None, Search(4))) == [[]]


def test_trust_follows_what_was_right() -> None:
    generator = np.random.default_rng(0)
    odds = generator.normal(0, 2, 4000)
    right = generator.random(4000) < 1 / (1 + np.exp(-(0.5 * odds + 1)))
    found = trusted([(float(each), 0.0) for each in odds], right.tolist())
    assert found == pytest.approx((0.5, 0.0, 1.0), abs=0.15)
    assert trusted([], []) == (1.0, 0.0, 0.0)


def test_distance() -> None:
    assert distance("kitten", "sitting") == 3
    assert distance([], ["a", "b"]) == distance(["a", "b"], []) == 2
