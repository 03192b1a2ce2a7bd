"""Pairs of texts divided into splits: what reading them is the same for, whatever becomes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

import numpy as np

from matinee.core.duplicates import groups
from matinee.core.errors import DataError
from matinee.core.examples import Array, Examples, Ragged
from matinee.core.ledger import Entry
from matinee.core.progress import Progress
from matinee.core.splits import TEST, TRAIN, VALID, Splits, divide, equal_rows, remembered
from matinee.core.task import Data, Origin, Task
from matinee.media.pairs import PairRequest, Pairs, read_pairs
from matinee.media.text_prints import NEAR, prints_of, word_numbers

MOST_VALID: Final = 2000
"""Answers are written piece by piece: beyond so many, more validation examples cost more than they tell."""
NAMES: Final = {TRAIN: "train", VALID: "valid", TEST: "test"}


def pairs_and_splits(
    source: str, request: PairRequest, shares: tuple[float, float, int], progress: Progress
) -> tuple[Pairs, dict[str, Array]]:
    """All pairs of a source, and the rows of "train", "valid" and "test"."""
    progress.live("reading pairs of texts")
    pairs = read_pairs(source, request)
    progress.live(f"{len(pairs.sources):,} pairs of texts: near duplicates, the vocabulary, the pieces")
    return pairs, split_pairs(pairs, shares)


def data_of(
    task: Task,
    source: str,
    pairs: Pairs,
    splits: Mapping[str, Array],
    columns: Mapping[str, Ragged],
    limits: Mapping[str, int],
) -> Data:
    """A task bound to its pairs. limits: side -> most pieces; rows with more are left out, and in the ledger."""
    entries, good = list(pairs.entries), np.ones(len(pairs.names), bool)
    for side, limit in limits.items():
        counts = columns[side].lengths(np.arange(len(good)))
        for row in np.flatnonzero((counts > limit) & good):
            reason = f"the {side} has {counts[row]:,} pieces, at most {limit:,} are allowed (--{side}-limit)"
            entries.append(Entry(pairs.names[row], "too-long", reason))
        good &= counts <= limit
    parts = [Examples(columns, splits[name][good[splits[name]]]) for name in NAMES.values()]
    if not any(map(len, parts)):
        raise DataError(f"every pair is too long; the first: {entries[-1].reason}")
    given = frozenset(NAMES[split] for split in set(pairs.splits) if split in NAMES)
    ways = {"direction": pairs.direction} if pairs.direction else {}
    facts = {"pairs": f"{len(pairs.names):,}", **ways, "folder": Path(source).name}
    train, valid, test = parts
    origin = Origin(source, pairs.manifest(), pairs.names, tuple(entries), given, facts)
    return Data(task, train, valid, test, origin)


def made_up(pairs: Sequence[tuple[str, str]]) -> tuple[Pairs, dict[str, Array]]:
    """Pairs that no file holds: two thirds to learn from, a sixth for validation, a sixth for the test."""
    found, count = Pairs(), len(pairs)
    for number, (source, target) in enumerate(pairs):
        found.add(str(number), -1, source, target)
    places = np.split(np.arange(count), [count * 4 // 6, count * 5 // 6])
    return found, dict(zip(NAMES.values(), places, strict=True))


def split_pairs(pairs: Pairs, shares: tuple[float, float, int]) -> dict[str, Array]:
    """The rows of "train", "valid" and "test"; shares of validation and test, and the seed.

    Near duplicates by their sources stay together. At most 2,000 rows are held back for validation.
    """
    count = len(pairs.sources)
    valid, test, seed = shares
    shares = min(valid, MOST_VALID / count), test, seed
    digests = np.array([list(bytes.fromhex(digest)) for digest in pairs.digests], np.uint8)

    def alike(rows: Array) -> tuple[Array, Array]:
        words = [word_numbers(" ".join(pairs.sources[row])) for row in rows]
        return groups(prints_of(words), NEAR), equal_rows(digests[rows])

    def find() -> dict[str, Array]:
        alone = np.full(count, -1, np.int64)
        known = Splits(np.arange(count), np.array(pairs.splits, np.int64), np.zeros(count, np.int64), alone)
        return divide(known, alike, shares)

    words = f"pairs {NEAR} {shares} {pairs.splits} ".encode()
    return remembered(sha256(words + digests.tobytes()).hexdigest()[:40], find)


def changes_since(source: str, request: PairRequest, before: Mapping[str, str]) -> dict[str, list[str]]:
    """Names of the pairs whose digests differ from those before, that are gone, and that are new."""
    now = read_pairs(source, request).manifest()
    return {
        "changed": [name for name, digest in before.items() if name in now and now[name] != digest],
        "missing": [name for name in before if name not in now],
        "new": [name for name in now if name not in before],
    }
