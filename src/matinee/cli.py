"""The command line: `matinee VERB SOURCE_OR_RUN --setting value`, made of the verbs' own fields."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import re
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from matinee.core import registry
from matinee.core.command import Answer, Call, Command, finite, put
from matinee.core.errors import MatineeError, SettingsError
from matinee.core.processes import speaks
from matinee.core.progress import Progress
from matinee.core.settings import add_flags, build, closest, rules
from matinee.core.storage import unwritable
from matinee.core.watch import ending

INTERRUPTED = 130
FIRST_WORD = 2.0  # seconds that the other processes of a training leave the first one to say what is wrong
LAST_WORD = 15.0  # the same where it is said by the first one alone, which may have a model to write before
_LACK_OF_MEMORY = re.compile("out of memory|allocate memory|not enough memory")  # torch's words, in a RuntimeError


def main(words: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0 done, 1 a finding or refusal, 2 wrong usage, 130 interrupted."""
    began = time.perf_counter()
    words = list(sys.argv[1:] if words is None else words)
    signal.signal(signal.SIGTERM, _terminated)
    as_json = "--json" in words[: words.index("--") if "--" in words else None]
    try:
        with ending(lambda said: _end(said, as_json)):
            answer = _dispatch(words, began)
        if answer is None:
            return 0
        text = json.dumps(finite(answer.value), ensure_ascii=False) if as_json else answer.text
        return answer.code if _put(text, as_json) else 1
    except MatineeError as error:
        if speaks() or not error.everywhere:
            _complain(str(error), as_json)
        else:  # the elastic agent ends all processes once one has ended, so not before the first has had its say
            with suppress(KeyboardInterrupt):
                time.sleep(LAST_WORD)
        return error.exit_code
    except KeyboardInterrupt:
        _complain("interrupted.", as_json)
        return INTERRUPTED
    except BrokenPipeError:
        _forget_output()
        return 1
    except OSError as error:
        _complain(str(unwritable(Path(error.filename or "this machine"), error)), as_json)
        return 1
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _LACK_OF_MEMORY.search(str(error)):
            raise
        _complain("this machine's memory is not enough for that. Try a smaller --batch-size.", as_json)
        return 1


def _put(text: str, as_json: bool) -> bool:
    """Print the answer; False where standard output does not take it, which is told, unless its reader has gone."""
    try:
        if speaks() and as_json:
            put(text)
        elif speaks() and text:
            print(printable(text), flush=True)
    except BrokenPipeError:
        _forget_output()
        return False
    except OSError as error:
        _forget_output()
        _complain(f"the answer could not be written to standard output: {error.strerror or error}.", False)
        return False
    return True


def _forget_output() -> None:
    """The reader has gone (`matinee ... | head`) or its disk is full: Python must not try again at its end."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def printable(text: str) -> str:
    """Text that the terminal's encoding can show: what it cannot is spelled out."""
    encoding = (sys.stdout and sys.stdout.encoding) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _complain(words: str, as_json: bool) -> None:
    if not speaks():  # the first process says the same, if it has the same trouble; then this one is ended meanwhile
        try:
            time.sleep(FIRST_WORD)
        except KeyboardInterrupt:
            return
        words = f"process {os.environ['RANK']}: {words}"
    with suppress(OSError):  # the exit code says it all the same
        print(printable(f"matinee: {words}"), file=sys.stderr, flush=True)
    if as_json:
        _put(json.dumps({"error": words}, ensure_ascii=False), True)


def _end(words: str, as_json: bool) -> NoReturn:
    """The end of a process whose main thread is in a call that does not return."""
    if speaks():
        _complain(words, as_json)
    os._exit(INTERRUPTED)


def _terminated(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _dispatch(words: Sequence[str], began: float) -> Answer | None:
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())
        return None
    if words[0] == "--version":
        print(f"matinee {version('matinee')}")
        return None
    name = words[0]
    if name not in registry.names("verbs"):
        raise SettingsError(f"{name}: there is no such verb. {closest(name, registry.names('verbs'))}")
    command = registry.command_class(name)
    given = vars(_parser(name, command, _own_task(words)).parse_args(words[1:]))
    progress = Progress(quiet=given.pop("quiet") or not speaks())
    as_json, out = given.pop("json"), given.pop("out", None)
    own = {f.name for f in dataclasses.fields(command)}  # type: ignore[arg-type]
    grouped = {name for group in command.groups for name in rules(group)}
    settings = {k: v for k, v in given.items() if k in grouped and k not in own}
    tasks = {k: v for k, v in given.items() if k not in own and k not in settings}
    places = {
        k: tuple(v) if isinstance(v, list) else v for k, v in given.items() if k in own and k not in rules(command)
    }
    checked = build(command, {k: v for k, v in given.items() if k in rules(command)}, base=command(**places))
    return checked.run(
        Call(
            progress=progress,
            out=Path(out) if out else None,
            json=as_json,
            began=began,
            settings=settings,
            tasks=tasks,
        )
    )


class _Parser(argparse.ArgumentParser):
    """argparse, with the closest flag named for a mistyped one, and errors in one line."""

    def error(self, message: str) -> NoReturn:
        prefix = "unrecognized arguments: "
        if message.startswith(prefix):
            stranger = message.removeprefix(prefix).split()[0].split("=")[0]
            flags = [o for a in self._actions for o in a.option_strings if o.startswith("--")]
            hint = closest(stranger, flags) if stranger.startswith("-") else ""
            hint = hint if hint.startswith("Did") else f"See {self.prog} --help."
            raise SettingsError(f"{stranger}: {self.prog} does not take this. {hint}")
        dash = " Put ./ before a name that begins with -." if message.startswith("the following arguments") else ""
        raise SettingsError(f"{message}. See {self.prog} --help.{dash}")


def _own_task(words: Sequence[str]) -> list[str]:
    """The module that --task names, where it is none of ours: its settings are flags too."""
    named = [b for a, b in itertools.pairwise(words) if a == "--task"]
    named += [word.removeprefix("--task=") for word in words if word.startswith("--task=")]
    return [name for name in named if name and name not in registry.names("tasks")]


def _parser(name: str, command: type[Command], own: Sequence[str] = ()) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=f"matinee {name}",
        usage=_usage(name, command),
        description=sys.modules[command.__module__].__doc__,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=26, width=110),
        allow_abbrev=False,
    )
    for place in dataclasses.fields(command):  # type: ignore[arg-type]
        words = place.metadata.get("argument")
        if words:
            count = "+" if words["many"] else "?" if words["optional"] else None
            default: Any = "" if words["optional"] else None
            parser.add_argument(
                place.name,
                metavar=words["name"] or place.name.upper(),
                nargs=count,
                default=default,
                help=words["help"],
            )
    if command.writes:
        parser.add_argument("--out", metavar="DIR", default=None, help=command.writes)
    parser.add_argument("--json", action="store_true", help="print one JSON object, for programs")
    parser.add_argument("--quiet", action="store_true", help="no progress on standard error")
    add_flags(parser, command, "settings")
    for group in command.groups:
        add_flags(parser, group, (group.__doc__ or "").split(".")[0].lower())
    if command.reads or command.answers:
        _add_task_flags(parser, own, command.reads)
    return parser


def _usage(name: str, command: type[Command]) -> str:
    shown = []
    for place in dataclasses.fields(command):  # type: ignore[arg-type]
        words = place.metadata.get("argument")
        if words:
            word = (words["name"] or place.name.upper()) + (" ..." if words["many"] else "")
            shown.append(f"[{word}]" if words["optional"] else word)
    return f"matinee {name} {' '.join(shown)} [--setting VALUE ...]"


def _add_task_flags(parser: argparse.ArgumentParser, own: Sequence[str], all_of_them: bool) -> None:
    """The settings of every task, or those that decide how it answers; a name that several tasks have stands once."""
    for task in [*registry.names("tasks"), *own]:
        kind = registry.task_class(task)
        taken = {action.dest for action in parser._actions}
        if not all_of_them:
            taken |= {setting for setting, rule in rules(kind).items() if not rule.answering}
        add_flags(parser, kind, f"settings of {task}", without=taken)


def overview() -> str:
    """What `matinee --help` says: verbs and tasks with a line each, none of them imported."""
    lines = ["usage: matinee VERB SOURCE_OR_RUN [--setting VALUE ...]", ""]
    lines += ["A folder of media becomes a model you can trust, on the machine you have.", ""]
    for title, folder in (("verbs", "verbs"), ("tasks", "tasks")):
        lines.append(f"{title}:")
        lines += [f"  {name:22} {registry.summary(folder, name)}" for name in registry.names(folder)]
        lines.append("")
    lines += ["matinee VERB --help    the settings of a verb, with ranges and defaults"]
    lines += ["matinee --version      the version", ""]
    lines += ["Try: matinee train digits"]
    return "\n".join(lines)
