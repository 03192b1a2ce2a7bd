"""What `predict` is given for texts: words as they are, files as their lines or as documents."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from matinee.core.errors import DataError
from matinee.core.examples import Array, Ragged
from matinee.media.records import BYTE_LIMIT
from matinee.media.walking import content_of

if TYPE_CHECKING:
    from torch import Tensor

HALF: Final = re.compile("[\ud800-\udfff]")
"""Half a character: what JSON, or a command line that is not UTF-8, may hold and no text can be made of."""
TABLES: Final = (".csv", ".tsv", ".jsonl", ".parquet")
NAME: Final = 250
"""Bytes of the longest name of a file on most systems."""
_NAME_OF_A_TEXT: Final = re.compile(r"\S{1,250}\.txt", re.IGNORECASE)


def lines_given(places: Sequence[str]) -> Iterator[str | bytes]:
    """A text for each line of the files, and for each place that is no file; bytes where a line is not UTF-8."""
    for place in places:
        if not _is_file(place):
            yield place
            continue
        raw = content_of(Path(place), BYTE_LIMIT).removeprefix(b"\xef\xbb\xbf")
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


def texts_given(places: Sequence[str]) -> Iterator[str | Path]:
    """A text for each place that is no file, a document for each file, those of a folder that end in .txt included.

    What is surely meant as a file but is none comes as one too, so that its reading says so.
    """
    for place in places:
        path = Path(place)
        if _is_file(place):
            yield path
        elif 0 < len(place) < NAME and path.is_dir():
            found = sorted(file for file in path.rglob("*.txt") if file.is_file())
            yield from found
            if not found:
                yield path
        elif _NAME_OF_A_TEXT.fullmatch(place):
            yield path
        else:
            yield place


def text_of(raw: Any) -> str:
    """A text, the bytes of one, or the file of one (a Path). Raises DataError for anything else."""
    if isinstance(raw, Path):
        if raw.suffix.lower() in TABLES:
            raise DataError("this is a table: give its texts, or .txt files")
        if raw.is_dir():
            raise DataError("there is no .txt file in this folder")
        raw = content_of(raw, BYTE_LIMIT)
    if isinstance(raw, bytes):
        try:
            raw = raw.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise DataError("bytes that are no UTF-8 text; save the file as UTF-8") from None
    if not isinstance(raw, str):
        raise DataError(f"a text was expected, not {type(raw).__name__}")
    if HALF.search(raw):
        raise DataError("a text that is no Unicode (half a character, or bytes that are not UTF-8)")
    if not raw.strip("\0 \t\r\n") or not raw.strip():
        raise DataError("an empty text: there is nothing to read")
    return raw.replace("\0", " ")


def rows_of(raws: Sequence[Any], read: Callable[[str], Array]) -> tuple[Tensor, dict[int, DataError]]:
    """The numbers of each text, int64 (texts, longest) with zeros behind; place -> what is wrong with the others.

    read: the numbers (length,) of a text; raises DataError for one that cannot be answered for.
    """
    import torch

    rows, errors = [], {}
    for place, raw in enumerate(raws):
        try:
            rows.append(read(text_of(raw)))
        except DataError as error:
            errors[place] = error
    return torch.from_numpy(Ragged.of(rows).padded(np.arange(len(rows)))).long(), errors


def _is_file(place: str) -> bool:
    try:
        return Path(place).is_file()
    except (OSError, ValueError):  # too long for a path, or with a zero in it
        return False
