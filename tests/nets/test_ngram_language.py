"""n-gram models: figures worked out by hand, shares that add up to one, files in ARPA format, whole and broken."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matinee.core.errors import DataError
from matinee.nets import arpa, kneser_ney
from matinee.nets.kneser_ney import BEGIN, END, UNKNOWN
from matinee.nets.ngram_language import Language, State, learn, read

GIVEN = """\\data\\
ngram 1=4
ngram 2=2

\\1-grams:
-0.5\tTEA\t-0.3
-99 <s> -0.2
-0.7 </s>
-1.0 COFFEE

\\2-grams:
-0.1 <s> TEA
-0.2 TEA </s>

\\end\\
"""


def test_figures_worked_out_by_hand() -> None:
    """Of "a b" and "a c" there are too few n-grams for discounts of their own: 0.5, 1 and 1.5 are taken."""
    model = kneser_ney.fit([["a", "b"], ["a", "c"]], 2)
    # Different tokens before them: a 1, b 1, c 1, the end 2, of 5; half is left, for five tokens.
    single = {"a": 0.2, "b": 0.2, "c": 0.2, END: 0.3, UNKNOWN: 0.1}
    for token, share in single.items():
        assert math.exp(model.log_probability(token, [])) == pytest.approx(share)
    assert math.exp(model.log_probability("a", [BEGIN])) == pytest.approx((2 - 1) / 2 + 0.5 * 0.2)
    assert math.exp(model.log_probability("b", ["a"])) == pytest.approx((1 - 0.5) / 2 + 0.5 * 0.2)
    assert math.exp(model.log_probability(END, ["a"])) == pytest.approx(0.5 * 0.3)
    assert model.perplexity([["a", "b"]]) == pytest.approx((0.6 * 0.35 * 0.65) ** (-1 / 3))
    assert model.perplexity([]) == math.inf


@pytest.mark.parametrize("most", [10_000, 60])
def test_shares_add_up_to_one_also_where_ngrams_are_left_out(most: int) -> None:
    sentences = [
        f"{('the', 'a', 'my')[n % 3]} cat sees {n % 7} dogs and {n % 5} {'fish'[: n % 4]}x".split() for n in range(60)
    ]
    model = kneser_ney.fit(sentences, 3, most)
    assert model.size <= most + 1  # a word that was never seen
    again = arpa.parsed(arpa.written(model))
    for context in [*model.follow, ("sees", "nothing"), ("<s>", "zebra")]:
        for one, near in ((model, 1e-6), (again, 1e-2)):
            total = sum(math.exp(one.log_probability(token, context)) for token in model.follow[()])
            assert total == pytest.approx(1, abs=near)
    assert again.perplexity(sentences) == pytest.approx(model.perplexity(sentences), rel=1e-3)


def test_longer_ngrams_foretell_better() -> None:
    sentences = [list("abcabcabcd") for _ in range(9)]
    found = [kneser_ney.fit(sentences, order).perplexity(sentences) for order in (1, 2, 4)]
    assert found[0] > found[1] > found[2] > 1


def test_a_word_never_seen_can_still_be_written() -> None:
    language = Language.of(learn(["one two three", "one two four", "two three four one"] * 3))
    known, new, odd = (language.log_probability(text) for text in ("one two three", "one two there", "one two zqxzqx"))
    assert known > new > odd > -math.inf
    # What the letters said of a word is made up for where it ends: the parts add up to the whole.
    step, total = language.step(State(), ""), 0.0
    for letter in "one two three":
        step = language.step(step.state, letter)
        total += step.log_probability
    assert total + language.end(step.state) == pytest.approx(known)
    words = ["<s>", "one", "two", "three", "</s>"]
    whole = sum(language.words.log_probability(words[at], words[:at]) for at in range(1, 5))
    assert known == pytest.approx(whole)


def test_byte_pairs_and_letters_say_the_same() -> None:
    language = Language.of(learn(["the cat sat", "the cats sat there"]))
    state, total, begun = State(), 0.0, 0
    for piece in (" the", " ca", "ts", " sat"):
        step = language.step(state, piece)
        state, total, begun = step.state, total + step.log_probability, begun + step.begun
    assert total + language.end(state) == pytest.approx(language.log_probability("the cats sat"))
    assert begun == 3


def test_characters_that_stand_alone_are_words() -> None:
    language = Language.of(learn(["今天天气好", "今天好", "天气不好"]))
    assert language.words.knows("天") and not language.words.knows("今天")
    assert language.log_probability("今天天气好") > language.log_probability("好气天今天")
    assert language.perplexity(["今天好"]) < 5


def test_a_model_is_text_and_the_same_again() -> None:
    text = learn(["yes no yes", "no no"])
    assert text.isascii()
    assert Language.of(text).text == text
    for damaged in ("", "{}", "[]", text[:-9], '{"format": 1, "words": 3, "letters": ""}', "[" * 100_000):
        with pytest.raises(DataError, match="language model"):
            Language.of(damaged)


def test_given_models_and_texts(tmp_path: Path) -> None:
    (tmp_path / "a.lm").write_text(GIVEN, "utf-8")
    language = Language.of(read(tmp_path / "a.lm", str.lower))
    assert language.words.log_probability("tea", [BEGIN]) == pytest.approx(-0.1 * math.log(10))
    assert language.words.log_probability("coffee", ["tea"]) == pytest.approx(-1.3 * math.log(10), rel=1e-4)
    assert language.words.log_probability("milk", []) == pytest.approx(kneser_ney.FLOOR)
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress("Guten Tag\r\nguten Abend\n\n".encode("utf-8-sig")))
    assert Language.of(read(tmp_path / "a.txt.gz", str.lower)).words.knows("guten")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no text"),
        (b"\x1f\x8bnothing", "cannot be read"),
        (b"\xff\xfe\x00", "UTF-8"),
        (GIVEN.replace("2=2", "2=3").encode(), "promises 3"),
        (GIVEN.replace("-0.1", "0.1").encode(), "logarithm"),
        (GIVEN.replace("-0.1", "x").encode(), "line 12"),
        (GIVEN.replace("\\end\\", "").encode(), "end"),
        (GIVEN.replace("ngram 1=4", "ngram 1=" + "9" * 5000).encode(), "line 2"),
        (GIVEN.replace("ngram 2=2", "ngram 3=2").encode(), "ngram 2=N"),
        (GIVEN.replace("<s> TEA", "<s> TEA TEA TEA").encode(), "line 12"),
    ],
)
def test_broken_files_are_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "broken").write_bytes(content)
    with pytest.raises(DataError, match=said) as caught:
        read(tmp_path / "broken")
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="no such file"):
        read(tmp_path / "nowhere")


@given(
    st.integers(0, len(GIVEN) - 1),
    st.integers(0, 12),
    st.sampled_from(["", "9", "-", "\n", "\\", " ", "<s>", "nan", "\0"]),
)
def test_whatever_is_in_a_file_it_is_a_model_or_a_line(place: int, length: int, put: str) -> None:
    text = GIVEN[:place] + put + GIVEN[place + length :]
    try:
        model = arpa.parsed(text)
    except DataError as error:
        assert "\n" not in str(error)
    else:
        assert model.perplexity([["TEA", "MILK"]]) > 0
