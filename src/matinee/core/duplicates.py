"""Near duplicates: groups of examples whose fingerprints point the same way."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np

from matinee.core.examples import Array, Examples

ALL_PAIRS = 100_000  # up to so many, every pair is compared
BLOCK = 2048
ROUGH = 0.012  # what a product of two unit vectors in bfloat16 may be off by: those within it are computed again
TABLES, BITS = 10, 16  # random hyperplanes (Charikar, 2002): a pair at cosine 0.99 is missed once in a thousand


def groups(prints: Array, threshold: float) -> Array:
    """A group number for each example: equal for those connected by near duplicates.

    Args:
        prints: unit vectors (examples, features), float32. A vector of zeros is like nothing, not even itself.
        threshold: cosine from which on two are near duplicates.

    Returns int64 (examples,): the smallest position in the group. Up to 100,000 different fingerprints are compared
    pair by pair; beyond, only pairs that fall into one bucket of a few random hash tables are.
    """
    count = len(prints)
    if not count:
        return np.empty(0, np.int64)
    whole = np.ascontiguousarray(prints, dtype=np.float32)
    _, first, place = np.unique(whole.view(np.dtype((np.void, whole.shape[1] * 4))).ravel(), True, True)
    parent = first.copy()  # identical fingerprints are collapsed: ten thousand blank frames stay cheap
    distinct = whole[first]
    links = Links(len(distinct))
    filled = np.flatnonzero(np.abs(distinct).sum(1) > 0)
    if len(filled) <= ALL_PAIRS:
        _compare(distinct, filled, threshold, links)
    else:
        generator = np.random.default_rng(0)
        for _ in range(TABLES):
            planes = generator.standard_normal((distinct.shape[1], BITS)).astype(np.float32)
            codes = ((distinct[filled] @ planes > 0) @ (1 << np.arange(BITS))).astype(np.int64)
            order = np.argsort(codes, kind="stable")
            edges = np.flatnonzero(np.diff(codes[order])) + 1
            sorted_ = filled[order]
            for start, stop in zip([0, *edges], [*edges, len(sorted_)], strict=True):
                _compare(distinct, sorted_[start:stop], threshold, links)
    result = np.empty(count, np.int64)
    roots = links.roots()
    smallest = np.full(len(distinct), count, np.int64)
    np.minimum.at(smallest, roots, parent)
    result[:] = smallest[roots][place.ravel()]
    blank = np.abs(whole).sum(1) == 0
    result[blank] = np.flatnonzero(blank)
    return result


def _compare(prints: Array, members: Array, threshold: float, links: Links) -> None:
    """Link all near duplicates among the members: a rough product of all pairs, an exact one of the promising."""
    import torch

    from matinee.core.runtime import multiplies_bfloat16

    exact = torch.from_numpy(prints[members])
    rough = exact.bfloat16() if multiplies_bfloat16(exact.device) else exact
    floor = threshold - (ROUGH if rough.dtype == torch.bfloat16 else 0.0)
    for start in range(0, len(members), BLOCK):
        for other in range(start, len(members), BLOCK * 4):
            product = rough[start : start + BLOCK] @ rough[other : other + BLOCK * 4].T
            if other == start:
                product.fill_diagonal_(-1)
            hot = torch.nonzero(product.amax(1) >= floor)[:, 0]  # nearly always none: a tenth of the time of nonzero
            left, right = torch.nonzero(product[hot] >= floor, as_tuple=True)
            left, right = hot[left] + start, right + other
            for first in range(0, len(left), 1_000_000):
                a, b = left[first : first + 1_000_000], right[first : first + 1_000_000]
                near = (exact[a] * exact[b]).sum(1) >= threshold
                links.join(members[a[near].numpy()], members[b[near].numpy()])


class Links:
    """Disjoint sets with path halving (Tarjan, 1975)."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def _root(self, item: int) -> int:
        parent = self._parent
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    def join(self, left: Array, right: Array) -> None:
        """Put each of `left` into one set with its partner in `right`."""
        for a, b in zip(left.tolist(), right.tolist(), strict=True):
            root_a, root_b = self._root(a), self._root(b)
            if root_a != root_b:
                self._parent[max(root_a, root_b)] = min(root_a, root_b)

    def roots(self) -> Array:
        """The smallest member of each item's set, int64 (items,)."""
        return np.array([self._root(i) for i in range(len(self._parent))], np.int64)


def byte_prints(examples: Examples) -> Array:
    """Unit vectors (examples, 16), equal for examples with equal bytes in all columns."""
    prints = np.empty((len(examples), 16), np.float32)
    for i in range(len(examples)):
        digest = blake2b(digest_size=64)
        for values in examples.columns.values():
            digest.update(np.ascontiguousarray(values[int(examples.rows[i])]).tobytes())
        prints[i] = np.frombuffer(digest.digest(), np.uint32).astype(np.float32) - 2.0**31
    units: Array = prints / np.linalg.norm(prints, axis=1, keepdims=True)
    return units
