"""Splitting examples: stratified by class, with whatever belongs together on one side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from matinee.core import cache
from matinee.core.duplicates import Links
from matinee.core.examples import Array

TRAIN, VALID, TEST = 0, 1, 2
LAYERS = 5  # of numbers, by which a split is stratified
VERSION = 1  # of the way examples are divided: a change of it must not meet splits that were kept before


@dataclass(frozen=True)
class Splits:
    """What is known of the examples before they are split.

    rows: those that can be used (some of n). named: the split that the source gives each of the n (-1: none).
    labels: class of each of the n. together: group of each of the n that the user wants on one side (-1: none).
    """

    rows: Array
    named: Array
    labels: Array
    together: Array


def divide(
    known: Splits, alike: Callable[[Array], Sequence[Array]], shares: tuple[float, float, int]
) -> dict[str, Array]:
    """The rows of "train", "valid" and "test".

    Splits that the source names are kept as they are. A missing test is held back from the rest, then a missing
    validation from what is left, by class, with near duplicates and groups whole.

    Args:
        alike: rows -> groupings, each a group number per row, equal for near duplicates, say; asked only if needed.
        shares: of validation and test, and the seed.
    """
    valid_share, test_share, seed = shares
    named = known.named[known.rows]
    parts = {"valid": known.rows[named == VALID], "test": known.rows[named == TEST]}
    pool = known.rows[(named == TRAIN) | (named < 0)]
    if not len(pool):
        return {"train": pool, **parts}
    whole = None
    for name, share, salt in (("test", test_share, 0), ("valid", valid_share, 1)):
        if len(parts[name]) or share <= 0:
            continue
        if whole is None:
            whole = np.full(len(known.named), -1, np.int64)
            whole[pool] = joined((*alike(pool), known.together[pool]))
        away = held_back(known.labels[pool], whole[pool], share, 2 * seed + salt)
        parts[name], pool = pool[away], pool[~away]
    return {"train": pool, **parts}


def remembered(key: str, find: Callable[[], dict[str, Array]]) -> dict[str, Array]:
    """What `find` answers, kept in the cache under a key: looking for near duplicates again would take seconds."""

    def fill(folder: Path) -> None:
        for name, rows in find().items():
            np.save(folder / f"{name}.npy", rows, allow_pickle=False)

    kind = f"splits-{VERSION}"
    folder = cache.find(kind, key) or cache.build(kind, key, fill)
    try:
        return {name: np.load(folder / f"{name}.npy", allow_pickle=False) for name in ("train", "valid", "test")}
    except (OSError, ValueError, EOFError):
        cache.discard(kind, key)
        return find()


def joined(groupings: Sequence[Array]) -> Array:
    """One numbering of several groupings: connected by any of them means in one group."""
    links = Links(len(groupings[0]))
    for numbers in groupings:
        named = np.flatnonzero(numbers >= 0)
        _, first, place = np.unique(numbers[named], return_index=True, return_inverse=True)
        links.join(named[first[place.ravel()]], named)
    return links.roots()


def held_back(labels: Array, together: Array, share: float, seed: int) -> Array:
    """Which examples to hold back: about `share` of every class, groups whole, fixed by the seed.

    Args:
        labels: class of each example (examples,).
        together: group of each example (examples,); a group is held back whole or not at all.

    Returns bool (examples,). Every class keeps at least one example on the near side.
    """
    out = np.zeros(len(labels), bool)
    if share <= 0 or not len(labels):
        return out
    generator = np.random.default_rng([seed, 7])
    _, group = np.unique(together, return_inverse=True)
    group = group.ravel()
    names, codes = np.unique(labels, return_inverse=True)
    codes = codes.ravel()
    total = np.bincount(codes)
    room = _quotas(total, share, generator)
    order = np.argsort(group, kind="stable")
    starts = np.concatenate(([0], np.flatnonzero(np.diff(group[order])) + 1))
    sizes = np.diff(np.append(starts, len(order)))
    own = codes[order][starts]  # the class of the first member of each group
    mixed = np.flatnonzero(np.minimum.reduceat(codes[order], starts) != np.maximum.reduceat(codes[order], starts))
    away = np.zeros(len(starts), bool)
    for place in generator.permutation(mixed):
        counts = np.bincount(codes[order[starts[place] : starts[place] + sizes[place]]], minlength=len(names))
        nearer = (room**2).sum() > ((room - counts) ** 2).sum()
        if nearer and (total[counts > 0] > counts[counts > 0]).all():
            away[place] = True
            room, total = room - counts, total - counts
    pure = np.ones(len(starts), bool)
    pure[mixed] = False
    for code in dict.fromkeys(own[pure].tolist()):
        places = generator.permutation(np.flatnonzero(pure & (own == code)))
        left, there = int(room[code]), int(total[code])
        for place, size in zip(places.tolist(), sizes[places].tolist(), strict=True):
            # Half a group may stick out, so that the share is met on average where groups are large.
            if size / 2 <= left and there > size:
                away[place] = True
                left, there = left - size, there - size
    return away[group]


def layers(values: Array) -> Array:
    """A class for each number, int64 (examples,): its fifth, so that splits by class have low and high ones alike."""
    edges = np.quantile(values, np.linspace(0, 1, LAYERS + 1)[1:-1]) if len(values) else values
    return np.searchsorted(edges, values).astype(np.int64)


def _quotas(counts: Array, share: float, generator: np.random.Generator) -> Array:
    """Examples to hold back of each class: rounded down, what is missing given to classes by lot and by remainder."""
    exact = counts * share
    whole = np.floor(exact).astype(np.int64)
    missing = round(int(counts.sum()) * share) - int(whole.sum())
    luck = generator.random(len(counts)) * 1e-6
    whole[np.argsort(whole - exact + luck)[: max(0, missing)]] += 1
    return whole


def equal_rows(digests: Array) -> Array:
    """A number for each digest (rows, 32), equal for equal ones."""
    whole = np.ascontiguousarray(digests).view(np.dtype((np.void, digests.shape[1]))).ravel()
    place: Array = np.unique(whole, return_inverse=True)[1].ravel()
    return place
