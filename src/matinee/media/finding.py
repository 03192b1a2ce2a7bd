"""The files of a folder, for whoever looks for one by what a table or a text calls it."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Final

from matinee.media.walking import printable

_SHOWN: Final = 200  # letters of a name that are told


class Found:
    """Files below a folder by their names; nothing outside can be found.

    endings: of the files that are looked for, in small letters; others can only be asked about with `in`. what: one of
    them, in a word.
    """

    def __init__(self, names: Sequence[str], endings: Collection[str], what: str) -> None:
        self.names, self._what, self._there = names, what, set(names)
        self._named: dict[str, list[str]] = defaultdict(list)
        self._bare: dict[str, str] = {}
        for name in names:
            last = name.rpartition("/")[2]
            stem, ending = os.path.splitext(last)  # noqa: PTH122
            if ending.lower() in endings:
                self._named[last].append(name)
                self._named[stem].append(name)
                self._bare.setdefault(name[: -len(ending)], name)

    def __contains__(self, name: str) -> bool:
        return name in self._there

    def __call__(self, said: str, *beside: str) -> tuple[str, str]:
        """(name below the folder, "") or ("", why there is none). beside: folders to look in first, each with a "/"."""
        if not said or "\0" in said:
            return "", "no file is named"
        plain = os.path.normpath(said.replace("\\", "/")).replace(os.sep, "/")
        for folder in (*beside, ""):
            place = os.path.normpath(f"{folder}{plain}").replace(os.sep, "/")
            if place in self._there or place in self._bare:
                return place if place in self._there else self._bare[place], ""
        found = self._named.get(plain.rpartition("/")[2], [])
        if len(found) == 1:
            return found[0], ""
        shown = printable(said)[:_SHOWN]
        if found:
            return "", f"{shown}: {len(found)} files here are called so"
        return "", f"{shown}: there is no such {self._what} in the folder"
