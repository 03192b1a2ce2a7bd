"""Where pictures with masks came from: which of them can be learned from, what is told of them, what has changed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from matinee.core.ledger import Entry
from matinee.core.task import Origin
from matinee.media.decoding import worker_count
from matinee.media.mask_classes import VOID, Classes
from matinee.media.mask_table import MaskTable, listed
from matinee.media.pictures import PictureError
from matinee.media.walking import printable

Array = np.ndarray[Any, Any]


def usable(table: MaskTable, known: Classes) -> tuple[Array, list[Entry]]:
    """The rows in whose masks a class is, and lines for the ledger on the others and on numbers that are no class."""
    numbers, owner = np.asarray(table.columns["numbers"]), table.columns["owner"]
    with_class = numbers[:, list(known.ids)].sum(1) > 0
    whole = np.zeros((len(table.pictures), 256), np.int64)  # of each picture, not of its tiles
    np.add.at(whole, owner, numbers)
    strange = whole.copy()
    strange[:, [*known.ids, *known.ignored, VOID]] = 0
    entries = []
    for row in np.unique(owner[table.good]).tolist():
        name, pixels = printable(table.masks[row]), int(strange[row].sum())
        if not whole[row, list(known.ids)].any():
            entries.append(Entry(name, "no-label", "none of its pixels has one of the classes"))
        elif pixels:
            which = ", ".join(str(number) for number in np.flatnonzero(strange[row])[:5])
            share = 100 * pixels / max(1, int(whole[row].sum()))
            reason = f"{pixels:,} pixels ({share:.1f} %) have numbers that are no class ({which}): they are ignored"
            entries.append(Entry(name, "event", reason))
    return table.good[with_class[table.good]], entries


def origin(
    source: str, table: MaskTable, strangers: Sequence[Entry], rows: Array, shares: Mapping[str, float]
) -> Origin:
    """Where the pictures at `rows` of a table came from.

    strangers: entries beside the table's own. shares: class -> its share of the pixels to train on.
    """
    manifest: dict[str, str] = {}
    firsts = np.unique(table.columns["owner"], return_index=True)[1]
    for names, digests in ((table.pictures, "sha256"), (table.masks, "mask_sha256")):
        told = zip(names, np.asarray(table.columns[digests])[firsts], strict=True)
        manifest.update((name, digest.tobytes().hex()) for name, digest in told)
    splits = table.columns["split"][rows]
    given = frozenset(name for number, name in enumerate(("train", "valid", "test")) if (splits == number).any())
    facts = {}
    if len(rows):
        sizes = table.columns["size"][rows]
        low, high = sizes.min(0), sizes.max(0)
        height, width, channels = table.columns["image"].shape[1:]
        same = "" if (low == high).all() else f" to {high[0]} x {high[1]}"
        facts["pictures as found"] = f"{low[0]} x {low[1]}{same} pixels"
        tiles = f"{len(rows):,} tiles of " if len(table.names) > len(table.pictures) else ""
        facts["as learned and scored"] = f"{tiles}{width} x {height} pixels, {'grey' if channels == 1 else 'colour'}"
    facts["of the pixels to train on"] = ", ".join(f"{name} {100 * share:.1f} %" for name, share in shares.items())
    return Origin(source, manifest, table.names, (*table.entries, *strangers), given, facts)


def changed(source: str, manifest: Mapping[str, str]) -> dict[str, list[str]]:
    """Compares pictures and masks with a manifest, name -> SHA-256 in hex, by their bytes. Raises DataError."""
    job = listed(source).job()
    reader = job.reader()

    def content(row: int) -> str:
        try:
            return hashlib.sha256(reader.read(row)).hexdigest()
        except PictureError:
            return ""

    try:
        with ThreadPoolExecutor(worker_count()) as pool:
            now = dict(zip(job.names, pool.map(content, range(len(job.names))), strict=True))
    finally:
        reader.close()
    # A file whose bytes could not be read then has no digest: nothing can be said of it.
    said = {name: digest for name, digest in manifest.items() if digest.strip("0")}
    return {
        "changed": [name for name, digest in said.items() if now.get(name, "") not in ("", digest)],
        "missing": [name for name in said if not now.get(name, "")],
        "new": [name for name in now if name not in manifest],
    }
