"""Texts without labels, of any layout: .txt files, the lines of one, the text column of a table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from matinee.core.errors import DataError
from matinee.core.ledger import Entry
from matinee.media.named import TEXTS, UNLABELLED, known, locate
from matinee.media.records import ENDINGS, read_records
from matinee.media.walking import content_of, printable, walk

LIMIT: Final = 1 << 31
"""Bytes of a file of lines that are read at most."""


def unlabelled_texts(
    place: Path, text_column: str, usual: tuple[str, ...], entries: list[Entry]
) -> Iterator[tuple[str, str]]:
    """Name and text of each. What cannot be read is added to `entries`. Raises DataError where there is nothing.

    A folder with .txt files: a text in each, at any depth. A .txt file: a text in each line. Any other file, or a
    folder without .txt files: a table, of which the column is read that is named or looks like the text. The name of a
    well-known set: what it has of texts without labels.
    """
    if known(place.name, TEXTS) and not place.exists():
        place = Path(locate(place.name)) / UNLABELLED
    named, told = printable(str(place)), printable(place.name)
    if not place.exists():
        raise DataError(f"--unlabelled {named}: no such file or folder.")
    if place.is_dir():
        found = walk(str(place))
        files = [name for name in found.names if name.lower().endswith(".txt")]
        if files:
            entries += found.entries
            for name in files:
                text = _text(place / name, f"{told}/{printable(name)}", entries)
                if text is not None:
                    yield f"{told}/{printable(name)}", text
            return
    elif place.suffix.lower() == ".txt":
        raw = content_of(place, LIMIT)
        for number, line in enumerate(raw.split(b"\n"), 1):
            name = f"{told}#{number}"
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError:
                entries.append(Entry(name, "not-utf-8", "bytes that are no UTF-8 text"))
                continue
            if text:
                yield name, text
        return
    elif place.suffix.lower() not in ENDINGS:
        raise DataError(f"--unlabelled {named}: expected are .txt files or a table ({', '.join(ENDINGS)}).")
    yield from _column(place, text_column, usual, entries)


def is_there(place: Path) -> bool:
    """Whether there is something to read: a file, a folder, or a data set of that name."""
    return place.exists() or known(place.name, TEXTS)


def _column(place: Path, said: str, usual: tuple[str, ...], entries: list[Entry]) -> Iterator[tuple[str, str]]:
    named, told = printable(str(place)), printable(place.name)
    try:
        records = read_records(place)
        if said or records.named:
            words = [word.strip() for word in said.split(",")] if said else [""]
            columns = [records.column(word, usual, flag="text_column", what="text") for word in words]
        else:  # the longest is the text
            spans = [sum(len(row[column]) for row in records.rows[:500]) for column in range(len(records.header))]
            columns = [max(range(len(spans)), key=spans.__getitem__)]
    except DataError as error:
        raise DataError(f"--unlabelled {named}: {error}") from None
    entries += records.entries
    for name, row in zip(records.names, records.rows, strict=True):
        yield f"{told}/{name}", " ".join(row[column] for column in columns)


def _text(path: Path, name: str, entries: list[Entry]) -> str | None:
    try:
        return content_of(path, LIMIT).decode("utf-8-sig")
    except UnicodeDecodeError:
        entries.append(Entry(name, "not-utf-8", "bytes that are no UTF-8 text"))
    except DataError as error:
        entries.append(Entry(name, "unreadable", str(error)))
    return None
