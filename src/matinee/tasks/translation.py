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
from matinee.core.task import Batch, Data
from matinee.media import named
from matinee.media.pair_columns import changes_since, data_of, made_up, pairs_and_splits
from matinee.media.pairs import PairRequest, Pairs, look
from matinee.media.scripts import TOKENS, tokens_of
from matinee.media.text_inputs import lines_given, rows_of
from matinee.media.text_prints import NEAR, prints_of
from matinee.media.vocabulary import CHARACTERS_PER_PIECE, END, SMALLEST, Pieces, learn, refuse_huge
from matinee.nets.written import RECURRENT, Writes

if TYPE_CHECKING:
    from torch import Tensor, nn

    from matinee.core.model import Model

NETWORKS = {"auto": (), "transformer": (), **RECURRENT, "copy": ()}
SLACK = 10  # pieces that an answer may have beyond its share of the source


@dataclass(frozen=True, kw_only=True)
class Translation(Writes):
    """Pairs of texts, a line or a row each: the source and its translation."""

    rivals: ClassVar[tuple[str, str]] = ("the source as it is", "")
    layout: ClassVar[str] = (
        "  train.de, train.en, val.de, val.en, ...   files with a line for each other (--direction de-en)\n"
        "  pairs.csv with the columns source,target  a table of translations (CSV, TSV, JSONL, Parquet)"
    )

    samples: ClassVar[Mapping[str, str]] = named.PAIRS

    source_pieces: str = ""
    target_pieces: str = ""
    source_size: int = 0
    target_size: int = 0
    tokens: str = "13a"

    network: str = setting("auto", "network", choices=NETWORKS)
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
        super().__post_init__()
        refuse_huge(self.source_size, self.target_size)
        if self.tokens not in TOKENS:  # sacreBLEU would fetch a model for some names
            raise SettingsError(f"translations are cut for BLEU by {', '.join(TOKENS)}.")

    # -- reading

    @classmethod
    def recognise(cls, source: str) -> str | None:
        """Parallel files, or a table with two languages or a source and a target of like length."""
        found = look(source)
        return found.words if found is not None and not found.summaries else None

    def read(self, source: str, progress: Progress) -> Data:
        """The pairs of a source in a byte-pair vocabulary that was learned from those to train on."""
        shares = self.valid_share, self.test_share, self.split_seed
        pairs, splits = pairs_and_splits(source, self._asked, shares, progress)
        task = self if self.source_pieces else self._with_vocabulary(pairs, splits["train"])
        limits = {"source": self.source_limit, "target": self.target_limit}
        return data_of(task, source, pairs, splits, task._columns(pairs), limits)

    @property
    def _asked(self) -> PairRequest:
        most = self.source_limit * CHARACTERS_PER_PIECE, self.target_limit * CHARACTERS_PER_PIECE
        return PairRequest(self.direction, self.source_column, self.target_column, self.test, most=most)

    def _with_vocabulary(self, pairs: Pairs, rows: Array) -> Translation:
        """With vocabularies learned from these rows, the direction that was found, and how to cut for BLEU."""
        sources = [self._as_read(pairs.sources[row]) for row in rows]
        targets = [self._as_written(pairs.targets[row]) for row in rows]
        first = learn([*sources, *targets] if self.shared else sources, self.vocabulary)
        second = first if self.shared else learn(targets, self.vocabulary)
        return dataclasses.replace(
            self, source_pieces=first, target_pieces="" if self.shared else second,
            source_size=Pieces.of(first).size, target_size=Pieces.of(second).size,
            direction=self.direction or pairs.direction, tokens=tokens_of(targets),
        )  # fmt: skip

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
        return {**columns, "reference": Ragged.of([kept_text(texts) for texts in pairs.targets], np.uint8)}

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
        return changes_since(source, self._asked, manifest)

    def toy(self, seed: int = 0) -> Data:
        """A made-up language whose words stand for those of another, one by one, in the same order."""
        generator = np.random.default_rng(seed)
        kinds = ("den", "ein", "kein", "jed"), ("rot", "alt", "neu", "klug", "wild"), ("hund", "baum", "fisch", "stern")
        words = [*kinds, ("sieht", "ruft", "malt"), ("uns", "euch", "dich", "mich")]
        others = [("the", "a", "no", "every"), ("red", "old", "new", "wise", "wild"), ("dog", "tree", "fish", "star"),
                  ("sees", "calls", "paints"), ("us", "them", "you", "me")]  # fmt: skip
        shape = [len(kind) for kind in words]
        places = np.stack(np.unravel_index(generator.permutation(math.prod(shape))[:480], shape), 1)
        said = [[" ".join(k[p] for k, p in zip(kind, row, strict=True)) for row in places] for kind in (words, others)]
        pairs, splits = made_up(list(zip(*said, strict=True)))
        task = dataclasses.replace(self, vocabulary=400)._with_vocabulary(pairs, splits["train"])
        return data_of(task, "made up", pairs, splits, task._columns(pairs), {})

    # -- the network and its training

    def choose(self, data: Data, minutes: float | None) -> Translation:
        """A Transformer; few pairs are learned best by a small one (Wu et al., 2021)."""
        count = len(data.train)
        few, many = count < 50_000, count > 200_000
        width = self.width or (64 if count < 1000 else 128 if few else 512 if many else 256)
        dropout = self.dropout if self.dropout is not None else 0.0 if count < 1000 else 0.1 if many else 0.3
        return dataclasses.replace(
            self, network="transformer" if self.network == "auto" else self.network, width=width, dropout=dropout,
            layers=self.layers or (1 if count < 1000 else 6 if many else 3), validated=len(data.valid) > 0,
            mean_length=float(data.train.lengths("target").mean()) if count else 1.0,
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

    def build(self) -> nn.Module:
        """The network called `network`."""
        from matinee.nets.writers import build

        return build(self.network, self._written_by(self.source_size, self.target_size, not self.target_pieces))

    def lengths(self, examples: Examples) -> Array:
        """By the longer side, and then by the target: neither then has much padding."""
        source, target = examples.lengths("source"), examples.lengths("target")
        return np.maximum(source, target) * 100_000 + target

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
        limits = ((inputs > 0).sum(1) * self.longest).ceil().long() + SLACK
        return self._answered(network, inputs, limits, look=True)

    # -- scores and answers

    def meter(self) -> Meter:
        """sacreBLEU first."""
        from matinee.media.text_scores import TranslationMeter

        return TranslationMeter(self._writes, self.tokens)

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
        return rows_of(raws, self._numbers)

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
        return self._writes.answers(outputs, "translation", "log_probability")

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
