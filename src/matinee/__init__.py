"""Matinee: a folder of media becomes a model you can trust.

    import matinee

    data = matinee.read("photos/")
    model = matinee.train(data, minutes=5)
    print(matinee.evaluate(model, data))
    model.predict(["cat.jpg"])
    model.save("cats")

Nothing heavy is imported before it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matinee.core.errors import BundleError, DataError, Interrupted, MatineeError, SettingsError
    from matinee.core.loop import Hook, fit
    from matinee.core.model import Model, load
    from matinee.core.reading import read
    from matinee.core.task import Batch, Data, Task
    from matinee.core.train_settings import TrainSettings
    from matinee.verbs.check import check
    from matinee.verbs.compare import compare
    from matinee.verbs.cross_validate import cross_validate
    from matinee.verbs.evaluate import evaluate
    from matinee.verbs.predict import predict
    from matinee.verbs.resume import resume
    from matinee.verbs.train import train
    from matinee.verbs.verify_resume import verify_resume

_HOMES = {
    "core.errors": ("BundleError", "DataError", "Interrupted", "MatineeError", "SettingsError"),
    "core.loop": ("Hook", "fit"),
    "core.model": ("Model", "load"),
    "core.reading": ("read",),
    "core.task": ("Batch", "Data", "Task"),
    "core.train_settings": ("TrainSettings",),
    "verbs.check": ("check",),
    "verbs.compare": ("compare",),
    "verbs.cross_validate": ("cross_validate",),
    "verbs.evaluate": ("evaluate",),
    "verbs.predict": ("predict",),
    "verbs.resume": ("resume",),
    "verbs.train": ("train",),
    "verbs.verify_resume": ("verify_resume",),
}
_WHERE = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Batch",
    "BundleError",
    "Data",
    "DataError",
    "Hook",
    "Interrupted",
    "MatineeError",
    "Model",
    "SettingsError",
    "Task",
    "TrainSettings",
    "check",
    "compare",
    "cross_validate",
    "evaluate",
    "fit",
    "load",
    "predict",
    "read",
    "resume",
    "train",
    "verify_resume",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
