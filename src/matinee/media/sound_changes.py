"""What became of a source of sounds since it was read."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from matinee.media.decoding import worker_count
from matinee.media.sound_listing import Wanted, listed
from matinee.media.sound_serving import entry_of, sha256_of, stretch_digest
from matinee.media.sound_table import part_digest, source_of
from matinee.media.sounds import SoundError


def changed_since(source: str | Path, manifest: Mapping[str, str], wanted: Wanted) -> dict[str, list[str]]:
    """Compares the files of a source with a manifest, name -> SHA-256 in hex, by their bytes.

    Returns the names under "changed", "missing" and "new", each in order. A file that can no longer be read is missing.
    Raises DataError where the source itself cannot be read.
    """
    listing = listed(source, wanted)
    rows: dict[tuple[str, int], list[int]] = {}
    for row in range(len(listing.files)):
        sound = source_of(listing, row)
        rows.setdefault((sound.path, sound.place), []).append(row)

    def look(file: tuple[str, int]) -> str:
        try:
            return sha256_of(entry_of(*file) if file[1] >= 0 else file[0])
        except SoundError:
            return ""

    now: dict[str, str] = {}
    with ThreadPoolExecutor(worker_count()) as pool:
        for file, digest in zip(rows, pool.map(look, rows), strict=True):
            for row in rows[file]:
                own = stretch_digest(digest, listing.starts[row], listing.ends[row])
                now[listing.of.names[row]] = own
    whole = {name: said for name, said in manifest.items() if said and not _is_part(name, manifest)}
    return {
        "changed": [name for name, said in whole.items() if now.get(name, "") not in ("", said.lower())],
        "missing": [name for name in whole if not now.get(name, "")],
        "new": [name for name in now if name not in manifest],
    }


def _is_part(name: str, manifest: Mapping[str, str]) -> bool:
    """Whether it is called as a later part of a file that is there as well."""
    file, _, number = name.rpartition("#")
    said = manifest.get(file, "")
    return bool(number.isdigit() and said and manifest[name] == part_digest(said, int(number) - 1))
