"""Answer for files: one JSON line each, in order, as they are read.

A file that cannot be read gets a line with its error, and the exit code is 1. With --out, answers that are more than
words (music, the timeline of a film) are written as files, too.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

from matinee.core.answering import BATCH, Told, answered
from matinee.core.command import Answer, Call, Command, argument, put
from matinee.core.errors import DataError, SettingsError
from matinee.core.ledger import Listed
from matinee.core.model import Model, load
from matinee.core.reading import task_name
from matinee.core.settings import build, flag, rules, setting
from matinee.core.storage import write_bytes
from matinee.core.task import Task
from matinee.core.telling import unfinished


def predict(model: Model, files: Iterable[Any], *, batch_size: int = BATCH) -> Iterator[dict[str, Any]]:
    """An answer for each file, in order and as they come: {"file", "label", ...} or {"file", "error"}.

    Several batches are read ahead, but where `batch_size` is 1 none is.
    """
    yield from map(_named, model.task.follow(chain.from_iterable(answered(model, files, batch_size))))


def _named(told: tuple[Any, Told]) -> dict[str, Any]:
    file, answer = told
    return {"file": str(file), **({"error": str(answer)} if isinstance(answer, DataError) else answer)}


def asked(model: Model, settings: Mapping[str, Any]) -> Model:
    """The same model with other settings of how it answers. Raises SettingsError for any that is none of those."""
    known = rules(model.task)
    strangers = [name for name in settings if name not in known or not known[name].answering]
    if strangers:
        raise SettingsError(f"{flag(strangers[0])} does not change how {task_name(type(model.task))} answers.")
    return replace(model, task=build(type(model.task), settings, base=model.task)) if settings else model


def write_files(task: Task, answer: Mapping[str, Any], folder: Path) -> list[str]:
    """Write what an answer is made of under the next number that is free in a folder; the names of the files.

    None where this answer is words alone.
    """
    contents = task.files(answer)
    if not contents:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    taken = {path.stem for path in folder.iterdir()}
    number = next(count for count in range(1, len(taken) + 2) if str(count) not in taken)
    paths = {folder / f"{number}{ending}": content for ending, content in contents.items()}
    for path, content in paths.items():
        write_bytes(path, content)
    return [str(path) for path in paths]


@dataclass(frozen=True, kw_only=True)
class Predict(Command):
    """`matinee predict RUN FILE... | FOLDER`."""

    answers: ClassVar[bool] = True
    writes: ClassVar[str] = "folder for answers that are more than words, as 1.mid, 2.mid, ..."

    run_folder: str = argument("a run folder or a saved model", name="RUN")
    files: tuple[str, ...] = argument("files to answer for, or a folder of them", name="FILE", many=True)
    batch_size: int = setting(BATCH, "files answered at once", low=1, high=65_536)
    device: str = setting("auto", "where to compute: auto, cpu, cuda, cuda:1")
    task: str = setting("", "importable module of a task of your own that the model is of")

    def run(self, call: Call) -> Answer:
        """One line per file on standard output; with --json one object at the end."""
        model = asked(load(self.run_folder, task=self.task or None, device=self.device), call.tasks)
        if call.out is not None and type(model.task).files is Task.files:
            raise SettingsError(f"--out: the answers of {task_name(type(model.task))} are JSON alone. Leave it out.")
        answers, failed = [], 0
        files = model.task.inputs(self.files)
        if isinstance(files, Listed):
            for reason, count in Counter(entry.reason for entry in files.passed_over).items():
                call.progress.note(f"passed over {count:,} file{'s'[: count > 1]}: {reason}")
        for words in unfinished(model):
            call.progress.warn(words)
        for told in predict(model, files, batch_size=self.batch_size):
            failed += "error" in told
            each = told if call.out is None else self._with_files(model.task, told, call.out)
            if call.json:
                answers.append(each)
            else:
                put(json.dumps(each, ensure_ascii=False))
        return Answer({"run": self.run_folder, "answers": answers, "failed": failed}, "", 1 if failed else 0)

    def _with_files(self, task: Task, told: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        if "error" in told:
            return dict(told)
        written = write_files(task, told, folder)
        return {"file": told["file"], **({"written": written} if written else {}), **told}
