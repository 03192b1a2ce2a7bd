"""Many films into mapped columns, by worker processes: whatever a decoder does, it does it to a process of its own.

A film that crashes its decoder, or holds it up for longer than the crew's patience, is written off (media/crew.py).
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np

from matinee.core.errors import DataError
from matinee.media import decoding
from matinee.media.columns import make_column, write_rows
from matinee.media.crew import Crew, Duty, Failure, Fill, limit_memory
from matinee.media.films import PIXEL_LIMIT, Sight, decode_frames, decode_stretches, look_at, require_av
from matinee.media.pictures import GREY_MODES, PictureError, Quiet, open_picture

PIECE = 1 << 20
FEW_ROWS = 4  # of a chunk: films are long
MANY_ROWS = 32  # where they are stretches of one film, each of which is decoded once for all of them
_SHARED = ("root", "folder", "frames", "archive", "pixel_limit", "rate", "sight", "hashed")
LOOK = ("width", "height", "seconds", "rate", "grey")


@dataclass(frozen=True)
class FilmJob:
    """Which films: the files of row i are those from `firsts[i]` on up to `firsts[i + 1]` of `names`.

    root: a folder that the names are relative to, or a zip file, of which name k is the entry at `places[k]`. frames:
    whether rows are lists of pictures. starts, ends: seconds. folder: where the columns are, or are to be. sight: how
    to look, or None: the headers alone are read, into the column "look". hashed: whether the column "sha256" is filled.
    """

    root: str
    names: Sequence[str]
    firsts: Sequence[int]
    starts: Sequence[float]
    ends: Sequence[float]
    folder: str
    frames: bool = False
    archive: bool = False
    places: Sequence[int] = ()
    pixel_limit: int = PIXEL_LIMIT
    rate: float = 25.0
    sight: Sight | None = None
    hashed: bool = True

    def __len__(self) -> int:
        return len(self.starts)

    def kin(self) -> list[int]:
        """A number for each row, equal for stretches of one film."""
        numbers: dict[tuple[str, ...], int] = {}
        first = self.firsts
        return [numbers.setdefault(tuple(self.names[first[r] : first[r + 1]]), len(numbers)) for r in range(len(self))]

    def some(self, rows: Sequence[int]) -> FilmJob:
        """The job of these rows alone."""
        parts = [range(self.firsts[row], self.firsts[row + 1]) for row in rows]
        fields = {f: getattr(self, f) for f in _SHARED}
        return FilmJob(
            names=[self.names[k] for part in parts for k in part],
            places=[self.places[k] for part in parts for k in part] if self.archive else (),
            firsts=[0, *np.cumsum([len(part) for part in parts]).tolist()],
            starts=[self.starts[row] for row in rows],
            ends=[self.ends[row] for row in rows],
            **fields,
        )


def decode_films(job: FilmJob, report: Callable[[int, int], None] | None = None) -> list[Failure]:
    """Fills the columns of the job; returns (row, the ledger's word, the reason) of rows that cannot be read.

    Also of those of which a part is missing, under the word "event". Raises DataError where the disk is full or no
    worker can be started.
    """
    count = len(job)
    if not count:
        return []
    # Whoever answers on several threads has a part of the rows on each already.
    alone = threading.current_thread() is not threading.main_thread()
    workers = 1 if alone else decoding.worker_count()
    kin = job.kin()
    few = MANY_ROWS if 2 * len(set(kin)) <= count else FEW_ROWS
    size = max(1, min(few, count // (4 * workers))) if job.sight else max(1, -(-count // workers))
    if job.sight:
        make_column(job.folder, "film", (count, *job.sight.shape), "|u1")
        make_column(job.folder, "sha256", (count, 32), "|u1")
    make_column(job.folder, "look", (count, len(LOOK)), "<f8")
    fields = asdict(job)
    with tempfile.TemporaryDirectory(prefix="workers-", dir=job.folder) as scratch:
        crew = Crew(Duty(__name__, fields, count, "films", kin), scratch, min(workers, -(-count // size)))
        return sorted(crew.run(size, report or _silent))


def looks(job: FilmJob, rows: Iterable[int] | None = None) -> tuple[np.ndarray[Any, Any], dict[int, PictureError]]:
    """What the headers of these rows say, (rows, LOOK), zeros where they cannot be read, and by place what is wrong."""
    some = job if rows is None else job.some(list(rows))
    with tempfile.TemporaryDirectory(prefix="looks-") as folder:
        told = FilmJob(**{**_fields(some), "sight": None, "folder": folder})
        failures = decode_films(told)
        found = np.load(f"{folder}/look.npy", allow_pickle=False) if len(some) else np.zeros((0, len(LOOK)))
    return found, {row: PictureError(kind, reason) for row, kind, reason in failures}


def _fields(job: FilmJob) -> dict[str, Any]:
    return {name: getattr(job, name) for name in FilmJob.__dataclass_fields__}


def _silent(done: int, total: int) -> None:
    pass


def begin(fields: Mapping[str, Any]) -> Fill:
    """In a worker process: what decodes the rows of the job with these fields."""
    sight = Sight(**fields["sight"]) if fields["sight"] else None
    job = FilmJob(**{**fields, "sight": sight})
    limit_memory((3 << 30) + 64 * job.pixel_limit)  # a decoder keeps some twenty frames
    with contextlib.suppress(DataError):  # each row will say so
        require_av()  # now, and not in the time that the first film has
    return _Filler(job).fill


class _Filler:
    """Reads rows of a job."""

    def __init__(self, job: FilmJob) -> None:
        self._job = job
        self._archive: decoding.Reader | None = None
        if job.archive:
            inside = decoding.Job(job.root, job.names, (1, 1, 1), job.pixel_limit, job.folder, True, job.places)
            self._archive = decoding.Reader(inside)
        self._hashed = ("", b"")

    def fill(self, start: int, stop: int, note: Callable[[int], None]) -> list[Failure]:
        failures: list[Failure] = []
        row = start
        while row < stop:
            note(row)
            after = row + 1
            try:
                with Quiet():
                    if self._job.sight is None:
                        told: list[str | PictureError] = [self._look(row)]
                    elif self._job.frames:
                        told = [self._assemble(row, self._job.sight)]
                    else:
                        while after < stop and self._name(after) == self._name(row):
                            after += 1
                        told = self._decode(range(row, after), self._job.sight, note)
            except PictureError as error:
                told = [error] * (after - row)
            for place, one in enumerate(told, row):
                if isinstance(one, PictureError):
                    failures.append((place, one.kind, str(one)))
                elif one:
                    failures.append((place, "event", one))
            row = after
        return failures

    def _name(self, row: int) -> str:
        return self._job.names[self._job.firsts[row]]

    def _files(self, row: int) -> Sequence[str | bytes]:
        first, last = self._job.firsts[row : row + 2]
        if self._archive is not None:
            return _Inside(self._archive, range(first, last))
        return [str(Path(self._job.root, name)) for name in self._job.names[first:last]]

    def _look(self, row: int) -> str:
        files = self._files(row)
        if self._job.frames:
            raw = files[0] if isinstance(files[0], bytes) else Path(files[0]).read_bytes()
            try:
                image = open_picture(raw, self._job.pixel_limit)
            except PictureError:
                raise
            except (OSError, ValueError, SyntaxError) as error:
                raise PictureError("unreadable", f"its first frame cannot be read ({error})") from error
            said = (*image.size, len(files) / self._job.rate, self._job.rate, image.mode in GREY_MODES)
        else:
            look = look_at(_playable(files[0]), self._job.pixel_limit)
            said = (look.width, look.height, look.seconds, look.rate, look.grey)
        self._write(row, "look", np.array(said, np.float64))
        return ""

    def _assemble(self, row: int, sight: Sight) -> str:
        """A film out of its frames."""
        files = self._files(row)
        self._note_digest(row, files)
        pixels, words = decode_frames(files, sight)
        self._write(row, "film", pixels)
        self._write(row, "look", np.array((0, 0, len(files) / sight.rate, sight.rate, 0)))
        return words

    def _decode(self, rows: range, sight: Sight, note: Callable[[int], None]) -> list[str | PictureError]:
        """Stretches of one film, which are decoded together; what is amiss with each."""
        files = self._files(rows[0])
        for row in rows:
            self._note_digest(row, files)
        stretches = [(self._job.starts[row], self._job.ends[row]) for row in rows]
        pixels, look, told = decode_stretches(
            _playable(files[0]), sight, stretches, lambda place: note(rows.start + place)
        )
        for row, film, (start, end) in zip(rows, pixels, stretches, strict=True):
            self._write(row, "film", film)
            seconds = max(0.0, min(end, look.seconds) - start)
            self._write(row, "look", np.array((look.width, look.height, seconds, look.rate, look.grey), np.float64))
        return told

    def _note_digest(self, row: int, files: Sequence[str | bytes]) -> None:
        if self._job.hashed:
            self._write(row, "sha256", np.frombuffer(self.digest(row, files), np.uint8))

    def _write(self, row: int, column: str, values: np.ndarray[Any, Any]) -> None:
        write_rows(self._job.folder, column, row, values[None])

    def digest(self, row: int, files: Sequence[str | bytes] = ()) -> bytes:
        """SHA-256 of a file's bytes; of a stretch or of frames, of that of all files and of the stretch."""
        start, end = self._job.starts[row], self._job.ends[row]
        each = [self._hash(file) for file in files or self._files(row)]
        if len(each) == 1 and start <= 0 and end == float("inf"):
            return each[0]
        return hashlib.sha256(b"".join(each) + f"{start} {end}".encode()).digest()

    def _hash(self, file: str | bytes) -> bytes:
        if isinstance(file, bytes):
            return hashlib.sha256(file).digest()
        if self._hashed[0] != file:  # the stretches of a film follow each other
            self._hashed = (file, hash_file(file))
        return self._hashed[1]


class _Inside(Sequence[bytes]):
    """Files in a zip, each read when it is asked for: a film may have more frames than memory holds."""

    def __init__(self, archive: decoding.Reader, places: range) -> None:
        self._archive, self._places = archive, places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, place: int) -> bytes: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[bytes]: ...
    def __getitem__(self, place: int | slice) -> bytes | Sequence[bytes]:
        if isinstance(place, slice):
            return _Inside(self._archive, self._places[place])
        return self._archive.read(self._places[place])


def hash_file(path: str) -> bytes:
    """SHA-256 of a file. Raises PictureError."""
    whole = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while piece := file.read(PIECE):
                whole.update(piece)
    except FileNotFoundError:
        raise PictureError("missing", "there is no such file") from None
    except PermissionError:
        raise PictureError("forbidden", "no permission to read it") from None
    except OSError as error:
        raise PictureError("unreadable", f"it cannot be read: {error}") from error
    return whole.digest()


def _playable(file: str | bytes) -> str | io.BytesIO:
    return io.BytesIO(file) if isinstance(file, bytes) else file


def hash_rows(job: FilmJob) -> list[str]:
    """The digest of each row as it is now, hex; "" where a file cannot be read. Nothing is decoded."""
    filler = _Filler(job)
    found = []
    for row in range(len(job)):
        try:
            found.append(filler.digest(row).hex())
        except PictureError:
            found.append("")
    return found
