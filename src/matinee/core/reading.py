"""A source and, where it must be said, a task: which task reads it, and the data it makes of it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from matinee.core.errors import DataError, SettingsError
from matinee.core.progress import Progress
from matinee.core.registry import names, task_class
from matinee.core.settings import build, flag, rules, to_json
from matinee.core.task import Data, Task


def read(source: str | Path, *, task: str | None = None, progress: Progress | None = None, **settings: Any) -> Data:
    """The examples of a source: a folder, an archive, a table of files, or a well-known name.

    Args:
        source: a path, or a name such as "digits".
        task: the task's name where the layout alone does not tell.
        progress: where to show the progress; None: on standard error.
        settings: settings of the task, such as network="lenet".

    Raises DataError where nothing can be read, SettingsError for a setting the task does not have.
    """
    kind, why = (task_class(task), "") if task else _recognised(str(source))
    known = {name: value for name, value in settings.items() if value is not None}
    strangers = [name for name in known if name not in rules(kind)]
    if strangers:
        raise SettingsError(f"{flag(strangers[0])} is not a setting of {task_name(kind)}.")
    data = build(kind, known).read(str(source), progress or Progress())
    if why:
        taken = {"taken for": f"{why} (no other task fits; --task names one all the same)"}
        data = replace(data, origin=replace(data.origin, facts={**taken, **data.origin.facts}))
    return data


def recognised(source: str) -> type[Task]:
    """The one task whose layout this source has. Raises DataError where none or several fit."""
    return _recognised(source)[0]


def _recognised(source: str) -> tuple[type[Task], str]:
    """The one task whose layout this source has, and why in a few words."""
    kinds = {name: task_class(name) for name in names("tasks")}
    found = {name: why for name, kind in kinds.items() if (why := kind.recognise(source))}
    most = max((kinds[name].exacting for name in found), default=0)
    fitting = {name: why for name, why in found.items() if kinds[name].exacting == most}
    if len(fitting) == 1:
        name, why = next(iter(fitting.items()))
        return kinds[name], why
    if fitting:
        said = " and ".join(f"{name} ({why})" for name, why in fitting.items())
        flags = " or ".join(f"--task {name}" for name in fitting)
        raise DataError(f"{source}: this could be {said}. Say which: {flags}.")
    if not Path(source).exists():
        known = [sample for kind in kinds.values() for sample in kind.samples]
        raise DataError(f"{source}: no such file or folder, nor one of the names {', '.join(known)}.")
    if not os.access(source, os.R_OK | (os.X_OK if Path(source).is_dir() else 0)):
        raise DataError(f"{source}: no permission to read this. Change its permissions, or ask its owner.")
    layouts = "\n".join(kind.layout for kind in kinds.values())
    raise DataError(f"{source}: no task reads what lies there. What is expected:\n{layouts}")


def task_name(kind: type[Task]) -> str:
    """The name under which a task is found again."""
    module = kind.__module__
    home = f"{__name__.split('.')[0]}.tasks."
    return module.removeprefix(home).replace("_", "-") if module.startswith(home) else module


def called(task: Task) -> str:
    """The name and size of a task's network, where it has such settings."""
    fields = to_json(task, settings_only=True)
    return " ".join(str(fields[name]) for name in ("network", "size") if name in fields) or "a network"
