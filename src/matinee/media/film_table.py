"""Labelled films as columns: the front door of everything that reads films.

The first read decodes the frames that are needed of every film, in worker processes, into mapped columns in the cache;
the next one finds them by the names, sizes and times of the files, and opens none of them.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from matinee.core import cache
from matinee.core.errors import DataError, SettingsError
from matinee.core.ledger import Entry
from matinee.core.task import Origin
from matinee.media.film_decoding import FilmJob, decode_films, hash_rows, looks
from matinee.media.film_listing import FilmListing, Wanted, fits, lacks, listed
from matinee.media.film_reel import RATE
from matinee.media.films import PIXEL_LIMIT, Sight, require_av
from matinee.media.picture_listing import digest
from matinee.media.picture_shape import choose_size
from matinee.media.picture_table import PictureRequest, check, renumbered
from matinee.media.walking import printable

__all__ = ["FilmRequest", "FilmTable", "changed_since", "fits", "lacks", "origin", "read_films", "renumbered"]

FORMAT: Final = 2  # of the cached folder; raised whenever what is in it changes
COLUMNS: Final = ("film", "label", "split", "group", "sha256", "look")
SAMPLE: Final = 64  # films whose headers decide how all are looked at
MOST_FRAMES: Final = 16  # of a clip
LONGEST_CLIP: Final = 4.0  # seconds
MOST_CLIPS: Final = 4
KIND: Final = "films"
SIGHTS: Final = "film-sights"

Array = np.ndarray[Any, Any]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class FilmRequest:
    """How films are to be read and stored; 0 chooses from the films.

    pictures: how their frames are. sequences: as of `Wanted`. frames: of a clip. clips: of a film. span: seconds of a
    clip. rate: frames a second of folders of frames.
    """

    pictures: PictureRequest = field(default_factory=lambda: PictureRequest(longest=64, pixel_limit=PIXEL_LIMIT))
    sequences: str = ""
    frames: int = 0
    clips: int = 0
    span: float = 0.0
    rate: float = RATE

    @property
    def wanted(self) -> Wanted:
        """What of a source is asked for."""
        own = self.pictures
        return Wanted(own.groups, self.sequences, own.file_column, own.label_column)


@dataclass(frozen=True)
class FilmTable:
    """A source read: one row for every film, or stretch of one, that has a label.

    columns, mapped from files in `folder`: "film" uint8 (n, clips x frames, height, width, channels), "label" int32
    (n,) places in classes, "split" int8 (n,) -1 not said, 0 train, 1 valid, 2 test, "group" int32 (n,) -1 none,
    "sha256" uint8 (n, 32), "look" float64 (n, 5): width and height in pixels, seconds, frames a second, grey or not.
    good: int64 places of the rows that could be decoded. names, classes, entries: as of pictures. sight: how they
    were looked at.
    """

    folder: Path
    columns: dict[str, Array]
    good: Array
    names: Sequence[str]
    classes: tuple[str, ...]
    entries: tuple[Entry, ...]
    sight: Sight


def read_films(source: str | Path, request: FilmRequest, progress: Progress | None = None) -> FilmTable:
    """Reads class folders of films, a zip of them, a table, folders of frames.

    progress(done, total) is called in this thread while films are decoded. Raises DataError where the source cannot be
    used, and SettingsError where the request makes no sense.
    """
    _check(request)
    found = listed(source, request.wanted)
    if not found.frames:
        require_av()
    job = replace(_job(found, ""), pixel_limit=request.pictures.pixel_limit, rate=request.rate)
    source_ = (str(FORMAT), os.path.realpath(source), found.of.stamp, json.dumps(asdict(request.wanted)))
    job = replace(job, sight=_known_sight(job, request, source_))
    # By how they are looked at, not by what was asked for: a trained task asks for what it once chose.
    key = digest((*source_, json.dumps(asdict(job.sight)) if job.sight else ""))[:40]

    def fill(temporary: Path) -> None:
        _fill(found, replace(job, folder=str(temporary)), progress)

    return cache.loaded(KIND, key, _load, fill)


def _known_sight(job: FilmJob, request: FilmRequest, source: Sequence[str]) -> Sight:
    """How to look at the films, found in the cache where it was chosen before: a second read opens no film."""
    own = request.pictures
    if all((own.height, own.width, own.channels, request.frames, request.clips, request.span)):
        return _sight(job, [], np.zeros((0, 5)), request)
    key = digest((*source, json.dumps(asdict(request), sort_keys=True)))[:40]

    def fill(folder: Path) -> None:
        rows = np.unique(np.linspace(0, len(job) - 1, min(len(job), SAMPLE)).astype(np.int64)).tolist()
        said, errors = looks(job, rows)
        known = np.array([row for place, row in enumerate(said) if place not in errors]).reshape(-1, said.shape[1])
        sight = _sight(job, [row for place, row in enumerate(rows) if place not in errors], known, request)
        (folder / "sight.json").write_text(json.dumps(asdict(sight)), encoding="ascii")

    folder = cache.find(SIGHTS, key) or cache.build(SIGHTS, key, fill)
    try:
        return Sight(**json.loads((folder / "sight.json").read_text(encoding="ascii")))
    except (OSError, ValueError, TypeError):
        cache.discard(SIGHTS, key)
        return _known_sight(job, request, source)


def _load(folder: Path) -> FilmTable:
    said = json.loads((folder / "table.json").read_text(encoding="ascii"))
    columns = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in COLUMNS}
    if {len(column) for column in columns.values()} != {len(said["names"])}:
        raise ValueError("columns of different lengths")
    return FilmTable(
        folder=folder,
        columns=columns,
        good=np.load(folder / "good.npy", allow_pickle=False),
        names=said["names"],
        classes=tuple(said["classes"]),
        entries=tuple(Entry(*entry) for entry in said["entries"]),
        sight=Sight(**said["sight"]),
    )


def _fill(found: FilmListing, job: FilmJob, progress: Progress | None) -> None:
    listing, count, folder = found.of, len(found.of.names), Path(job.folder)
    failures = decode_films(job, progress)
    lost = [row for row, kind, _ in failures if kind != "event"]
    told = [Entry(printable(listing.names[row]), kind, reason) for row, kind, reason in failures]
    if len(lost) == count:
        kinds = ", ".join(f"{number:,} {kind}" for kind, number in Counter(entry.kind for entry in told).items())
        first = f"{told[0].file}: {told[0].reason}"
        raise DataError(f"{printable(listing.root)}: none of {count:,} films can be read ({kinds}); {first}")
    good = np.ones(count, dtype=bool)
    good[lost] = False
    np.save(folder / "label.npy", np.array(listing.labels, np.int32))
    np.save(folder / "split.npy", np.array(listing.splits, np.int8))
    np.save(folder / "group.npy", np.array(listing.groups or [-1] * count, np.int32))
    np.save(folder / "good.npy", np.flatnonzero(good).astype(np.int64))
    said = {
        "names": listing.names,
        "classes": listing.classes,
        "entries": [[entry.file, entry.kind, entry.reason] for entry in (*listing.entries, *told)],
        "sight": asdict(job.sight) if job.sight else {},
    }
    (folder / "table.json").write_text(json.dumps(said), encoding="ascii")  # keeps even names that are no UTF-8


def _job(found: FilmListing, folder: str) -> FilmJob:
    return FilmJob(
        root=found.of.root,
        names=[name for files in found.files for name in files],
        firsts=[0, *np.cumsum([len(files) for files in found.files]).tolist()],
        starts=found.starts,
        ends=found.ends,
        folder=folder,
        frames=found.frames,
        archive=found.of.archive,
        places=found.of.places,
    )


def _sight(job: FilmJob, chosen: Sequence[int], known: Array, request: FilmRequest) -> Sight:
    """How to look at the films: what is asked for, and what is open by what these rows say of themselves.

    A clip is as long as half of the films are, up to four seconds, and of longer films there are several. It has
    sixteen frames, or as many as half of the films have.
    """
    ends = np.minimum([job.ends[row] for row in chosen], np.where(known[:, 2] > 0, known[:, 2], np.inf))
    seconds = ends - [job.starts[row] for row in chosen]
    timed = np.isfinite(seconds) & (seconds > 0)
    median = float(np.median(seconds[timed])) if timed.any() else 0.0
    count = round(median * float(np.median(known[timed, 3]))) if timed.any() else MOST_FRAMES
    span = request.span or round(min(median, LONGEST_CLIP), 3)
    several = min(MOST_CLIPS, max(1, round(median / span))) if span else 1
    height, width = request.pictures.height, request.pictures.width
    if not height:
        height, width = choose_size([(int(row[0]), int(row[1])) for row in known], request.pictures.longest)
    return Sight(
        height=height,
        width=width,
        channels=request.pictures.channels or (1 if len(known) and known[:, 4].all() else 3),
        frames=request.frames or max(1, min(MOST_FRAMES, count or MOST_FRAMES)),
        clips=request.clips or several,
        span=span,
        pixel_limit=request.pictures.pixel_limit,
        rate=request.rate,
    )


def origin(source: str, table: FilmTable, strangers: Sequence[Entry], rows: Array) -> Origin:
    """Where the films at `rows` of a table came from; `strangers`: entries beside the table's own."""
    digests = np.asarray(table.columns["sha256"])
    manifest = {name: row.tobytes().hex() for name, row in zip(table.names, digests, strict=True)}
    given = frozenset(
        name for number, name in enumerate(("train", "valid", "test")) if (table.columns["split"][rows] == number).any()
    )
    sight, facts = table.sight, {}
    if len(rows):
        seconds = table.columns["look"][rows, 2]
        low, high = float(seconds.min()), float(seconds.max())
        facts["length of the films"] = f"{low:.1f} to {high:.1f} s" if high - low >= 0.1 else f"{high:.2f} s"
        several = f"{sight.clips} clips of {sight.frames} frames" if sight.clips > 1 else f"{sight.frames} frames"
        colour = "grey" if sight.channels == 1 else "colour"
        facts["as learned"] = f"{several}, {sight.width} x {sight.height} pixels, {colour}"
        if high > 1.5 * sight.span:
            facts["a clip"] = f"{sight.span:g} s"
    return Origin(source, manifest, table.names, (*table.entries, *strangers), given, facts)


def changed_since(source: str | Path, manifest: Mapping[str, str], wanted: Wanted) -> dict[str, list[str]]:
    """Names under "changed", "missing" and "new" since a manifest, name -> SHA-256 in hex, was written.

    A film that can no longer be read is missing. Raises DataError where the source itself cannot be read.
    """
    found = listed(source, wanted)
    now = dict(zip(found.of.names, hash_rows(_job(found, "")), strict=True))
    return {
        "changed": [name for name, said in manifest.items() if now.get(name, "") not in ("", said)],
        "missing": [name for name in manifest if not now.get(name, "")],
        "new": [name for name in now if name not in manifest],
    }


def _check(request: FilmRequest) -> None:
    """Raises SettingsError where more would be kept of a film than is sensible."""
    check(request.pictures)
    if request.frames * max(1, request.clips) > 1024:
        raise SettingsError(
            f"--frames {request.frames} --clips {request.clips}: at most 1,024 frames are kept of a film."
        )
