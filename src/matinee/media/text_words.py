"""Token ids spelled for people: the name of an n-gram, and a text in its words with what each weighs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np

from matinee.core.examples import Array
from matinee.core.pieces import Piece, Table, Text, Words
from matinee.media.tokens import BLANK, Reader, words_of

SOME: Final = 2000
"""Texts whose n-grams are looked at."""
LOOKED_AT: Final = 60
"""N-grams of a class of which the most different ones are told."""
ROWS: Final = 60
"""Of a table, about."""
FEW: Final = 3
"""Texts shown with a right answer, and with a wrong one."""
MEDIUM: Final = 1500
"""Token ids of a text that is short enough to be shown."""


class Spoken(Protocol):
    """An n-gram that speaks for a class: an example and the columns where it stands, and what it adds how often."""

    @property
    def example(self) -> int:
        """The place of an example that has it."""

    @property
    def columns(self) -> tuple[int, ...]:
        """Where it stands there."""

    @property
    def adds(self) -> float:
        """What it adds to the logit of its class."""

    @property
    def examples(self) -> int:
        """How many have it."""


def spread(count: int) -> Array:
    """Places of up to SOME examples out of `count`, evenly from the first to the last: int64 (places,)."""
    return np.unique(np.linspace(0, count - 1, min(count, SOME)).astype(np.int64))


def a_few(truth: Array, answers: Array, lengths: Array) -> list[int]:
    """Places of texts worth showing: the first with a right answer of each class in turn, then with a wrong one.

    truth, answers: class numbers (texts,). lengths: token ids of each; long ones are shown where there is nothing else.
    """
    chosen: list[int] = []
    for good in (True, False):
        seen: Counter[int] = Counter()
        ranked = []
        for place in np.flatnonzero((truth == answers) == good).tolist():
            ranked.append((bool(lengths[place] > MEDIUM), seen[int(answers[place])], place))
            seen[int(answers[place])] += 1
        chosen += [place for _, _, place in sorted(ranked)[:FEW]]
    return chosen


def ngram_table(
    reader: Reader, spoken: Sequence[Sequence[Spoken]], rows: Sequence[Array], classes: Sequence[str], aligned: bool
) -> Table:
    """The n-grams that speak most for each class. spoken: those of each class, the strongest first; rows: token ids."""
    each, lines = max(2, min(10, ROWS // max(1, len(classes)))), []
    for name, one in zip(classes[:ROWS], spoken, strict=False):
        told: list[str] = []
        for ngram in one:
            words = ngram_name(reader, rows[ngram.example].tolist(), ngram.columns, aligned)
            bare = words.strip("-")
            if len(told) < each and not any(_overlap(bare, other) for other in told):
                told.append(bare)
                lines.append((name, words, round(ngram.adds, 3), ngram.examples))
    count = f"{len(rows):,} of the scored texts" if len(rows) > 1 else "the scored text"
    return Table(
        ("class", "n-gram", "adds", "texts"),
        lines,
        f"The n-grams that speak most for each class in {count}: what each adds to the logit of the class, against the "
        "mean of all classes, where it occurs, and in how many of these texts it does. Of n-grams that have "
        "more than half in common, the strongest is told. A hyphen: the word goes on.",
    )


def _overlap(one: str, other: str) -> bool:
    """Whether one is in the other, or they have more than half of the shorter one in a row in common."""
    one, other = sorted((one, other), key=len)
    run = len(one) // 2 + 1
    return any(one[first : first + run] in other for first in range(len(one) - run + 1))


def shaded(reader: Reader, ids: Array, shares: Array, captions: Sequence[str]) -> list[Piece]:
    """Texts, each word in the shade of what its n-grams added for the answer or against it; one row of ids each."""
    if not len(ids):
        return []
    words = (
        "The first texts of each class with a right answer, then with a wrong one. The darker a word, the more the "
        "n-grams that it is part of speak for the answer (in the colour of links) or against it (in that of warnings); "
        "the darkest of each text is as dark."
    )
    rows = [
        weighed(reader, row[row != 0].tolist(), share[row != 0].tolist(), caption)
        for row, share, caption in zip(ids, shares, captions, strict=True)
    ]
    return [Text(words), *rows]


def limits(looked: int, there: int) -> list[Piece]:
    """What has to be said where the n-grams of some texts only were learned."""
    if looked >= there:
        return []
    return [
        Text(f"It learned from {looked:,} of {there:,} texts: the n-grams of more would not fit in memory.", "warning")
    ]


def ngram_name(reader: Reader, ids: Sequence[int], columns: Sequence[int], aligned: bool) -> str:
    """The n-gram that stands in these columns of a text: "not good", "-ing" (of characters), "GT at 31".

    A hyphen stands where a word goes on. Two columns that are no neighbours are a pair of places.
    """
    if aligned:
        letters = reader.tokens([ids[column] for column in columns])
        if len(columns) == 2 and columns[1] > columns[0] + 1:
            return f"{letters[0]} at {columns[0] + 1}, {letters[1]} at {columns[1] + 1}"
        return f"{''.join(letters)} at {columns[0] + 1}"
    if ids[columns[0]] < 0:
        spelled = _characters(reader, [ids[column] for column in columns])
        before, after = ("" if end == BLANK else "-" for end in (spelled[0], spelled[-1]))
        return before + "".join(spelled).strip(BLANK) + after
    words = reader.tokens([ids[column] for column in columns])
    return between(reader, words).join(words).replace(BLANK, "\u2423")


def between(reader: Reader, words: Sequence[str]) -> str:
    """What stands between tokens where they are shown: nothing between letters, and in scripts without blanks."""
    if reader.kind in ("letters", "characters"):
        return ""
    alone = sum(len(word) == 1 and not word.isascii() for word in words)
    return "" if 2 * alone > len(words) else " "


def weighed(reader: Reader, ids: Sequence[int], shares: Sequence[float], caption: str, most: int = 400) -> Words:
    """A text in its words, as it is spelled where that is known, each with the sum of its tokens' shares.

    The weights are divided by the largest of them: 1 is the word that speaks most for the answer, or against it.
    shares: as many as ids, or none.
    """
    tokens = [place for place, number in enumerate(ids) if number > 0]
    if any(number < 0 for number in ids):
        words, weights = _as_written(reader, ids, shares, tokens)
    else:
        words = [word.replace(BLANK, " ") for word in reader.tokens([ids[place] for place in tokens])]
        weights = [shares[place] for place in tokens] if shares else []
    words, weights = words[:most], weights[:most]
    highest = max((abs(weight) for weight in weights), default=0.0) or 1.0
    return Words(words, [weight / highest for weight in weights], caption, between(reader, words))


def _characters(reader: Reader, ids: Sequence[int]) -> list[str]:
    known = reader.characters
    return [known[-1 - number] if -number <= len(known) else "?" for number in ids]


def _as_written(
    reader: Reader, ids: Sequence[int], shares: Sequence[float], tokens: Sequence[int]
) -> tuple[list[str], list[float]]:
    """What stands between two blanks, with the shares of its characters and of the tokens that it is made of."""
    words: list[str] = []
    weights: list[float] = []
    begins = True
    places = [place for place, number in enumerate(ids) if number < 0]
    for place, letter in zip(places, _characters(reader, [ids[place] for place in places]), strict=True):
        share = shares[place] if shares else 0.0
        if letter == BLANK:
            begins = True
            if words:
                weights[-1] += share
        elif begins:
            words.append(letter)
            weights.append(share)
            begins = False
        else:
            words[-1] += letter
            weights[-1] += share
    if not shares:
        return words, []
    of = [place for place, word in enumerate(words) for _ in words_of(word)]  # no token goes beyond a blank
    for token, word in zip(tokens, of, strict=False):
        weights[word] += shares[token]
    return words, weights
