"""Answer for files: one JSON line each, in order, as they are read.

A file that cannot be read gets a line with its error, and the exit code is 1. With --out, answers that are more than
words (music, the timeline of a film) are written as files, too.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

from matinee.core.answering import Told, answered
from matinee.core.command import Answer, Call, Command, argument, finite, put
from matinee.core.errors import DataError, SettingsError
from matinee.core.ledger import Entry, Listed
from matinee.core.model import Model, load
from matinee.core.reading import task_name
from matinee.core.settings import build, flag, rules, setting
from matinee.core.storage import write_bytes
from matinee.core.task import Task
from matinee.core.telling import unfinished


def predict(model: Model, files: Iterable[Any], *, batch_size: int | None = None) -> Iterator[dict[str, Any]]:
    """An answer for each file, in order and as they come: {"file", "label", ...} or {"file", "error"}.

    Several batches are read ahead, but where `batch_size` is 1 none is.
    """
    yield from map(_named, model.task.follow(chain.from_iterable(answered(model, files, batch_size))))


def _named(told: tuple[Any, Told]) -> dict[str, Any]:
    file, answer = told
    return {"file": str(file), **({"error": str(answer)} if isinstance(answer, DataError) else finite(answer))}


def asked(model: Model, settings: Mapping[str, Any]) -> Model:
    """The same model with other settings of how it answers. Raises SettingsError for any that is none of those."""
    known = rules(model.task)
    strangers = [name for name in settings if name not in known or not known[name].answering]
    if strangers:
        raise SettingsError(f"{flag(strangers[0])} does not change how {task_name(type(model.task))} answers.")
    return replace(model, task=build(type(model.task), settings, base=model.task)) if settings else model


def _listed(task: Task, places: Sequence[str]) -> tuple[Iterable[Any], list[dict[str, Any]]]:
    """What is to be answered, and a line with its error for each folder that has nothing of it beside other places.

    Raises DataError where there is no other place.
    """
    try:
        return task.inputs(places), []
    except DataError:
        if len(places) == 1:
            raise
    found, passed, lost = list[Any](), list[Entry](), list[dict[str, Any]]()
    for place in dict.fromkeys(places):
        try:
            some = task.inputs((place,))
        except DataError as error:
            lost.append({"file": place, "error": str(error)})
            continue
        passed += some.passed_over if isinstance(some, Listed) else ()
        found += some
    return Listed(found, passed), lost


class Files:
    """The files of answers in a folder, 1.mid, 2.mid, ...: numbers go on after those that are there, and none is lost.

    Raises SettingsError where the folder is a file.
    """

    def __init__(self, folder: Path) -> None:
        if folder.exists() and not folder.is_dir():
            raise SettingsError(f"--out {folder}: this is a file. Name a folder, a new one or one that is there.")
        self.folder = folder
        stems = [path.stem for path in folder.iterdir()] if folder.exists() else []
        numbers = [int(stem) for stem in stems if stem.isascii() and stem.isdigit() and len(stem) < 8]
        self.last = max(numbers, default=0)

    def write(self, task: Task, answer: Mapping[str, Any]) -> list[str]:
        """Write what an answer is made of under the next number; the names of the files, none for words alone."""
        contents = task.files(answer)
        if not contents:
            return []
        self.folder.mkdir(parents=True, exist_ok=True)
        self.last += 1
        while any(path.exists() for path in self._paths(contents)):  # somebody else writes here, too
            self.last += 1
        for path, content in zip(self._paths(contents), contents.values(), strict=True):
            write_bytes(path, content)
        return [str(path) for path in self._paths(contents)]

    def _paths(self, contents: Iterable[str]) -> list[Path]:
        return [self.folder / f"{self.last}{ending}" for ending in contents]


@dataclass(frozen=True, kw_only=True)
class Predict(Command):
    """`matinee predict RUN FILE... | FOLDER`."""

    answers: ClassVar[bool] = True
    writes: ClassVar[str] = "folder for answers that are more than words, as 1.mid, 2.mid, ... or on from what is there"

    run_folder: str = argument("a run folder or a saved model", name="RUN")
    files: tuple[str, ...] = argument("files to answer for, or a folder of them", name="FILE", many=True)
    batch_size: int | None = setting(None, "files answered at once (auto: 64, fewer of large ones)", low=1, high=65_536)
    device: str = setting("auto", "where to compute: auto, cpu, cuda, cuda:1")
    task: str = setting("", "importable module of a task of your own that the model is of")

    def run(self, call: Call) -> Answer:
        """One line per file on standard output; with --json one object at the end."""
        model = asked(load(self.run_folder, task=self.task or None, device=self.device), call.tasks)
        if call.out is not None and type(model.task).files is Task.files:
            raise SettingsError(f"--out: the answers of {task_name(type(model.task))} are JSON alone. Leave it out.")
        answers, failed, room = [], 0, Files(call.out) if call.out is not None else None
        if room is not None and room.last:
            call.progress.note(
                f"note: {room.folder} has files up to {room.last}; these answers begin at {room.last + 1}."
            )
        files, lost = _listed(model.task, self.files)
        if isinstance(files, Listed):
            for reason, count in Counter(entry.reason for entry in files.passed_over).items():
                call.progress.note(f"passed over {count:,} file{'s'[: count > 1]}: {reason}")
        for words in unfinished(model):
            call.progress.warn(words)
        for told in chain(lost, predict(model, files, batch_size=self.batch_size)):
            failed += "error" in told
            each = told if room is None else self._with_files(model.task, told, room)
            if call.json:
                answers.append(each)
            else:
                put(json.dumps(each, ensure_ascii=False))
        return Answer({"run": self.run_folder, "answers": answers, "failed": failed}, "", 1 if failed else 0)

    def _with_files(self, task: Task, told: Mapping[str, Any], room: Files) -> dict[str, Any]:
        if "error" in told:
            return dict(told)
        written = room.write(task, told)
        return {"file": told["file"], **({"written": written} if written else {}), **told}
