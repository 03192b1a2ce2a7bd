"""Byte-pair vocabularies: text <-> numbers of pieces, learned from text and kept as JSON.

Byte-level (Sennrich et al., 2016; Radford et al., 2019): every text can be written and is read back as it was, but for
blanks at its ends. The work is done by the package `tokenizers`.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from matinee.core.errors import DataError, MatineeError, SettingsError
from matinee.core.examples import Array

PAD, BEGIN, END, STOP = 0, 1, 2, 3
SPECIAL: Final = ("<pad>", "<begin>", "<end>", "<stop>")
"""Numbers 0 to 3: nothing; the begin and the end of a text; the end of a sentence within one."""
SMALLEST: Final = 256 + len(SPECIAL)
"""A vocabulary holds every byte."""
MOST: Final = 1_000_000
CHARACTERS_PER_PIECE: Final = 40
"""A text with more characters than this for each allowed piece is refused before it is cut: it is too long."""


def learn(texts: Iterable[str], size: int) -> str:
    """The vocabulary, as JSON, of at most `size` pieces that these texts are best written with.

    A piece is made of what occurs together at least twice. Raises MatineeError where `tokenizers` is not installed.
    """
    tokenizers = _library()
    whole = tokenizers.Tokenizer(tokenizers.models.BPE())
    # A blank before the first word, so that a word is the same piece wherever it stands.
    whole.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=True)
    whole.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=max(size, SMALLEST),
        min_frequency=2,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    # Learning takes the square of the longest word's length: of a million letters without a blank it would not end.
    whole.train_from_iterator((_LONG.sub(r"\g<0> ", text) for text in texts), trainer)
    return str(whole.to_str())


_LONG: Final = re.compile(r"\S{200}")


@dataclass(frozen=True)
class Pieces:
    """A vocabulary in use. `size` counts the special pieces."""

    size: int
    tokenizer: Any

    @staticmethod
    @functools.lru_cache(maxsize=16)
    def of(text: str) -> Pieces:
        """The vocabulary that `learn` wrote. Raises DataError for anything else."""
        tokenizers = _library()
        try:
            json.loads(text)
            tokenizer = tokenizers.Tokenizer.from_str(text)
            size = int(tokenizer.get_vocab_size())
        except Exception as error:  # noqa: BLE001  tokenizers raises plain Exceptions
            raise DataError(f"this is no vocabulary of byte pairs: {str(error)[:100]}") from None
        tokenizer.encode_special_tokens = True  # "<end>" in a text is five letters, not the end
        return Pieces(size, tokenizer)

    def sized(self, size: int) -> Pieces:
        """The same, if the network's tables have that size. Raises DataError where they do not."""
        if size != self.size:
            raise DataError(
                f"the vocabulary has {self.size:,} pieces, the network {size:,}: they do not belong together"
            )
        return self

    def numbers(self, texts: Sequence[str]) -> list[Array]:
        """The pieces of each text, int32 (length,); none for one that is blank."""
        found = self.tokenizer.encode_batch_fast([text.strip() for text in texts], add_special_tokens=False)
        return [np.array(each.ids, np.int32) for each in found]

    def texts(self, numbers: Array) -> list[str]:
        """What rows of numbers (texts, longest) say, each up to its first end or nothing."""
        rows = []
        for row in numbers.tolist():
            rows.append([n for n in row[: _ended(row)] if n > STOP])
        return [text.strip() for text in self.tokenizer.decode_batch(rows, skip_special_tokens=False)]

    def answers(self, outputs: Any, word: str, sure: str) -> list[dict[str, Any]]:
        """What was written, under `word`, and how sure the network is of it, under `sure`; {"truncated": True} where
        it did not read to the end.

        outputs: numbers (batch, longest); or a tuple of these, how sure (batch,), ..., whether all was read (batch,).
        """
        if not isinstance(outputs, tuple):
            return [{word: text} for text in self.texts(outputs.cpu().numpy())]
        told = self.texts(outputs[0].cpu().numpy()), outputs[1].float().tolist(), outputs[-1].tolist()
        return [
            {word: text, sure: round(score, 4), **({} if whole else {"truncated": True})}
            for text, score, whole in zip(*told, strict=True)
        ]

    def texts_between(self, numbers: Array, ends: Array) -> list[str]:
        """The texts within one row of numbers (length,) whose pieces end at these places."""
        firsts = [0, *(int(end) + 1 for end in ends[:-1])]
        rows = [[int(n) for n in numbers[a:b] if n > STOP] for a, b in zip(firsts, ends.tolist(), strict=True)]
        return [text.strip() for text in self.tokenizer.decode_batch(rows, skip_special_tokens=False)]

    def words(self, numbers: Sequence[int]) -> list[str]:
        """Each piece on its own, readable; the marks of begin and end by their names."""
        return [
            SPECIAL[n] if n < len(SPECIAL) else str(self.tokenizer.decode([n], skip_special_tokens=False))
            for n in numbers
        ]


def refuse_huge(*sizes: int) -> None:
    """Raises SettingsError for sizes of vocabularies that no network is built for, as a damaged bundle may say."""
    if not all(0 <= size <= MOST for size in sizes):
        raise SettingsError(f"a vocabulary of more than {MOST:,} pieces is not read.")


def _ended(row: Sequence[int]) -> int:
    return next((place for place, number in enumerate(row) if number in (PAD, END)), len(row))


def _library() -> Any:
    try:
        import tokenizers
        import tokenizers.decoders
        import tokenizers.models
        import tokenizers.pre_tokenizers
        import tokenizers.trainers
    except ImportError:
        raise MatineeError(
            "vocabularies of byte pairs need the package tokenizers: pip install 'matinee[text]'"
        ) from None
    return tokenizers
