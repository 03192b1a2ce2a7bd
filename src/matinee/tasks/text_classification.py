"""Say what a text is about: sentiment, topics, spam, language, or the kind of a sequence such as a gene."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from matinee.core.classification import Classification
from matinee.core.duplicates import groups
from matinee.core.errors import DataError, SettingsError
from matinee.core.examples import Array, Examples, Ragged
from matinee.core.ledger import Entry
from matinee.core.pieces import Piece
from matinee.core.progress import Progress
from matinee.core.settings import setting
from matinee.core.splits import TEST, VALID, Splits
from matinee.core.task import Batch, Data, Origin, Task
from matinee.core.watch import Watch
from matinee.media import named, text_words, texts
from matinee.media.encoder_folders import read_weights
from matinee.media.shingles import sketches
from matinee.media.text_inputs import rows_of, texts_given
from matinee.media.text_kinds import aligned_length, kind_of
from matinee.media.text_samples import topics
from matinee.media.text_splits import divided
from matinee.media.text_starts import LEARNED, located, told
from matinee.media.tokens import KINDS, Reader
from matinee.media.unlabelled import is_there
from matinee.media.walking import natural
from matinee.media.word_vectors import vectors_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from matinee.nets.ngrams import NgramShape

NETWORKS = {
    **dict.fromkeys(("auto", "constant"), ()), "linear": ("svm", "logistic"),
    **dict.fromkeys(("ensemble", "cnn", "rnn", "lstm", "gru", "transformer"), ()), "encoder": ("bert", "roberta"),
}  # fmt: skip
NEAR, NEAR_LETTERS, NEAR_ALIGNED = 0.92, 0.9, 0.97  # cosine of two sketches of shingles
GRAMS = {"characters": 6, "letters": 6}  # longest n-grams, where three tokens are not enough
PRETRAINED = 0.4  # of the minutes, at most, for texts without labels
NO_LABEL, HELD_BACK = -1, -2  # in the column of labels: a text that may teach the words, and one that may not


@dataclass(frozen=True, kw_only=True)
class TextClassification(Classification):
    """One label for a text, out of the classes seen in training."""

    asked: ClassVar[str] = '"A TEXT" FILE...'
    layout: ClassVar[str] = (
        "  reviews.csv with the columns text,label   a table (CSV, TSV, JSONL, Parquet), or train.csv, test.csv\n"
        "  reviews/train/pos/1.txt, .../neg/2.txt    class folders of .txt files\n"
        "  donors.fasta, acceptors.fasta             FASTA files, a class each; splice.data: class, name, letters"
    )

    samples: ClassVar[Mapping[str, str]] = named.TEXTS
    endings: ClassVar[frozenset[str]] = frozenset({".txt"})

    kind: str = ""
    words: tuple[str, ...] = ()
    characters: tuple[str, ...] = ()
    pieces: str = ""
    aligned: int = 0
    kept: int = 0
    encoder: str = ""
    vector_size: int = 0
    places: tuple[str, ...] = ()
    pretraining_minutes: float = 0.0

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
    pretrained: str = setting("", "folder of a pretrained encoder, or file of word vectors", reading=True)
    unlabelled: str = setting("", "file or folder of texts without labels, for --pretraining", reading=True)
    pretraining: int | None = setting(
        None, "passes over texts without labels before labels teach (0: none)", low=0, high=1000
    )

    def __post_init__(self) -> None:
        if self.features < 0 or self.features * max(1, len(self.classes)) > 2**28:
            raise SettingsError(f"--features {self.features}: too many for {len(self.classes)} classes.")

    # -- reading

    @classmethod
    def recognise(cls, source: str) -> str | None:
        """A table of texts and labels, class folders of texts, FASTA files."""
        return texts.fits(source)

    @classmethod
    def lacks(cls, source: str) -> str | None:
        """Labels, or class folders."""
        return texts.lacks(source)

    def read(self, source: str, progress: Progress) -> Data:
        """The texts of a source as token ids, with its splits or with new ones; words are learned from the training."""
        from matinee.nets.encoders import sizes

        self = self if self.kind else dataclasses.replace(self, **located(self, sizes))
        table = texts.read_texts(source, self._request())
        if not self.classes:
            table = texts.rare_labels(table)
        classes = self.classes or tuple(sorted({label for label in table.labels if label}, key=natural))
        numbers = {name: place for place, name in enumerate(classes)}
        labels = np.array([numbers.get(label, HELD_BACK if label else NO_LABEL) for label in table.labels], np.int64)
        entries = [*table.entries, *texts.strangers(table, classes)]
        if not (labels >= 0).any():
            raise DataError(f"{source}: no text has one of the labels {', '.join(classes[:20])}.")
        whole = np.array(table.splits, np.int64)
        labels[np.isin(whole, (VALID, TEST)) & (labels == NO_LABEL)] = HELD_BACK
        guessing = (self.pretraining or self.unlabelled) and self.pretraining != 0 and self._named in LEARNED
        teaching = np.flatnonzero((labels >= (NO_LABEL if guessing else 0)) & ~np.isin(whole, (VALID, TEST)))
        task = self if self.kind else self._learned([table.texts[row] for row in teaching])
        reader, found, cut = task.reader, list[Array](), list[int]()
        with progress.bar("reading", "texts") as bar:
            for row, ids in enumerate(reader.rows(table.texts, cut), 1):
                found.append(ids)
                if row % 1000 == 0:
                    bar(row, len(table.texts))
        columns: dict[str, Array | Ragged] = {"ids": (ids_of := Ragged.of(found)), "label": labels}
        entries += [Entry(table.names[i], "empty", "there is no word") for i, ids in enumerate(found) if not len(ids)]
        rows = np.flatnonzero((labels >= 0) & (ids_of.lengths(np.arange(len(labels))) > 0))
        splits = task._divided(table, columns, rows)
        seen = {table.texts[row] for name in ("valid", "test") for row in splits[name]}
        labels[[row for row in np.flatnonzero(labels == NO_LABEL) if table.texts[row] in seen]] = HELD_BACK
        counts = tuple(np.bincount(labels[splits["train"]], minlength=len(classes)).tolist())
        task = dataclasses.replace(task, classes=classes, counts=self.counts or counts)
        parts = {name: Examples(columns, chosen) for name, chosen in splits.items()}
        given = frozenset(name for name, split in (("valid", VALID), ("test", TEST)) if (whole[rows] == split).any())
        facts = {"texts": f"{len(rows):,}", "tokens": f"{task.kind}, {reader.size:,} different"}
        if cut:
            facts["shortened"] = f"{len(cut):,} texts to {reader.longest:,} tokens"
        if (self.encoder or self.vector_size) and not self.classes:
            facts["pretrained"] = told(self.encoder, self.places[0], task.words)
        facts |= {"without a label": f"{unlabelled:,}"} if (unlabelled := table.labels.count("")) else {}
        origin = Origin(source, table.manifest, table.names, tuple(entries), given, facts)
        return Data(task, parts["train"], parts["valid"], parts["test"], origin)

    def _request(self) -> texts.TextRequest:
        beside = self.places[1] if self.places else ""
        if self.classes and not is_there(Path(beside)):  # a trained one needs it no more
            beside = ""
        return texts.TextRequest(self.text_column, self.label_column, beside)

    @property
    def _named(self) -> str:
        """The network, where nobody said."""
        usual = "encoder" if self.encoder else "cnn" if self.vector_size else "lstm" if self.unlabelled else "linear"
        return usual if self.network == "auto" else self.network

    def _learned(self, some: Sequence[str]) -> TextClassification:
        """This task with its vocabulary, learned from these texts."""
        usual = "words" if self.vector_size else kind_of(some)
        kind = usual if self.tokens == "auto" else self.tokens
        aligned = aligned_length(some) if kind == "letters" else 0
        kept = self.longest or (5000 if self._named in ("constant", "linear") else 400)
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
        def alike(chosen: Array) -> list[Array]:
            prints, threshold = self.fingerprint(Examples(columns, chosen))
            return [groups(prints, threshold)]

        shares = (self.valid_share, self.test_share, self.split_seed)
        splits = Splits(rows, np.array(table.splits, np.int64), columns["label"], np.full(len(table.splits), -1))
        return divided(splits, columns["ids"], f"{NEAR} {NEAR_LETTERS} {NEAR_ALIGNED} {self.kind}", alike, shares)

    def changes(self, source: str, manifest: Mapping[str, str]) -> dict[str, list[str]]:
        """Texts whose words or label are no longer what they were."""
        return texts.changed_since(source, dict(manifest), self._request())

    def toy(self, seed: int = 0) -> Data:
        """Three kinds of sentences, each with words of its own among common ones."""
        found, labels = topics(seed)
        chosen, size = self.network.replace("auto", "cnn"), self.size.replace("auto", "s")
        task = dataclasses.replace(self, network=chosen, size=size)
        task = dataclasses.replace(task._learned(found[:330]), classes=("sport", "money", "health"), counts=(110,) * 3)
        examples = Examples.of({"ids": Ragged.of(list(task.reader.rows(found))), "label": labels})
        train, valid, test = (examples.take(np.arange(a, b)) for a, b in ((0, 330), (330, 405), (405, 480)))
        return Data(task, train, valid, test)

    # -- the network and its training

    def choose(self, data: Data, minutes: float | None) -> TextClassification:
        """The linear network, whose n-grams win on most texts where no other is asked for; room for its n-grams."""
        from matinee.nets.pretraining import passes
        from matinee.nets.text_networks import room

        words, letters = self._grams()
        size = self.size.replace("auto", "m")
        task = dataclasses.replace(self, network=self._named, size=size, ngrams=words, letter_ngrams=letters)
        if task.network in LEARNED:
            count = int((data.train.array("label") == NO_LABEL).sum()) if self.unlabelled else 0
            whole = passes(count, len(data.train)) if self.pretraining is None else self.pretraining
            task = dataclasses.replace(task, pretraining=whole, pretraining_minutes=PRETRAINED * (minutes or 0.0))
        if task.features:
            return task
        tokens, longest = int(data.train.lengths("ids").sum()), max(1, words, letters) + self.aligned // 2
        return dataclasses.replace(task, features=room(tokens * longest, len(self.classes)))

    def _grams(self) -> tuple[int, int]:
        """The longest n-grams, where nobody said: of words, of characters beside them, of letters."""
        words, letters = (5 if self.aligned else GRAMS.get(self.kind, 3)), (5 if self.kind == "both" else 0)
        return self.ngrams or words, (self.letter_ngrams or letters) if letters else 0

    @property
    def _gram_shape(self) -> NgramShape:
        from matinee.nets.ngrams import NgramShape

        words, letters = self._grams()
        places = words if self.aligned else 0
        features = self.features or 2**12
        return NgramShape(len(self.classes), features, words, letters, places, self.aligned)

    def build(self) -> nn.Module:
        """The network called `network`."""
        from matinee.nets.sequences import SequenceShape
        from matinee.nets.text_networks import build

        size, tokens = "m" if self.size == "auto" else self.size, self.reader.size
        shape = SequenceShape(len(self.classes), tokens, size, self.dropout, self.word_dropout, self.vector_size)
        return build(self._named, self._gram_shape, shape, self.encoder)

    def advice(self, examples: int) -> dict[str, Any]:
        """The network's recipe."""
        from matinee.nets.text_networks import recipe

        return recipe(self.network, examples, self.encoder)

    def prepare(self, network: nn.Module, examples: Examples) -> None:
        """All that the linear network knows; what the others start from."""
        self.study(network, examples, Watch())

    def study(self, network: nn.Module, examples: Examples, watch: Watch) -> None:
        """The same within the time there is: fewer costs of a mistake are tried where it is short."""
        from matinee.nets.ngram_fit import learn
        from matinee.nets.text_networks import ngrams_of

        if (ngrams := ngrams_of(network)) is not None:
            labels = self.labels(examples)
            learn(ngrams, examples.ragged("ids"), examples.rows, labels, self.class_costs()[labels], watch)
        else:
            self._start(network, examples)

    def _start(self, network: nn.Module, examples: Examples) -> None:
        from matinee.nets.pretraining import HiddenWords
        from matinee.nets.text_starts import Starts, start

        place = Path(self.places[0] if self.places else "")
        vectors = (lambda: vectors_of(place, self.words)) if self.vector_size else None
        task = HiddenWords(network=self._named, size=self.size, tokens=self.reader.size, numbers=self.vector_size)
        starts = Starts(lambda: read_weights(place), vectors, self.pretraining or 0, self.pretraining_minutes)
        start(network, starts, task, examples, NO_LABEL)

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

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """That of a classifier; of the members of an ensemble, (members, batch, classes), one after the other."""
        if outputs.dim() < 3:
            return super().loss(outputs, batch)
        return super().loss(outputs.flatten(0, 1), Batch(batch.inputs, batch.targets.repeat(len(outputs))))

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
        return rows_of(raws, self._ids)

    def _ids(self, text: str) -> Array:
        ids = next(iter(self.reader.rows([text])))
        if not len(ids):
            raise DataError("a text without a word: there is nothing to read")
        return ids

    def inputs(self, places: Sequence[str]) -> Iterable[Any]:
        """Texts as they are; names of files and folders as the texts in them."""
        return texts_given(places)

    def show(self, inputs: Tensor, outputs: Any) -> list[Piece]:
        """Each text with its answer."""
        answers = zip(inputs.tolist(), self.answers_in_words(outputs), strict=True)
        return [text_words.weighed(self.reader, row, (), one) for row, one in answers]

    def describe(self, network: nn.Module, examples: Examples) -> Sequence[Piece]:
        """The n-grams that speak most for each class, and a few texts shaded by what each word added."""
        import torch

        from matinee.nets import ngram_reading
        from matinee.nets.text_networks import ngrams_of

        ngrams = ngrams_of(network)
        if ngrams is None or not ngrams.looked or not len(examples):
            return ()
        some = examples.take(text_words.spread(len(examples)))
        with torch.inference_mode():
            batches = [batch.inputs for batch in self.batches(some, network, 64, None)]
            outputs = torch.cat([self.infer(network, inputs).float() for inputs in batches])
            spoken = ngram_reading.strongest(ngrams, batches, text_words.LOOKED_AT)
            told = [(f"said {one['label']} ({100 * one['probability']:.0f} %)") for one in self.decode(outputs)]
            few = text_words.a_few(self.labels(some), outputs.argmax(1).cpu().numpy(), some.lengths("ids"))
            ids = some.ragged("ids").padded(some.rows[few])
            shares = ngram_reading.shares(ngrams, torch.from_numpy(ids), outputs.argmax(1).cpu()[few])
        rows = [some.ragged("ids")[row] for row in some.rows]
        table = text_words.ngram_table(self.reader, spoken, rows, self.classes, bool(self.aligned))
        captions = [f"{told[place]}, is {self.classes[self.labels(some)[place]]}" for place in few]
        texts_ = text_words.shaded(self.reader, ids, shares.numpy(), captions)
        return *text_words.limits(int(ngrams.looked), sum(self.counts)), table, *texts_
