"""Texts as token ids, learned from the data: words, characters, letters of sequences, or pieces of words.

    reader = Reader.learned("both", texts)       # the ids of each word and character that is common enough
    ids = reader.ids(text)                       # int32 (tokens,): words positive, then the text spelled, negative

0 is no token (padding), 1 one that is not known. Words are runs of letters and digits of any script; characters of
scripts that are written without blanks (Chinese, Japanese) stand alone, and so do marks such as "!". Nothing is known
of any language.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from matinee.core.errors import SettingsError
from matinee.core.examples import Array
from matinee.core.scripts import ALONE
from matinee.media.encoder_folders import encoded, tokenizer_of

KINDS: Final = ("words", "characters", "both", "letters", "pieces")
"""both: words, and the text spelled behind them. letters: of sequences such as genes, where case tells nothing."""
PRETRAINED: Final = "pretrained"
"""The kind of tokens that come with a pretrained encoder, its marks of begin and end included."""
UNKNOWN: Final = 1
FIRST: Final = 2
"""The id of the first token of the vocabulary."""
MOST_WORDS: Final = 100_000
MOST_CHARACTERS: Final = 20_000
BLANK: Final = "\u2581"
"""Stands for white space where a text is spelled."""

_WORD: Final = re.compile(rf"[{ALONE}]|[^\W{ALONE}]+(?:['’][^\W{ALONE}]+)*|[^\w\s]")
_TAG: Final = re.compile(r"<(?:br|p|/p|i|/i|b|/b|em|/em|hr)\s*/?>", re.IGNORECASE)
_SPACE: Final = re.compile(r"\s+")


def words_of(text: str) -> list[str]:
    """The words and marks of a text in lower case, breaks such as <br /> left out."""
    return _WORD.findall(plain(text))


def plain(text: str) -> str:
    """Lower case, one form for each character (NFKC), without the marks of line breaks in HTML."""
    if "<" in text:
        text = _TAG.sub(" ", text)
    return (text if text.isascii() else unicodedata.normalize("NFKC", text)).lower()


def spelled(text: str) -> str:
    """The text with one BLANK for all white space between two words, at its beginning and its end."""
    return BLANK + _SPACE.sub(BLANK, plain(text).strip()) + BLANK


@dataclass(frozen=True)
class Reader:
    """Turns texts into ids. words, characters: the vocabularies, the commonest first. pieces: a tokenizer as JSON.

    kind: one of KINDS, or PRETRAINED.

    longest: tokens that are kept of a longer text, three quarters of them from its head (0: all).
    """

    kind: str
    words: tuple[str, ...] = ()
    characters: tuple[str, ...] = ()
    pieces: str = ""
    longest: int = 0

    @staticmethod
    def learned(kind: str, texts: Sequence[str], *, longest: int = 0, vocabulary: int = 0) -> Reader:
        """The vocabulary of these texts. vocabulary: its most words or pieces (0: as many as are worth it)."""
        if kind == "pieces":
            return Reader(kind, pieces=_learned_pieces(texts, vocabulary or 8000), longest=longest)
        words: tuple[str, ...] = ()
        characters: tuple[str, ...] = ()
        if kind in ("words", "both"):
            least = 2 if len(texts) >= 20_000 else 1
            words = _commonest((word for text in texts for word in words_of(text)), vocabulary or MOST_WORDS, least)
        if kind in ("characters", "both"):
            found = _commonest((letter for text in texts for letter in spelled(text)), MOST_CHARACTERS, 1)
            characters = (BLANK, *(letter for letter in found if letter != BLANK))
        if kind == "letters":
            words = _commonest((letter for text in texts for letter in letters_of(text)), MOST_CHARACTERS, 1)
        return Reader(kind, words, characters, longest=longest)

    @property
    def size(self) -> int:
        """Ids from 0 to size - 1 are tokens."""
        if self.kind == "characters":
            return FIRST + len(self.characters)
        if self.kind in ("pieces", PRETRAINED):
            return FIRST + max(self._tokenizer().get_vocab().values(), default=0) + 1
        return FIRST + len(self.words)

    def rows(self, texts: Iterable[str], cut: list[int] | None = None) -> Iterator[Array]:
        """The ids of each text, int32 (tokens,). cut: gets the places of the texts that were shortened."""
        for place, parts in enumerate(self._parts(texts)):
            kept = [self._cut(part) for part in parts]
            if cut is not None and sum(map(len, kept)) < sum(map(len, parts)):
                cut.append(place)
            yield np.concatenate(kept) if len(kept) > 1 else kept[0]

    def _parts(self, texts: Iterable[str]) -> Iterator[list[Array]]:
        """The ids of each text: its tokens, and the text spelled where that is wanted too."""
        if self.kind == PRETRAINED:
            for ids in encoded(self.pieces, (_TAG.sub(" ", text) for text in texts)):
                yield [ids + FIRST]
            return
        if self.kind == "pieces":
            tokenizer = self._tokenizer()
            for text in texts:
                yield [np.array(tokenizer.encode(plain(text)).ids, np.int32) + FIRST]
            return
        words = {word: FIRST + place for place, word in enumerate(self.words)}
        # Blanks are -1 (`BLANK` of nets/ngrams.py), what is not known the number behind all others.
        letters = {letter: -1 - place for place, letter in enumerate(self.characters)}
        alone = {letter: FIRST + place for place, letter in enumerate(self.characters)}
        for text in texts:
            if self.kind == "letters":
                yield [_numbered(letters_of(text), words, UNKNOWN)]
            elif self.kind == "characters":
                yield [_numbered(spelled(text), alone, UNKNOWN)]
            elif self.kind == "both":
                known = _numbered(words_of(text), words, UNKNOWN)
                yield [known, _numbered(spelled(text), letters, -1 - len(letters))] if len(known) else [known]
            else:
                yield [_numbered(words_of(text), words, UNKNOWN)]

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """The words for ids, as far as they are tokens: for people."""
        if self.kind in ("pieces", PRETRAINED):
            tokenizer = self._tokenizer()
            return [tokenizer.decode([i - FIRST]) if i >= FIRST else "?" for i in ids]
        table = self.characters if self.kind == "characters" else self.words
        return [table[i - FIRST] if FIRST <= i < FIRST + len(table) else "?" for i in ids]

    def _cut(self, row: Array) -> Array:
        if not self.longest or len(row) <= self.longest:
            return row
        tail = self.longest // 4
        return np.concatenate([row[: self.longest - tail], row[len(row) - tail :]])

    def _tokenizer(self) -> Any:
        return tokenizer_of(self.pieces)


def letters_of(text: str) -> str:
    """The letters of a sequence in capitals, without white space."""
    return _SPACE.sub("", text).upper()


def _numbered(tokens: Iterable[str], numbers: dict[str, int], other: int) -> Array:
    return np.array([numbers.get(token, other) for token in tokens], np.int32)


def _commonest(tokens: Iterable[str], most: int, least: int) -> tuple[str, ...]:
    counts = Counter(tokens)
    return tuple(token for token, count in counts.most_common(most) if count >= least)


def _missing() -> SettingsError:
    return SettingsError("--tokens pieces needs the package tokenizers: pip install 'matinee[text]'.")


def _learned_pieces(texts: Sequence[str], size: int) -> str:
    """Byte-pair encoding (Sennrich et al., 2016) over bytes, so that no text is strange to it; JSON."""
    try:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    except ImportError:
        raise _missing() from None
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator((plain(text) for text in texts), trainer)
    return str(tokenizer.to_str())
