"""The films that a person wants answers for: files, stretches of them, folders of frames, arrays."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from matinee.core.errors import DataError
from matinee.core.ledger import Entry, Listed
from matinee.media.film_decoding import FilmJob, decode_films, looks
from matinee.media.films import EXTENSIONS, Sight, cut, decode_frames, stretch_name
from matinee.media.picture_listing import sift
from matinee.media.pictures import EXTENSIONS as PICTURES
from matinee.media.pictures import PictureError, Pixels
from matinee.media.walking import natural, printable, walk

Raw = str | Path | bytes | np.ndarray[Any, Any]
LONG: Final = (
    2.0  # a film of more than so many stretches, as long as those learned from, is answered stretch by stretch
)
STILLS: Final = PICTURES - EXTENSIONS


@dataclass
class _Kind:
    """The raws of one kind: their places among all, their files and stretches."""

    frames: bool
    places: list[int] = field(default_factory=list)
    files: list[list[str]] = field(default_factory=list)
    stretches: list[tuple[float, float]] = field(default_factory=list)

    def add(self, place: int, files: list[str], start: float = 0.0, end: float = math.inf) -> None:
        self.places.append(place)
        self.files.append(files)
        self.stretches.append((start, end))


def decode_many(raws: Sequence[Raw], sight: Sight) -> tuple[Pixels, dict[int, DataError]]:
    """uint8 (films that can be read, clips x frames, height, width, channels), in order, and what is wrong by place.

    A raw is a path, `film.mp4#t=12,14` for a stretch in seconds, a folder of frames, a picture (one frame), the bytes
    of a film, or an array (frames, height, width[, channels]).
    """
    pixels = np.zeros((len(raws), *sight.shape), np.uint8)
    errors: dict[int, DataError] = {}
    films, stills = _Kind(False), _Kind(True)
    with tempfile.TemporaryDirectory(prefix="films-") as folder:
        for place, raw in enumerate(raws):
            try:
                if isinstance(raw, np.ndarray):
                    pixels[place] = _given(raw, sight)
                else:
                    _sort(place, raw, films, stills, folder)
            except PictureError as error:
                errors[place] = error
        for number, kind in enumerate((films, stills)):
            if kind.places:
                below = Path(folder, f"columns-{number}")
                below.mkdir()
                _decode(
                    kind,
                    replace(_job(kind), sight=sight, pixel_limit=sight.pixel_limit, folder=str(below)),
                    pixels,
                    errors,
                )
    return pixels[[place for place in range(len(raws)) if place not in errors]], errors


def list_plain(places: Sequence[str | Path], sight: Sight) -> Listed:
    """The films that FILE... | FOLDER arguments mean, in natural order, no file twice.

    Of a folder: all films below it, or, where there is none, each folder with pictures as a film. A film that is longer
    than two stretches of those that were learned from stands as one name for each stretch, `film.mp4#t=0,4`: its
    answers are a timeline. Raises DataError where a folder cannot be read or has no films.
    """
    found: dict[str, None] = {}
    others: list[Entry] = []
    for given in (os.fspath(place) for place in places):
        if os.path.isdir(given):  # noqa: PTH112
            found.update(dict.fromkeys(_below(given, others)))
        else:
            found[given] = None
    length = sight.clips * sight.span
    return Listed(_in_stretches(list(found), length) if length > 0 else found, others)


def _below(folder: str, others: list[Entry]) -> list[str]:
    below = walk(folder)
    passed: list[Entry] = []
    films = sift(below.names, passed, EXTENSIONS, "film")
    pictures = [name for name in below.names if os.path.splitext(name)[1].lower() in STILLS]  # noqa: PTH122
    if films or not pictures:
        others += [*below.entries, *passed]
        if not films:
            raise DataError(f"{printable(folder)}: there are no films in this folder, nor frames of films.")
        return [os.path.join(folder, name) for name in sorted(films, key=natural)]  # noqa: PTH118
    folders = sorted({name.rpartition("/")[0] for name in pictures}, key=natural)
    return [os.path.join(folder, name) if name else folder for name in folders]  # noqa: PTH118


def _in_stretches(names: Sequence[str], length: float) -> list[str]:
    films = [name for name in names if os.path.splitext(name)[1].lower() in EXTENSIONS]  # noqa: PTH122
    kind = _Kind(False, list(range(len(films))), [[name] for name in films], [(0.0, math.inf)] * len(films))
    said = looks(_job(kind))[0] if films else np.zeros((0, 5))
    seconds = dict(zip(films, said[:, 2].tolist(), strict=True))
    found = []
    for name in names:
        count = int(seconds.get(name, 0.0) // length)
        if count <= LONG:
            found.append(name)
            continue
        edges = np.linspace(0.0, seconds[name], count + 1)
        found += [stretch_name(name, a, b) for a, b in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)]
    return found


def _sort(place: int, raw: str | Path | bytes, films: _Kind, stills: _Kind, folder: str) -> None:
    if isinstance(raw, bytes):
        path = Path(folder, f"film-{place}")
        path.write_bytes(raw)
        films.add(place, [str(path)])
        return
    name = os.fspath(raw)
    if os.path.isdir(name):  # noqa: PTH112
        inside = sorted((entry.name for entry in os.scandir(name)), key=natural)
        frames = [each for each in inside if os.path.splitext(each)[1].lower() in STILLS]  # noqa: PTH122
        if not frames:
            raise PictureError("empty", "there are no pictures in this folder that could be frames of a film")
        stills.add(place, [os.path.join(name, each) for each in frames])  # noqa: PTH118
    elif os.path.splitext(name)[1].lower() in STILLS:  # noqa: PTH122
        stills.add(place, [name])
    else:
        path_, start, end = (name, 0.0, math.inf) if os.path.lexists(name) else cut(name)
        if start >= end:
            raise PictureError("empty", "a stretch begins before it ends: film.mp4#t=12,14.5, in seconds")
        films.add(place, [path_], start, end)


def _decode(kind: _Kind, job: FilmJob, pixels: Pixels, errors: dict[int, DataError]) -> None:
    failures = decode_films(job)
    column = np.load(f"{job.folder}/film.npy", mmap_mode="r", allow_pickle=False)
    pixels[kind.places] = column
    errors.update((kind.places[row], PictureError(word, reason)) for row, word, reason in failures if word != "event")


def _job(kind: _Kind) -> FilmJob:
    return FilmJob(
        root="",
        names=[os.path.abspath(name) for files in kind.files for name in files],  # noqa: PTH100
        firsts=[0, *np.cumsum([len(files) for files in kind.files]).tolist()],
        starts=[start for start, _ in kind.stretches],
        ends=[end for _, end in kind.stretches],
        folder="",
        frames=kind.frames,
    )


def _given(raw: np.ndarray[Any, Any], sight: Sight) -> Pixels:
    if raw.ndim not in (3, 4) or not len(raw):
        raise PictureError(
            "unreadable", f"an array of shape {raw.shape} is no film: (frames, height, width) or with channels, 1 or 3"
        )
    return decode_frames(list(raw), sight)[0]
