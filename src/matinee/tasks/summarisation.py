"""Say in a few sentences what a long text says."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from matinee.core.errors import DataError, SettingsError
from matinee.core.examples import Array, Examples, Ragged
from matinee.core.ledger import Entry
from matinee.core.meter import Meter
from matinee.core.pieces import Piece, Table, Text
from matinee.core.progress import Progress
from matinee.core.settings import setting
from matinee.core.task import Batch, Data, Task
from matinee.media import pair_columns
from matinee.media.pairs import PairRequest, Pairs, look, read_pairs
from matinee.media.sentences import sentences_of
from matinee.media.text_inputs import documents_given, text_of
from matinee.media.text_prints import NEAR, prints_of
from matinee.media.vocabulary import CHARACTERS_PER_PIECE, END, SMALLEST, STOP, Pieces, learn

if TYPE_CHECKING:
    from torch import Tensor, nn

    from matinee.core.model import Model

MOST_DOCUMENT = 1_000_000  # characters; a longer one is refused, a shorter one is read up to --source-limit
LOOK = 256  # training documents that the rule of Lead is found with
NETWORKS = ("auto", "extract", "transformer", "recurrent", "lead")


@dataclass(frozen=True, kw_only=True)
class Summarisation(Task):
    """Documents and their summaries."""

    rivals: ClassVar[tuple[str, str]] = ("the first sentences (Lead)", "")
    layout: ClassVar[str] = (
        "  news.csv with the columns article,summary   a table of documents (CSV, TSV, JSONL, Parquet)\n"
        "  train.source, train.target, ...             files with a line for each other"
    )
    head: ClassVar[str] = "tables."  # what depends on the vocabulary

    pieces: str = ""
    size: int = 0
    mean_length: float = 1.0
    validated: bool = False

    network: str = setting(
        "auto", "network: extract chooses sentences, transformer and recurrent write their own", choices=NETWORKS
    )
    width: int | None = setting(None, "numbers a piece or sentence is known by", low=16, high=2048)
    layers: int | None = setting(None, "layers of the network", low=1, high=24)
    dropout: float | None = setting(None, "share of numbers set to zero while learning", low=0, high=0.9)
    label_smoothing: float = setting(0.1, "share of certainty taken from the true piece", low=0, high=0.9)
    beams: int = setting(4, "summaries kept side by side while one is written (1: greedy)", low=1, high=64)
    length_penalty: float = setting(1.0, "how far longer summaries are spared (0: not)", low=0, high=4)
    source_column: str = setting("", "column of a table that holds the documents", reading=True)
    target_column: str = setting("", "column of a table that holds the summaries", reading=True)
    vocabulary: int = setting(
        8000, "most pieces of the byte-pair vocabulary", low=SMALLEST, high=200_000, log=True, reading=True
    )
    source_limit: int = setting(2048, "pieces of a document that are read", low=16, high=65_536, reading=True)
    target_limit: int = setting(1024, "longest summary in pieces; longer are refused", low=4, high=8192, reading=True)

    def __post_init__(self) -> None:
        if not 0 <= self.size <= 1_000_000:
            raise SettingsError("a vocabulary of more than a million pieces is not read.")
        if not (math.isfinite(self.mean_length) and self.mean_length > 0):
            raise SettingsError("the mean length of a target must be above 0.")

    # -- reading

    @classmethod
    def recognise(cls, source: str) -> str | None:
        """A table with an article and a summary, or with a source that is much longer than its target."""
        found = look(source)
        return found.words if found is not None and found.summaries else None

    def read(self, source: str, progress: Progress) -> Data:
        """The documents of a source, cut into sentences, and which of those would make the best summary."""
        progress.live("reading documents")
        pairs = self._pairs(source)
        progress.live(f"{len(pairs.sources):,} documents: near duplicates, the vocabulary, the best sentences")
        splits = pair_columns.split_pairs(pairs, (self.valid_share, self.test_share, self.split_seed))
        task = self if self.pieces else self._with_vocabulary(pairs, splits["train"])
        columns, entries = task._columns(pairs)
        limits = [("target", columns["target"].lengths(np.arange(len(pairs.names))), self.target_limit)]
        splits, refused = pair_columns.within(pairs, limits, splits)
        task = task._with_length(columns, splits["train"])
        parts = {name: Examples(dict(columns), rows) for name, rows in splits.items()}
        progress.clear()
        origin = pair_columns.origin_of(source, pairs, [*entries, *refused])
        return Data(task, parts["train"], parts["valid"], parts["test"], origin)

    def _pairs(self, source: str) -> Pairs:
        request = PairRequest("", self.source_column, self.target_column, summaries=True)
        limits = (MOST_DOCUMENT, self.target_limit * CHARACTERS_PER_PIECE)
        pairs = pair_columns.without_long(read_pairs(source, request), limits)
        if not pairs.sources:
            raise DataError(f"{source}: every document is too long; the first: {pairs.entries[-1].reason}")
        return pairs

    def _with_vocabulary(self, pairs: Pairs, rows: Array) -> Summarisation:
        texts = [" ".join(each) for row in rows for each in (pairs.sources[row], pairs.targets[row])]
        learned = learn(texts, self.vocabulary)
        return dataclasses.replace(self, pieces=learned, size=Pieces.of(learned).size)

    def _with_length(self, columns: Mapping[str, Ragged], rows: Array) -> Summarisation:
        if self.mean_length != 1.0 or not len(rows):
            return self
        column = columns["best" if self.network in ("auto", "extract", "lead") else "target"]
        return dataclasses.replace(self, mean_length=float(column.lengths(rows).mean()))

    def _document(self, texts: Sequence[str]) -> tuple[list[str], Array, bool]:
        """Its sentences, their pieces with a 3 behind each and 2 at the end, whether some were left out."""
        sentences = sentences_of(texts)
        rows = self._vocabulary.numbers(sentences)
        ends = np.cumsum([len(row) + 1 for row in rows]) + 1
        kept = int((ends <= self.source_limit).sum())
        if not kept:  # one sentence is longer than all that is read
            rows, kept = [rows[0][: self.source_limit - 2]], 1
        numbers = [np.append(row, STOP) for row in rows[:kept]]
        return sentences[:kept], np.append(np.concatenate(numbers), END), bool(ends[-1] > self.source_limit)

    def _columns(self, pairs: Pairs) -> tuple[dict[str, Ragged], list[Entry]]:
        from matinee.media.rouge import best_sentences
        from matinee.media.text_scores import kept_text

        sources, best, entries = [], [], []
        for name, texts, become in zip(pairs.names, pairs.sources, pairs.targets, strict=True):
            sentences, numbers, cut = self._document(texts)
            sources.append(numbers)
            best.append(best_sentences(sentences, become))
            if cut:
                reason = f"only its first {self.source_limit:,} pieces are read (--source-limit)"
                entries.append(Entry(name, "truncated", reason))
        targets = self._vocabulary.numbers([" ".join(texts[0].split()) for texts in pairs.targets])
        columns = {
            "source": Ragged.of(sources),
            "target": Ragged.of([np.append(row, END) for row in targets]),
            "best": Ragged.of(best, np.float32),
            "reference": Ragged.of([kept_text(texts) for texts in pairs.targets], np.uint8),
        }
        return columns, entries

    @property
    def _vocabulary(self) -> Pieces:
        return Pieces.of(self.pieces).sized(self.size)

    def changes(self, source: str, manifest: Mapping[str, str]) -> dict[str, list[str]]:
        """Rows whose texts are no longer what they were."""
        return pair_columns.changes_since(self._pairs(source).manifest(), dict(manifest))

    def toy(self, seed: int = 0) -> Data:
        """Six short sentences, two of which say what somebody won; those are the summary."""
        generator = np.random.default_rng(seed)
        names, things = ("Anna", "Bert", "Cleo", "Dora"), ("a cup", "a race", "gold", "a prize", "the match")
        idle = ("slept", "ate", "sat", "waited", "sang", "read")
        pairs = Pairs(names=[str(n) for n in range(480)])
        for row in range(480):
            said = [f"{generator.choice(names)} {generator.choice(idle)} {generator.integers(99)}." for _ in range(6)]
            places = np.sort(generator.permutation(np.arange(1, 6))[:2])
            for place in places:
                said[place] = f"{generator.choice(names)} won {generator.choice(things)} {row} times."
            pairs.sources.append(tuple(said))
            pairs.targets.append((" ".join(said[place] for place in places),))
        task = dataclasses.replace(self, vocabulary=400)._with_vocabulary(pairs, np.arange(320))
        columns, _ = task._columns(pairs)
        task = task._with_length(columns, np.arange(320))
        examples = Examples.of(dict(columns))
        train, valid, test = (examples.take(np.arange(a, b)) for a, b in ((0, 320), (320, 400), (400, 480)))
        return Data(task, train, valid, test)

    # -- the network and its training

    @property
    def _extracts(self) -> bool:
        return self.network in ("auto", "extract")

    def choose(self, data: Data, minutes: float | None) -> Summarisation:
        """The network that chooses sentences: one that writes its own needs tens of thousands of summaries."""
        count, name = len(data.train), "extract" if self.network == "auto" else self.network
        width = self.width or (64 if count < 1000 else 128 if name == "extract" or count < 10_000 else 256)
        dropout = (
            self.dropout if self.dropout is not None else 0.0 if count < 1000 else 0.3 if name == "extract" else 0.2
        )
        layers = self.layers or (1 if count < 1000 else 2 if name == "extract" else 3)
        task = dataclasses.replace(
            self, network=name, width=width, layers=layers, dropout=dropout, validated=len(data.valid) > 0
        )
        column = "best" if name == "extract" else "target"
        return dataclasses.replace(task, mean_length=float(data.train.lengths(column).sum() / max(1, count)) or 1.0)

    def advice(self, examples: int) -> dict[str, Any]:
        """AdamW with a cosine that is warmed up, and an average of the weights."""
        if examples < 1000:
            return {"epochs": 20, "batch_size": 16, "learning_rate": 5e-3, "warmup": 0.1, "weight_decay": 0.0}
        usual = {"minutes": 15.0, "batch_size": 32, "warmup": 0.1, "average": 0.99, "clip": 1.0, "schedule": "cosine"}
        return {**usual, "epochs": 12, "learning_rate": 1e-3, "weight_decay": 0.05}

    def build(self) -> nn.Module:
        """The network called `network`."""
        from matinee.nets.extracting import Extract, Lead
        from matinee.nets.writers import WriterShape, build

        width, layers, share = self.width or 128, self.layers or 2, self.dropout or 0.0
        if self.network == "lead":
            return Lead()
        if self._extracts:
            return Extract(self.size, width, layers, share)
        return build(self.network, WriterShape(self.size, self.size, True, width, layers, share))

    def prepare(self, network: nn.Module, examples: Examples) -> None:
        """How rare pieces are, how long summaries, where Lead ends; a network that writes is greedy while it learns."""
        import torch

        from matinee.nets.extracting import Extract, Lead
        from matinee.nets.teaching import best_lead, settle, usual_length

        settle(network, not self.validated)
        if isinstance(network, Extract):
            column, seen = examples.ragged("source"), np.ones(self.size)
            for row in examples.rows:
                seen[np.unique(column[int(row)])] += 1
            with torch.no_grad():
                network.tables.rarity.copy_(torch.from_numpy(np.log((len(examples) + 2) / seen)))
                network.budget.copy_(usual_length(examples.lengths("source"), examples.lengths("target")))
        elif isinstance(network, Lead):
            some = examples.take(np.random.default_rng(0).permutation(len(examples))[:LOOK])
            batches = [self.collate(some.gather(places)) for places in _parts(len(some))]
            with torch.no_grad():
                network.rule.copy_(best_lead(batches, self.size))

    def calibrate(self, network: nn.Module, outputs: Any, targets: Any) -> None:
        """It has learned: from here on it answers with beams."""
        from matinee.nets.teaching import settle

        settle(network, True)

    def lengths(self, examples: Examples) -> Array:
        """Of the documents."""
        return examples.lengths("source")

    def collate(self, columns: Mapping[str, Tensor]) -> Batch:
        """Numbers of pieces, zeros behind; which sentences are best; the references as bytes."""
        targets = {"target": columns["target"].long(), "best": columns["best"], "reference": columns["reference"]}
        return Batch(columns["source"].long(), targets)

    def forward(self, network: nn.Module, batch: Batch) -> Any:
        """Logits of sentences, or of each piece of the summary given those before it."""
        from matinee.nets.teaching import taught

        return network(batch.inputs) if self._extracts else taught(network, batch.inputs, batch.targets["target"])

    def infer(self, network: nn.Module, inputs: Tensor) -> Any:
        """The summaries."""
        from matinee.nets.extracting import Extract, Lead
        from matinee.nets.teaching import Answers, answer, summed_up

        if isinstance(network, Extract | Lead):
            return summed_up(network, inputs)
        limits = ((inputs > 0).sum(1) // 2 + 10).clamp(max=self.target_limit)
        found: Answers = answer(network, inputs, limits, self.beams, self.length_penalty)
        return found

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """Binary cross-entropy of sentences, or cross-entropy of pieces with label smoothing."""
        from matinee.nets.teaching import surprise, surprise_of_choice

        if self._extracts:
            return surprise_of_choice(outputs, batch.targets["best"], self.mean_length)
        return surprise(outputs, batch.targets["target"], self.mean_length, self.label_smoothing)

    def merge(self, outputs: Sequence[Any]) -> Any:
        """Of several networks, the one that is surest of its summary."""
        from matinee.nets.teaching import best_of

        return best_of(list(outputs))

    def concatenate(self, outputs: Sequence[Any]) -> Any:
        """One after the other, each as wide as the widest."""
        from matinee.nets.padding import joined

        return joined(outputs)

    # -- scores and answers

    def meter(self) -> Meter:
        """ROUGE-1 first."""
        from matinee.media.rouge import RougeMeter

        return RougeMeter(self._vocabulary)

    def fingerprint(self, examples: Examples) -> tuple[Array, float]:
        """Which pieces follow which in the document."""
        column = examples.ragged("source")
        return prints_of([column[int(row)] for row in examples.rows]), NEAR

    def trivial(self, train: Examples) -> Model:
        """Lead: the first sentences, as many as make the best summaries of the training documents."""
        from matinee.core.model import Model

        task = dataclasses.replace(self, network="lead")
        network = task.build()
        task.prepare(network, train)
        return Model(task, network.eval())

    def encode_each(self, raws: Sequence[Any]) -> tuple[Tensor, Mapping[int, DataError]]:
        """Documents -> numbers of pieces (batch, longest), zeros behind; not those empty, too long or no text."""
        import torch

        rows, errors = [], {}
        for place, raw in enumerate(raws):
            try:
                text = text_of(raw)
                if len(text) > MOST_DOCUMENT:
                    raise DataError(f"a document of {len(text):,} characters; at most {MOST_DOCUMENT:,} are read")
                rows.append(self._document((text,))[1])
            except DataError as error:
                errors[place] = error
        column = Ragged.of(rows)
        return torch.from_numpy(column.padded(np.arange(len(rows)))).long(), errors

    def decode(self, outputs: Any) -> list[dict[str, Any]]:
        """The summary, and how likely its sentences belong to one, or the mean log-probability of what was written."""
        if not isinstance(outputs, tuple):
            return [{"summary": text} for text in self._vocabulary.texts(outputs.cpu().numpy())]
        name = "probability" if self._extracts else "log_probability"
        texts, scores = self._vocabulary.texts(outputs[0].cpu().numpy()), outputs[1].float().tolist()
        return [{"summary": t, name: round(s, 4)} for t, s in zip(texts, scores, strict=True)]

    def show(self, inputs: Tensor, outputs: Any) -> list[Piece]:
        """The summary; where sentences were chosen, each with its probability."""
        answers = self.decode(outputs)
        if not isinstance(outputs, tuple) or not outputs[2].numel():
            return [Text(answer["summary"]) for answer in answers]
        drawn: list[Piece] = []
        for row, answer in enumerate(answers):
            numbers = inputs[row].cpu().numpy()
            ends = np.flatnonzero(numbers == STOP)[: outputs[2].shape[2]]
            sentences = self._vocabulary.texts_between(numbers, ends)
            shares = outputs[2][row, 0, : len(ends)].tolist()
            rows = [(text, f"{100 * share:.0f} %") for text, share in zip(sentences, shares, strict=True)]
            drawn.append(Table(("sentence", "belongs to the summary"), rows, answer["summary"]))
        return drawn

    def inputs(self, places: Sequence[str]) -> Iterable[Any]:
        """Texts as they are, text files as a document each."""
        return documents_given(places)


def _parts(count: int, size: int = 32) -> list[Array]:
    return [np.arange(first, min(count, first + size)) for first in range(0, count, size)]
