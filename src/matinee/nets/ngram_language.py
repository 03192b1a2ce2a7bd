"""A language model for texts: n-grams of words, and of letters for words that were never seen.

What a search asks is how likely the next letters are. Within a word the letters' own n-grams say it; where a word that
is known ends, its own probability takes their place, and where one that is unknown ends, that of an unknown word stands
before theirs (multi-level modelling: Hori, Watanabe and Hershey, 2017). Characters of scripts without blanks are words
of one letter. docs/decisions/spoken-words.md tells why.
"""

from __future__ import annotations

import functools
import gzip
import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from matinee.core.errors import DataError
from matinee.core.scripts import stands_alone, units
from matinee.nets.arpa import parsed, written
from matinee.nets.kneser_ney import BEGIN, END, MARKS, MOST, UNKNOWN, Ngrams, fit

FORMAT: Final = 1
WORDS: Final = 3
LETTERS: Final = 6
"""Tokens of the longest n-grams of words, and of letters."""
MOST_LETTERS: Final = 12_000_000
"""Of the texts that are learned from, some two million words: of more, every second text, or every third, ..."""
MOST_BYTES: Final = 1 << 26
"""Of a given text or model, unpacked."""
_REMEMBERED: Final = 1 << 17  # steps that are kept, so that each is computed once


class State(NamedTuple):
    """How far a text has come: the words before, the letters of the one that is not over, and their ln p."""

    before: tuple[str, ...] = (BEGIN,)
    partial: str = ""
    spelled: float = 0.0


class Step(NamedTuple):
    """What is added by some letters: ln p, words begun, and what comes of it."""

    log_probability: float
    begun: int
    state: State


@dataclass(frozen=True)
class Language:
    """How likely texts are."""

    words: Ngrams
    letters: Ngrams
    _kept: dict[tuple[State, str], Step] = field(default_factory=dict, init=False, repr=False, compare=False)

    @staticmethod
    @functools.lru_cache(maxsize=4)
    def of(text: str) -> Language:
        """From what `learn` or `read` made. Raises DataError for anything else."""
        try:
            said = json.loads(text)
            models = [said[name] for name in ("words", "letters")]
            good = said["format"] == FORMAT and all(isinstance(model, str) for model in models)
        except (ValueError, TypeError, KeyError, RecursionError):
            good = False
        if not good:
            raise DataError("the language model is damaged, or of a later version.")
        return Language(parsed(models[0]), parsed(models[1]))

    @property
    def text(self) -> str:
        """What `of` reads: JSON with two models in ARPA format."""
        return json.dumps({"format": FORMAT, "words": written(self.words), "letters": written(self.letters)})

    def step(self, state: State, text: str) -> Step:
        """These letters come next; a blank ends a word."""
        known = self._kept.get((state, text))
        if known is None:
            if len(self._kept) >= _REMEMBERED:
                self._kept.clear()
            known = self._kept[state, text] = self._step(state, text)
        return known

    def _step(self, state: State, text: str) -> Step:
        total, begun = 0.0, 0
        for letter in text:
            if letter.isspace() or stands_alone(letter):
                ended = self._ended(state)
                total, state = total + ended.log_probability, ended.state
            if letter.isspace():
                continue
            begun += not state.partial
            spelled = self.letters.log_probability(letter, (BEGIN, *state.partial))
            total += spelled
            state = State(state.before, state.partial + letter, state.spelled + spelled)
            if stands_alone(letter):
                ended = self._ended(state)
                total, state = total + ended.log_probability, ended.state
        return Step(total, begun, state)

    def _ended(self, state: State) -> Step:
        """The word is over, if there is one."""
        if not state.partial:
            return Step(0.0, 0, state)
        after = State((*state.before, state.partial)[1 - self.words.order :] if self.words.order > 1 else ())
        return Step(self.word(state.partial, state.before) - state.spelled, 0, after)

    def end(self, state: State) -> float:
        """ln p of the text being over here."""
        ended = self._ended(state)
        return ended.log_probability + self.words.log_probability(END, ended.state.before)

    def word(self, word: str, before: Sequence[str]) -> float:
        """ln p of a word behind others; that of one never seen is that of any such and that of its letters."""
        if self.words.knows(word) and word not in MARKS:
            return self.words.log_probability(word, before)
        letters = [BEGIN, *word, END]
        spelled = sum(self.letters.log_probability(letters[at], letters[:at]) for at in range(1, len(letters)))
        return self.words.log_probability(UNKNOWN, before) + spelled

    def log_probability(self, text: str) -> float:
        """ln p of a whole text, its end included."""
        step = self.step(State(), text)
        return step.log_probability + self.end(step.state)

    def perplexity(self, texts: Iterable[str]) -> float:
        """exp of the mean surprise of a word, ends included; an unknown word surprises by its class alone."""
        return self.words.perplexity(units(text) for text in texts)


def learn(texts: Sequence[str], order: int = 0, most: int = MOST) -> str:
    """A language model of these texts, as `Language.of` reads it: ASCII. order: words of its n-grams, 0 for three."""
    thinned = texts[:: 1 + sum(map(len, texts)) // MOST_LETTERS]
    sentences = [found for text in thinned if (found := units(text))]
    if not sentences:
        raise DataError("there is no text to learn a language model from.")
    words = fit(sentences, order or WORDS, most)
    return _with_letters(words, Counter(word for sentence in sentences for word in sentence), most)


def _with_letters(words: Ngrams, counts: Counter[str], most: int = MOST) -> str:
    """Letters are learned from each word as often as it was said, but no oftener than the square root of it."""
    spelled = (word for word, count in counts.items() for _ in range(round(count**0.5)))
    return Language(words, fit(spelled, LETTERS, most // 2)).text


def read(path: str | Path, spelled: Callable[[str], str] = str) -> str:
    """A language model from a file: ARPA, or plain text with a sentence on each line; also packed by gzip.

    spelled: how a text is written where it is heard, such as in small letters. Raises DataError, in one line.
    """
    name, text = Path(path).name, _text(Path(path))
    if "\\data\\" not in text[:100_000]:
        return learn([spelled(line) for line in text.split("\n")])
    given = parsed(text, name)

    def told(token: str) -> str:
        return token if token in MARKS else "".join(spelled(token).split()) or UNKNOWN

    follow: dict[tuple[str, ...], dict[str, float]] = {(): {}}
    backoff: dict[tuple[str, ...], float] = {}
    for context, tokens in given.follow.items():
        here = follow.setdefault(tuple(map(told, context)), {})
        for token, share in tokens.items():
            here[told(token)] = max(share, here.get(told(token), share))
    for context, weight in given.backoff.items():
        backoff[tuple(map(told, context))] = weight
    words = Ngrams(given.order, follow, backoff)
    if words.size > MOST:
        raise DataError(f"{name} has {words.size:,} n-grams; {MOST:,} at most are kept with a model: prune it.")
    return _with_letters(words, Counter(word for word in words.follow[()] if word not in MARKS))


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            source = gzip.GzipFile(fileobj=file) if packed else file
            whole = source.read(MOST_BYTES + 1)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        what = "there is no such file" if isinstance(error, FileNotFoundError) else f"it cannot be read ({error})"
        raise DataError(f"{path}: {what}. A language model is a file of text or in ARPA format.") from error
    if len(whole) > MOST_BYTES:
        raise DataError(f"{path} has more than {MOST_BYTES >> 20} MiB of text: give a part of it.")
    try:
        return whole.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no text in UTF-8 (byte {error.start:,}): save it so.") from error
