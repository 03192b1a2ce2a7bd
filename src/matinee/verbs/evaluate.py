"""Score a model, each figure with a 95 % interval, beside the trivial answer and a linear network."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from matinee.core import paired
from matinee.core.command import Answer, Call, Command, argument
from matinee.core.errors import DataError, MatineeError
from matinee.core.evaluation import LINEAR, TRIVIAL, Evaluation, called, difference, figure, names_of
from matinee.core.examples import Array, Examples
from matinee.core.meter import Meter, Rows, Score, intervals
from matinee.core.model import Model, load
from matinee.core.pieces import Piece, Section, remarked
from matinee.core.progress import Progress
from matinee.core.reading import task_name
from matinee.core.runs import Run
from matinee.core.settings import rules, setting, to_json
from matinee.core.task import Data, Origin
from matinee.core.telling import unfinished
from matinee.core.train_settings import TrainSettings
from matinee.core.watch import Watch

if TYPE_CHECKING:
    from torch import nn

    from matinee.core.runtime import Machine

LOOKED_AT = 16  # examples of each kind shown in the report


def evaluate(
    model: Model,
    data: Data,
    *,
    split: str = "test",
    baselines: Mapping[str, Model] | None = None,
    select: str = "",
    progress: Progress | None = None,
) -> Evaluation:
    """Score a model on one split of the data.

    Args:
        split: "train", "valid" or "test".
        baselines: models to compare with; None: the trivial answer and a linear network, learned in seconds from
            data.train.
        select: the score to name first.

    Raises DataError where the split has no examples.
    """
    from matinee.core.measuring import collect
    from matinee.core.runtime import machine

    must_fit(data, model)
    data, notes = _unseen(data, model) if split == "test" else (data, _not_new(data, model, split))
    examples = data.splits()[split]
    if not len(examples):
        raise DataError(f"{data.origin.source}: there are no {split} examples to score.")
    shown, began = progress or Progress(quiet=True), time.perf_counter()
    if baselines is None:
        baselines = compare_with(replace(data, task=model.task), Watch(shown), device=str(model.device))
    shown.live(f"scoring {len(examples):,} examples")
    where = machine(str(model.device), model.precision)
    meter = collect(model.task, model.network, examples, where)
    rows = meter.rows()
    scores = intervals(meter, rows)
    first = select if select in scores else next(iter(scores))
    compared, margins = _against(baselines, examples, where, (first, meter, rows))
    names, detail = names_of(model.task.rivals), meter.detail(rows)
    told = {name for each in detail.get("classes", {}).values() for name in each}
    shown.clear()
    return Evaluation(
        {first: scores[first], **scores},
        compared,
        len(examples),
        split,
        time.perf_counter() - began,
        detail,
        (*notes, *_cautions(first, (scores[first], bool(meter.shares([first]))), margins, compared, names)),
        (*meter.pieces(rows), *model.task.describe_with(model.network, examples, _learned_from(data, model))),
        _galleries(model, examples, meter, rows, data.origin.names),
        names,
        meter.meanings,
        meter.shares({*scores, *told}),
        margins,
    )


def must_fit(data: Data, model: Model) -> None:
    """Raises DataError for data in other terms than the model's: other classes, vocabularies, columns.

    What is compared are the task's facts that are words; numbers (how many there were of each) may differ.
    """
    own, theirs = to_json(model.task), to_json(data.task)
    facts = own.keys() & theirs.keys() - rules(model.task).keys() - model.task.learned
    odd = [name for name in own if name in facts and own[name] != theirs[name] and _in_words([own[name], theirs[name]])]
    if type(data.task) is not type(model.task) or odd:
        name = odd[0].replace("_", " ") if odd else "task"
        verb = "are not those" if name.endswith("s") else "is not that"
        raise DataError(
            f"{data.origin.source}: its {name} {verb} of the model, so examples and answers would not mean the same. "
            "Read it as the model does: data = model.task.read(source, progress)"
        )


def _in_words(value: Any) -> bool:
    return all(map(_in_words, value)) if isinstance(value, list) else isinstance(value, str)


def _against(
    baselines: Mapping[str, Model], examples: Examples, where: Machine, ours: tuple[str, Meter, Rows]
) -> tuple[dict[str, dict[str, float]], dict[str, Score]]:
    """The scores of the models to beat, and how much better than each of them ours is under the score named first."""
    from matinee.core.measuring import collect

    compared, margins, (first, meter, rows) = {}, {}, ours
    for name, other in baselines.items():
        counted = collect(other.task, where.place(other.network), examples, where)
        theirs = counted.rows()
        compared[name] = counted.score(theirs)
        margins[name] = paired.margins(meter, rows, theirs)[first]
    return compared, margins


def compare_with(
    data: Data, watch: Watch, budget: float = 10.0, device: str = "auto", learned: nn.Module | None = None
) -> dict[str, Model]:
    """The models to beat, made from data.train: the trivial one, and the simplest that learns.

    Args:
        watch: what all of it may take. budget: seconds for the steps of the simplest one.
        learned: the network of data.task after its training, of which the simplest one may be a part.
    """
    models: dict[str, Model] = {}
    if not len(data.train):
        return models
    simplest = data.task.simplest()
    with watch.over(f"learning what to compare with: {data.task.rivals[simplest is not None]}"):
        trivial = data.task.trivial(data.train)
        if trivial is not None:
            models[TRIVIAL] = trivial
        if simplest is not None:
            part = data.task.contained(learned, simplest) if learned is not None else None
            network = part if part is not None else _learned(replace(data, task=simplest), watch, budget, device)
            models[LINEAR] = Model(simplest, network)
    return models


def _learned(data: Data, watch: Watch, budget: float, device: str) -> nn.Module:
    """The network of data.task, from data.train."""
    import torch

    from matinee.core.loop import fit
    from matinee.core.runtime import seed_of

    settings = TrainSettings(precision="float32", device=device).advised(data.task.advice(len(data.train)))
    torch.manual_seed(seed_of(0, 3))
    network = data.task.build()
    known = len(watch.notes)
    data.task.study(network, data.train, watch)
    watch.notes[known:] = [f"{data.task.rivals[1]}: {note}" for note in watch.notes[known:]]
    fit(data, network, settings, budget=max(0.5, min(budget, watch.left())))
    return network


def _cautions(
    name: str,
    told: tuple[Score, bool],
    margins: Mapping[str, Score],
    compared: Mapping[str, Mapping[str, float]],
    names: Mapping[str, str],
) -> tuple[str, ...]:
    """What a user must know before trusting the figure. told: it, and whether it is a share of 100 %."""
    notes, (score, share) = [], told
    for other, ahead in margins.items():
        theirs, what = figure(compared[other].get(name, math.nan), share), names.get(other, other)
        first = f"{called(name)} {figure(score.value, share)}"
        if ahead.high < 0:
            notes.append(f"{first} is worse than {what} ({theirs}): do not use this model.")
        elif ahead.low <= 0:
            span = difference(ahead, share)[1]
            notes.append(f"{first} is not surely better than {what} ({theirs}): the difference is {span} (95 %).")
    return tuple(notes)


def _galleries(model: Model, examples: Examples, meter: Meter, rows: Rows, names: Sequence[str]) -> list[Section]:
    """The examples worth looking at, drawn by the task, with the names of their files."""
    sections = []
    for title, positions in meter.worth_seeing(rows).items():
        chosen = positions[:LOOKED_AT]
        if not len(chosen):
            continue
        remarks = [meter.remark(rows, int(position)) for position in chosen]
        if len(names):
            sources = (names[row] for row in examples.rows[chosen])
            remarks = [f"{name}: {remark}" if remark else name for name, remark in zip(sources, remarks, strict=True)]
        sections.append(Section(title, remarked(_drawn(model, examples.take(chosen)), remarks)))
    return sections


def _drawn(model: Model, examples: Examples) -> list[Piece]:
    import torch

    task, drawn, size = model.task, list[Piece](), max(1, model.task.at_once())
    for first in range(0, len(examples), size):
        part = examples.take(np.arange(first, min(len(examples), first + size)))
        batch = task.collate(part.gather(np.arange(len(part))))
        batch = replace(batch, rows=torch.from_numpy(part.rows)).to(model.device)
        with torch.inference_mode():
            drawn += task.show_scored(task.infer(model.network, batch.inputs), batch)
    return drawn


def baselines_of(run: Path, own: str | None) -> dict[str, Model]:
    """The models to beat that a run keeps. own: the module of a task of the user's own."""
    folders = {name: run / "baselines" / name for name in (TRIVIAL, LINEAR)}
    return {name: load(folder, task=own) for name, folder in folders.items() if folder.is_dir()}


def to_score(model: Model, data: Data, source: str, split: str = "test") -> Data:
    """Of data that the model has read, those with the examples to score as their split.

    That is the split asked for, or all of a source that names no test of its own. Of the source it learned from, those
    that were held back then: were the split drawn anew after files came or went, examples it has learned from would be
    among them.
    """
    learned = str(model.facts.get("source_path") or "")
    same = Path(source).resolve() == Path(learned).resolve()
    if split != "test" or (same and not model.held_back):
        return data
    rows = np.sort(np.concatenate([part.rows for part in data.splits().values()]))
    none = Examples(data.train.columns, rows[:0])
    if same:
        then = np.array([data.origin.names[row] in model.held_back for row in rows], bool)
        if not then.any():
            known = min(model.held_back)
            raise DataError(
                f"{source}: none of the examples that were held back as the test is there now ({known!r}, ...)."
            )
        learning = data.train.rows[~np.isin(data.train.rows, rows[then])]
        return replace(data, train=none.at(learning), test=none.at(rows[then]))
    if "test" in data.origin.given:
        return data
    if not len(rows):
        known = ", ".join(model.task.names()[:10])
        words = (
            f"nothing here has a label that the model knows. It knows {known}" if known else "there is nothing to score"
        )
        raise DataError(f"{source}: {words}.")
    return replace(data, train=none, valid=none, test=none.at(rows))


@dataclass(frozen=True, kw_only=True)
class Evaluate(Command):
    """`matinee evaluate RUN [SOURCE]`."""

    writes: ClassVar[str] = "folder for evaluation.json (default: the run folder)"

    run_folder: str = argument("a run folder or a saved model", name="RUN")
    source: str = argument("what to score it on (default: the test split of what it learned from)", optional=True)
    split: str = setting("test", "which split to score", choices=("train", "valid", "test"))
    task: str = setting("", "importable module of a task of your own that the model is of")

    def run(self, call: Call) -> Answer:
        """Score, say what changed, write evaluation.json."""
        model = load(self.run_folder, task=self.task or None)
        source = self.source or str(model.facts.get("source_path") or "")
        if not source:
            raise DataError(
                f"{self.run_folder}: this model does not say what it learned from. Name a SOURCE to score it on."
            )
        data = model.task.read(source, call.progress)
        data = to_score(model, data, source, self.split)
        kept = baselines_of(model.run, self.task or None) if model.run is not None else None
        select = str(model.facts.get("select") or "")
        told = evaluate(
            model,
            data,
            split=self.split,
            baselines=kept or (None if len(data.train) else {}),
            select=select,
            progress=call.progress,
        )
        changed, unknown = _changes(model)
        if self.split != "test" and any(changed.values()):
            unknown.append(f"the files have changed, so {self.split} is drawn anew and is not what it was in training.")
        told = replace(told, notes=(*unfinished(model), *unknown, *_changed(changed), *told.notes))
        value = {
            "run": str(model.run or self.run_folder),
            "task": task_name(type(model.task)),
            "source": source,
            **told.to_json(),
            "changed": changed,
        }
        self._write(value, model, call)
        return Answer(value, str(told))

    def _write(self, value: Mapping[str, Any], model: Model, call: Call) -> None:
        folder = call.out or model.run
        if folder is None:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            Run(folder).write("evaluation.json", value)
        except (MatineeError, OSError) as error:
            if call.out is not None:
                raise
            call.progress.warn(f"the scores were not written down: {error}")


def seen(data: Data, model: Model) -> Array:
    """Which of the test examples the model was trained on, bool (examples,)."""
    learned = {content for name, content in model.manifest.items() if name not in model.held_back}
    origin: Origin = data.origin

    def known(name: str) -> bool:
        content = origin.manifest.get(name, "")
        held_back = name in model.held_back and model.manifest.get(name) == content
        return content in learned and not held_back

    named = origin.names if learned else ()
    return np.array([bool(named) and known(named[row]) for row in data.test.rows], bool)


def _learned_from(data: Data, model: Model) -> Examples:
    """The examples here that the model was trained on: none of another source's."""
    if not model.manifest:  # made up, or never told
        return data.train
    return data.train.take(np.flatnonzero(seen(replace(data, test=data.train), model)))


def _not_new(data: Data, model: Model, split: str) -> list[str]:
    """What to know of scores on examples that were there in the training."""
    if not seen(replace(data, test=data.splits()[split]), model).any():
        return []
    if split == "valid":
        return ["these examples chose among the weights in training: the scores are a little too good."]
    return ["the model has learned from these examples: the scores say nothing about new ones."]


def _unseen(data: Data, model: Model) -> tuple[Data, list[str]]:
    """Leave out of the test what the model was trained on, unless that is all there is."""
    known = seen(data, model)
    count = int(known.sum())
    if not count:
        return data, []
    if count == len(known):
        note = "the model was trained on all of these: the scores say nothing about new ones."
        return data, [note]
    note = f"{count:,} of {len(known):,} were there when the model was made; they are left out of the scores."
    return replace(data, test=data.test.take(np.flatnonzero(~known))), [note]


def _changes(model: Model) -> tuple[dict[str, list[str]], list[str]]:
    """What became of the files the model learned from; a note where they are not here."""
    source = model.facts.get("source_path")
    try:
        return (model.task.changes(str(source), model.manifest) if source else {}), []
    except DataError as error:
        return {}, [f"what has changed since training cannot be told: {error}"]


def _changed(changed: Mapping[str, Sequence[str]]) -> list[str]:
    """A line for each kind of change since training."""
    return [
        f"since training, {len(files):,} source file{'s' if len(files) != 1 else ''} {kind} "
        f"({', '.join(map(repr, list(files)[:3]))}{', ...' if len(files) > 3 else ''})."
        for kind, files in changed.items()
        if files
    ]
