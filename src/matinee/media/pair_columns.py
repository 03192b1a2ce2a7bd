"""Pairs of texts divided into splits: what reading them is the same for, whatever becomes of them."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

import numpy as np

from matinee.core.duplicates import groups
from matinee.core.errors import DataError
from matinee.core.examples import Array
from matinee.core.ledger import Entry
from matinee.core.splits import TEST, TRAIN, VALID, Splits, divide, equal_rows, remembered
from matinee.core.task import Origin
from matinee.media.pairs import Pairs
from matinee.media.text_prints import NEAR, prints_of, word_numbers

MOST_VALID: Final = 2000
"""Answers are written piece by piece: beyond so many, more validation examples cost more than they tell."""
NAMES: Final = {TRAIN: "train", VALID: "valid", TEST: "test"}


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


def without_long(pairs: Pairs, most: tuple[int, int]) -> Pairs:
    """The pairs but for those whose source or targets have more characters than `most`; those are in the ledger."""
    kept = Pairs(entries=list(pairs.entries), direction=pairs.direction)
    for row, name in enumerate(pairs.names):
        sides = (pairs.sources[row], pairs.targets[row])
        over = [
            (side, sum(map(len, texts)), limit)
            for side, texts, limit in zip(("source", "target"), sides, most, strict=True)
            if sum(map(len, texts)) > limit
        ]
        if over:
            side, count, limit = over[0]
            kept.entries.append(Entry(name, "too-long", f"the {side} has {count:,} characters, at most {limit:,} here"))
            continue
        kept.sources.append(pairs.sources[row])
        kept.targets.append(pairs.targets[row])
        kept.names.append(name)
        kept.splits.append(pairs.splits[row])
        kept.digests.append(pairs.digests[row])
    return kept


def within(
    pairs: Pairs, lengths: Sequence[tuple[str, Array, int]], parts: dict[str, Array]
) -> tuple[dict[str, Array], list[Entry]]:
    """The splits without rows that are too long, and the ledger's lines for those.

    lengths: for each side its name, the pieces of every row (rows,), and how many are allowed.
    """
    entries, good = [], np.ones(len(pairs.names), bool)
    for side, counts, limit in lengths:
        for row in np.flatnonzero((counts > limit) & good):
            reason = f"the {side} has {counts[row]:,} pieces, at most {limit:,} are allowed (--{side}-limit)"
            entries.append(Entry(pairs.names[row], "too-long", reason))
        good &= counts <= limit
    left = {name: rows[good[rows]] for name, rows in parts.items()}
    if not any(map(len, left.values())):
        raise DataError(f"every pair is too long; the first: {entries[0].reason}")
    return left, entries


def origin_of(source: str, pairs: Pairs, entries: Sequence[Entry]) -> Origin:
    """Where the pairs came from."""
    given = frozenset(NAMES[split] for split in set(pairs.splits) if split in NAMES)
    facts = {"pairs": f"{len(pairs.names):,}", "direction": pairs.direction, "folder": Path(source).name}
    return Origin(source, pairs.manifest(), pairs.names, (*pairs.entries, *entries), given, facts)


def changes_since(now: dict[str, str], before: dict[str, str]) -> dict[str, list[str]]:
    """Names whose digests differ, that are gone, and that are new."""
    return {
        "changed": [name for name, digest in before.items() if name in now and now[name] != digest],
        "missing": [name for name in before if name not in now],
        "new": [name for name in now if name not in before],
    }
