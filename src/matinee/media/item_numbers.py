"""Which events count, and under which number a network knows each item."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from matinee.core.errors import DataError
from matinee.core.examples import Array
from matinee.core.ledger import Entry
from matinee.media.interactions import Interactions


def selected(found: Interactions, least_rating: float | None, fewest: int) -> Interactions:
    """Without events that are rated less, and without items that fewer people chose. Raises DataError if none stay."""
    keep = np.ones(len(found), bool)
    entries = list(found.entries)
    if least_rating is not None:
        keep = ~(found.rating < least_rating)  # what is not rated stays
        entries += _told(found, int((~keep).sum()), f"rated less than {least_rating:g}")
    counts = np.bincount(found.item[keep], minlength=len(found.items))
    rare = keep & (counts[found.item] < fewest)
    entries += _told(found, int(rare.sum()), f"of items that fewer than {fewest} people chose")
    keep &= ~rare
    if not keep.any():
        raise DataError(f"{found.file}: no event is left with --least-rating {least_rating} and --fewest {fewest}.")
    if keep.all():
        return found
    parts = {name: getattr(found, name)[keep] for name in ("person", "item", "rating", "time", "test")}
    return dataclasses.replace(found, **parts, entries=tuple(entries))


def _told(found: Interactions, count: int, why: str) -> list[Entry]:
    return [Entry(found.file, "event", f"{count:,} events left out: {why}")] if count else []


def numbered(found: Interactions, items: Sequence[str]) -> tuple[Array, tuple[str, ...], list[Entry]]:
    """The number from 1 on of each of `found.items`, 0 where it is unknown; the names by number; what is unknown.

    Items that are known already keep their numbers; else the most often chosen come first.
    """
    if items:
        place = {item: number for number, item in enumerate(items, 1)}
        known = np.array([place.get(item, 0) for item in found.items], np.int64)
        lost = int((known[found.item] == 0).sum())
        if lost == len(found):
            raise DataError(f"{found.file}: not one of its items is known to this model.")
        return known, tuple(items), _told(found, lost, "of items that the model does not know")
    counts = np.bincount(found.item, minlength=len(found.items))
    order = np.argsort(-counts, kind="stable")
    order = order[counts[order] > 0]
    known = np.zeros(len(found.items), np.int64)
    known[order] = np.arange(1, len(order) + 1)
    return known, tuple(found.items[i] for i in order), []
