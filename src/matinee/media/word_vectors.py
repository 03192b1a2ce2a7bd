"""Files of word vectors: the text of GloVe, word2vec and fastText (.txt, .vec, also .gz), and word2vec's .bin.

    numbers = width("glove.6B.100d.txt")                      # 100
    rows, values = found("glove.6B.100d.txt", words)          # places in `words`, float32 (rows, 100)

Only the words that are asked for are kept, however large the file is; what was found is cached.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import IO, Final

import numpy as np

from matinee.core import cache
from matinee.core.errors import DataError
from matinee.core.examples import Array
from matinee.media.tokens import plain
from matinee.media.walking import printable

ENDINGS: Final = (".txt", ".vec", ".bin", ".gz")
WIDEST: Final = 4096
LONGEST: Final = 1 << 18
"""Bytes of a line, or of a word in a .bin, that are read at most."""
Found = tuple[Array, Array]


def file_of(place: Path) -> Path:
    """The file of vectors that a place is or holds. Raises DataError where there is none, or more than one."""
    named = printable(str(place))
    if place.is_file():
        if place.suffix.lower() not in ENDINGS:
            raise DataError(
                f"{named}: expected is an encoder's folder, or word vectors in a file ({', '.join(ENDINGS)})."
            )
        return place
    if not place.is_dir():
        raise DataError(f"{named}: no such file or folder.")
    there = [path for path in sorted(place.iterdir()) if path.suffix.lower() in ENDINGS and path.is_file()]
    if len(there) != 1:
        many = f"several files ({', '.join(printable(path.name) for path in there[:4])})" if there else "no such file"
        raise DataError(
            f"{named}: expected is the folder of an encoder (config.json, model.safetensors, tokenizer.json) or one "
            f"file of word vectors ({', '.join(ENDINGS)}); there is {many}. Name the file itself."
        )
    return there[0]


def width(path: Path) -> int:
    """Numbers of each vector. Raises DataError where the file begins otherwise."""
    with _opened(path) as file:
        return _begin(path, file)


def found(path: Path, words: Sequence[str]) -> Found:
    """Places in `words`, int64 (found,), and their vectors, float32 (found, width). Raises DataError.

    A word is looked for as it is, then as what others become in lower case: "Berlin" stands for "berlin" where the
    file has no other.
    """
    state = path.stat()
    said = sha256(f"{path.absolute()} {state.st_size} {state.st_mtime_ns} {len(words)} ".encode())
    said.update("\n".join(words).encode("utf-8", "surrogatepass"))
    key = said.hexdigest()[:40]

    def fill(folder: Path) -> None:
        rows, values = _search(path, words)
        np.save(folder / "rows.npy", rows)
        np.save(folder / "values.npy", values)

    folder = cache.find("vectors", key) or cache.build("vectors", key, fill)
    return np.load(folder / "rows.npy"), np.load(folder / "values.npy")


def vectors_of(place: Path, words: Sequence[str]) -> Found:
    """The same, of the file that a place is or holds."""
    return found(file_of(place), words)


def _search(path: Path, words: Sequence[str]) -> Found:
    places = {word: place for place, word in enumerate(words)}
    exact: dict[int, Array] = {}
    like: dict[int, Array] = {}
    broken = whole = 0
    with _opened(path) as file:
        numbers = _begin(path, file)
        for word, raw in _entries(path, file, numbers):
            whole += 1
            place = places.get(word, -1)
            kept = exact
            if place < 0 and (place := places.get(plain(word), -1)) >= 0:
                kept = like
            if place < 0 or place in kept:
                continue
            vector = _vector(raw, numbers)
            if vector is None:
                broken += 1
            else:
                kept[place] = vector
    if broken > len(exact) + len(like) or not whole:
        raise DataError(f"{printable(str(path))}: {broken:,} of its lines are no vectors of {numbers} numbers.")
    merged = {**like, **exact}
    rows = np.array(sorted(merged), np.int64)
    return rows, np.array([merged[place] for place in rows.tolist()], np.float32).reshape(len(rows), numbers)


def _vector(raw: bytes | Array, numbers: int) -> Array | None:
    if isinstance(raw, bytes):
        try:
            vector = np.array(raw.split(), np.float32)
        except ValueError:
            return None
    else:
        vector = raw
    return vector if vector.shape == (numbers,) and bool(np.isfinite(vector).all()) else None


def _entries(path: Path, file: IO[bytes], numbers: int) -> Iterator[tuple[str, bytes | Array]]:
    """Word and vector of each entry; of a text the vector as it is written."""
    if _binary(path):
        while word := _word(path, file).strip():
            raw = file.read(4 * numbers)
            if len(raw) < 4 * numbers:
                raise DataError(f"{printable(str(path))}: the file is cut short.")
            yield word.decode("utf-8", "replace"), np.frombuffer(raw, "<f4")
        return
    while line := file.readline(LONGEST):
        # A word of GloVe may hold blanks: the numbers are counted from the end.
        parts = line.rstrip().rsplit(b" ", numbers) if b"\t" not in line else line.rstrip().split(b"\t", 1)
        if len(parts) < 2:
            continue
        try:
            yield parts[0].decode("utf-8").strip(), b" ".join(parts[1:])
        except UnicodeDecodeError:
            continue


def _word(path: Path, file: IO[bytes]) -> bytes:
    letters = bytearray()
    while (letter := file.read(1)) not in (b" ", b""):
        letters += letter
        if len(letters) > LONGEST:
            raise DataError(f"{printable(str(path))}: this is no binary file of word2vec.")
    return bytes(letters)


def _begin(path: Path, file: IO[bytes]) -> int:
    """The width of the vectors; the file stands at the first one then."""
    line = file.readline(LONGEST)
    parts = line.split()
    numbers = 0
    if len(parts) == 2 and all(part.isdigit() for part in parts):
        numbers = int(parts[1])
    elif not _binary(path):
        numbers = len(parts) - 1
        file.seek(0)
        try:
            np.array(parts[1:], np.float32)
        except ValueError:
            numbers = 0
    if not 2 <= numbers <= WIDEST:
        raise DataError(
            f"{printable(str(path))}: these are no word vectors: expected is a word and its numbers in each line, or "
            "the count and width of the vectors first."
        )
    return numbers


def _binary(path: Path) -> bool:
    return [ending.lower() for ending in path.suffixes if ending.lower() != ".gz"][-1:] == [".bin"]


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            yield file  # type: ignore[misc]
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{printable(str(path))} cannot be read: {error}") from None
