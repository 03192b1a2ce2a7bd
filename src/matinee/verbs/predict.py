"""Answer for files: one JSON line each, in order, as they are read.

A file that cannot be read gets a line with its error, and the exit code is 1.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from matinee.core.command import Answer, Call, Command, argument
from matinee.core.errors import DataError
from matinee.core.model import Model, load
from matinee.core.settings import setting


def predict(model: Model, files: Iterable[Any], *, batch_size: int = 64) -> Iterator[dict[str, Any]]:
    """An answer for each file, in order and as they come: {"file", "label", ...} or {"file", "error"}."""
    rest = iter(files)
    while some := list(itertools.islice(rest, batch_size)):
        yield from _answers(model, some)


def _answers(model: Model, files: Sequence[Any]) -> list[dict[str, Any]]:
    """All at once; where one of them cannot be read, one by one, so that the others are answered."""
    try:
        inputs = model.task.encode(files)
    except DataError as error:
        if len(files) == 1:
            return [{"file": str(files[0]), "error": str(error)}]
        return [answer for file in files for answer in _answers(model, [file])]
    return [{"file": str(file), **answer} for file, answer in zip(files, model.answer(inputs), strict=True)]


@dataclass(frozen=True, kw_only=True)
class Predict(Command):
    """`matinee predict RUN FILE... | FOLDER`."""

    run_folder: str = argument("a run folder or a saved model", name="RUN")
    files: tuple[str, ...] = argument("files to answer for, or a folder of them", name="FILE", many=True)
    batch_size: int = setting(64, "files answered at once", low=1, high=65_536)
    device: str = setting("auto", "where to compute: auto, cpu, cuda, cuda:1, mps")
    task: str = setting("", "importable module of a task of your own that the model is of")

    def run(self, call: Call) -> Answer:
        """One line per file on standard output; with --json one object at the end."""
        model = load(self.run_folder, task=self.task or None, device=self.device)
        answers, failed = [], 0
        for answer in predict(model, model.task.inputs(self.files), batch_size=self.batch_size):
            failed += "error" in answer
            if call.json:
                answers.append(answer)
            else:
                print(json.dumps(answer, ensure_ascii=True), flush=True)
        return Answer({"run": self.run_folder, "answers": answers, "failed": failed}, "", 1 if failed else 0)
