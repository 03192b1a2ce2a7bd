"""Cross-validate: every example is answered once by a model that did not learn from it.

The examples are divided into folds, by class, with near duplicates and groups whole; for each fold a model is trained
on the others, and scored on it. What the source itself holds back as its test is left alone.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from matinee.core.command import Answer, Call, Command, argument
from matinee.core.duplicates import groups
from matinee.core.errors import DataError, SettingsError
from matinee.core.evaluation import LINEAR, called, difference, figure, names_of
from matinee.core.examples import Array, Examples
from matinee.core.job import StartSettings
from matinee.core.meter import Meter, Score, intervals
from matinee.core.model import Model
from matinee.core.paired import margins
from matinee.core.progress import Progress, seconds
from matinee.core.reading import read
from matinee.core.settings import rules, setting
from matinee.core.splits import held_back, joined, layers
from matinee.core.storage import write_json
from matinee.core.tables import table_text
from matinee.core.task import Data
from matinee.core.train_settings import TrainSettings
from matinee.core.watch import Watch
from matinee.verbs.evaluate import compare_with
from matinee.verbs.train import begin, prepare

DRAWS = 2000
MODEL = "model"


@dataclass(frozen=True)
class CrossValidation:
    """What the folds told.

    scores: name -> over all examples, each answered once, with its interval; the selecting one first. folds: name ->
    value in each fold. rivals: rival -> name -> over all examples. ahead: rival -> how much better than it the model is
    in the first score, with the interval of the difference (both answered the same examples). names: what the rivals
    are, in a few words. shares: scores told as so much of 100 %.
    """

    scores: Mapping[str, Score]
    folds: Mapping[str, Sequence[float]]
    rivals: Mapping[str, Mapping[str, float]]
    ahead: Mapping[str, Score]
    examples: int
    seconds: float
    names: Mapping[str, str] = dataclasses.field(default_factory=dict)
    shares: frozenset[str] = frozenset()

    def to_json(self) -> dict[str, Any]:
        """For programs: figures as they are, shares from 0 to 1."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name != "shares"}

    def __str__(self) -> str:
        count = len(next(iter(self.folds.values())))
        head = [
            "",
            "score",
            "95 % interval",
            "mean of folds",
            "deviation",
            *(self.names.get(n, n) for n in self.rivals),
        ]
        rows = [self._row(name, score) for name, score in self.scores.items()]
        first, *_ = self.scores
        lines = [f"{self.examples:,} examples in {count} folds, {seconds(self.seconds)}", table_text(head, rows)]
        for name, ahead in self.ahead.items():
            sure = "surely better" if ahead.low > 0 else "surely worse" if ahead.high < 0 else "not surely better"
            by, span = difference(ahead, first in self.shares)
            lines.append(f"{called(first)}: {sure} than {self.names.get(name, name)}, by {by} ({span})")
        unknown = [called(name) for name, values in self.folds.items() if np.isnan(values).any()]
        if unknown:
            what = "what is counted there, such as a class, does not occur in them"
            lines.append(f"note: {', '.join(unknown)} cannot be told of some folds: {what}.")
        return "\n".join(lines)

    def _row(self, name: str, score: Score) -> list[str]:
        """A line of the table: shares as so much of 100 %, how they vary from fold to fold in points."""
        share, (mean, deviation) = name in self.shares, _spread(self.folds[name])
        told, low, high, mean_told, *others = (
            figure(value, share)
            for value in (score.value, score.low, score.high, mean, *(each[name] for each in self.rivals.values()))
        )
        varies = figure(deviation, share).replace(" %", " points")
        return [called(name), told, f"{low} to {high}", mean_told, varies, *others]


def cross_validate(data: Data, *, folds: int = 10, progress: Progress | None = None, **given: Any) -> CrossValidation:
    """Train and score a model for each fold of the data.

    Args:
        folds: into how many parts the examples are divided; as many as there are examples leaves each out once.
        progress: where to show the progress; None: on standard error.
        given: settings as for `train`; minutes are those of each fold.

    Raises DataError for too few examples, SettingsError for a setting that is not allowed.
    """
    began, shown = time.perf_counter(), progress or Progress()
    pool = _pool(data)
    if folds < 2 or folds > len(pool):
        raise SettingsError(f"--folds {folds}: from 2 to the number of examples, which is {len(pool):,}.")
    numbers, whole = _folds(data, pool, folds)
    if given.get("minutes"):
        shown.note(f"--minutes {given['minutes']} is the time of each fold, and there are {folds:,}")
    kept: dict[str, list[Meter]] = {}
    for fold in range(folds):
        shown.note(f"fold {fold + 1} of {folds}")
        part = _fold(data, pool, numbers == fold, whole, fold)
        model = begin(prepare(part, given, Progress(quiet=True), time.perf_counter()), None, anyway=True)
        rivals = compare_with(dataclasses.replace(part, task=model.task), Watch(), learned=model.network)
        meters = {name: _scored(one, part.test) for name, one in {MODEL: model, **rivals}.items()}
        if model.task.simplest() is None:  # the network that was chosen for this fold is the rival of the others
            meters.setdefault(LINEAR, meters[MODEL])
        for name, meter in meters.items():
            kept.setdefault(name, []).append(meter)
    own = kept[MODEL]
    kept = {n: m for n, m in kept.items() if n == MODEL or any(a is not b for a, b in zip(m, own, strict=True))}
    told = _summary(kept, len(pool), time.perf_counter() - began)
    return dataclasses.replace(told, names=names_of(data.task.rivals))


def _spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and deviation over the folds that can be scored."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known or [np.nan])), float(np.std(known, ddof=1)) if len(known) > 1 else float("nan")


def _pool(data: Data) -> Examples:
    """All examples but those that the source itself holds back."""
    parts = [part.rows for name, part in data.splits().items() if name != "test" or name not in data.origin.given]
    return Examples(data.train.columns, np.concatenate(parts))


def _folds(data: Data, pool: Examples, folds: int) -> tuple[Array, Array]:
    """The fold of each example, by class; and the group of each, equal for those that belong together in one."""
    labels, together = _classes(data, pool), data.task.together(pool)
    prints, threshold = data.task.fingerprint(pool)
    whole = joined([groups(prints, threshold), *([together] if together is not None else [])])
    own = np.unique(whole, return_inverse=True)[1].ravel()
    if own.max() + 1 < folds:
        raise DataError(f"--folds {folds}: there are {own.max() + 1} groups of examples that stay together.")
    if own.max() + 1 == folds:  # each is left out once: there is nothing to divide by class
        return own.astype(np.int64), whole
    numbers = np.full(len(pool), folds - 1)
    left = np.arange(len(pool))
    for fold in range(folds - 1):
        away = held_back(labels[left], whole[left], 1 / (folds - fold), data.task.split_seed + fold)
        numbers[left[away]] = fold
        left = left[~away]
    return numbers, whole


def _classes(data: Data, examples: Examples) -> Array:
    """What the folds have alike of: classes, else fifths of the number that is to be told, else all the same."""
    labels, numbers = data.task.labels(examples), data.task.quantities(examples)
    if labels is not None:
        return labels
    return np.zeros(len(examples), np.int64) if numbers is None else layers(numbers)


def _fold(data: Data, pool: Examples, out: Array, whole: Array, fold: int) -> Data:
    """The data of one fold: its examples are the test, and some of the others, groups whole, select the model."""
    rest = pool.take(np.flatnonzero(~out))
    chosen = held_back(_classes(data, rest), whole[~out], data.task.valid_share, data.task.split_seed + fold)
    train_, valid = (rest.take(np.flatnonzero(which)) for which in (~chosen, chosen))
    return dataclasses.replace(data, train=train_, valid=valid, test=pool.take(np.flatnonzero(out)))


def _scored(model: Model, examples: Examples) -> Meter:
    from matinee.core.measuring import collect
    from matinee.core.runtime import machine

    return collect(model.task, model.network, examples, machine(str(model.device), model.precision, settle=False))


def _summary(kept: Mapping[str, Sequence[Meter]], examples: int, spent: float) -> CrossValidation:
    meter = kept[MODEL][0]
    rows = {name: _together(meters) for name, meters in kept.items()}
    scores = intervals(meter, rows[MODEL])
    each = [one.score(one.rows()) for one in kept[MODEL]]
    first, rivals = next(iter(scores)), {name: meter.score(rows[name]) for name in rows if name != MODEL}
    ahead = {name: margins(meter, rows[MODEL], rows[name], draws=DRAWS)[first] for name in rivals}
    folds = {name: [one[name] for one in each] for name in scores}
    return CrossValidation(scores, folds, rivals, ahead, examples, spent, shares=meter.shares(scores))


def _together(meters: Sequence[Meter]) -> dict[str, Array]:
    parts = [meter.rows() for meter in meters]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@dataclass(frozen=True, kw_only=True)
class CrossValidate(Command):
    """`matinee cross-validate SOURCE [--folds N]`."""

    groups: ClassVar[tuple[type[Any], ...]] = (TrainSettings, StartSettings)
    reads: ClassVar[bool] = True
    writes: ClassVar[str] = "file for the figures as JSON"

    source: str = argument("a folder, an archive, a table of files, or a well-known name", name="SOURCE")
    folds: int = setting(10, "parts into which the examples are divided", low=2, high=100_000)
    task: str = setting("", "which task, where the source fits several; or an importable module of your own")

    def run(self, call: Call) -> Answer:
        """The figures as a table."""
        data = read(self.source, task=self.task or None, progress=call.progress, **call.tasks)
        open_ = {k: v for k, v in call.tasks.items() if not rules(data.task)[k].reading}
        told = cross_validate(data, folds=self.folds, progress=call.progress, **call.settings, **open_)
        if call.out is not None:
            write_json(call.out, told.to_json())
        return Answer(json.loads(json.dumps(told.to_json())), str(told))
