"""A source and, where it must be said, a task: which task reads it, and the data it makes of it."""

from __future__ import annotations

import itertools
import os
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from matinee.core.errors import DataError, SettingsError
from matinee.core.progress import Progress
from matinee.core.registry import names, task_class
from matinee.core.settings import build, flag, rules, slip, to_json
from matinee.core.storage import nearby
from matinee.core.task import Data, Task

LOOK = 2_000  # entries of a folder that are looked at to say what lies there
FOLDERS, EACH = 500, 200  # folders, and files of each, that are counted to tell tasks apart
FEW = 5  # times as many files of another task make those of a task few
WITHIN = 12  # of them that tasks are asked about


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
    try:
        data = build(kind, known).read(str(source), progress or Progress())
    except DataError as error:
        near = "" if Path(source).exists() else nearby(Path(source))
        raise (DataError(f"{str(error).rstrip('.')}.{near}") if near else error) from None
    if why:
        taken = {"taken for": f"{why}; --task names one all the same)"}
        data = replace(data, origin=replace(data.origin, facts={**taken, **data.origin.facts}))
    return data


def recognised(source: str) -> type[Task]:
    """The one task whose layout this source has. Raises DataError where none or several fit."""
    return _recognised(source)[0]


def _recognised(source: str) -> tuple[type[Task], str]:
    """The one task whose layout this source has, and why in a few words; the bracket in them is left open."""
    kinds = {name: task_class(name) for name in names("tasks")}
    fitting = _fitting(source, kinds)
    few = _of_few_files(source, list(fitting), kinds) if len(fitting) > 1 else {}
    fitting = {name: why for name, why in fitting.items() if name not in few}
    if len(fitting) == 1:
        name, why = next(iter(fitting.items()))
        beside = ", ".join(f"{count:,} for {other}" for other, count in few.items())
        return kinds[name], f"{why} ({f'few files beside them: {beside}' if few else 'no other task fits'}"
    if fitting:
        said = " and ".join(f"{name} ({why})" for name, why in fitting.items())
        flags = " or ".join(f"--task {name}" for name in fitting)
        raise DataError(f"{source}: this could be {said}. Say which: {flags}.")
    if not Path(source).exists():
        known = [sample for kind in kinds.values() for sample in kind.samples]
        near = nearby(Path(source)) or slip(source, known)
        raise DataError(f"{source}: no such file or folder, nor one of the names {', '.join(known)}.{near}")
    if not os.access(source, os.R_OK | (os.X_OK if Path(source).is_dir() else 0)):
        raise DataError(f"{source}: no permission to read this. Change its permissions, or ask its owner.")
    raise DataError(f"{source}: {_misfit(source, kinds)}")


def _fitting(source: str, kinds: Mapping[str, type[Task]]) -> dict[str, str]:
    """The tasks whose layout a source has, and why in a few words; those alone that ask for most of it."""
    found = {name: why for name, kind in kinds.items() if (why := kind.recognise(source))}
    most = max((kinds[name].exacting for name in found), default=0)
    return {name: why for name, why in found.items() if kinds[name].exacting == most}


def _of_few_files(source: str, fitting: Sequence[str], kinds: Mapping[str, type[Task]]) -> dict[str, int]:
    """Those of the tasks that would read only a few files beside the many of another, and how many."""
    there = _endings_below(source)
    counts = {name: sum(there[ending] for ending in kinds[name].endings) for name in fitting}
    return {name: count for name, count in counts.items() if 0 < FEW * count <= max(counts.values())}


def _endings_below(source: str) -> Counter[str]:
    """How many files in the folders of a source, or of a zip, end how; in a large one a part of them is counted."""
    path, there = Path(source), Counter[str]()
    try:
        if path.is_file() and path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as archive:
                names = itertools.islice((name for name in archive.namelist() if "/" in name), FOLDERS * EACH)
                return Counter(Path(name).suffix.lower() for name in names)
        for place, folders, files in itertools.islice(os.walk(path), FOLDERS):
            folders[:] = [name for name in folders if not name.startswith(".")]
            if Path(place) != path:  # what lies beside the folders of examples is none of them
                there.update(Path(name).suffix.lower() for name in files[:EACH])
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        pass
    return there


def _misfit(source: str, kinds: Mapping[str, type[Task]]) -> str:
    """Why no task reads a source that is there: what it lacks to be one of theirs, else what each of them reads."""
    there = _what_lies_there(Path(source))
    if there.startswith("empty"):
        return f"{there[6:]} is empty: there is nothing to learn from. Put examples into it, or name another source."
    told = dict.fromkeys(words for kind in kinds.values() if (words := kind.lacks(source)))
    if told:
        return " Or: ".join(told)
    if within := _what_fits_within(Path(source), kinds):
        return f"no task reads this as a whole ({there}), but what lies in it: {within}. Name that instead."
    layouts = "\n".join(kind.layout.split("\n")[0] for kind in kinds.values())
    return f"no task reads this ({there}). What they read looks like one of these:\n{layouts}"


def _what_fits_within(folder: Path, kinds: Mapping[str, type[Task]]) -> str:
    """Paths in a folder that tasks read, with the tasks; "" where there are none among the first few."""
    if not folder.is_dir():
        return ""
    with os.scandir(folder) as found:
        entries = sorted(
            folder / entry.name for entry in itertools.islice(found, LOOK) if not entry.name.startswith(".")
        )
    fitting = {path: list(_fitting(str(path), kinds)) for path in entries[:WITHIN] if os.access(path, os.R_OK)}
    return ", ".join(f"{path} ({' or '.join(said)})" for path, said in fitting.items() if said)


def _what_lies_there(path: Path) -> str:
    """A file or a folder in a few words, "empty ..." where nothing is in it."""
    if not path.is_dir():
        size, kind = path.stat().st_size, _ending(path)
        return f"a file of {size:,} bytes{f', {kind} by its name' if kind else ''}" if size else "empty the file"
    with os.scandir(path) as found:
        entries = [path / entry.name for entry in itertools.islice(found, LOOK) if not entry.name.startswith(".")]
    if not entries:
        return "empty the folder"
    folders = sum(entry.is_dir() for entry in entries)
    endings = Counter(_ending(entry) or "others" for entry in entries if not entry.is_dir())
    files = ", ".join(f"{count:,} {ending}" for ending, count in endings.most_common(4))
    parts = [f"{folders:,} folder{'s'[: folders > 1]}"] if folders else []
    return "a folder with " + " and ".join([*parts, *([f"files: {files}"] if files else [])])


def _ending(path: Path) -> str:
    """What a name ends in, where it is a word."""
    ending = path.suffix.lower()
    return ending if ending[1:].isalnum() and len(ending) < 20 else ""


def task_name(kind: type[Task]) -> str:
    """The name under which a task is found again."""
    module = kind.__module__
    home = f"{__name__.split('.')[0]}.tasks."
    return module.removeprefix(home).replace("_", "-") if module.startswith(home) else module


def called(task: Task) -> str:
    """The name and size of a task's network, where it has such settings."""
    fields = to_json(task, settings_only=True)
    return " ".join(str(fields[name]) for name in ("network", "size") if name in fields) or "a network"
