"""Settings: one place says a setting's type, range, default and meaning; flags, checks, records and help come from it.

A setting is a field of a frozen dataclass made with `setting(...)`. Fields without it are facts (class names, sizes)
that a task learns from its data: recorded, never offered as a flag.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass
from typing import Any, TypeVar

from matinee.core.errors import SettingsError

Record = TypeVar("Record")


@dataclass(frozen=True)
class Rule:
    """What a setting is and what it allows.

    low and high are inclusive. log: searched on a logarithmic scale. reading: decides what is read, so it cannot change
    afterwards. answering: decides how an answer is given, so a trained model may be asked with another value.
    """

    help: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    log: bool = False
    reading: bool = False
    answering: bool = False

    def allowed(self) -> str:
        """The range or the choices, in words; empty where anything goes."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        if self.low is not None and self.high is not None:
            return f"from {self.low:g} to {self.high:g}"
        return ""


def setting(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: Iterable[str] = (),
    log: bool = False,
    reading: bool = False,
) -> Any:
    """A dataclass field that users may set. None as a default means: chosen for the data ("auto")."""
    return dataclasses.field(default=default, metadata={"rule": Rule(help, low, high, tuple(choices), log, reading)})


def answering(made: Any) -> Any:
    """The same setting as one that decides how an answer is given: a trained model may be asked with another value."""
    rule = dataclasses.replace(made.metadata["rule"], answering=True)
    return dataclasses.field(default=made.default, metadata={"rule": rule})


def rules(record: type[Any] | Any) -> dict[str, Rule]:
    """The settings of a dataclass, by field name, in order."""
    return {f.name: f.metadata["rule"] for f in dataclasses.fields(record) if "rule" in f.metadata}


def flag(name: str) -> str:
    """label_smoothing -> --label-smoothing."""
    return "--" + name.replace("_", "-")


def build(record: type[Record], given: Mapping[str, Any], *, base: Record | None = None) -> Record:
    """An instance of `record` with the given settings, checked; `base` gives the values of the rest.

    Values may be text (from a command line) or already of their type. Raises SettingsError.
    """
    known, kinds, values = rules(record), typing.get_type_hints(record), {}
    for name, value in given.items():
        if name not in known:
            raise SettingsError(f"{flag(name)}: there is no such setting.{_nearest(name, known)}")
        values[name] = _checked(name, value, kinds[name], known[name])
    start = base if base is not None else record()
    return dataclasses.replace(start, **values)  # type: ignore[type-var]


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), 1)
    return f" Did you mean {flag(near[0])}?" if near else f" There are {', '.join(flag(k) for k in known)}."


def _checked(name: str, value: Any, kind: Any, rule: Rule) -> Any:
    optional = isinstance(kind, types.UnionType) and type(None) in typing.get_args(kind)
    if optional:
        if value is None or value == "auto":
            return None
        kind = next(k for k in typing.get_args(kind) if k is not type(None))
    allowed, said = rule.allowed(), f"{flag(name)} {str(value)[:80]}"
    try:
        typed = _typed(value, kind)
    except (TypeError, ValueError, OverflowError):
        word = {int: "a whole number", float: "a number", bool: "yes or no", str: "text"}.get(kind, str(kind))
        raise SettingsError(f"{said}: {rule.help}: {word}{', ' + allowed if allowed else ''}.") from None
    if rule.choices and typed not in rule.choices:
        raise SettingsError(f"{said}: {rule.help}: {allowed}.{_suggestion(typed, rule.choices)}")
    if rule.low is not None and rule.high is not None and not rule.low <= typed <= rule.high:
        raise SettingsError(f"{said}: {rule.help}, {allowed}.")
    return typed


def _suggestion(value: Any, choices: Iterable[str]) -> str:
    near = difflib.get_close_matches(str(value)[:80], list(choices), 1)
    return f" Did you mean {near[0]}?" if near else ""


def _typed(value: Any, kind: Any) -> Any:
    if kind is bool:
        if isinstance(value, bool):
            return value
        word = str(value).lower()
        if word in ("yes", "true", "1", "on", "no", "false", "0", "off"):
            return word in ("yes", "true", "1", "on")
        raise ValueError(value)
    if kind is int:
        if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
            raise ValueError(value)
        return int(value)
    if kind is float:
        if isinstance(value, bool):
            raise ValueError(value)
        return float(value)
    if kind is str:
        if not isinstance(value, str):
            raise TypeError(value)
        return value
    return value


def to_json(record: Any, *, settings_only: bool = False) -> dict[str, Any]:
    """The fields of a record as plain JSON values (tuples become lists)."""
    known = rules(record)
    fields = (f.name for f in dataclasses.fields(record) if not settings_only or f.name in known)
    return {name: _plain(getattr(record, name)) for name in fields}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return value


def from_json(record: type[Record], values: Mapping[str, Any]) -> Record:
    """The reverse of to_json. Settings are range-checked, facts are checked for their type. Raises SettingsError.

    Fields that are absent keep their default, so that records of older versions load.
    """
    kinds, known = typing.get_type_hints(record), rules(record)
    names = {f.name for f in dataclasses.fields(record)}  # type: ignore[arg-type]
    ready: dict[str, Any] = {}
    for name, value in values.items():
        if name not in names:
            raise SettingsError(f"{name[:80]}: {record.__name__} has no such field; was it written by a newer version?")
        ready[name] = (
            _checked(name, value, kinds[name], known[name]) if name in known else _fact(name, value, kinds[name])
        )
    return record(**ready)


def _fact(name: str, value: Any, kind: Any) -> Any:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise SettingsError(f"{name}: expected a list, found {type(value).__name__}.")
        return tuple(_fact(name, item, inner[0]) for item in value)
    try:
        return _typed(value, kind)
    except (TypeError, ValueError, OverflowError):
        raise SettingsError(f"{name}: expected {getattr(kind, '__name__', kind)}, found {str(value)[:60]!r}.") from None


def add_flags(parser: argparse.ArgumentParser, record: type[Any], title: str, without: Iterable[str] = ()) -> None:
    """One flag a setting, in a group of its own. Values stay text: `build` checks them, with better words."""
    group, kinds = parser.add_argument_group(title), typing.get_type_hints(record)
    defaults = {f.name: f.default for f in dataclasses.fields(record)}
    for name, rule in rules(record).items():
        if name in without:
            continue
        parts = [part for part in (rule.allowed(), f"default {_shown(defaults[name])}") if part]
        words = f"{rule.help} ({'; '.join(parts)})".replace("%", "%%")
        boolean = kinds[name] is bool or bool in typing.get_args(kinds[name])
        if boolean:
            group.add_argument(
                flag(name), dest=name, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=words
            )
        else:
            metavar = {int: "N", float: "X"}.get(_plain_kind(kinds[name]), name.split("_")[-1].upper())
            group.add_argument(flag(name), dest=name, metavar=metavar, default=argparse.SUPPRESS, help=words)


def _plain_kind(kind: Any) -> Any:
    return next((k for k in typing.get_args(kind) if k is not type(None)), kind)


def _shown(default: Any) -> str:
    if default is None or default is MISSING:
        return "auto"
    if isinstance(default, bool):
        return "yes" if default else "no"
    return str(default) if default != "" else "none"


def closest(name: str, known: Iterable[str]) -> str:
    """ "Did you mean ...?" where something is close, else what there is."""
    near = difflib.get_close_matches(name, list(known), 1)
    return f"Did you mean {near[0]}?" if near else f"There are {', '.join(known)}."
