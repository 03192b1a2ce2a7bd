"""Scores of transcripts: wrong words, wrong letters, sentences without a mistake; jiwer lays the texts together.

Errors are counted over all words of all recordings, as published figures are. docs/decisions/spoken-words.md tells what
a word is where scripts have no blanks, and what is taken from a text before.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, ClassVar, Final
from zlib import crc32

import numpy as np

from matinee.core.errors import DataError, MatineeError
from matinee.core.examples import Array
from matinee.core.meter import Meter, Rows
from matinee.core.pieces import Piece, Table, Text
from matinee.core.scripts import units

if TYPE_CHECKING:
    import torch

    from matinee.core.task import Batch

PLAIN: Final[Mapping[str, str]] = {
    "none": "Texts are compared as they are written.",
    "case": "Texts are compared in small letters.",
    "case-and-marks": "Texts are compared in small letters, without punctuation.",
}
"""What is taken from a text before it is learned from and compared -> how a report says it."""
NAMED: Final = 6
"""Mistakes of a recording that are kept by name."""
LISTED: Final = 20
_APOSTROPHES: Final = str.maketrans({"\u2019": "'", "\u02bc": "'", "\uff07": "'"})


def normalised(text: str, how: str) -> str:
    """A transcript as it is learned and compared: one of PLAIN; always in Unicode's NFC, one blank between words.

    Without punctuation an apostrophe stays where letters stand on both sides of it, and vowel signs always do. Raises
    DataError for another `how`.
    """
    if how not in PLAIN:
        raise DataError(f"{how!r} is no way to write a transcript: {', '.join(PLAIN)}.")
    if how == "none":
        return " ".join(unicodedata.normalize("NFC", text).split())
    text = unicodedata.normalize("NFKC" if how == "case-and-marks" else "NFC", text).lower()
    if how == "case-and-marks":
        text = text.translate(_APOSTROPHES)
        last = len(text) - 1
        kept = []
        for at, letter in enumerate(text):
            inside = letter == "'" and 0 < at < last and text[at - 1].isalnum() and text[at + 1].isalnum()
            kept.append(letter if inside or unicodedata.category(letter)[0] in "LMN" else " ")
        text = "".join(kept)
    return " ".join(unicodedata.normalize("NFC", text).split())


class TranscriptMeter(Meter):
    """Word and character error rate, for outputs whose `numbers`, int64 (batch, longest), are symbols.

    symbols: the text of each; 0 is none. targets: a mapping with "reference", uint8 (batch, bytes), one text as
    `text_scores.kept_text` keeps it. how: what was taken from the texts, one of PLAIN.
    """

    lower_is_better: ClassVar[frozenset[str]] = frozenset({"wer", "cer"})
    proportions: ClassVar[frozenset[str]] = frozenset({"sentences"})
    meanings: ClassVar[Mapping[str, str]] = {
        "wer": "word error rate: words substituted, left out and put in, as a share of the words that were said; "
        "characters of scripts without blanks count as words",
        "cer": "the same of characters, blanks among them",
        "sentences": "share of the recordings without a wrong word",
    }

    def __init__(self, symbols: Sequence[str], how: str = "none") -> None:
        super().__init__()
        self._symbols, self._how = tuple(symbols), how
        self._words: dict[tuple[float, float], str] = {}

    @classmethod
    def shares(cls, names: Iterable[str]) -> frozenset[str]:
        """All are told as so much of 100 %, as is usual."""
        return frozenset(names)

    def names_of_scores(self) -> Sequence[str]:
        """Wrong words first."""
        return ("wer", "cer", "sentences")

    def collect(self, outputs: Any, batch: Batch) -> dict[str, torch.Tensor]:
        """Of each recording how many words and letters there are, what is wrong, and the first mistakes by name."""
        import torch

        from matinee.media.text_scores import told_texts

        truth = [" ".join(texts[0].split()) for texts in told_texts(batch.targets["reference"])]
        said = [" ".join("".join(self._symbols[n] for n in row if n).split()) for row in outputs.numbers.tolist()]
        words = _compared([units(text) for text in truth], [units(text) for text in said])
        letters = _compared([list(text) for text in truth], [list(text) for text in said])
        kept = {
            "words": [[float(len(units(text))), *counts] for text, (counts, _) in zip(truth, words, strict=True)],
            "letters": [[float(len(text)), float(sum(each[0]))] for text, each in zip(truth, letters, strict=True)],
            "mistakes": [self._numbers(pairs) for _, pairs in words],
            "truth": [float(crc32(text.encode("utf-8", "replace")) & 0xFFFFFF) for text in truth],
        }
        return {name: torch.tensor(rows, dtype=torch.float32) for name, rows in kept.items()}

    def _numbers(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Mistakes as numbers: rows hold nothing else."""
        found: list[float] = []
        for word in (word for pair in pairs[:NAMED] for word in pair):
            code = crc32(word.encode("utf-8", "replace")) if word else 0
            number = float(code >> 16), float(code & 0xFFFF)
            self._words[number] = word
            found += number
        return found + [0.0] * (4 * NAMED - len(found))

    def score(self, rows: Rows) -> dict[str, float]:
        """All mistakes by all words; NaN where nothing was said."""
        words, letters = rows["words"].sum(0, dtype=np.float64), rows["letters"].sum(0, dtype=np.float64)
        return {
            "wer": float(words[1:].sum() / words[0]) if words[0] else float("nan"),
            "cer": float(letters[1] / letters[0]) if letters[0] else float("nan"),
            "sentences": float((rows["words"][:, 1:].sum(1) == 0).mean()) if len(rows["words"]) else float("nan"),
        }

    def detail(self, rows: Rows) -> dict[str, Any]:
        """Words, the kinds of mistakes, the commonest of them, and what was taken from the texts."""
        sums = rows["words"].sum(0, dtype=np.float64)
        kinds = dict(zip(("words", "substitutions", "deletions", "insertions"), map(int, sums), strict=True))
        commonest = [
            {"truth": truth, "said": said, "times": times} for truth, said, times in self._commonest(rows)[:LISTED]
        ]
        return {
            **kinds,
            "signature": f"text:{self._how}|units:words-characters|jiwer:{version('jiwer')}",
            "commonest": commonest,
        }

    def pieces(self, rows: Rows) -> Sequence[Piece]:
        """The kinds of mistakes, and the commonest."""
        if not len(rows["words"]):
            return ()
        whole, *wrong = (int(each) for each in rows["words"].sum(0, dtype=np.float64))
        kinds = zip(("another word was told", "a word was left out", "a word was put in"), wrong, strict=True)
        share = max(1, whole)
        found: list[Piece] = [
            Table(
                ("mistake", "times", "% of words"),
                [(kind, times, round(100 * times / share, 2)) for kind, times in kinds],
                f"{whole:,} words were said in {len(rows['words']):,} recordings.",
            )
        ]
        commonest = self._commonest(rows)[:LISTED]
        if commonest:
            lines = [(truth or "(nothing)", said or "(nothing)", times) for truth, said, times in commonest]
            found.append(Table(("said", "told", "times"), lines, "The commonest mistakes."))
        return [*found, Text(PLAIN.get(self._how, self._how))]

    def _commonest(self, rows: Rows) -> list[tuple[str, str, int]]:
        """True word, told word ("" for none) and how often, of the mistakes that are kept by name."""
        counts: Counter[tuple[str, str]] = Counter()
        for row in rows["mistakes"].reshape(-1, 4):
            one, other = (row[0], row[1]), (row[2], row[3])
            if row.any() and {one, other} <= self._words.keys() | {(0.0, 0.0)}:
                counts[self._words.get(one, ""), self._words.get(other, "")] += 1
        return [(*pair, times) for pair, times in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]

    def worth_seeing(self, rows: Rows) -> dict[str, Array]:
        """Those with most mistakes, and some by lot."""
        wrong = rows["words"][:, 1:].sum(1)
        worst = np.argsort(-wrong, kind="stable")
        lot = np.random.default_rng(0).permutation(len(wrong))
        found = {"Most mistakes": worst[wrong[worst] > 0], "By lot": lot}
        return {title: places for title, places in found.items() if len(places)}

    def remark(self, rows: Rows, position: int) -> str:
        """How many of its words are wrong."""
        words, *wrong = (int(each) for each in rows["words"][position])
        mistakes = "1 mistake" if sum(wrong) == 1 else f"{sum(wrong)} mistakes"
        count = "1 word" if words == 1 else f"{words} words"
        return f"{mistakes} in {count}" if sum(wrong) else f"all of {count} right"


Compared = tuple[tuple[float, float, float], list[tuple[str, str]]]
"""Substitutions, deletions and insertions; and each as true and told word, "" for none."""


def _compared(truth: Sequence[list[str]], said: Sequence[list[str]]) -> list[Compared]:
    """Each pair of sequences laid together with the fewest mistakes."""
    asked = [at for at, (one, other) in enumerate(zip(truth, said, strict=True)) if one and other and one != other]
    laid: dict[int, Any] = {}
    if asked:
        numbers = [_as_letters(truth[at], said[at]) for at in asked]
        done = _jiwer().process_characters([one for one, _ in numbers], [other for _, other in numbers])
        laid = dict(zip(asked, done.alignments, strict=True))
    return [_mistakes(one, other, laid.get(at)) for at, (one, other) in enumerate(zip(truth, said, strict=True))]


def _as_letters(one: Sequence[str], other: Sequence[str]) -> tuple[str, str]:
    """Two sequences with a character of private use in place of each word: nothing is cut or trimmed any more."""
    numbers: dict[str, int] = {}
    first, second = ([numbers.setdefault(word, len(numbers)) for word in words] for words in (one, other))
    return tuple("".join(chr(0xF0000 + number) for number in row) for row in (first, second))  # type: ignore[return-value]


def _mistakes(truth: Sequence[str], said: Sequence[str], alignment: Any) -> Compared:
    if alignment is None:  # equal, or one of them is empty
        pairs = [] if list(truth) == list(said) else [*((w, "") for w in truth), *(("", w) for w in said)]
        return (0.0, float(len(truth)) if pairs else 0.0, float(len(said)) if pairs else 0.0), pairs
    counts, pairs = Counter[str](), []
    for chunk in alignment:
        if chunk.type != "equal":
            ones = truth[chunk.ref_start_idx : chunk.ref_end_idx]
            others = said[chunk.hyp_start_idx : chunk.hyp_end_idx]
            longest = max(len(ones), len(others))
            counts[chunk.type] += longest
            pairs += zip(
                [*ones, *[""] * (longest - len(ones))], [*others, *[""] * (longest - len(others))], strict=True
            )
    return (float(counts["substitute"]), float(counts["delete"]), float(counts["insert"])), pairs


def _jiwer() -> Any:
    try:
        import jiwer
    except ImportError:
        raise MatineeError("scores of transcripts need jiwer: pip install 'matinee[speech]'") from None
    return jiwer
