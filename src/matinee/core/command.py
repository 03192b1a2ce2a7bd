"""What a verb's file gives the command line: a `Command`, from whose fields the flags and the help are made."""

from __future__ import annotations

import dataclasses
import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from matinee.core.progress import Progress


@dataclass(frozen=True)
class Answer:
    """What a verb says at its end.

    value: the one JSON object of `--json`. text: the same for people. code: the exit code, 0 or 1 for a finding.
    """

    value: Mapping[str, Any]
    text: str = ""
    code: int = 0


@dataclass(frozen=True)
class Call:
    """What came with a command beside its own settings.

    settings, tasks: settings of the command's groups and of tasks that were given, unchecked. began: when the command
    started, by time.perf_counter. json: whether the answer goes to a program.
    """

    progress: Progress
    out: Path | None = None
    json: bool = False
    began: float = 0.0
    settings: Mapping[str, Any] = field(default_factory=dict)
    tasks: Mapping[str, Any] = field(default_factory=dict)


def put(words: str) -> None:
    """Print lines of JSON as UTF-8, whatever the locale; half a character is escaped, as JSON escapes it."""
    raw = words.encode("utf-8", "backslashreplace") + b"\n"
    stream = getattr(sys.stdout, "buffer", None)
    if stream is None:  # a Python program has put something else in its place
        print(raw.decode(), flush=True)
        return
    sys.stdout.flush()
    stream.write(raw)
    stream.flush()


def finite(value: Any) -> Any:
    """The same for JSON, which has no NaN and no infinity: null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {name: finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return value


def argument(help: str, *, name: str = "", many: bool = False, optional: bool = False) -> Any:
    """A field that is given by its place on the command line."""
    default: Any = () if many else ("" if optional else dataclasses.MISSING)
    words = {"help": help, "name": name, "many": many, "optional": optional}
    if default is dataclasses.MISSING:
        return dataclasses.field(metadata={"argument": words})
    return dataclasses.field(default=default, metadata={"argument": words})


class Command(ABC):
    """A verb on the command line. Subclasses are frozen dataclasses of arguments and settings.

    groups: further records whose settings apply (those of the training loop). reads: whether those of tasks do;
    answers: whether those of them do that decide how an answer is given.
    """

    groups: ClassVar[tuple[type[Any], ...]] = ()
    reads: ClassVar[bool] = False
    answers: ClassVar[bool] = False
    writes: ClassVar[str] = ""
    """What `--out` names, in words; empty where the verb writes no folder."""

    @abstractmethod
    def run(self, call: Call) -> Answer:
        """Do it. Raises MatineeError for what users can mend."""
