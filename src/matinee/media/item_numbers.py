"""Which events count, and under which number a network knows each item."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from matinee.core.errors import DataError
from matinee.core.examples import Array
from matinee.core.ledger import Entry
from matinee.media.interactions import Interactions


def selected(found: Interactions, least_rating: float | None, fewest: int, items: Sequence[str] = ()) -> Interactions:
    """Without events that are rated less, and without items that fewer people chose, or that are none of `items`.

    What is left is what is divided: a model that reads its source again finds the parts that it learned from. Raises
    DataError if nothing is left.
    """
    keep = np.ones(len(found), bool)
    entries = list(found.entries)
    if least_rating is not None:
        keep = ~(found.rating < least_rating)  # what is not rated stays
        entries += _told(found, int((~keep).sum()), f"rated less than {least_rating:g}")
    if items:
        there = set(items)
        strange = np.array([item not in there for item in found.items], bool)
        why = "of items that the model does not know"
    else:
        strange = np.bincount(found.item[keep], minlength=len(found.items)) < fewest
        why = f"of items that fewer than {fewest} people chose"
    lost = keep & strange[found.item]
    entries += _told(found, int(lost.sum()), why)
    keep &= ~lost
    if not keep.any() and items:
        raise DataError(f"{found.file}: not one of its items is known to this model.")
    if not keep.any():
        raise DataError(f"{found.file}: no event is left with --least-rating {least_rating} and --fewest {fewest}.")
    if keep.all():
        return found
    parts = {name: getattr(found, name)[keep] for name in ("person", "item", "rating", "time", "test")}
    return dataclasses.replace(found, **parts, entries=tuple(entries))


def _told(found: Interactions, count: int, why: str) -> list[Entry]:
    return [Entry(found.file, "event", f"{count:,} events left out: {why}")] if count else []


def numbered(found: Interactions, test: Array, items: Sequence[str]) -> tuple[Array, tuple[str, ...]]:
    """The number from 1 on of each of `found.items`, 0 where it has no event; the names by number.

    Items that are known already keep their numbers; else those come first that are chosen most often outside the test.
    """
    if not items:
        there = np.bincount(found.item, minlength=len(found.items)) > 0
        counts = np.bincount(found.item[~test], minlength=len(found.items))
        order = np.argsort(-counts, kind="stable")
        items = [found.items[number] for number in order[there[order]]]
    place = {item: number for number, item in enumerate(items, 1)}
    return np.array([place.get(item, 0) for item in found.items], np.int64), tuple(items)
