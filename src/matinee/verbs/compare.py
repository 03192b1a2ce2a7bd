"""Compare models on the same examples: by how much one is better, with an interval, and whether luck could do it."""

from __future__ import annotations

import itertools
import json
import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from matinee.core.command import Answer, Call, Command, argument
from matinee.core.errors import DataError, SettingsError
from matinee.core.evaluation import called, difference, figure
from matinee.core.examples import Examples
from matinee.core.meter import Meter, Rows, Score
from matinee.core.model import Model, load
from matinee.core.paired import SURE, chance, holm, margins
from matinee.core.progress import Progress
from matinee.core.reading import task_name
from matinee.core.settings import flag, rules, setting, to_json
from matinee.core.storage import write_json
from matinee.core.tables import table_text
from matinee.core.task import Data
from matinee.verbs.evaluate import must_fit, seen, to_score

DRAWS = 2000  # of the intervals
SHOWN = 3  # names that an error tells
TEST = "paired randomisation test"


@dataclass(frozen=True)
class Pair:
    """Two models by their names, the better one in the tested score first.

    margins: score -> how much better it is, with a 95 % interval. p: how often luck alone would set the two so far
    apart in the tested score; corrected: the same where several pairs were compared.
    """

    better: str
    worse: str
    margins: Mapping[str, Score]
    p: float
    corrected: float

    @property
    def sure(self) -> bool:
        """Whether it is more than luck."""
        return self.corrected < SURE


@dataclass(frozen=True)
class Comparison:
    """What models scored on the same examples, and every two of them side by side.

    scores: model -> score -> value, the tested score first. shares: scores told as so much of 100 %. notes: what to
    know before trusting the figures.
    """

    scores: Mapping[str, Mapping[str, float]]
    pairs: tuple[Pair, ...]
    examples: int
    seconds: float
    shares: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "scores": {name: dict(scores) for name, scores in self.scores.items()},
            "tested": next(iter(self.pairs[0].margins)),
            "test": TEST + (f", corrected for {len(self.pairs)} pairs (Holm)" if len(self.pairs) > 1 else ""),
            "pairs": [{**asdict(pair), "sure": pair.sure} for pair in self.pairs],
            "examples": self.examples,
            "seconds": self.seconds,
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        only = self.pairs[0] if len(self.pairs) == 1 else None
        columns, rows = ["", *self.scores, *([f"{only.better} is better by", "95 % interval"] if only else [])], []
        for name in self.pairs[0].margins:
            share = name in self.shares
            row = [called(name), *(figure(scores[name], share) for scores in self.scores.values())]
            rows.append([*row, *difference(only.margins[name], share)] if only else row)
        lines = [f"{self.examples:,} examples, the same for all", table_text(columns, rows), ""]
        lines += [self._words(pair) for pair in self.pairs]
        lines.append(f"p: {TEST}. Intervals are of the difference, both models drawn again together.")
        if not only:
            lines.append(f"{len(self.pairs)} pairs were tested: p is corrected for that (Holm).")
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def _words(self, pair: Pair) -> str:
        name, margin = next(iter(pair.margins.items()))
        sure, (by, span) = "surely" if pair.sure else "not surely", difference(margin, name in self.shares)
        words = f"{pair.better} is {sure} better than {pair.worse}, by {by} ({span}; p {pair.corrected:.4f})"
        return f"{called(name)}: {words}"


def compare(
    models: Mapping[str, Model],
    data: Data | Mapping[str, Data],
    *,
    select: str = "",
    common: bool = False,
    progress: Progress | None = None,
) -> Comparison:
    """Score models on the same test examples; for every two, tell by how much they differ and whether luck could do it.

    The interval is of the paired bootstrap, the p value of the paired randomisation test (`core/paired.py`), corrected
    for the number of pairs (Holm, 1979). Both take the examples for a sample of those to come, and the models as they
    are: what training them again with another seed would bring, neither tells.

    Args:
        models: name -> model, two or more of one task.
        data: whose test to score them on; or name -> data, where each model reads them in its own terms
            (`model.task.read`). Examples that any of the models has learned from are left out.
        select: the score to test; empty: the one that selected the first model.
        common: where the tests that `data` names are not the same, take the examples that are in all of them.

    Raises DataError where the models were not asked the same, or no example is left; SettingsError for fewer than two
    models or a score that there is not.
    """
    from matinee.core.measuring import collect
    from matinee.core.runtime import machine

    if len(models) < 2:
        raise SettingsError("compare takes two models or more.")
    began, shown = time.perf_counter(), progress or Progress(quiet=True)
    select = _alike(models, select)
    parts, notes = _same(models, {n: data if isinstance(data, Data) else data[n] for n in models}, common)
    meters, rows = dict[str, Meter](), dict[str, Rows]()
    for name, model in models.items():
        shown.live(f"scoring {name} on {len(parts[name]):,} examples")
        where = machine(str(model.device), model.precision)
        meters[name] = collect(model.task, model.network, parts[name], where)
        rows[name] = meters[name].rows()
    _asked_the_same(meters, rows)
    (first, meter), *_ = meters.items()
    scores = {name: _first(select, meter.score(told)) for name, told in rows.items()}
    pairs = []
    for one, other in itertools.combinations(rows, 2):
        shown.live(f"comparing {one} with {other}")
        pairs.append(_pair(meter, select, {one: rows[one], other: rows[other]}))
    shown.clear()
    corrected = zip(pairs, holm([pair.p for pair in pairs]), strict=True)
    return Comparison(
        scores,
        tuple(replace(pair, corrected=p) for pair, p in corrected),
        len(parts[first]),
        time.perf_counter() - began,
        meter.shares(scores[first]),
        notes,
    )


def _pair(meter: Meter, select: str, rows: Mapping[str, Rows]) -> Pair:
    (one, mine), (other, theirs) = rows.items()
    ahead, p = margins(meter, mine, theirs, draws=DRAWS), chance(meter, select, mine, theirs)
    if ahead[select].value < 0:
        one, other = other, one
        ahead = {name: Score(-by.value, -by.high, -by.low) for name, by in ahead.items()}
    return Pair(one, other, _first(select, ahead), p, p)


def _first(select: str, scores: Mapping[str, Any]) -> dict[str, Any]:
    return {select: scores[select], **scores}


def _alike(models: Mapping[str, Model], select: str) -> str:
    """The score to test. Raises DataError for models of two tasks, of other classes, or with other scores."""
    (first, one), *others = models.items()
    have = one.task.meter().names_of_scores()
    for name, other in others:
        both = f"{first} and {name} cannot be compared"
        if type(other.task) is not type(one.task):
            kinds = task_name(type(one.task)), task_name(type(other.task))
            raise DataError(f"{both}: the one is of the task {kinds[0]}, the other of {kinds[1]}.")
        if tuple(other.task.names()) != tuple(one.task.names()):
            odd = _some(sorted(set(one.task.names()) ^ set(other.task.names())))
            raise DataError(f"{both}: they answer with other classes ({odd or 'in another order'}).")
        if set(theirs := other.task.meter().names_of_scores()) != set(have):
            raise DataError(f"{both}: the one is scored by {', '.join(have)}, the other by {', '.join(theirs)}.")
    if select and select not in have:
        raise SettingsError(f"--select {select}: this task has the scores {', '.join(have)}.")
    return select or str(one.facts.get("select") or have[0])


def _same(
    models: Mapping[str, Model], data: Mapping[str, Data], common: bool
) -> tuple[dict[str, Examples], tuple[str, ...]]:
    """The examples that every model is scored on, the same in the same order, and what is to be said of them.

    Raises DataError where the tests differ (and not those they have in common are asked for), or nothing is left.
    """
    places = {}
    for name, model in models.items():
        must_fit(data[name], model)
        if not len(data[name].test):
            raise DataError(f"{data[name].origin.source}: there are no test examples to score {name} on.")
        places[name] = {key: place for place, key in enumerate(_keys(data[name]))}
    (first, mine), *others = places.items()
    for name, theirs in others:
        if mine.keys() != theirs.keys() and not common:
            words, apart = _differ((data[first], mine), (data[name], theirs)), _apart(models[first], models[name])
            what = "Train them alike, or compare" if apart else "Compare"
            raise DataError(
                f"{first} and {name} have not the same test: {words}{apart}. {what} them on examples that both never "
                "saw: --data SOURCE"
            )
    known = {name: np.any([seen(part, model) for model in models.values()], 0) for name, part in data.items()}
    kept = [key for key in mine if all(key in part and not known[name][part[key]] for name, part in places.items())]
    if not kept:
        why = "every example was learned from by one of them" if known[first].all() else "no example is in all tests"
        raise DataError(f"{data[first].origin.source}: {why}, so there is nothing to compare on.")
    left = max(map(len, places.values())) - len(kept)
    notes = (f"{left:,} examples are left out: learned from by one of the models, or not read by all.",) if left else ()
    return {n: data[n].test.take(np.array([part[key] for key in kept])) for n, part in places.items()}, notes


def _keys(data: Data) -> Iterator[tuple[str, str, int]]:
    """Of each test example what is the same wherever it is read: name, hash of its content, which of several such.

    Where an example has no name (it is made up, or played), its content is that of its columns.
    """
    names, manifest, examples = data.origin.names, data.origin.manifest, data.test
    columns = [examples.columns[name] for name in sorted(examples.columns)]
    times: Counter[tuple[str, str]] = Counter()
    for row in examples.rows.tolist():
        if len(names):
            key = names[row], manifest.get(names[row], "")
        else:
            key = "", sha256(b"\0".join(np.ascontiguousarray(c[row]).tobytes() for c in columns)).hexdigest()
        times[key] += 1
        yield *key, times[key]


def _differ(one: tuple[Data, Mapping[Any, int]], other: tuple[Data, Mapping[Any, int]]) -> str:
    """In what two tests differ, in words."""
    (mine, keys), (theirs, others) = one, other
    names = [{key[0] for key in each} for each in (keys, others)]
    odd = sorted({key[0] for key in keys.keys() ^ others.keys()} - {""})
    if names[0] == names[1] and odd:
        return f"other data: the content of {_some(odd)} is not the same"
    if mine.origin.source != theirs.origin.source:
        return f"other data: {mine.origin.source} and {theirs.origin.source}"
    both = f"{len(keys.keys() & others.keys()):,} examples are in both tests, of {len(keys):,} and {len(others):,}"
    return f"another split: {both}" + (f" (in one alone: {_some(odd)})" if odd else "")


def _apart(one: Model, other: Model) -> str:
    """The settings of reading that differ between two models of a task, in words."""
    values = [to_json(model.task, settings_only=True) for model in (one, other)]
    odd = [name for name, rule in rules(one.task).items() if rule.reading and values[0][name] != values[1][name]]
    return "".join(f"; {flag(name)} {values[0][name]} and {values[1][name]}" for name in odd)


def _asked_the_same(meters: Mapping[str, Meter], rows: Mapping[str, Rows]) -> None:
    """Raises DataError where what is right differs between the models, or how answers are scored.

    By what meters keep under the name of "truth", and what they tell as their signature.
    """
    (first, mine), *others = rows.items()
    for name, theirs in others:
        both, truth = f"{first} and {name} cannot be compared", mine.get("truth")
        one, other = (_scoring(meters[n], rows[n]) for n in (first, name))
        if one != other:
            words = " and by ".join(", ".join(sorted(these - those)) for these, those in ((one, other), (other, one)))
            raise DataError(f"{both}: their answers are not scored alike, but by {words}.")
        if truth is None:
            continue
        odd = (truth != theirs["truth"]).reshape(len(truth), -1).any(1)
        if odd.any():
            raise DataError(
                f"{both}: for {odd.sum():,} of {len(odd):,} examples what is right for the one is wrong for the other. "
                "They learned to tell different things of the same data."
            )


def _scoring(meter: Meter, rows: Rows) -> set[str]:
    """How answers are scored: what the meter tells as its signature, and how many numbers it keeps of each example."""
    signature = {f"{name} {value}" for name, value in meter.detail(rows).items() if name.startswith("signature")}
    return signature | {f"{math.prod(values.shape[1:])} of {name}" for name, values in rows.items()}


def _some(names: Sequence[str]) -> str:
    """A few of them, in words."""
    return ", ".join(map(repr, names[:SHOWN])) + (f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else "")


@dataclass(frozen=True, kw_only=True)
class Compare(Command):
    """`matinee compare RUN RUN [RUN ...]`."""

    writes: ClassVar[str] = "file for the figures as JSON"

    run_folders: tuple[str, ...] = argument("run folders or saved models, two or more", name="RUN", many=True)
    data: str = setting("", "source to score them on, in place of the test of what they learned from")
    select: str = setting("", "score to test (empty: the one that selected the first model)")
    task: str = setting("", "importable module of a task of your own that the models are of")

    def run(self, call: Call) -> Answer:
        """The figures as a table."""
        if len(set(self.run_folders)) < max(2, len(self.run_folders)):
            raise SettingsError(f"{' '.join(self.run_folders)}: name two different runs or more.")
        folders = _called(self.run_folders)
        models = {name: load(folder, task=self.task or None) for name, folder in folders.items()}
        select, data = _alike(models, self.select), dict[str, Data]()
        for name, model in models.items():
            source = self.data or str(model.facts.get("source_path") or "")
            if not source:
                raise DataError(f"{name}: this model does not say what it learned from. Name a source: --data SOURCE")
            data[name] = to_score(model, model.task.read(source, call.progress), source)
        told = compare(models, data, select=select, common=bool(self.data), progress=call.progress)
        value = {"runs": folders, **told.to_json()}
        if call.out is not None:
            write_json(call.out, value)
        return Answer(json.loads(json.dumps(value)), str(told))


def _called(folders: Sequence[str]) -> dict[str, str]:
    """A name for each -> the folder: the last part of it, where that tells them apart."""
    short = [Path(folder).resolve().name for folder in folders]
    return dict(zip(short if len(set(short)) == len(short) else folders, folders, strict=True))
