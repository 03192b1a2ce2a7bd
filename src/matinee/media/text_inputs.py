"""What `predict` is given for texts: words as they are, files as their lines or as documents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from matinee.core.errors import DataError
from matinee.media.records import BYTE_LIMIT
from matinee.media.walking import printable


def lines_given(places: Sequence[str]) -> Iterator[str | bytes]:
    """A text for each line of the files, and for each place that is no file; bytes where a line is not UTF-8."""
    for place in places:
        if not _is_file(place):
            yield place
            continue
        raw = _bytes(Path(place)).removeprefix(b"\xef\xbb\xbf")
        lines = raw.split(b"\n")
        for line in lines[:-1] if not lines[-1] else lines:
            try:
                yield line.decode("utf-8").rstrip("\r")
            except UnicodeDecodeError:
                yield line


def documents_given(places: Sequence[str]) -> Iterator[str | Path]:
    """A document for each file, and for each place that is no file."""
    for place in places:
        yield Path(place) if _is_file(place) else place


def text_of(raw: Any) -> str:
    """A text, the bytes of one, or the file of one (a Path). Raises DataError for anything else."""
    if isinstance(raw, Path):
        raw = _bytes(raw)
    if isinstance(raw, bytes):
        try:
            raw = raw.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise DataError("bytes that are no UTF-8 text; save the file as UTF-8") from None
    if not isinstance(raw, str):
        raise DataError(f"a text was expected, not {type(raw).__name__}")
    if not raw.strip():
        raise DataError("an empty text: there is nothing to read")
    return raw.replace("\0", " ")


def _is_file(place: str) -> bool:
    try:
        return Path(place).is_file()
    except (OSError, ValueError):  # too long for a path, or with a zero in it
        return False


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > BYTE_LIMIT:
            raise DataError(f"{printable(str(path))} has more than {BYTE_LIMIT:,} bytes")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{printable(str(path))} cannot be read: {error}") from error
