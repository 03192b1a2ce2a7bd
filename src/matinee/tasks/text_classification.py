"""Say what a text is about: sentiment, topics, spam, language, or the kind of a sequence such as a gene."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from matinee.core.classification import Classification
from matinee.core.duplicates import groups
from matinee.core.errors import DataError, SettingsError
from matinee.core.examples import Array, Examples, Ragged
from matinee.core.ledger import Entry
from matinee.core.pieces import Piece, Words
from matinee.core.progress import Progress
from matinee.core.settings import setting
from matinee.core.splits import TEST, VALID, Splits, divide, remembered
from matinee.core.task import Batch, Data, Origin, Task
from matinee.media import texts
from matinee.media.shingles import sketches
from matinee.media.tokens import KINDS, Reader, letters_of, words_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from matinee.nets.ngrams import NgramShape

NETWORKS = ("auto", "constant", "linear", "cnn", "rnn", "lstm", "gru", "transformer")
NEAR, NEAR_LETTERS, NEAR_ALIGNED = 0.92, 0.9, 0.97  # cosine of two sketches of shingles
LONG = 120  # words of a text on average from which on its characters tell little beside them
ALIGNED_UP_TO = 512
CHUNK = 500  # texts whose n-grams are made at once


@dataclass(frozen=True, kw_only=True)
class TextClassification(Classification):
    """One label for a text, out of the classes seen in training."""

    layout: ClassVar[str] = (
        "  reviews.csv with the columns text,label   a table (CSV, TSV, JSONL, Parquet), or train.csv, test.csv\n"
        "  reviews/train/pos/1.txt, .../neg/2.txt    class folders of .txt files\n"
        "  donors.fasta, acceptors.fasta             FASTA files, a class each; splice.data: class, name, letters"
    )

    kind: str = ""
    words: tuple[str, ...] = ()
    characters: tuple[str, ...] = ()
    pieces: str = ""
    aligned: int = 0
    kept: int = 0

    network: str = setting("auto", "network", choices=NETWORKS)
    size: str = setting("auto", "size of the network", choices=("auto", "s", "m", "l"))
    tokens: str = setting(
        "auto", "what a text is made of; both: words and characters", choices=("auto", *KINDS), reading=True
    )
    longest: int = setting(
        0, "tokens that are kept of a longer text, head and tail (0: auto)", low=0, high=1_000_000, reading=True
    )
    vocabulary: int = setting(0, "words or pieces that are told apart (0: auto)", low=0, high=1_000_000, reading=True)
    ngrams: int = setting(0, "tokens of the longest n-gram of the linear network (0: auto)", low=0, high=8)
    letter_ngrams: int = setting(0, "characters of the longest n-gram of the linear network (0: auto)", low=0, high=8)
    features: int = setting(0, "n-grams that the linear network knows at most (0: auto)", low=0, high=2**24)
    dropout: float = setting(0.4, "dropout is a share of units", low=0, high=0.9)
    word_dropout: float = setting(0.1, "share of tokens that a training step does not see", low=0, high=0.9)
    label_smoothing: float | None = setting(0.05, "share of certainty taken from the true class", low=0, high=0.9)
    text_column: str = setting("", "column of a table with the texts (several: between commas)", reading=True)
    label_column: str = setting("", "column of a table with the labels", reading=True)

    def __post_init__(self) -> None:
        if self.features < 0 or self.features * max(1, len(self.classes)) > 2**28:
            raise SettingsError(f"--features {self.features}: too many for {len(self.classes)} classes.")

    # -- reading

    @classmethod
    def recognise(cls, source: str) -> str | None:
        """A table of texts and labels, class folders of texts, FASTA files."""
        return texts.fits(source)

    def read(self, source: str, progress: Progress) -> Data:
        """The texts of a source as token ids, with its splits or with new ones; words are learned from the training."""
        table = texts.read_texts(source, self._request())
        if not self.classes:
            table = texts.rare_labels(table)
        classes = self.classes or tuple(sorted({label for label in table.labels if label}, key=_natural))
        numbers = {name: place for place, name in enumerate(classes)}
        labels = np.array([numbers.get(label, -1) for label in table.labels], np.int64)
        strangers = [
            Entry(table.names[row], "unknown-label", f"{table.labels[row][:60]!r} is none of the classes")
            for row in np.flatnonzero(labels < 0)
            if table.labels[row]
        ]
        rows = np.flatnonzero(labels >= 0)
        if not len(rows):
            raise DataError(f"{source}: no text has one of the labels {', '.join(classes[:20])}.")
        whole = np.array(table.splits, np.int64)
        task = (
            self if self.kind else self._learned([table.texts[row] for row in rows if whole[row] not in (VALID, TEST)])
        )
        reader = task.reader
        with progress.bar("reading", "texts") as bar:
            found = []
            for row, ids in enumerate(reader.rows(table.texts), 1):
                found.append(ids)
                if row % 1000 == 0:
                    bar(row, len(table.texts))
        columns: dict[str, Array | Ragged] = {"ids": (ids_of := Ragged.of(found)), "label": labels}
        splits = task._divided(table, columns, rows)
        counts = tuple(np.bincount(labels[splits["train"]], minlength=len(classes)).tolist())
        task = dataclasses.replace(task, classes=classes, counts=self.counts or counts)
        parts = {name: Examples(columns, chosen) for name, chosen in splits.items()}
        given = frozenset(name for name, split in (("valid", VALID), ("test", TEST)) if (whole[rows] == split).any())
        cut = int((ids_of.lengths(rows) >= reader.longest).sum()) if reader.longest else 0
        facts = {"texts": f"{len(rows):,}", "tokens": f"{task.kind}, {reader.size:,} different"}
        if cut:
            facts["shortened"] = f"{cut:,} texts to {reader.longest:,} tokens"
        if len(rows) < len(labels):
            facts["without a label"] = f"{len(labels) - len(rows):,}"
        origin = Origin(source, table.manifest, table.names, (*table.entries, *strangers), given, facts)
        return Data(task, parts["train"], parts["valid"], parts["test"], origin)

    def _request(self) -> texts.TextRequest:
        return texts.TextRequest(self.text_column, self.label_column)

    def _learned(self, some: Sequence[str]) -> TextClassification:
        """This task with its vocabulary, learned from these texts."""
        kind, aligned = self.tokens, 0
        sample = some[:: max(1, len(some) // 2000)]
        letters = [letters_of(text) for text in sample]
        sequences = all(len(word) >= 10 and word.isalpha() for word in letters) and not any(
            len(text.split()) > 2 for text in sample
        )
        if kind == "auto" and sequences and len({letter for word in letters for letter in word}) <= 30:
            kind = "letters"
        if (
            kind == "letters"
            and len({len(letters_of(text)) for text in some}) == 1
            and len(letters[0]) <= ALIGNED_UP_TO
        ):
            aligned = len(letters[0])
        if kind == "auto":
            words = [words_of(text[:20_000]) for text in sample]
            long = sum(map(len, words)) > LONG * len(sample)
            # A text of single characters is spelled already.
            alone = sum(len(word) == 1 for row in words for word in row) > 0.7 * sum(map(len, words))
            kind = "words" if long or alone else "both"
        kept = self.longest or (400 if self.network not in ("auto", "constant", "linear") else 5000)
        reader = Reader.learned(kind, some, longest=kept, vocabulary=self.vocabulary)
        return dataclasses.replace(
            self, kind=kind, words=reader.words, characters=reader.characters, pieces=reader.pieces,
            aligned=aligned, kept=kept,
        )  # fmt: skip

    @functools.cached_property
    def reader(self) -> Reader:
        """How texts become token ids."""
        return Reader(self.kind, self.words, self.characters, self.pieces, self.kept)

    def _divided(self, table: texts.TextTable, columns: Mapping[str, Any], rows: Array) -> dict[str, Array]:
        shares = (self.valid_share, self.test_share, self.split_seed)
        named, labels = np.array(table.splits, np.int64), columns["label"]

        def alike(chosen: Array) -> list[Array]:
            prints, threshold = self.fingerprint(Examples(columns, chosen))
            return [groups(prints, threshold)]

        def find() -> dict[str, Array]:
            return divide(Splits(rows, named, labels, np.full(len(labels), -1)), alike, shares)

        words = sha256(f"texts {NEAR} {NEAR_LETTERS} {NEAR_ALIGNED} {self.kind} {shares} ".encode())
        for part in (rows, labels, named, columns["ids"].values, columns["ids"].offsets):
            words.update(np.ascontiguousarray(part).tobytes())
        return remembered(words.hexdigest()[:40], find)

    def changes(self, source: str, manifest: Mapping[str, str]) -> dict[str, list[str]]:
        """Texts whose words or label are no longer what they were."""
        return texts.changed_since(source, dict(manifest), self._request())

    def toy(self, seed: int = 0) -> Data:
        """Three kinds of sentences, each with words of its own among common ones."""
        generator = np.random.default_rng(seed)
        topics = (("goal", "match", "team"), ("stock", "bank", "price"), ("virus", "cell", "gene"))
        usual = ["the", "a", "of", "and", "was", "is", "new", "today", "old", "said"]
        labels, found = np.arange(480, dtype=np.int64) % 3, []
        for label in labels:
            sentence = list(generator.choice(usual, generator.integers(4, 12)))
            for word in generator.choice(topics[int(label)], 2):
                sentence.insert(int(generator.integers(len(sentence))), str(word))
            found.append(" ".join(sentence))
        chosen = self.network if self.network != "auto" else "cnn"
        task = dataclasses.replace(self, network=chosen, size="s" if self.size == "auto" else self.size)
        task = dataclasses.replace(task._learned(found[:330]), classes=("sport", "money", "health"), counts=(110,) * 3)
        examples = Examples.of({"ids": Ragged.of(list(task.reader.rows(found))), "label": labels})
        train, valid, test = (examples.take(np.arange(a, b)) for a, b in ((0, 330), (330, 405), (405, 480)))
        return Data(task, train, valid, test)

    # -- the network and its training

    def choose(self, data: Data, minutes: float | None) -> TextClassification:
        """The linear network, whose n-grams win on most texts where no other is asked for; room for its n-grams."""
        network = "linear" if self.network == "auto" else self.network
        size = "m" if self.size == "auto" else self.size
        words, letters = self._grams()
        task = dataclasses.replace(self, network=network, size=size, ngrams=words, letter_ngrams=letters)
        if task.features:
            return task
        tokens = int(data.train.lengths("ids").sum())
        each = max(1, task.ngrams, task.letter_ngrams) + (self.aligned // 2 if self.aligned else 0)
        most = max(2**12, 2**24 // max(1, len(self.classes)))
        features = 2 ** min(21, max(8, math.ceil(math.log2(1 + tokens * each))))
        return dataclasses.replace(task, features=min(features, 2 ** int(math.log2(most))))

    def _grams(self) -> tuple[int, int]:
        """The longest n-grams, where nobody said: of words, of characters beside them, of letters."""
        usual = {"words": (3, 0), "both": (3, 5), "pieces": (3, 0), "characters": (6, 0), "letters": (6, 0)}
        words, letters = usual.get(self.kind, (3, 0))
        if self.aligned:
            words = 5
        return self.ngrams or words, (self.letter_ngrams or letters) if letters else 0

    @property
    def _gram_shape(self) -> NgramShape:
        from matinee.nets.ngrams import NgramShape

        words, letters = self._grams()
        places = words if self.aligned else 0
        features = self.features or 2**12
        return NgramShape(len(self.classes), features, words, letters, places)

    def build(self) -> nn.Module:
        """The network called `network`."""
        from matinee.nets.sequences import SequenceShape
        from matinee.nets.text_networks import build

        size = "m" if self.size == "auto" else self.size
        sequences = SequenceShape(len(self.classes), self.reader.size, size, self.dropout, self.word_dropout)
        return build("linear" if self.network == "auto" else self.network, self._gram_shape, sequences)

    def advice(self, examples: int) -> dict[str, Any]:
        """The network's recipe."""
        from matinee.nets.text_networks import recipe

        return recipe(self.network, examples)

    def prepare(self, network: nn.Module, examples: Examples) -> None:
        """All that the linear network knows."""
        import torch

        from matinee.nets.ngram_fit import ROOM, fit
        from matinee.nets.ngrams import NgramNetwork

        if not isinstance(network, NgramNetwork):
            return
        lengths = examples.lengths("ids")
        each = max(1, self._gram_shape.words, self._gram_shape.letters)
        order = np.random.default_rng(0).permutation(len(examples))
        order = order[np.cumsum(lengths[order]) * each <= max(ROOM, lengths.max(initial=0) * each)]
        order = order[np.argsort(lengths[order], kind="stable")]
        ids = examples.ragged("ids")
        chunks = np.array_split(order, max(1, len(order) // CHUNK))
        batches = (torch.from_numpy(ids.padded(examples.rows[chunk])) for chunk in chunks)
        fit(network, batches, torch.from_numpy(self.labels(examples)[order]))

    def calibrate(self, network: nn.Module, outputs: Any, targets: Any) -> None:
        """Temperature scaling (Guo et al., 2017) on the logits: answers stay as they are."""
        from matinee.core.scores import temperature
        from matinee.nets.text_networks import sharpen

        sharpen(network, 1 / temperature(outputs.float(), targets))

    def collate(self, columns: Mapping[str, Tensor]) -> Batch:
        """int32 token ids (batch, longest), 0 behind the end."""
        return Batch(columns["ids"], columns["label"].long())

    def lengths(self, examples: Examples) -> Array:
        """Tokens of each text."""
        return examples.lengths("ids")

    # -- scores and answers

    def fingerprint(self, examples: Examples) -> tuple[Array, float]:
        """Sketches of the shingles of a text: up to three tokens, eight letters in a row, or letters at places."""
        sequences = self.kind in ("letters", "characters")
        orders = (1,) if self.aligned else (8,) if sequences else (1, 2, 3)
        prints = sketches(examples.ragged("ids"), examples.rows, orders, bool(self.aligned))
        return prints, NEAR_ALIGNED if self.aligned else NEAR_LETTERS if sequences else NEAR

    def simplest(self) -> Task | None:
        """Support vectors over n-grams."""
        return None if self.network == "linear" else dataclasses.replace(self, network="linear")

    def encode_each(self, raws: Sequence[Any]) -> tuple[Tensor, Mapping[int, DataError]]:
        """Texts -> token ids (batch, longest), without those in which there is nothing to read."""
        import torch

        errors, good = {}, []
        for place, raw in enumerate(raws):
            if isinstance(raw, DataError):
                errors[place] = raw
            elif not str(raw).strip():
                errors[place] = DataError("an empty text: there is nothing to read.")
            else:
                good.append(str(raw))
        ids = Ragged.of(list(self.reader.rows(good)))
        return torch.from_numpy(ids.padded(np.arange(len(good)))), errors

    def inputs(self, places: Sequence[str]) -> Iterable[Any]:
        """Texts as they are; names of .txt files as the texts in them."""
        return texts.list_plain(places)

    def show(self, inputs: Tensor, outputs: Any) -> list[Piece]:
        """Each text with its answer."""
        join = "" if self.kind in ("letters", "characters") else " "
        pieces: list[Piece] = []
        for ids, answer in zip(inputs.tolist(), self.answers_in_words(outputs), strict=True):
            there = [i for i in ids if i > 0][:400]
            pieces.append(Words(self.reader.tokens(there), (), answer, join))
        return pieces


def _natural(name: str) -> tuple[int, int, str]:
    """Numbers by their value, before names."""
    return (0, int(name), name) if name.isdecimal() else (1, 0, name)
