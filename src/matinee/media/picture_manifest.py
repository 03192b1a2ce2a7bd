"""A CSV, TSV or JSON Lines file that names pictures and their labels."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from matinee.core.errors import DataError
from matinee.core.ledger import Entry
from matinee.media.picture_listing import SPLIT_WORDS, Listing, digest, name_classes
from matinee.media.pictures import EXTENSIONS
from matinee.media.records import GROUP_COLUMNS, JSON_ENDINGS, SPLIT_COLUMNS, Row, read_json, read_table
from matinee.media.walking import astray, printable

ENDINGS = (".csv", ".tsv", *JSON_ENDINGS)
FILE_COLUMNS = ("file", "filename", "file_name", "path", "image", "image_path", "filepath", "file_path")
LABEL_COLUMNS = ("label", "class", "category", "target")
BYTE_LIMIT = 1 << 30


def list_manifest(path: str, file_column: str = "", label_column: str = "") -> Listing:
    """The rows of a manifest, checked: the files are there, inside the manifest's folder, and have labels.

    Empty column names are guessed from the header. Raises DataError where a column is not there, the text is not
    UTF-8 or a line cannot be read; single rows that cannot be used go to the entries.
    """
    header, rows = read_manifest(path, _read_text(path))
    columns = _columns(path, header, file_column, label_column)
    root = os.path.dirname(os.path.abspath(path))  # noqa: PTH100, PTH120
    listing = Listing(root)
    inside = Inside(root)
    labels: list[str] = []
    facts: list[str] = []
    group_numbers: dict[str, int] = {}
    seen: set[tuple[str, ...]] = set()
    split_words = _split_words(path, header, columns[2], rows)
    for number, values in rows:
        name, label = _at(values, columns[0]), _at(values, columns[1])
        shown = printable(name) or f"line {number}"
        if values in seen:
            listing.entries.append(Entry(shown, "duplicate-row", f"line {number} says the same as a line before it"))
            continue
        seen.add(values)
        name, kind, reason = inside.check(name)
        if not kind and not label:
            kind, reason = "no-label", "the label is empty"
        if kind:
            listing.entries.append(Entry(shown, kind, f"line {number}: {reason}"))
            continue
        facts.append(reason)
        listing.names.append(name)
        labels.append(label)
        listing.splits.append(split_words.get(_at(values, columns[2]).strip().lower(), -1))
        group = _at(values, columns[3])
        listing.groups.append(group_numbers.setdefault(group, len(group_numbers)) if group else -1)
    if not labels:
        first = f"; the first: {listing.entries[0].file}: {listing.entries[0].reason}" if listing.entries else ""
        raise DataError(f"{printable(path)} has no row with a picture that can be used{first}")
    told = (f"{entry.file}\0{entry.kind}" for entry in listing.entries)
    listing.stamp = digest((*("\0".join(values) for _, values in rows), "files", *facts, *told, "\0".join(header)))
    name_classes(listing, labels)
    return listing


def looks_like_pictures(path: str) -> bool:
    """Whether the header has a file and a label column and the first row names a picture; reads only a little."""
    try:
        with open(path, "rb") as file:
            text = file.read(65_536).decode("utf-8-sig", "ignore")
        lines = text.splitlines()[:20]
        header, rows = read_manifest(path, "\n".join(lines[:-1] if len(lines) > 2 else lines))
        columns = _columns(path, header, "", "")
    except (OSError, DataError):
        return False
    names = [_at(values, columns[0]).lower() for _, values in rows]
    return bool(names) and any(os.path.splitext(name)[1] in EXTENSIONS for name in names)  # noqa: PTH122


def mentions_pictures(path: str) -> bool:
    """Whether a file beginning like this was meant as a table of pictures: reading it then says what is wrong with it.

    UTF-16, as spreadsheets write it, is read here for what it is.
    """
    with open(path, "rb") as file:
        raw = file.read(65_536)
    text = raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8", "ignore").lower()
    return any(ending in text for ending in EXTENSIONS)


def read_manifest(path: str, text: str) -> tuple[list[str], list[Row]]:
    """Header and rows of the text of a manifest; what kind it is says the ending. Raises DataError with the line."""
    if path.lower().endswith(JSON_ENDINGS):
        return read_json(path, text)
    first = text.split("\n", 1)[0]
    return read_table(path, text, "\t" if path.lower().endswith(".tsv") else max(",;\t", key=first.count))


def _read_text(path: str) -> str:
    try:
        if os.path.getsize(path) > BYTE_LIMIT:  # noqa: PTH202
            raise DataError(f"{printable(path)} has more than {BYTE_LIMIT:,} bytes")
        with open(path, "rb") as file:
            raw = file.read(BYTE_LIMIT)
    except OSError as error:
        raise DataError(f"{printable(path)} cannot be read: {error}") from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(f"{printable(path)}, line {line}: the text is not UTF-8; save the file as UTF-8") from error


def _columns(path: str, header: Sequence[str], file_column: str, label_column: str) -> tuple[int, int, int, int]:
    lower = [column.lower() for column in header]

    def choose(said: str, usual: Sequence[str], what: str) -> int:
        if said:
            if said in header:
                return header.index(said)
        else:
            for word in usual:
                if word in lower:
                    return lower.index(word)
            if not what:
                return -1
        there = ", ".join(printable(column)[:40] for column in list(header)[:20])
        wanted = f"no column {said!r}" if said else f"no column that looks like the {what} ({', '.join(usual)})"
        raise DataError(f"{printable(path)} has {wanted}; there are: {there}")

    return (
        choose(file_column, FILE_COLUMNS, "file name"),
        choose(label_column, LABEL_COLUMNS, "label"),
        choose("", SPLIT_COLUMNS, ""),
        choose("", GROUP_COLUMNS, ""),
    )


def _split_words(path: str, header: Sequence[str], column: int, rows: Sequence[Row]) -> dict[str, int]:
    """The split words, or none where the column holds something else altogether. Raises DataError where mixed."""
    if column < 0:
        return {}
    words = {_at(values, column).strip().lower() for _, values in rows} - {""}
    strange = sorted(words - SPLIT_WORDS.keys())
    if not words & SPLIT_WORDS.keys():
        return {}
    if strange:
        raise DataError(
            f"{printable(path)}: column {header[column]!r} says {printable(strange[0])[:40]!r}; "
            f"known are {', '.join(SPLIT_WORDS)}"
        )
    return SPLIT_WORDS


def _at(values: Sequence[str], column: int) -> str:
    return values[column] if 0 <= column < len(values) else ""


class Inside:
    """Checks names against the folder that they must stay in; what a folder really is, is asked once per folder."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._real = os.path.join(os.path.realpath(root), "")  # noqa: PTH118
        self._folders: dict[str, bool] = {}

    def check(self, name: str) -> tuple[str, str, str]:
        """(name, "", a line about size and time) or (name, the ledger's word, the reason)."""
        if not name or "\0" in name:
            return name, "missing", "no file is named"
        if "\\" in name and not os.path.lexists(os.path.join(self._root, name)):  # noqa: PTH118
            name = name.replace("\\", "/")  # written on another system
        if out := astray(name):
            return name, "outside", out
        name = os.path.normpath(name)
        path = os.path.join(self._root, name)  # noqa: PTH118
        try:
            state = os.lstat(path)
            if not self._stays(os.path.dirname(path)):  # noqa: PTH120
                return name, "outside", "a link on the path leads out of the folder"
            if stat.S_ISLNK(state.st_mode):
                if not os.path.realpath(path).startswith(self._real):
                    return name, "outside", "the link leads out of the folder"
                state = os.stat(path)  # noqa: PTH116
        except PermissionError:
            return name, "forbidden", "no permission to look at it"
        except (OSError, ValueError):
            return name, "missing", "there is no such file"
        if not stat.S_ISREG(state.st_mode):
            return name, "unreadable", "it is not a file"
        return name.replace(os.sep, "/"), "", f"{name}\0{state.st_size} {state.st_mtime_ns} {state.st_mode}"

    def _stays(self, folder: str) -> bool:
        if folder not in self._folders:
            self._folders[folder] = os.path.join(os.path.realpath(folder), "").startswith(self._real)  # noqa: PTH118
        return self._folders[folder]
