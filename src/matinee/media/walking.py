"""A folder and all below it, as names relative to it, each real folder once, quickly."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from matinee.core.errors import DataError
from matinee.core.ledger import Entry


@dataclass
class Walk:
    """Names with "/" between folders, as the system gives them (bytes that are no UTF-8 stand as lone surrogates).

    facts: one line per file with name, size, time of change and permissions, for telling whether anything changed.
    entries: links back into the tree, folders that cannot be opened, and what is neither file nor folder.
    """

    names: list[str] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)


def printable(name: str) -> str:
    """The name for people and JSON: bytes that are no UTF-8 become \\xNN."""
    if name.isascii():
        return name
    try:
        raw = name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a lone surrogate that no file name can have, as JSON may write it
        raw = name.encode("utf-8", "surrogatepass")
    return raw.decode("utf-8", "backslashreplace")


def hidden(name: str) -> bool:
    """Whether a system put a file there for itself: .DS_Store, __MACOSX/._1.wav and the like."""
    return name[:1] == "." or "/." in name or "__MACOSX/" in name


def content_of(path: Path, most: int) -> bytes:
    """All bytes of a file. Raises DataError where it has more than `most`, which is not read, or cannot be read."""
    try:
        if path.stat().st_size > most:
            raise DataError(f"{printable(str(path))} has more than {most:,} bytes; it is not read.")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{printable(str(path))} cannot be read: {error.strerror or error}.") from None


def astray(name: str) -> str:
    """Why a path that a file of the folder tells (from the folder on) can be of none below it; "" where it can."""
    if name.startswith("/") or name[1:3] == ":/" or os.path.isabs(name):  # noqa: PTH117
        return "the path is absolute; paths start at the folder of the file that lists them"
    return "the path leads out of the folder" if os.path.normpath(name).split(os.sep, 1)[0] == ".." else ""


def natural(name: str) -> tuple[tuple[str, int, str], ...]:
    """A key that sorts s2 before s10. Any name will do, numbers of any length too."""
    parts: list[tuple[str, int, str]] = []
    words, digits = "", ""
    for letter in name:
        if letter in "0123456789":
            digits += letter
        elif digits:
            parts.append((words, len(digits.lstrip("0")), digits.lstrip("0")))
            words, digits = letter, ""
        else:
            words += letter
    number = digits.lstrip("0")
    parts.append((words, len(number) if digits else -1, number))
    return (*parts, (name, 0, ""))


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether the entry is a folder or leads to one; a link to itself is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def walk(root: str) -> Walk:
    """Everything below `root`, folders in the order of their names.

    Links to folders are followed after all real folders, and only to folders not seen yet ("link-loop" otherwise).
    Hidden folders are not entered ("ignored"). Raises DataError where the root itself cannot be read.
    """
    found = Walk()
    try:
        seen = {_identity(os.stat(root)), *_above(root)}  # noqa: PTH116
        os.scandir(root).close()
    except (OSError, ValueError) as error:
        raise DataError(f"{printable(root)} cannot be read: {error}") from error
    links: deque[str] = deque()
    _descend(root, "", found, links, seen)
    while links:
        name = links.popleft()
        try:
            identity = _identity(os.stat(os.path.join(root, name)))  # noqa: PTH118, PTH116 - strings: many names
        except OSError as error:
            found.entries.append(Entry(printable(name), "missing", f"the link leads nowhere ({error.strerror})"))
            continue
        if identity in seen:
            found.entries.append(
                Entry(
                    printable(name), "link-loop", "the link leads to a folder that is listed already or holds this one"
                )
            )
        else:
            seen.add(identity)
            _descend(root, name, found, links, seen)
    return found


def _descend(root: str, top: str, found: Walk, links: deque[str], seen: set[tuple[int, int]]) -> None:
    """A stack instead of recursion: folders may be nested deeper than Python's calls."""
    stack = [top]
    while stack:
        folder = stack.pop()
        prefix = folder + "/" if folder else ""
        files: list[os.DirEntry[str]] = []
        folders: list[str] = []
        try:
            with os.scandir(os.path.join(root, folder)) as entries:  # noqa: PTH118
                for entry in entries:
                    if entry.is_symlink() and is_folder(entry):
                        links.append(prefix + entry.name)
                    elif not entry.is_dir(follow_symlinks=False):
                        files.append(entry)
                    elif entry.name.startswith("."):
                        found.entries.append(Entry(printable(prefix + entry.name), "ignored", "a hidden folder"))
                    else:
                        folders.append(entry.name)
                        if entry.inode():
                            seen.add((_device(entry), entry.inode()))
        except PermissionError:
            found.entries.append(Entry(printable(folder), "forbidden", "no permission to look into this folder"))
        except OSError as error:
            found.entries.append(Entry(printable(folder), "unreadable", f"the folder cannot be listed ({error})"))
        _keep(prefix, files, found)
        folders.sort(reverse=True)
        stack.extend(prefix + name for name in folders)


def _keep(prefix: str, files: list[os.DirEntry[str]], found: Walk) -> None:
    files.sort(key=_name)
    for entry in files:
        name = prefix + entry.name
        try:
            state = entry.stat()
        except OSError as error:
            kind = "forbidden" if isinstance(error, PermissionError) else "missing"
            found.entries.append(Entry(printable(name), kind, f"the file cannot be found ({error.strerror})"))
            continue
        if stat.S_ISREG(state.st_mode):
            found.names.append(name)
            found.facts.append(f"{name}\0{state.st_size} {state.st_mtime_ns} {state.st_mode}")
        else:
            found.entries.append(Entry(printable(name), "ignored", "neither a file nor a folder"))


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name


def _above(root: str) -> Iterator[tuple[int, int]]:
    """The folders that hold the root: a link to one of them would go round in a circle."""
    folder = os.path.realpath(root)
    while (parent := os.path.dirname(folder)) != folder:  # noqa: PTH120
        folder = parent
        with suppress(OSError):
            yield _identity(os.stat(folder))  # noqa: PTH116


def _identity(state: os.stat_result) -> tuple[int, int]:
    return state.st_dev, state.st_ino


def _device(entry: os.DirEntry[str]) -> int:
    return entry.stat(follow_symlinks=False).st_dev
