"""Tables of text: CSV, TSV, JSON Lines, Parquet and the columns of plain `.data`, `.dat` and `.txt` files.

    records = read_records("reviews/")            # a file, or a folder with train.csv, test.csv ...
    column = records.column("text", TEXT_COLUMNS, flag="text_column", what="text")
    texts = [values[column] for values in records.rows]

Values are words; what they mean is the task's business. A row that cannot be read is in the ledger, never in silence.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final

from matinee.core.errors import DataError
from matinee.core.ledger import Entry
from matinee.core.settings import flag as flag_of
from matinee.media.picture_listing import SPLIT_WORDS
from matinee.media.walking import content_of, printable

JSON_ENDINGS: Final = (".jsonl", ".json", ".ndjson")
PLAIN_ENDINGS: Final = (".data", ".dat", ".txt")
ENDINGS: Final = (".csv", ".tsv", *JSON_ENDINGS, ".parquet", *PLAIN_ENDINGS)
SPLIT_COLUMNS: Final = ("split", "set", "subset", "partition")
GROUP_COLUMNS: Final = ("group", "person", "subject")
BYTE_LIMIT: Final = 1 << 31
MARKS: Final = ("\t", "::", ";", ",", "|", " ")
"""What may stand between values; where two fit equally well, the first of them does: 3,5;4,5 has decimal commas."""
BLANKS: Final = ("", "?", "NA", "N/A", "n/a")
"""What stands for nothing where it is not yet known what a column holds."""
GLANCE: Final = 65_536
"""Bytes of a file that a look at its kind reads."""

_BLANKS: Final = re.compile(r'[ \t]+(?=(?:[^"]*"[^"]*")*[^"]*$)')
"""Blanks outside quotation marks."""
_NUMBER: Final = re.compile(r"[+-]?(\d[\d.,]*|[.,]\d+)(e[+-]?\d+)?\s?%?|[+-]?(inf|nan)", re.IGNORECASE)
_QUOTED: Final = re.compile(r'(?<![^\t,;:| \n])"(?:[^"]|"")*"(?=[\t,;:| \r\n]|$)')
"""A value in quotation marks, from one mark between values to the next."""
WIDE: Final = (b"\xff\xfe", b"\xfe\xff")
"""How UTF-16 begins, as spreadsheets write it."""

Row = tuple[int, tuple[str, ...]]
"""Number of the line, values."""


@dataclass(frozen=True)
class Records:
    """The rows of one or several files with the same columns.

    header: names of the columns; "column_1" and so on where the files name none. rows: values, one tuple a row, as long
    as the header. names: `file#line` of each row. splits: 0 train, 1 valid, 2 test, by the file's name or a column
    called split; -1 where neither says. entries: the ledger. named: whether the files had a header.
    """

    header: tuple[str, ...]
    rows: list[tuple[str, ...]]
    names: list[str]
    splits: list[int]
    entries: list[Entry] = field(default_factory=list)
    named: bool = True

    def column(self, said: str, usual: Sequence[str], *, flag: str, what: str, needed: bool = True) -> int:
        """The place of a column: the one that the user named (`said`), else the first of the usual names.

        -1 where there is none and none is needed. Raises DataError that says which there are.
        """
        lower = [name.strip().lower() for name in self.header]
        if said:
            if said in self.header:
                return self.header.index(said)
            if said.lower() in lower:
                return lower.index(said.lower())
        found = next((lower.index(word) for word in usual if word in lower), -1) if not said else -1
        if found >= 0 or (not said and not needed):
            return found
        there = ", ".join(printable(name)[:40] for name in self.header[:20])
        wanted = f"no column {said!r}" if said else f"no column that looks like the {what}"
        raise DataError(f"there is {wanted}; there are: {there}. {flag_of(flag)} names one.")

    def manifest(self) -> dict[str, str]:
        """Name of each row -> SHA-256 of its values, hex."""
        return {
            name: sha256("\0".join(values).encode()).hexdigest()
            for name, values in zip(self.names, self.rows, strict=True)
        }


def read_records(source: str | Path, *, header: bool | None = None) -> Records:
    """All rows of a file, or of the files of a folder that are called train, valid, test or the like.

    header: whether the first line names the columns; None: guessed. Rows without any value are passed over; rows with
    too few values or bytes that are not UTF-8 go to the ledger. Raises DataError where no row can be used.
    """
    files = _files(Path(source))
    whole: Records | None = None
    for path, split in files:
        part = _read(path, split, header)
        whole = part if whole is None else _joined(whole, part, path)
    if whole is None or not whole.rows:
        why = f"; the first: {whole.entries[0].reason}" if whole and whole.entries else ""
        raise DataError(f"{printable(str(source))}: there is no row that can be used{why}")
    return whole


def glance(source: str | Path) -> Records | None:
    """The first rows of a source, or None where it is no table: quick, for `recognise`."""
    try:
        files = _files(Path(source))
        path, split = files[0]
        if path.suffix.lower() == ".parquet":
            return _read(path, split, None)
        with path.open("rb") as file:
            raw = file.read(GLANCE)
        wide = raw[:2] in WIDE
        if b"\0" in raw and not wide:
            return None
        text = raw.decode("utf-16" if wide else "utf-8-sig", "ignore")
        lines = text.splitlines(keepends=True)[:200]
        if len(raw) == GLANCE and len(lines) > 1:
            lines = lines[:-1]
        return _table(path, "".join(lines), split, None, [])
    except (DataError, OSError):
        return None


def _files(source: Path) -> list[tuple[Path, int]]:
    """The files of a source with the split that each name says (-1: none)."""
    if source.is_file():
        if source.suffix.lower() not in ENDINGS:
            raise DataError(f"{printable(str(source))}: tables end in {', '.join(ENDINGS)}")
        return [(source, -1)]
    if not source.is_dir():
        raise DataError(f"{printable(str(source))}: no such file or folder")
    found = []
    for path in sorted(source.iterdir()):
        split = split_of(path.stem)
        if path.is_file() and path.suffix.lower() in ENDINGS and split >= 0:
            found.append((path, split))
    if len({path.suffix.lower() for path, _ in found}) > 1:
        names = ", ".join(path.name for path, _ in found)
        raise DataError(f"{printable(str(source))}: files of several kinds ({names}). Name one of them.")
    if not found:
        raise DataError(f"{printable(str(source))}: there is no file called train, valid or test here")
    return found


def split_of(stem: str) -> int:
    """The split that a file's name says: "train", "train-00000", "my_test", "train10k"; -1 where it says none."""
    words = [word for word in re.split(r"[^a-z]+", stem.lower()) if word]
    return next((SPLIT_WORDS[word] for word in (*words[:1], *words[-1:]) if word in SPLIT_WORDS), -1)


def _read(path: Path, split: int, header: bool | None) -> Records:
    entries: list[Entry] = []
    if path.suffix.lower() == ".parquet":
        names, rows = _read_parquet(path)
        return _finished(path, names, rows, split, entries)
    return _table(path, decoded(path, entries), split, header, entries)


def _table(path: Path, text: str, split: int, header: bool | None, entries: list[Entry]) -> Records:
    if path.suffix.lower() in JSON_ENDINGS:
        names, rows = read_json(str(path), text)
        return _finished(path, names, rows, split, entries)
    mark = "\t" if path.suffix.lower() == ".tsv" else delimiter_of(text)
    if said := re.match(r"sep=(.)\r?\n", text, re.IGNORECASE):  # what spreadsheets write before the names
        mark, text = said[1], text[said.end() - 1 :]  # its end of line stays: lines keep their numbers
    names, rows = read_table(str(path), text, mark)
    named = _is_header(names, rows) if header is None else header
    if not named:
        rows = [(1, tuple(names)), *rows]
        width = max(len(values) for _, values in rows[:100])
        names = [f"column_{place + 1}" for place in range(width)]
    return _finished(path, names, rows, split, entries, named)


def _finished(
    path: Path, names: Sequence[str], rows: Iterable[Row], split: int, entries: list[Entry], named: bool = True
) -> Records:
    kept: list[tuple[str, ...]] = []
    where: list[str] = []
    lower = [name.strip().lower() for name in names]
    column = next((lower.index(word) for word in SPLIT_COLUMNS if word in lower), -1) if named else -1
    splits: list[int] = []
    for number, values in rows:
        values = tuple(value.strip() for value in values)
        if len(values) != len(names):
            reason = f"{len(values)} values where the header has {len(names)}"
            entries.append(Entry(f"{path.name}#{number}", "row-length", reason))
            continue
        kept.append(values)
        where.append(f"{path.name}#{number}")
        said = SPLIT_WORDS.get(values[column].lower(), -1) if column >= 0 else -1
        splits.append(said if said >= 0 else split)
    return Records(tuple(names), kept, where, splits, entries, named)


def _joined(one: Records, other: Records, path: Path) -> Records:
    if one.header != other.header:
        raise DataError(
            f"{printable(str(path))} has other columns ({', '.join(other.header[:10])}) than the file before it "
            f"({', '.join(one.header[:10])})"
        )
    return Records(
        one.header, one.rows + other.rows, one.names + other.names, one.splits + other.splits,
        one.entries + other.entries, one.named,
    )  # fmt: skip


def decoded(path: Path, entries: list[Entry], fallback: str = "") -> str:
    """The text of a file in UTF-8 or, by its mark, UTF-16. Lines that are not are in the ledger and left out.

    fallback: the encoding of a file that is not UTF-8, where older files of its kind have another ("latin-1").
    Raises DataError for a file that cannot be read, or of which every tenth line is no text.
    """
    raw = content_of(path, BYTE_LIMIT)
    try:
        return raw.decode("utf-16" if raw[:2] in WIDE else "utf-8-sig")
    except UnicodeDecodeError:
        if fallback:
            return raw.decode(fallback, "replace")
    lines, bad = [], 0
    for number, line in enumerate(raw.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        try:
            lines.append(line.decode("utf-8"))
        except UnicodeDecodeError:
            bad += 1
            entries.append(Entry(f"{path.name}#{number}", "not-utf-8", "bytes that are no UTF-8 text"))
    if 10 * bad > len(lines):
        raise DataError(f"{printable(str(path))}: {bad:,} lines are not UTF-8; save the file as UTF-8")
    return "\n".join(lines)


def delimiter_of(text: str) -> str:
    """What stands between the values: the mark that most lines have equally often, else blanks."""
    # A value in quotation marks may have any mark, and ends of lines, inside.
    bare = _QUOTED.sub('""', text[: 4 * GLANCE])
    lines = [line for line in bare.split("\n", 60)[:50] if line.strip()]
    found = []
    for mark in MARKS:
        counts = [len(_BLANKS.findall(line.strip())) if mark == " " else line.count(mark) for line in lines]
        usual = max(set(counts), key=counts.count, default=0)
        found.append(counts.count(usual) / len(counts) if usual else 0.0)
    return MARKS[found.index(max(found))] if any(found) else ","


def read_table(path: str, text: str, delimiter: str) -> tuple[list[str], list[Row]]:
    """First row and the others of a text with values between delimiters. Raises DataError with the line."""
    if delimiter == "::":
        text, delimiter = text.replace("::", "\x1f"), "\x1f"
    if delimiter == " ":
        text = "\n".join(re.sub(r"[ \t]+", " ", line.strip()) for line in text.split("\n"))
    # Tab-separated files quote nothing: a quotation mark in them is one.
    plain = delimiter in "\t\x1f" and not _quotes(text, delimiter)
    csv.field_size_limit(BYTE_LIMIT)
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE if plain else csv.QUOTE_MINIMAL)
    rows: list[Row] = []
    try:
        rows = [(reader.line_num, tuple(values)) for values in reader if any(value.strip() for value in values)]
    except csv.Error as error:
        raise DataError(f"{printable(path)}, line {reader.line_num}: {error}") from error
    if not rows:
        raise DataError(f"{printable(path)} is empty")
    if not plain and "\n" in rows[-1][1][-1] and not text.rstrip().endswith('"'):
        began = rows[-2][0] + 1 if len(rows) > 1 else 1
        raise DataError(f"{printable(path)}, line {began}: a quotation mark is opened there and never closed.")
    return [value.strip() for value in rows[0][1]], rows[1:]


def _quotes(text: str, delimiter: str) -> bool:
    """Whether values are quoted here: then every quotation mark that opens a value also closes one."""
    opened = len(re.findall(rf'(?:^|{re.escape(delimiter)})"', text[:GLANCE], re.MULTILINE))
    closed = len(re.findall(rf'"(?:\r?$|{re.escape(delimiter)})', text[:GLANCE], re.MULTILINE))
    return opened > 0 and opened == closed


def read_json(path: str, text: str) -> tuple[list[str], list[Row]]:
    """The objects of a JSON Lines text or a JSON array as rows. Raises DataError with the line."""
    records: list[tuple[int, object]] = []
    number = 1
    try:
        if text.lstrip().startswith("["):
            records = list(enumerate(json.loads(text), 1))
        else:
            for number, line in enumerate(text.split("\n"), 1):
                if line.strip():
                    records.append((number, json.loads(line)))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{printable(path)}, line {number}: not JSON ({error})") from error
    header: dict[str, None] = {}
    for number, record in records:
        if not isinstance(record, dict):
            raise DataError(f'{printable(path)}, line {number}: expected an object like {{"name": "value", ...}}')
        header.update(dict.fromkeys(record))
    rows = [
        (number, tuple(_word(record.get(column)) for column in header))
        for number, record in records
        if isinstance(record, dict)
    ]
    return list(header), rows


def _read_parquet(path: Path) -> tuple[list[str], list[Row]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise DataError(f"{path}: Parquet needs pyarrow: pip install 'matinee[tables]'") from None
    try:
        table = parquet.read_table(path)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as Parquet: {str(error)[:200]}") from None
    columns = [[_word(value) for value in column.to_pylist()] for column in table.columns]
    return list(table.column_names), list(enumerate(zip(*columns, strict=True), 1))


def _word(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    if type(value) is int:
        return str(value)
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False).strip('"')


def _is_header(first: Sequence[str], rows: Sequence[Row]) -> bool:
    """Whether a first row names columns: short, different words, no numbers, and not what the column holds below."""
    told = first[1:] if len(first) > 1 and not first[0] else first  # spreadsheets leave the numbers of rows unnamed
    if len(set(first)) < len(first) or any(not name or len(name) > 60 or _is_number(name) for name in told):
        return False
    below = [values for _, values in rows[:200] if len(values) == len(first)]
    if not below:
        return len(rows) == 0
    numeric = any(
        name not in BLANKS and any(column) and all(_is_number(v) or v in BLANKS for v in column)
        for name, column in zip(first, _columns(below), strict=True)
    )
    repeated = any(name in set(column) for name, column in zip(first, _columns(below), strict=True))
    plain = all(re.fullmatch(r"[\w .()/%#?-]+", name) for name in told)
    # A word above numbers names them, whatever else there is: a column "y" may hold an "y".
    return plain and (numeric or (not repeated and all(len(name.split()) <= 3 for name in first)))


def _columns(rows: Sequence[Sequence[str]]) -> Iterator[Sequence[str]]:
    return zip(*rows, strict=True)


def _is_number(word: str) -> bool:
    return _NUMBER.fullmatch(word.strip()) is not None
