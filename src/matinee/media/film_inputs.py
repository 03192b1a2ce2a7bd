"""The films that a person wants answers for: files, stretches of them, folders of frames, arrays."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from matinee.core.errors import DataError
from matinee.core.ledger import Entry, Listed
from matinee.media.film_decoding import LOOK, FilmJob, decode_films, looks
from matinee.media.films import ANIMATIONS, EXTENSIONS, STILLS, Sight, decode_frames
from matinee.media.picture_listing import sift
from matinee.media.pictures import PictureError, Pixels
from matinee.media.stretches import cut
from matinee.media.timelines import windows
from matinee.media.walking import natural, printable, walk

Raw = str | Path | bytes | np.ndarray[Any, Any]


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


def list_plain(places: Sequence[str | Path], sight: Sight, overlap: float) -> Listed:
    """The films that FILE... | FOLDER arguments mean, in natural order, no file twice.

    Of a folder: all films below it, or, where there is none, each folder with pictures as a film. A film, or a stretch
    of one, that is more than twice as long as those that were learned from stands as windows that overlap
    (media/timelines.py). Raises DataError where a folder cannot be read or has no films.
    """
    found: dict[str, None] = {}
    others: list[Entry] = []
    for given in (os.fspath(place) for place in places):
        if os.path.isdir(given):  # noqa: PTH112
            found.update(dict.fromkeys(_below(given, others)))
        else:
            found[given] = None
    length = sight.clips * sight.span
    return Listed(_in_windows(list(found), length, overlap) if length > 0 else found, others)


def _below(folder: str, others: list[Entry]) -> list[str]:
    below = walk(folder)
    passed: list[Entry] = []
    films = sift(below.names, passed, EXTENSIONS, "film")
    pictures = [name for name in below.names if _ending(name) in STILLS]
    if films or not pictures:
        others += [*below.entries, *passed]
        if not films:
            raise DataError(f"{printable(folder)}: there are no films in this folder, nor frames of films.")
        return [os.path.join(folder, name) for name in sorted(films, key=natural)]  # noqa: PTH118
    folders = sorted({name.rpartition("/")[0] for name in pictures}, key=natural)
    return [os.path.join(folder, name) if name else folder for name in folders]  # noqa: PTH118


def _in_windows(names: Sequence[str], length: float, overlap: float) -> list[str]:
    asked = {name: _stretch(name) for name in names}
    films = dict.fromkeys(path for path, _, _ in asked.values() if _ending(path) in EXTENSIONS)
    kind = _Kind(False, list(range(len(films))), [[path] for path in films], [(0.0, math.inf)] * len(films))
    said = looks(_job(kind))[0] if films else np.zeros((0, len(LOOK)))
    seconds = dict(zip(films, said[:, LOOK.index("seconds")].tolist(), strict=True))
    found: list[str] = []
    for name, (path, start, end) in asked.items():
        found += windows(name, path, (start, min(end, seconds.get(path, 0.0))), length, overlap)
    return found


def _stretch(name: str) -> tuple[str, float, float]:
    """A file of that very name, or what of another one the name says."""
    return (name, 0.0, math.inf) if os.path.lexists(name) else cut(name)


def _ending(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122


def _sort(place: int, raw: str | Path | bytes, films: _Kind, stills: _Kind, folder: str) -> None:
    if isinstance(raw, bytes):
        path = Path(folder, f"film-{place}")
        path.write_bytes(raw)
        films.add(place, [str(path)])
        return
    name = os.fspath(raw)
    if os.path.isdir(name):  # noqa: PTH112
        try:
            inside = sorted(os.listdir(name), key=natural)  # noqa: PTH208
        except OSError as error:
            raise PictureError("forbidden", f"the folder cannot be read ({error.strerror})") from error
        frames = [each for each in inside if _ending(each) in STILLS]
        if not frames:
            raise PictureError("empty", "there are no pictures in this folder that could be frames of a film")
        stills.add(place, [os.path.join(name, each) for each in frames])  # noqa: PTH118
    elif _ending(name) in STILLS - ANIMATIONS:
        stills.add(place, [name])
    else:
        path_, start, end = _stretch(name)
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
        hashed=False,
    )


def _given(raw: np.ndarray[Any, Any], sight: Sight) -> Pixels:
    if raw.ndim not in (3, 4) or not len(raw):
        raise PictureError(
            "unreadable", f"an array of shape {raw.shape} is no film: (frames, height, width) or with channels, 1 or 3"
        )
    return decode_frames(list(raw), sight)[0]
