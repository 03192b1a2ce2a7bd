"""Tell a column of a table from the others: a class (disease, churn) or a number (a price)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from matinee.core.errors import DataError, SettingsError
from matinee.core.event_scores import EventMeter
from matinee.core.examples import Array, Examples
from matinee.core.meter import Meter
from matinee.core.pieces import Piece
from matinee.core.progress import Progress
from matinee.core.regression_scores import RegressionMeter
from matinee.core.scores import ClassificationMeter
from matinee.core.settings import setting
from matinee.core.splits import Splits, divide, layers
from matinee.core.task import Batch, Data, Origin, Task
from matinee.media import table_rows, table_source
from matinee.media.table_columns import Schema
from matinee.media.table_recognition import fits, lacks
from matinee.media.table_samples import SAMPLES

if TYPE_CHECKING:
    from torch import Tensor, nn

    from matinee.core.model import Model
    from matinee.nets.table_solving import Terms as Solving
    from matinee.nets.tables import TableShape

NETWORKS = {
    **dict.fromkeys(("auto", "constant"), ()), "linear": ("logistic", "ridge", "lasso"), "kernel": ("svm",),
    **dict.fromkeys(("mlp", "tabular"), ()),
}  # fmt: skip
SPLITS = ("train", "valid", "test")
RANGE = 0.9  # share of the truths that the range of a number is to hold


@dataclass(frozen=True, kw_only=True)
class TablePrediction(Task):
    """One column of a table from the others: a class or a number."""

    layout: ClassVar[str] = (
        "  patients.csv (.tsv, .jsonl, .parquet)     a table; --target names the column to predict\n"
        "  patients/train.csv, patients/test.csv     the same, already split"
    )
    samples: ClassVar[Mapping[str, str]] = SAMPLES

    columns: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    levels: tuple[tuple[str, ...], ...] = ()
    others: tuple[str, ...] = ()
    target_column: str = ""
    classes: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
    deviation: float = 1.0
    named: bool = True
    repeats: bool = False

    target: str = setting("", "column to predict (empty: the usual names, else the last one)", reading=True)
    objective: str = setting(
        "auto", "what the target is: a class, a number", choices=("auto", "class", "number"), reading=True
    )
    event: str = setting("", "of two classes the one looked for; words with commas, or a rule such as >0", reading=True)
    group_column: str = setting("", "column whose equal values must not be split, such as a patient", reading=True)
    ignore: str = setting("", "columns to leave out, with commas between", reading=True)
    categories: str = setting("", "columns whose numbers are codes, with commas between", reading=True)
    network: str = setting("auto", "network", choices=NETWORKS)
    size: str = setting("auto", "size of the network", choices=("auto", "s", "m", "l"))
    dropout: float = setting(0.1, "dropout is a share of units", low=0, high=0.9)
    loss_function: str = setting("auto", "what is made small", choices=("auto", "cross-entropy", "mse", "mae", "huber"))
    huber_delta: float = setting(1.0, "errors up to so many deviations of the target are squared", low=1e-3, high=100)
    l2_penalty: float | None = setting(
        None, "of the linear network, as 1 / C or Ridge's alpha (auto: by cross-validation)", low=0, high=1e6, log=True
    )
    l1_penalty: float = setting(0.0, "of the linear network, as 1 / C of L1 regression", low=0, high=1e6)
    class_weights: str = setting("none", "balanced: mistakes on rare classes cost more", choices=("none", "balanced"))
    cost_of_miss: float = setting(1.0, "what it costs to miss an event", low=1e-6, high=1e6)
    cost_of_false_alarm: float = setting(1.0, "what it costs to tell an event where there is none", low=1e-6, high=1e6)
    false_alarm_budget: float | None = setting(
        None, "share of other examples for which an event may be told, met on validation", low=0, high=1
    )

    # -- reading

    @classmethod
    def recognise(cls, source: str) -> str | None:
        """A table of numbers, categories and dates, or a well-known name."""
        return fits(source)

    @classmethod
    def lacks(cls, source: str) -> str | None:
        """Rows, or columns."""
        return lacks(source)

    @property
    def terms(self) -> table_source.Terms:
        """What the table was learned with."""
        schema = Schema(self.columns, self.kinds, self.levels)
        return table_source.Terms(self.target_column, self.classes, schema, self.others, self.named, self.repeats)

    def read(self, source: str, progress: Progress) -> Data:
        """The rows of a source as numbers, with its splits or with new ones."""
        request = table_source.TableRequest(
            self.target, self.group_column, _listed(self.ignore), _listed(self.categories), self.objective, self.event
        )
        table = table_source.read_examples(source, request, self.terms if self.columns else None)
        for name in ("target", "objective"):
            if name in table.facts:
                progress.note(f"{name}: {table.facts[name]}")
        name = "label" if table.terms.classes else "number"
        columns = {"values": table.values, name: table.targets, "group": table.groups}
        parts = self._divided(table)
        task = self if self.columns else self._bound(table.terms)
        given = frozenset(SPLITS[split] for split in np.unique(table.splits[table.splits >= 0]))
        facts = {"rows": f"{len(table.values):,}", **table.facts}
        origin = Origin(source, table.manifest, table.names, table.entries, given, facts)
        train, valid, test = (Examples(columns, parts[part]) for part in SPLITS)
        return Data(task if self.columns else task._measured(train), train, valid, test, origin)

    def _bound(self, terms: table_source.Terms) -> TablePrediction:
        """This task with the facts of a table."""
        return dataclasses.replace(
            self,
            columns=terms.schema.names,
            kinds=terms.schema.kinds,
            levels=terms.schema.levels,
            others=terms.others,
            target_column=terms.target,
            classes=terms.classes,
            named=terms.named,
            repeats=terms.repeats,
        )

    def _divided(self, table: table_source.Table) -> dict[str, Array]:
        strata = table.targets if table.terms.classes else layers(table.targets)
        known = Splits(np.arange(len(strata)), table.splits, strata, table.groups)
        return divide(known, lambda rows: [table.alike[rows]], (self.valid_share, self.test_share, self.split_seed))

    def changes(self, source: str, manifest: Mapping[str, str]) -> dict[str, list[str]]:
        """Rows that say something else than they did."""
        return table_source.changed_since(source, manifest, self.terms)

    def toy(self, seed: int = 0) -> Data:
        """Four classes by the signs of two numbers, one of them turned by a category."""
        generator = np.random.default_rng(seed)
        numbers, code = generator.normal(size=(480, 3)), generator.integers(1, 3, 480)
        label = 2 * (numbers[:, 0] > 0) + ((numbers[:, 1] > 0) != (code == 2))
        numbers += 0.1 * generator.normal(size=numbers.shape)
        columns: dict[str, Array] = {
            "values": np.column_stack([numbers, code]).astype(np.float32),
            "label": label.astype(np.int64),
        }
        train, valid, test = np.arange(320), np.arange(320, 400), np.arange(400, 480)
        task = dataclasses.replace(
            self, columns=("a", "b", "noise", "turn"), kinds=("number",) * 3 + ("category",),
            levels=((), (), (), ("no", "yes")), classes=("none", "second", "first", "both"), target_column="signs",
            counts=tuple(np.bincount(label[train], minlength=4).tolist()),
            network="tabular" if self.network == "auto" else self.network, size="s",
        )  # fmt: skip
        examples = Examples.of(columns)
        return Data(task, examples.take(train), examples.take(valid), examples.take(test))

    # -- the network and its training

    @property
    def shape(self) -> TableShape:
        """What goes into the network and comes out."""
        from matinee.nets.tables import TableShape

        _, levels = self.terms.schema.inputs()
        return TableShape(tuple(len(words) for words in levels), len(self.classes))

    @property
    def _loss(self) -> str:
        if self.loss_function == "auto":
            return "cross-entropy" if self.classes else "mse"
        return self.loss_function

    @property
    def _balanced(self) -> bool:
        return self.class_weights == "balanced"

    def choose(self, data: Data, minutes: float | None) -> TablePrediction:
        """The network; and whether the settings go together."""
        if (self._loss == "cross-entropy") != bool(self.classes):
            fits = "cross-entropy" if self.classes else "mse, mae or huber"
            raise SettingsError(f"--loss-function {self._loss}: the target is {self._words()}: {fits}.")
        costs = self.cost_of_miss != self.cost_of_false_alarm
        asked = "--false-alarm-budget" if self.false_alarm_budget is not None else "--cost-of-miss" if costs else ""
        if asked and len(self.classes) != 2:
            raise SettingsError(f"{asked}: needs two classes, and the target is {self._words()}. --event makes two.")
        if asked and self._balanced:
            raise SettingsError(f"{asked}: goes without --class-weights balanced, which moves the threshold as well.")
        if costs and self.false_alarm_budget is not None:
            raise SettingsError("--false-alarm-budget: give either a budget or costs.")
        penalty = "--l1-penalty" if self.l1_penalty else "--l2-penalty" if self.l2_penalty is not None else ""
        if penalty and self.network not in ("auto", "linear"):
            raise SettingsError(f"{penalty}: is of --network linear, not of {self.network}.")
        if self.network == "kernel" and self._loss in ("mae", "huber"):
            raise SettingsError("--network kernel: is for squared errors. Take --network linear.")
        if self.false_alarm_budget is not None:
            from matinee.nets.table_solving import affordable

            affordable(self.false_alarm_budget, int((self._goals(data.valid) == 0).sum()))
        name = self.network if self.network != "auto" else self._fitting(data)
        size = self.size if self.size != "auto" else "s" if len(data.train) < 2000 else "m"
        return dataclasses.replace(self._measured(data.train), network=name, size=size, loss_function=self._loss)

    def _measured(self, train: Examples) -> TablePrediction:
        """This task with what its loss must know of the targets of these examples, and of no others."""
        if self.classes:
            counts = np.bincount(self._goals(train).astype(np.int64), minlength=len(self.classes))
            return dataclasses.replace(self, counts=tuple(counts.tolist()))
        spread = float(self._goals(train).std(dtype=np.float64)) if len(train) else 1.0
        return dataclasses.replace(self, deviation=spread or 1.0)

    def _words(self) -> str:
        return f"one of {len(self.classes)} classes" if self.classes else "a number"

    def _fitting(self, data: Data) -> str:
        """The network that does best in folds of the training rows, where they are few enough for that."""
        from matinee.nets.table_choice import MANY, WIDE, Trial, fitting, trained
        from matinee.nets.table_solving import row_weights

        train, width = data.train, sum(levels + 1 for levels in self.shape.levels)
        if self.l1_penalty or self.l2_penalty is not None or width > WIDE:
            return "linear"  # what was asked for is the linear network's; or no other is done in time
        if len(train) >= MANY:
            return "tabular"
        absolute = self._loss in ("mae", "huber")
        # The kernel has the linear one in it, and the likelihood weighs them: for numbers there is no choice to make.
        solved = ("linear",) if absolute or 4 * width > WIDE else ("linear", "kernel") if self.classes else ("kernel",)
        names = (*solved, "tabular")
        goals, weights = self._goals(train), row_weights(self._goals(train), len(self.classes), self._balanced)
        tasks = {name: dataclasses.replace(self, network=name, size="s") for name in names}
        trial = Trial(train.column("values"), goals, _groups(train), weights, absolute)
        return fitting(names, trial, lambda name, positions: trained(tasks[name], train.take(positions)))

    def _goals(self, examples: Examples) -> Array:
        return examples.column("label" if self.classes else "number")

    def _solving(self) -> Solving:
        from matinee.nets.table_solving import Terms

        return Terms(self._loss, self.huber_delta, self.l2_penalty, self.l1_penalty, self._balanced)

    def advice(self, examples: int) -> dict[str, Any]:
        """Few steps for few rows; none where the network is solved at a look."""
        if self.network in ("linear", "kernel", "constant"):
            return {"epochs": 0, "batch_size": 256}
        size = 32 if examples < 2000 else 128 if examples < 20_000 else 512
        epochs = min(40, max(12, round(10_000 / max(1, examples))))
        rate = 2e-3 if self.network == "tabular" else 1e-3
        return {"epochs": epochs, "batch_size": size, "learning_rate": rate, "weight_decay": 0.03, "average": 0.97}

    def build(self) -> nn.Module:
        """The network called `network`."""
        from matinee.nets.tables import build

        size = "s" if self.size == "auto" else self.size
        return build(self.network, self.shape, size=size, dropout=self.dropout)

    def prepare(self, network: nn.Module, examples: Examples) -> None:
        """What the training rows say of each column; the linear network is solved here."""
        import torch

        from matinee.nets import table_solving
        from matinee.nets.tables import TableNetwork

        if not isinstance(network, TableNetwork):
            return
        inputs = torch.from_numpy(examples.column("values"))
        table_solving.prepare(network, inputs, self._goals(examples), self._solving(), _groups(examples))
        if len(self.classes) == 2:
            with torch.no_grad():  # the dearer a miss, the smaller the chance that is enough (Elkan, 2001)
                network.head.threshold.fill_(math.log(self.cost_of_false_alarm / self.cost_of_miss))

    def calibrate(self, network: nn.Module, outputs: Any, targets: Any) -> None:
        """Probabilities by temperature, the threshold by the budget, the range of numbers by the errors."""
        from matinee.nets import table_solving
        from matinee.nets.tables import TableNetwork

        if isinstance(network, TableNetwork):
            table_solving.calibrate(network, outputs.float(), targets, RANGE, self.false_alarm_budget)

    def collate(self, columns: Mapping[str, Tensor]) -> Batch:
        """Values (batch, inputs) as they were read; class numbers, or numbers in their units (batch,)."""
        return Batch(columns["values"], columns["label"].long() if self.classes else columns["number"].float())

    def forward(self, network: nn.Module, batch: Batch) -> Any:
        """What each member of the network says, (batch, members, 1 or classes): each learns on its own."""
        from matinee.nets.tables import TableNetwork

        return network.members(batch.inputs) if isinstance(network, TableNetwork) else network(batch.inputs)

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """Cross-entropy, or the error in deviations of the target: squared, absolute, or Huber's."""
        from matinee.nets.table_solving import loss

        return loss(outputs.float(), batch.targets, self._solving(), self.counts, self.deviation)

    # -- scores and answers

    def meter(self) -> Meter:
        """R2 first for numbers, accuracy for classes; the cost, or AUROC, where rare events are looked for."""
        if not self.classes:
            return RegressionMeter(self.target_column)
        if len(self.classes) != 2:
            return ClassificationMeter(self.classes, ranked=True)
        costs = (self.cost_of_miss, self.cost_of_false_alarm)
        first = "auroc" if self.false_alarm_budget is not None else "cost" if costs != (1.0, 1.0) else "accuracy"
        return EventMeter(self.classes, costs, first)

    def labels(self, examples: Examples) -> Array | None:
        """Class numbers, where there are classes."""
        return examples.column("label").astype(np.int64) if self.classes else None

    def quantities(self, examples: Examples) -> Array | None:
        """The targets, where there are no classes."""
        return None if self.classes else self._goals(examples)

    def names(self) -> Sequence[str]:
        """Class names."""
        return self.classes

    def fingerprint(self, examples: Examples) -> tuple[Array, float]:
        """Equal inputs are equal rows, whatever their target; none are where that is in the nature of the table."""
        if self.repeats:
            return np.zeros((len(examples), 1), np.float32), 1.0
        return super().fingerprint(Examples({"values": examples.array("values")}, examples.rows))

    def logits(self, outputs: Any) -> Tensor:
        """The logits of the classes, or the number."""
        told: Tensor = outputs[..., : max(1, len(self.classes))]
        return told

    def trivial(self, train: Examples) -> Model:
        """Always the majority class, or the mean."""
        from matinee.core.model import Model

        task = dataclasses.replace(self, network="constant", loss_function=self._loss)
        network = task.build()
        task.prepare(network, train)
        return Model(task, network.eval())

    def simplest(self) -> Task | None:
        """Linear, logistic or softmax regression."""
        if self.network == "linear":
            return None
        return dataclasses.replace(self, network="linear", loss_function=self._loss, l2_penalty=None, l1_penalty=0.0)

    def encode_each(self, raws: Sequence[Any]) -> tuple[Tensor, Mapping[int, DataError]]:
        """Rows, as mappings of column names to values, -> (batch, inputs), without those that cannot be used."""
        import torch

        values, errors = table_rows.encode_rows(raws, self.terms)
        return torch.from_numpy(values), errors

    def inputs(self, places: Sequence[str]) -> Iterable[Any]:
        """The rows of the tables named, or JSON objects written out."""
        return table_rows.rows_of([str(Path(place)) if Path(place).exists() else place for place in places], self.terms)

    def decode(self, outputs: Any) -> list[dict[str, Any]]:
        """The number and its range; or the class, its probability, the runners-up, and the threshold of an event."""
        from matinee.nets.table_reading import answers

        return answers(outputs, self.classes)

    def describe(self, network: nn.Module, examples: Examples) -> Sequence[Piece]:
        """The weights, where they say something, and which columns matter most."""
        from matinee.nets import table_reading
        from matinee.nets.tables import TableNetwork, names_of_features

        if not isinstance(network, TableNetwork) or self.network == "constant":
            return ()
        names, levels = self.terms.schema.inputs()
        batch = self.collate(examples.gather(np.arange(min(len(examples), table_reading.SOME))))
        matter = table_reading.importance(network, batch, self.terms.schema.owners(), self.meter)
        return *table_reading.weights(network, names_of_features(names, levels), self.classes), *matter

    def show(self, inputs: Tensor, outputs: Any) -> list[Piece]:
        """Each row with its answer."""
        return table_rows.shown(self.terms, inputs.float().cpu(), self.decode(outputs))


def _groups(examples: Examples) -> Array:
    """The group of each example (examples,), -1: of none."""
    return examples.column("group") if "group" in examples.columns else np.full(len(examples), -1)


def _listed(words: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in words.split(",") if word.strip())
