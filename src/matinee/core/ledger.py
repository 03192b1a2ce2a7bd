"""The ledger: one line for every file or row that was refused or passed over, and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """One line of the ledger.

    kind is one short word that programs may count by: "unreadable", "empty", "truncated", "oversized", "missing",
    "outside", "duplicate-row", "no-label", "ignored" (not meant as an example: a text file in a folder of pictures),
    "link-loop", "forbidden" (no permission), "event" (a part of an example: the example stands without it).
    """

    file: str
    kind: str
    reason: str


class Listed(list[str]):
    """Files found for a person who named folders, and what lay there beside them."""

    def __init__(self, files: Iterable[str], passed_over: Sequence[Entry] = ()) -> None:
        super().__init__(files)
        self.passed_over = passed_over
