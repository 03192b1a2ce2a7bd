"""Say in another language what a text says."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from matinee.core.errors import DataError, SettingsError
from matinee.core.examples import Array, Examples, Ragged
from matinee.core.meter import Meter
from matinee.core.pieces import Piece
from matinee.core.progress import Progress
from matinee.core.settings import setting
from matinee.core.task import Batch, Data, Task
from matinee.media import pair_columns
from matinee.media.pairs import PairRequest, Pairs, look, read_pairs
from matinee.media.text_inputs import lines_given, text_of
from matinee.media.text_prints import NEAR, prints_of
from matinee.media.vocabulary import CHARACTERS_PER_PIECE, END, SMALLEST, Pieces, learn

if TYPE_CHECKING:
    from torch import Tensor, nn

    from matinee.core.model import Model
    from matinee.nets.writers import WriterShape

SLACK = 10  # pieces that an answer may have beyond its share of the source


@dataclass(frozen=True, kw_only=True)
class Translation(Task):
    """Pairs of texts, a line or a row each: the source and its translation."""

    rivals: ClassVar[tuple[str, str]] = ("the source as it is", "")
    layout: ClassVar[str] = (
        "  train.de, train.en, val.de, val.en, ...   files with a line for each other (--direction de-en)\n"
        "  pairs.csv with the columns source,target  a table of translations (CSV, TSV, JSONL, Parquet)"
    )

    head: ClassVar[str] = "tables."  # what depends on the vocabulary

    source_pieces: str = ""
    target_pieces: str = ""
    source_size: int = 0
    target_size: int = 0
    mean_length: float = 1.0
    validated: bool = False

    network: str = setting("auto", "network", choices=("auto", "transformer", "recurrent", "copy"))
    width: int | None = setting(None, "numbers a piece is known by within the network", low=16, high=2048)
    layers: int | None = setting(None, "layers that read, and as many that write", low=1, high=24)
    dropout: float | None = setting(None, "share of numbers set to zero while learning", low=0, high=0.9)
    label_smoothing: float = setting(0.1, "share of certainty taken from the true piece", low=0, high=0.9)
    beams: int = setting(5, "translations kept side by side while one is written (1: greedy)", low=1, high=64)
    length_penalty: float = setting(1.0, "how far longer translations are spared (0: not)", low=0, high=4)
    longest: float = setting(2.0, "pieces of an answer, at most, as a multiple of its source's", low=0.1, high=20)
    direction: str = setting("", "from which language into which, like de-en", reading=True)
    source_column: str = setting("", "column of a table that holds the sources", reading=True)
    target_column: str = setting("", "column of a table that holds the translations", reading=True)
    test: str = setting("", "which test, where a folder has several (its file without the ending)", reading=True)
    vocabulary: int = setting(
        5000, "most pieces of the byte-pair vocabulary", low=SMALLEST, high=200_000, log=True, reading=True
    )
    shared: bool = setting(True, "one vocabulary for both languages", reading=True)
    lower_case: str = setting(
        "none", "what is written small before it is read", choices=("none", "source", "both"), reading=True
    )
    source_limit: int = setting(
        256, "longest source in pieces; longer ones are refused", low=4, high=8192, reading=True
    )
    target_limit: int = setting(
        256, "longest target in pieces; longer ones are refused", low=4, high=8192, reading=True
    )

    def __post_init__(self) -> None:
        if not (0 <= self.source_size <= 1_000_000 and 0 <= self.target_size <= 1_000_000):
            raise SettingsError("a vocabulary of more than a million pieces is not read.")
        if not (math.isfinite(self.mean_length) and self.mean_length > 0):
            raise SettingsError("the mean length of a target must be above 0.")

    # -- reading

    @classmethod
    def recognise(cls, source: str) -> str | None:
        """Parallel files, or a table with two languages or a source and a target of like length."""
        found = look(source)
        return found.words if found is not None and not found.summaries else None

    def read(self, source: str, progress: Progress) -> Data:
        """The pairs of a source in a byte-pair vocabulary that was learned from those to train on."""
        progress.live("reading pairs")
        pairs = self._pairs(source)
        progress.live(f"{len(pairs.sources):,} pairs: near duplicates and the vocabulary")
        splits = pair_columns.split_pairs(pairs, (self.valid_share, self.test_share, self.split_seed))
        task = self if self.source_pieces else self._with_vocabulary(pairs, splits["train"])
        columns = task._columns(pairs)
        limits = [
            (side, columns[side].lengths(np.arange(len(pairs.names))), limit)
            for side, limit in (("source", self.source_limit), ("target", self.target_limit))
        ]
        splits, entries = pair_columns.within(pairs, limits, splits)
        task = task._with_length(columns["target"], splits["train"])
        parts = {name: Examples(columns, rows) for name, rows in splits.items()}
        progress.clear()
        origin = pair_columns.origin_of(source, pairs, entries)
        return Data(task, parts["train"], parts["valid"], parts["test"], origin)

    def _pairs(self, source: str) -> Pairs:
        request = PairRequest(self.direction, self.source_column, self.target_column, self.test)
        limits = (self.source_limit * CHARACTERS_PER_PIECE, self.target_limit * CHARACTERS_PER_PIECE)
        pairs = pair_columns.without_long(read_pairs(source, request), limits)
        if not pairs.sources:
            raise DataError(f"{source}: every pair is too long; the first: {pairs.entries[-1].reason}")
        return pairs

    def _with_vocabulary(self, pairs: Pairs, rows: Array) -> Translation:
        """With vocabularies learned from these rows, and the direction that was found."""
        sources = [self._as_read(pairs.sources[row]) for row in rows]
        targets = [self._as_written(pairs.targets[row]) for row in rows]
        first = learn([*sources, *targets] if self.shared else sources, self.vocabulary)
        second = first if self.shared else learn(targets, self.vocabulary)
        return dataclasses.replace(
            self, source_pieces=first, target_pieces="" if self.shared else second,
            source_size=Pieces.of(first).size, target_size=Pieces.of(second).size,
            direction=self.direction or pairs.direction,
        )  # fmt: skip

    def _with_length(self, target: Ragged, rows: Array) -> Translation:
        if self.mean_length != 1.0 or not len(rows):
            return self
        return dataclasses.replace(self, mean_length=float(target.lengths(rows).mean()))

    def _as_read(self, texts: Sequence[str]) -> str:
        text = " ".join(" ".join(texts).split())
        return text.lower() if self.lower_case in ("source", "both") else text

    def _as_written(self, texts: Sequence[str]) -> str:
        text = " ".join(texts[0].split())
        return text.lower() if self.lower_case == "both" else text

    def _columns(self, pairs: Pairs) -> dict[str, Ragged]:
        from matinee.media.text_scores import kept_text

        source, target = self._reads, self._writes
        sides = {
            "source": source.numbers([self._as_read(texts) for texts in pairs.sources]),
            "target": target.numbers([self._as_written(texts) for texts in pairs.targets]),
        }
        columns = {side: Ragged.of([np.append(row, END) for row in rows]) for side, rows in sides.items()}
        small = self.lower_case == "both"
        texts = [kept_text([t.lower() for t in each] if small else each) for each in pairs.targets]
        return {**columns, "reference": Ragged.of(texts, np.uint8)}

    @property
    def _reads(self) -> Pieces:
        """The vocabulary of sources."""
        return Pieces.of(self.source_pieces).sized(self.source_size)

    @property
    def _writes(self) -> Pieces:
        """The vocabulary of what the network writes."""
        if self.network == "copy":
            return self._reads
        return Pieces.of(self.target_pieces or self.source_pieces).sized(self.target_size)

    def changes(self, source: str, manifest: Mapping[str, str]) -> dict[str, list[str]]:
        """Lines and rows whose texts are no longer what they were."""
        return pair_columns.changes_since(self._pairs(source).manifest(), dict(manifest))

    def toy(self, seed: int = 0) -> Data:
        """A made-up language whose words stand for those of another, one by one, in the same order."""
        generator = np.random.default_rng(seed)
        kinds = ("den", "ein", "kein", "jed"), ("rot", "alt", "neu", "klug", "wild"), ("hund", "baum", "fisch", "stern")
        words = [*kinds, ("sieht", "ruft", "malt"), ("uns", "euch", "dich", "mich")]
        others = [("the", "a", "no", "every"), ("red", "old", "new", "wise", "wild"), ("dog", "tree", "fish", "star"),
                  ("sees", "calls", "paints"), ("us", "them", "you", "me")]  # fmt: skip
        shape = [len(kind) for kind in words]
        places = np.stack(np.unravel_index(generator.permutation(math.prod(shape))[:480], shape), 1)
        rows = [
            tuple(" ".join(k[p] for k, p in zip(kind, row, strict=True)) for kind in (words, others)) for row in places
        ]
        pairs = Pairs(names=[str(n) for n in range(480)])
        pairs.sources, pairs.targets = [(a,) for a, _ in rows], [(b,) for _, b in rows]
        task = dataclasses.replace(self, vocabulary=400)._with_vocabulary(pairs, np.arange(320))
        columns = task._columns(pairs)
        task = task._with_length(columns["target"], np.arange(320))
        examples = Examples.of(dict(columns))
        train, valid, test = (examples.take(np.arange(a, b)) for a, b in ((0, 320), (320, 400), (400, 480)))
        return Data(task, train, valid, test)

    # -- the network and its training

    def choose(self, data: Data, minutes: float | None) -> Translation:
        """A Transformer; few pairs are learned best by a small one (Wu et al., 2021)."""
        count = len(data.train)
        few, many = count < 50_000, count > 200_000
        width = self.width or (64 if count < 1000 else 128 if few else 512 if many else 256)
        dropout = self.dropout if self.dropout is not None else 0.0 if count < 1000 else 0.1 if many else 0.2
        return dataclasses.replace(
            self, network="transformer" if self.network == "auto" else self.network, width=width, dropout=dropout,
            layers=self.layers or (1 if count < 1000 else 6 if many else 3), validated=len(data.valid) > 0,
        )  # fmt: skip

    def advice(self, examples: int) -> dict[str, Any]:
        """AdamW with a cosine that is warmed up, and an average of the weights."""
        if examples < 1000:
            return {"epochs": 20, "batch_size": 16, "learning_rate": 5e-3, "warmup": 0.1, "weight_decay": 0.0}
        rate = 1.5e-3 * math.sqrt(256 / (self.width or 256))
        return {
            "minutes": 30.0, "epochs": 60,
            "batch_size": 128, "learning_rate": rate, "warmup": 0.1, "weight_decay": 0.01,
            "schedule": "cosine", "average": 0.998, "clip": 1.0,
        }  # fmt: skip

    @property
    def _shape(self) -> WriterShape:
        from matinee.nets.writers import WriterShape

        sizes = self.source_size, self.target_size, not self.target_pieces
        return WriterShape(*sizes, self.width or 256, self.layers or 3, self.dropout or 0.0)

    def build(self) -> nn.Module:
        """The network called `network`."""
        from matinee.nets.writers import build

        return build(self.network, self._shape)

    def prepare(self, network: nn.Module, examples: Examples) -> None:
        """While it learns it is scored on the likeliest pieces alone, where it will be scored at all."""
        from matinee.nets.teaching import settle

        settle(network, not self.validated)

    def calibrate(self, network: nn.Module, outputs: Any, targets: Any) -> None:
        """It has learned: from here on it answers with beams."""
        from matinee.nets.teaching import settle

        settle(network, True)

    def lengths(self, examples: Examples) -> Array:
        """By the target, and among targets of one length by the source: neither then has much padding."""
        return examples.lengths("target") * 100_000 + examples.lengths("source")

    def collate(self, columns: Mapping[str, Tensor]) -> Batch:
        """Numbers of pieces, zeros behind; the references as bytes."""
        targets = {"target": columns["target"].long(), "reference": columns["reference"]}
        return Batch(columns["source"].long(), targets)

    def forward(self, network: nn.Module, batch: Batch) -> Any:
        """Logits for each piece of the translation, given those before it."""
        from matinee.nets.teaching import taught

        return taught(network, batch.inputs, batch.targets["target"])

    def infer(self, network: nn.Module, inputs: Tensor) -> Any:
        """The translations that the search found."""
        from matinee.nets.teaching import answer

        limits = ((inputs > 0).sum(1) * self.longest).ceil().long() + SLACK
        return answer(network, inputs, limits, self.beams, self.length_penalty, look=True)

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """Cross-entropy with label smoothing."""
        from matinee.nets.teaching import surprise

        return surprise(outputs, batch.targets["target"], self.mean_length, self.label_smoothing)

    def merge(self, outputs: Sequence[Any]) -> Any:
        """Of several networks, the one that is surest of its translation."""
        from matinee.nets.teaching import best_of

        return best_of(list(outputs))

    def concatenate(self, outputs: Sequence[Any]) -> Any:
        """One after the other, each as wide as the widest."""
        from matinee.nets.padding import joined

        return joined(outputs)

    # -- scores and answers

    def meter(self) -> Meter:
        """sacreBLEU first."""
        from matinee.media.text_scores import TranslationMeter

        return TranslationMeter(self._writes)

    def fingerprint(self, examples: Examples) -> tuple[Array, float]:
        """Which pieces follow which in the source."""
        column = examples.ragged("source")
        return prints_of([column[int(row)] for row in examples.rows]), NEAR

    def trivial(self, train: Examples) -> Model:
        """The source itself."""
        from matinee.core.model import Model

        task = dataclasses.replace(self, network="copy")
        return Model(task, task.build().eval())

    def encode_each(self, raws: Sequence[Any]) -> tuple[Tensor, Mapping[int, DataError]]:
        """Texts -> numbers of pieces (batch, longest), zeros behind; not those that are empty, too long or no text."""
        import torch

        rows, errors = [], {}
        for place, raw in enumerate(raws):
            try:
                rows.append(self._numbers(text_of(raw)))
            except DataError as error:
                errors[place] = error
        column = Ragged.of(rows)
        return torch.from_numpy(column.padded(np.arange(len(rows)))).long(), errors

    def _numbers(self, text: str) -> Array:
        most = self.source_limit * CHARACTERS_PER_PIECE
        if len(text) > most:
            raise DataError(f"a text of {len(text):,} characters; at most {most:,} are read")
        row = np.append(self._reads.numbers([self._as_read([text])])[0], END)
        if len(row) > self.source_limit:
            raise DataError(f"a text of {len(row):,} pieces; at most {self.source_limit:,} are read: divide it")
        return row

    def decode(self, outputs: Any) -> list[dict[str, Any]]:
        """The translation, and how sure the network is of it: the mean log-probability of its pieces."""
        if not isinstance(outputs, tuple):
            return [{"translation": text} for text in self._writes.texts(outputs.cpu().numpy())]
        texts = self._writes.texts(outputs[0].cpu().numpy())
        scores = outputs[1].float().tolist()
        return [{"translation": t, "log_probability": round(s, 4)} for t, s in zip(texts, scores, strict=True)]

    def show(self, inputs: Tensor, outputs: Any) -> list[Piece]:
        """Where the network looked for each piece of its translation."""
        from matinee.core.pieces import Text
        from matinee.media.attention_pictures import attention_piece

        sources, answers = self._reads.texts(inputs.cpu().numpy()), self.decode(outputs)
        words = [f"{source} -> {answer['translation']}" for source, answer in zip(sources, answers, strict=True)]
        if not isinstance(outputs, tuple) or not outputs[2].numel():
            return [Text(each) for each in words]
        drawn: list[Piece] = []
        for row, said in enumerate(words):
            source = [n for n in inputs[row].tolist() if n]
            written = [n for n in outputs[0][row].tolist() if n]
            weights = outputs[2][row].float().cpu().numpy()
            drawn.append(attention_piece(self._reads.words(source), self._writes.words(written), weights, said))
        return drawn

    def inputs(self, places: Sequence[str]) -> Iterable[Any]:
        """Texts as they are, files as their lines."""
        return lines_given(places)
