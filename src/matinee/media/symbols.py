"""What speech is written in: characters or byte pairs, learned from transcripts, and their numbers.

    symbols = Symbols.learned(texts)                 # characters; Symbols.learned(texts, pieces=300) for byte pairs
    row, strange = symbols.numbers("a cat")          # int32 (symbols,), and the letters that have none
    symbols.text(row)                                # "a cat"

Number 0 is the blank of the network and no symbol of a text. A symbol that begins a word begins with " "; scripts that
are written without blanks have none.
"""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from matinee.core.errors import DataError, MatineeError
from matinee.core.examples import Array

MOST: Final = 20_000
"""Characters that are kept, the commonest; byte pairs, at most."""
_WORD: Final = "\u2581"
"""What stands for the beginning of a word among byte pairs."""


@dataclass(frozen=True)
class Symbols:
    """strings: of each symbol, the blank first, as "". pieces: the byte-pair tokenizer as JSON, "" for characters."""

    strings: tuple[str, ...]
    pieces: str = ""

    @staticmethod
    def learned(texts: Sequence[str], pieces: int = 0) -> Symbols:
        """The symbols of these texts: their characters; with `pieces`, so many byte pairs of them at most."""
        texts = [" ".join(text.replace(_WORD, " ").split()) for text in texts]
        if not pieces:
            counts = Counter(letter for text in texts for letter in text)
            return Symbols(("", *sorted(letter for letter, _ in counts.most_common(MOST))))
        made = _learned_pieces(texts, pieces)
        known = _tokenizer(made).get_vocab()
        ordered = sorted(known, key=lambda piece: known[piece])
        return Symbols(("", *(piece.replace(_WORD, " ") for piece in ordered)), made)

    def numbers(self, text: str) -> tuple[Array, str]:
        """The symbols of a text, int32 (symbols,), and the letters in it that have no symbol, in order, each once."""
        text = " ".join(text.replace(_WORD, " ").split())
        place = _places(self.strings)
        if self.pieces:
            row = [number + 1 for number in _tokenizer(self.pieces).encode(text, add_special_tokens=False).ids]
            known = {letter for string in self.strings for letter in string} | {" "}
        else:
            row = [place[letter] for letter in text if letter in place]
            known = set(place)
        return np.array(row, np.int32), "".join(dict.fromkeys(letter for letter in text if letter not in known))

    def text(self, numbers: Iterable[int]) -> str:
        """What symbols say, their blanks as in a text."""
        return " ".join("".join(self.strings[number] for number in numbers).split())


@functools.lru_cache(maxsize=8)
def _places(strings: tuple[str, ...]) -> dict[str, int]:
    return {string: number for number, string in enumerate(strings) if number}


def _learned_pieces(texts: Sequence[str], most: int) -> str:
    """Byte-pair encoding (Sennrich et al., 2016) of characters, as JSON; characters that were not there are left out.

    Of characters and not of bytes, as for written languages: half a character cannot be heard.
    """
    tokenizers = _library()
    whole = tokenizers.Tokenizer(tokenizers.models.BPE())
    whole.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(_WORD)
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=most, min_frequency=2, show_progress=False)
    whole.train_from_iterator(texts, trainer)
    return str(whole.to_str())


@functools.lru_cache(maxsize=8)
def _tokenizer(made: str) -> Any:
    """The tokenizer that was written as JSON. Raises DataError for anything else."""
    tokenizers = _library()
    try:
        json.loads(made)
        return tokenizers.Tokenizer.from_str(made)
    except Exception as error:  # noqa: BLE001  tokenizers raises plain Exceptions
        raise DataError(f"this is no vocabulary of byte pairs: {str(error)[:100]}") from None


def _library() -> Any:
    try:
        import tokenizers
        import tokenizers.models
        import tokenizers.pre_tokenizers
        import tokenizers.trainers
    except ImportError:
        raise MatineeError("byte pairs need the package tokenizers: pip install 'matinee[speech]'.") from None
    return tokenizers
