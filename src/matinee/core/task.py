"""The contract: everything a verb may ask of a task, and nothing else."""

from __future__ import annotations

import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from matinee.core.batch import Batch as Batch  # asked for here by those who write tasks
from matinee.core.duplicates import byte_prints
from matinee.core.errors import DataError, SettingsError
from matinee.core.examples import Array, Examples, near
from matinee.core.ledger import Entry
from matinee.core.meter import Meter
from matinee.core.moment import Moment
from matinee.core.pieces import Code, Piece
from matinee.core.progress import Progress
from matinee.core.settings import setting

if TYPE_CHECKING:
    from torch import Tensor, nn

    from matinee.core.model import Model
    from matinee.core.watch import Watch


@dataclass(frozen=True)
class Origin:
    """Where examples came from.

    manifest: name of each example's file -> SHA-256 of its content, hex. names: the file behind each row of the
    columns. entries: the ledger. given: the splits that the source itself named. facts: counts and sizes, in words.
    """

    source: str
    manifest: Mapping[str, str] = field(default_factory=dict)
    names: Sequence[str] = ()
    entries: tuple[Entry, ...] = ()
    given: frozenset[str] = frozenset()
    facts: Mapping[str, str] = field(default_factory=dict)

    def digest(self) -> str:
        """One hash of all files, by name and content."""
        whole = sha256()
        for name, content in sorted(self.manifest.items()):
            whole.update(json.dumps([name, content]).encode())
        return whole.hexdigest()


@dataclass(frozen=True)
class Data:
    """A task bound to examples."""

    task: Task
    train: Examples
    valid: Examples
    test: Examples
    origin: Origin = field(default_factory=lambda: Origin("made up"))

    def digest(self) -> str:
        """One hash of all that a training would see: files, labels, and who is in which split."""
        whole = sha256(self.origin.digest().encode())
        for part in self.splits().values():
            labels = self.task.labels(part) if len(part) else None
            whole.update(part.rows.tobytes() + (b"" if labels is None else labels.tobytes()))
        return whole.hexdigest()

    def splits(self) -> dict[str, Examples]:
        """The three parts by name."""
        return {"train": self.train, "valid": self.valid, "test": self.test}


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """One kind of problem. Subclasses are frozen dataclasses: their fields are the hyperparameters.

    A task answers questions and runs nothing. Fields made with `setting` are offered to users; the others are facts
    that `read` fills in from the data (class names, sizes).
    """

    layout: ClassVar[str] = ""
    """What a source of this task looks like, for people whose source looks otherwise."""
    samples: ClassVar[Mapping[str, str]] = {}
    """Names that work where a path does, with a line about each."""

    prefetch: ClassVar[bool] = True
    """Whether batches may be made ahead of the step that uses them; not where they depend on the learning network.

    Where they do, a pass cannot be entered midway either: checkpoints fall between passes.
    """

    head: ClassVar[str] = "head."
    """What the names of those weights begin with that a start from other weights makes anew."""

    exacting: ClassVar[int] = 0
    """How much of a source `recognise` asks for: where several tasks fit, those that ask for most are meant.

    0: examples as such. 1: examples, and files that say something of each (boxes, masks, times).
    """

    endings: ClassVar[frozenset[str]] = frozenset()
    """How the names of its files end, in small letters, where each example is a file in a folder; else empty.

    Of several tasks that fit, one that would read a few files beside the many of another is not meant: an album's
    cover makes no set of pictures.
    """

    learned: ClassVar[frozenset[str]] = frozenset()
    """Facts that `choose` learns from the training examples: they decide how answers are found, not what examples mean,

    so that data read before the training still fit the model.
    """

    rivals: ClassVar[tuple[str, str]] = ("always the same answer", "linear network")
    """What `trivial` and `simplest` are, in a few words."""

    asked: ClassVar[str] = "FILE..."
    """What `predict` is given behind the run, as the next command after a training shows it."""

    valid_share: float = setting(
        0.1, "share of the training examples that selects the model (0: none)", low=0, high=0.5, reading=True
    )
    test_share: float = setting(
        0.2, "share held back for the test where the source names none", low=0, high=0.9, reading=True
    )
    split_seed: int = setting(0, "which examples fall into which share", low=0, high=2**31 - 1, reading=True)

    def __init_subclass__(cls) -> None:
        """Raises SettingsError for a field whose name is a question's: it would answer in its place."""
        super().__init_subclass__()
        above = cls.__mro__[1:]
        known = {f.name for kind in above if is_dataclass(kind) for f in fields(kind)}
        own = {name for name, kind in inspect.get_annotations(cls).items() if "ClassVar" not in str(kind)}
        for name in sorted(own & {name for kind in above for name in vars(kind)} - known):
            raise SettingsError(
                f"{cls.__module__}.{cls.__qualname__}: {name} is a question of the contract (docs/contract.md), so a "
                "setting or fact cannot be called so. Give it another name."
            )

    # -- what every task must say

    @classmethod
    @abstractmethod
    def recognise(cls, source: str) -> str | None:
        """Why this source looks like this task's, in a few words, or None. Quick: it reads no example."""

    @classmethod
    def lacks(cls, source: str) -> str | None:
        """In one line what is there and what it lacks to be this task's, or None where it is nothing like it.

        Quick, as `recognise` is, and asked only where no task recognises the source.
        """
        return None

    @abstractmethod
    def read(self, source: str, progress: Progress) -> Data:
        """The examples of a source, bound to this task with its facts filled in.

        A task whose facts are known already (a trained one) reads new examples in its own terms. Every file that was
        refused is in `origin.entries`. Raises DataError where there is nothing to read.
        """

    @abstractmethod
    def toy(self, seed: int = 0) -> Data:
        """Data made up on the spot, learnable in seconds on one core."""

    @abstractmethod
    def build(self) -> nn.Module:
        """The network, freshly initialised from torch's random state."""

    @abstractmethod
    def collate(self, columns: Mapping[str, Tensor]) -> Batch:
        """Gathered columns -> a batch."""

    @abstractmethod
    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """What training makes small: a scalar."""

    @abstractmethod
    def meter(self) -> Meter:
        """The scores; the first one selects the model."""

    @abstractmethod
    def decode(self, outputs: Any) -> list[dict[str, Any]]:
        """Outputs -> what a person or program reads, one JSON object per example."""

    # -- what most tasks can leave alone

    def decode_for(self, outputs: Any, inputs: Tensor, raws: Sequence[Any]) -> list[dict[str, Any]]:
        """The same for raws that were read, where an answer depends on what was given: its size, words or length."""
        return self.decode(outputs)

    def files(self, answer: Mapping[str, Any]) -> Mapping[str, bytes]:
        """What `predict --out` writes of an answer of `decode`: ending of a file's name (".mid") -> its content."""
        return {}

    def encode(self, raws: Sequence[Any]) -> Tensor:
        """Raw files or values -> the input tensor. Raises DataError for one that cannot be read.

        A task answers this, or `encode_each`, by which this is answered then.
        """
        inputs, errors = self.encode_each(raws)
        if errors:
            raise errors[min(errors)]
        return inputs

    def encode_each(self, raws: Sequence[Any]) -> tuple[Tensor, Mapping[int, DataError]]:
        """The input tensor of those raws that can be read, and by their places what is wrong with the others.

        Raises DataError, as `encode` does, where the task cannot tell them apart.
        """
        return self.encode(raws), {}

    def infer(self, network: nn.Module, inputs: Tensor) -> Any:
        """Outputs with no target in sight: what scoring, predicting, explaining and serving use."""
        return network(inputs)

    def forward(self, network: nn.Module, batch: Batch) -> Any:
        """Outputs for the loss; other than `infer` only where training sees the target (teacher forcing)."""
        return self.infer(network, batch.inputs)

    def augment(self, batch: Batch, moment: Moment) -> Batch:
        """The same batch, varied: tensor work on all of it at once. All chance comes from the moment."""
        return batch

    def effort(self, share: float) -> float:
        """What a step costs when so much of the schedule (0 to 1) is behind, as a share of what the last one costs."""
        return 1.0

    def batches(
        self, examples: Examples, network: nn.Module, size: int, order: Array | None, start: int = 0
    ) -> Iterator[Batch]:
        """Batches of one pass over the examples, from the `start`-th on.

        order: positions to visit, in order; None: each once, as they stand. A pass in a given order drops a last
        batch that is not full, unless it is the only one: every step then sees the same number of examples.
        """
        import torch

        device = next((p.device for p in network.parameters()), torch.device("cpu"))
        positions = np.arange(len(examples)) if order is None else order
        stop = len(positions) if order is None else max(size, len(positions) // size * size)
        for first in range(start * size, min(stop, len(positions)), size):
            chosen = positions[first : first + size]
            columns = examples.gather(chosen, positions[first + size : first + 2 * size])
            batch = self.collate(near(columns, device))
            yield Batch(batch.inputs, batch.targets, torch.from_numpy(examples.rows[chosen]))

    def at_once(self) -> int:
        """How many examples at most go through the network together where nothing is learned: fewer of large ones."""
        return 256

    def steps(self, examples: Examples, size: int) -> int:
        """How many batches one shuffled pass has."""
        return max(1, len(examples) // size)

    def lengths(self, examples: Examples) -> Array | None:
        """How long each example is, (examples,), where a step costs less with examples of like length; else None."""
        return None

    def together(self, examples: Examples) -> Array | None:
        """A number for each example, int64 (examples,), equal for those that must not be divided; -1 stands alone.

        Default: the column "group", where there is one.
        """
        return examples.column("group").astype(np.int64) if "group" in examples.columns else None

    def labels(self, examples: Examples) -> Array | None:
        """The class number of each example, int64 (examples,), or None where there are no classes."""
        return None

    def quantities(self, examples: Examples) -> Array | None:
        """The number that is to be told of each example, float (examples,), or None where that is no number."""
        return None

    def names(self) -> Sequence[str]:
        """The names of the classes that `labels` numbers."""
        return ()

    def fingerprint(self, examples: Examples) -> tuple[Array, float]:
        """Unit vectors (examples, features), and the cosine from which on two of them are near duplicates.

        Default: equal bytes only.
        """
        return byte_prints(examples), 0.999

    def advice(self, examples: int) -> dict[str, Any]:
        """Good training settings for this task's network with so many examples, where the user says nothing.

        Beside them "most_epochs": passes after which more do harm; where --minutes alone is given, it ends there.
        """
        return {}

    def prepare(self, network: nn.Module, examples: Examples) -> None:
        """One look at the training examples before the first step (to set statistics or a first layer)."""
        return

    def study(self, network: nn.Module, examples: Examples, watch: Watch) -> None:
        """The same look, with a watch: what verbs ask.

        A task whose look may take long answers this: it says what it does, leaves out what the time does not suffice
        for, and says so. `prepare` then asks this with `Watch()`, which has all the time there is.
        """
        self.prepare(network, examples)

    def calibrate(self, network: nn.Module, outputs: Any, targets: Any) -> None:
        """One look at outputs and targets of validation examples after the last step, to make confidence honest."""
        return

    def calibrated_on(self) -> int:
        """How many validation examples `calibrate` looks at, at most; with 0 it is not asked."""
        return 0 if type(self).calibrate is Task.calibrate else 4096

    def choose(self, data: Data, minutes: float | None) -> Task:
        """This task with what was left to "auto" decided (which network, which augmentation) for that data."""
        return self

    def trivial(self, train: Examples) -> Model | None:
        """A model that looked at the targets alone (the majority class, the mean): the score to beat."""
        return None

    def simplest(self) -> Task | None:
        """The same problem with the simplest network that learns (linear), or None where this is it."""
        return None

    def contained(self, network: nn.Module, simplest: Task) -> nn.Module | None:
        """The network of `simplest`, learned from the same examples, where it is a part of this trained one."""
        return None

    def logits(self, outputs: Any) -> Tensor:
        """(batch, ..., choices): what explaining, attacking and distilling look at."""
        tensor: Tensor = outputs
        return tensor

    def merge(self, outputs: Sequence[Any]) -> Any:
        """How the outputs of several networks combine into one."""
        import torch

        return torch.stack(list(outputs)).mean(0)

    def concatenate(self, outputs: Sequence[Any]) -> Any:
        """The outputs, or the targets, of several batches as those of one."""
        import torch

        return torch.cat(list(outputs))

    def show(self, inputs: Tensor, outputs: Any) -> list[Piece]:
        """One neutral piece of a page per example, drawn in the report."""
        return [Code(json.dumps(answer, ensure_ascii=False)) for answer in self.decode(outputs)]

    def show_scored(self, outputs: Any, batch: Batch) -> list[Piece]:
        """The same of examples whose truth is known (`batch.targets`): what is true beside what was found."""
        return self.show(batch.inputs, outputs)

    def describe(self, network: nn.Module, examples: Examples) -> Sequence[Piece]:
        """What a person can read off a trained network, for the report: its weights, what matters to it.

        examples: those that it was scored on.
        """
        return ()

    def describe_with(self, network: nn.Module, examples: Examples, train: Examples) -> Sequence[Piece]:
        """The same, beside what it learned from: what it copied. train: empty where that is not at hand."""
        return self.describe(network, examples)

    def inputs(self, places: Sequence[str]) -> Iterable[Any]:
        """What `predict` is given on the command line -> raws for `encode`; folders are looked into."""
        return places

    def follow(
        self, told: Iterator[tuple[Any, dict[str, Any] | DataError]]
    ) -> Iterator[tuple[Any, dict[str, Any] | DataError]]:
        """Raws with their answers, in order and as they come -> what is told: several of them may become one."""
        return told

    def changes(self, source: str, manifest: Mapping[str, str]) -> dict[str, list[str]]:
        """The source's files that are "changed", "missing" or "new" since the manifest was written."""
        return {"changed": [], "missing": [], "new": []}
