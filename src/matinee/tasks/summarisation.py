"""Say in a few sentences what a long text says."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from matinee.core.errors import DataError
from matinee.core.examples import Array, Examples, Ragged
from matinee.core.ledger import Entry
from matinee.core.meter import Meter
from matinee.core.pieces import Piece, Table, Text
from matinee.core.progress import Progress
from matinee.core.settings import setting
from matinee.core.task import Batch, Data
from matinee.media.pair_columns import changes_since, data_of, made_up, pairs_and_splits
from matinee.media.pairs import PairRequest, Pairs, look
from matinee.media.sentences import sentences_of
from matinee.media.text_inputs import documents_given, rows_of
from matinee.media.text_prints import NEAR, prints_of
from matinee.media.vocabulary import CHARACTERS_PER_PIECE, END, SMALLEST, STOP, Pieces, learn, refuse_huge
from matinee.nets.written import RECURRENT, Writes

if TYPE_CHECKING:
    from torch import Tensor, nn

    from matinee.core.model import Model

MOST_DOCUMENT = 1_000_000  # characters; a longer one is refused, a shorter one is read up to --source-limit
LOOK = 256  # training documents that the rule of Lead is found with
NETWORKS = {"auto": (), "extract": (), "transformer": (), **RECURRENT, "lead": ()}


@dataclass(frozen=True, kw_only=True)
class Summarisation(Writes):
    """Documents and their summaries."""

    rivals: ClassVar[tuple[str, str]] = ("the first sentences (Lead)", "")
    layout: ClassVar[str] = (
        "  news.csv with the columns article,summary   a table of documents (CSV, TSV, JSONL, Parquet)\n"
        "  train.source, train.target, ...             files with a line for each other"
    )

    pieces: str = ""
    size: int = 0

    network: str = setting(
        "auto", "network: extract chooses sentences, transformer and recurrent write their own", choices=NETWORKS
    )
    source_column: str = setting("", "column of a table that holds the documents", reading=True)
    target_column: str = setting("", "column of a table that holds the summaries", reading=True)
    vocabulary: int = setting(
        8000, "most pieces of the byte-pair vocabulary", low=SMALLEST, high=200_000, log=True, reading=True
    )
    source_limit: int = setting(2048, "pieces of a document that are read", low=16, high=65_536, reading=True)
    target_limit: int = setting(1024, "longest summary in pieces; longer are refused", low=4, high=8192, reading=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_huge(self.size)

    # -- reading

    @classmethod
    def recognise(cls, source: str) -> str | None:
        """A table with an article and a summary, or with a source that is much longer than its target."""
        found = look(source)
        return found.words if found is not None and found.summaries else None

    def read(self, source: str, progress: Progress) -> Data:
        """The documents of a source, cut into sentences, and which of those would make the best summary."""
        shares = self.valid_share, self.test_share, self.split_seed
        pairs, splits = pairs_and_splits(source, self._asked, shares, progress)
        task = self if self.pieces else self._with_vocabulary(pairs, splits["train"])
        return data_of(task, source, pairs, splits, task._columns(pairs), {"target": self.target_limit})

    @property
    def _asked(self) -> PairRequest:
        most = MOST_DOCUMENT, self.target_limit * CHARACTERS_PER_PIECE
        return PairRequest("", self.source_column, self.target_column, summaries=True, most=most)

    def _with_vocabulary(self, pairs: Pairs, rows: Array) -> Summarisation:
        texts = [" ".join(each) for row in rows for each in (pairs.sources[row], pairs.targets[row])]
        learned = learn(texts, self.vocabulary)
        return dataclasses.replace(self, pieces=learned, size=Pieces.of(learned).size)

    def _document(self, texts: Sequence[str]) -> tuple[list[str], Array]:
        """Its sentences, their pieces with a 3 behind each and, where none had to be left out, 2 at the end."""
        sentences = sentences_of(texts)
        rows = self._vocabulary.numbers(sentences)
        ends = np.cumsum([len(row) + 1 for row in rows]) + 1
        kept = int((ends <= self.source_limit).sum())
        if not kept:  # one sentence is longer than all that is read
            rows, kept = [rows[0][: self.source_limit - 2]], 1
        numbers = np.concatenate([np.append(row, STOP) for row in rows[:kept]])
        return sentences[:kept], numbers if ends[-1] > self.source_limit else np.append(numbers, END)

    def _columns(self, pairs: Pairs) -> dict[str, Ragged]:
        """What of a document is not read is told in the ledger of the pairs."""
        from matinee.media.rouge import best_sentences
        from matinee.media.text_scores import kept_text

        sources, best = [], []
        for name, texts, become in zip(pairs.names, pairs.sources, pairs.targets, strict=True):
            sentences, numbers = self._document(texts)
            sources.append(numbers)
            best.append(best_sentences(sentences, become))
            if numbers[-1] != END:
                reason = f"only its first {self.source_limit:,} pieces are read (--source-limit)"
                pairs.entries.append(Entry(name, "truncated", reason))
        targets = self._vocabulary.numbers([" ".join(texts[0].split()) for texts in pairs.targets])
        return {
            "source": Ragged.of(sources),
            "target": Ragged.of([np.append(row, END) for row in targets]),
            "best": Ragged.of(best, np.float32),
            "reference": Ragged.of([kept_text(texts) for texts in pairs.targets], np.uint8),
        }

    @property
    def _vocabulary(self) -> Pieces:
        return Pieces.of(self.pieces).sized(self.size)

    def changes(self, source: str, manifest: Mapping[str, str]) -> dict[str, list[str]]:
        """Rows whose texts are no longer what they were."""
        return changes_since(source, self._asked, manifest)

    def toy(self, seed: int = 0) -> Data:
        """Six short sentences, two of which say what somebody won; those are the summary."""
        generator = np.random.default_rng(seed)
        names, things = ("Anna", "Bert", "Cleo", "Dora"), ("a cup", "a race", "gold", "a prize", "the match")
        idle = ("slept", "ate", "sat", "waited", "sang", "read")
        rows = []
        for row in range(480):
            said = [f"{generator.choice(names)} {generator.choice(idle)} {generator.integers(99)}." for _ in range(6)]
            places = np.sort(generator.permutation(np.arange(1, 6))[:2])
            for place in places:
                said[place] = f"{generator.choice(names)} won {generator.choice(things)} {row} times."
            rows.append(("\n".join(said), " ".join(said[place] for place in places)))
        pairs, splits = made_up(rows)
        task = dataclasses.replace(self, vocabulary=400)._with_vocabulary(pairs, splits["train"])
        return data_of(task, "made up", pairs, splits, task._columns(pairs), {})

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
        # Two thousand documents are learned by heart in more passes: docs/tasks/summarisation.md has the figures.
        most = {"most_epochs": 12} if self._extracts and examples < 10_000 else {}
        return {**usual, **most, "epochs": 12, "learning_rate": 1e-3, "weight_decay": 0.05}

    def build(self) -> nn.Module:
        """The network called `network`."""
        from matinee.nets.extracting import Extract, Lead
        from matinee.nets.writers import build

        if self.network == "lead":
            return Lead()
        if self._extracts:
            return Extract(self.size, self.width or 128, self.layers or 2, self.dropout or 0.0)
        return build(self.network, self._written_by(self.size, self.size, True))

    def prepare(self, network: nn.Module, examples: Examples) -> None:
        """How rare pieces are, how long summaries, where Lead ends; a network that writes is greedy while it learns."""
        import torch

        from matinee.nets.extracting import Extract, Lead
        from matinee.nets.teaching import best_lead, usual_length

        super().prepare(network, examples)
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
        from matinee.nets.teaching import summed_up

        if isinstance(network, Extract | Lead):
            return summed_up(network, inputs)
        limits = ((inputs > 0).sum(1) // 2 + 10).clamp(max=self.target_limit)
        return self._answered(network, inputs, limits)

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """Binary cross-entropy of sentences, or cross-entropy of pieces with label smoothing."""
        from matinee.nets.teaching import surprise_of_choice

        if self._extracts:
            return surprise_of_choice(outputs, batch.targets["best"], self.mean_length)
        return super().loss(outputs, batch)

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
        return rows_of(raws, self._numbers)

    def _numbers(self, text: str) -> Array:
        if len(text) > MOST_DOCUMENT:
            raise DataError(f"a document of {len(text):,} characters; at most {MOST_DOCUMENT:,} are read")
        return self._document((text,))[1]

    def decode(self, outputs: Any) -> list[dict[str, Any]]:
        """The summary, and how likely its sentences belong to one, or the mean log-probability of what was written."""
        return self._vocabulary.answers(outputs, "summary", "probability" if self._extracts else "log_probability")

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
