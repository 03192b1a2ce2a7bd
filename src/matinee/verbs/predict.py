"""Answer for files: one JSON line each, in order, as they are read.

A file that cannot be read gets a line with its error, and the exit code is 1.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from matinee.core.answering import BATCH, Told, answered
from matinee.core.command import Answer, Call, Command, argument, put
from matinee.core.errors import DataError
from matinee.core.ledger import Listed
from matinee.core.model import Model, load
from matinee.core.settings import setting
from matinee.core.telling import unfinished


def predict(model: Model, files: Iterable[Any], *, batch_size: int = BATCH) -> Iterator[dict[str, Any]]:
    """An answer for each file, in order and as they come: {"file", "label", ...} or {"file", "error"}.

    Several batches are read ahead, but where `batch_size` is 1 none is.
    """
    for batch in answered(model, files, batch_size):
        yield from map(_named, batch)


def _named(told: tuple[Any, Told]) -> dict[str, Any]:
    file, answer = told
    return {"file": str(file), **({"error": str(answer)} if isinstance(answer, DataError) else answer)}


@dataclass(frozen=True, kw_only=True)
class Predict(Command):
    """`matinee predict RUN FILE... | FOLDER`."""

    run_folder: str = argument("a run folder or a saved model", name="RUN")
    files: tuple[str, ...] = argument("files to answer for, or a folder of them", name="FILE", many=True)
    batch_size: int = setting(BATCH, "files answered at once", low=1, high=65_536)
    device: str = setting("auto", "where to compute: auto, cpu, cuda, cuda:1")
    task: str = setting("", "importable module of a task of your own that the model is of")

    def run(self, call: Call) -> Answer:
        """One line per file on standard output; with --json one object at the end."""
        model = load(self.run_folder, task=self.task or None, device=self.device)
        answers, failed = [], 0
        files = model.task.inputs(self.files)
        if isinstance(files, Listed):
            for reason, count in Counter(entry.reason for entry in files.passed_over).items():
                call.progress.note(f"passed over {count:,} file{'s'[: count > 1]}: {reason}")
        for words in unfinished(model):
            call.progress.warn(words)
        for batch in answered(model, files, self.batch_size):
            told = [_named(each) for each in batch]
            failed += sum(isinstance(answer, DataError) for _, answer in batch)
            if call.json:
                answers += told
            else:
                put("\n".join(json.dumps(each, ensure_ascii=False) for each in told))
        return Answer({"run": self.run_folder, "answers": answers, "failed": failed}, "", 1 if failed else 0)
