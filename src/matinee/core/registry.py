"""The folder is the registry: `tasks/x_y.py` is the task `x-y`, `verbs/x_y.py` the verb `x-y`, found by name."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import pkgutil
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from matinee.core.command import Command
from matinee.core.errors import BundleError, SettingsError
from matinee.core.settings import closest
from matinee.core.task import Task

PACKAGE = __name__.split(".")[0]


def names(folder: str) -> list[str]:
    """The names of the tasks ("tasks") or verbs ("verbs"): the files of that folder, none of them imported."""
    home = Path(__file__).parent.parent / folder
    return sorted(m.name.replace("_", "-") for m in pkgutil.iter_modules([str(home)]))


def summary(folder: str, name: str) -> str:
    """The first line of a file's docstring, read without importing it."""
    path = Path(__file__).parent.parent / folder / f"{name.replace('-', '_')}.py"
    text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    return text.splitlines()[0] if text else ""


def command_class(name: str) -> type[Command]:
    """The command that a verb's file defines."""
    found: type[Command] = _defined(importlib.import_module(f"{PACKAGE}.verbs.{name.replace('-', '_')}"), Command)
    return found


def task_class(name: str) -> type[Task]:
    """The task of that name, or of a user's own importable module (`my_package.my_module`).

    Raises SettingsError for a name that is neither.
    """
    if name in names("tasks"):
        module = importlib.import_module(f"{PACKAGE}.tasks.{name.replace('-', '_')}")
        ours: type[Task] = _defined(module, Task)
        return ours
    if re.fullmatch(r"\w+(\.\w+)*", name):
        if "" not in sys.path and str(Path.cwd()) not in sys.path:
            sys.path.insert(0, str(Path.cwd()))  # where the user keeps the module that was named; never for a bundle's
        try:
            found = importlib.util.find_spec(name)
        except ModuleNotFoundError:
            found = None
        if found is not None:
            own: type[Task] = _defined(importlib.import_module(name), Task)
            return own
    hint = "" if "." in name else " A module of your own is named with its package: my_package.my_module."
    raise SettingsError(
        f"--task {name}: there is no such task, nor a module of that name. {closest(name, names('tasks'))}{hint}"
    )


def trusted_task_class(name: str, own: str | None) -> type[Task]:
    """The task a bundle names. Nothing is imported because a bundle says so: only our own folder is looked in.

    own: the task module that the user named for this bundle. Raises BundleError.
    """
    if name in names("tasks"):
        return task_class(name)
    if own is not None and own == name:
        return task_class(own)
    raise BundleError(
        f"this model is of the task {name[:80]!r}, which is not one of {', '.join(names('tasks'))}. If it is a task of "
        "your own that you trust, name it: --task my_package.my_module"
    )


def _defined(module: ModuleType, kind: type[Any]) -> Any:
    """The class of that kind which a module defines itself."""
    for value in vars(module).values():
        if inspect.isclass(value) and issubclass(value, kind) and value.__module__ == module.__name__:
            return value
    raise SettingsError(f"--task {module.__name__}: that module defines no {kind.__name__}.")
