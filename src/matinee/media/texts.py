"""Labelled texts of any layout as one table: tables of text, class folders of files, FASTA files.

    table = read_texts("reviews.csv", TextRequest())
    table.texts[0], table.labels[0]

A text without a label is kept with the label "" (it may teach the words); one that cannot be read is in the ledger.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Final

from matinee.core.errors import DataError
from matinee.core.ledger import Entry
from matinee.core.splits import TEST, TRAIN, VALID
from matinee.media import named
from matinee.media.picture_listing import SPLIT_WORDS
from matinee.media.records import ENDINGS, Records, glance, read_records, split_of
from matinee.media.unlabelled import unlabelled_texts
from matinee.media.walking import printable, walk

TEXT_COLUMNS: Final = (
    "text", "sentence", "review", "content", "document", "body", "comment", "message", "tweet", "post", "title",
    "headline", "question", "utterance", "description", "sequence", "seq", "sms", "v2",
)  # fmt: skip
LABEL_COLUMNS: Final = (
    "label", "labels", "class", "sentiment", "category", "target", "topic", "intent", "language", "lang", "polarity",
    "emotion", "stars", "rating", "y", "v1",
)  # fmt: skip
UNLABELLED: Final = ("unsup", "unlabelled", "unlabeled", "unsupervised")
"""What a folder or file of texts without labels is called."""
FASTA: Final = (".fa", ".fasta", ".fna", ".faa")
CLASS_FILES: Final = ("class.txt", "classes.txt")
TEXT_LIMIT: Final = 1 << 27
_SEQUENCE: Final = re.compile(r"[A-Za-z*?\-.]+")


@dataclass(frozen=True)
class TextRequest:
    """Which columns of a table: "" guesses from the header, then from what the columns hold.

    unlabelled: a file or folder of further texts, none of which has a label; "" where there is none.
    """

    text_column: str = ""
    label_column: str = ""
    unlabelled: str = ""


@dataclass
class TextTable:
    """A row for each text. splits: 0 train, 1 valid, 2 test, -1 unsaid. manifest: name -> SHA-256 in hex."""

    texts: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    splits: list[int] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    manifest: dict[str, str] = field(default_factory=dict)

    def add(self, text: str, label: str, name: str, split: int) -> None:
        """One more row, or an entry where there is no text."""
        if not text.strip():
            self.entries.append(Entry(name, "empty", "there is no text"))
            return
        self.texts.append(text)
        self.labels.append(label)
        self.names.append(name)
        self.splits.append(split)
        self.manifest[name] = sha256(f"{label}\0{text}".encode("utf-8", "surrogatepass")).hexdigest()


def read_texts(source: str, request: TextRequest) -> TextTable:
    """All texts of a source. Raises DataError where there is none, or no label, or a column is not there."""
    path = Path(named.place_of(source, named.TEXTS))
    if _fasta_files(path):
        table = _read_fasta(path)
    elif path.is_dir() and _class_folders(path):
        table = _read_folders(path)
    else:
        table = _read_table(path, request)
    if not table.texts:
        first = f"; the first: {table.entries[0].reason}" if table.entries else ""
        raise DataError(f"{printable(source)}: there is no text that can be used{first}.")
    if not any(table.labels):
        raise DataError(f"{printable(source)}: not one text has a label. --label-column names the column of labels.")
    if request.unlabelled:
        for name, text in unlabelled_texts(Path(request.unlabelled), request.text_column, TEXT_COLUMNS, table.entries):
            table.add(text, "", f"unlabelled/{name}", TRAIN)
    if TRAIN not in table.splits and VALID in table.splits and -1 not in table.splits:
        # Files called dev and test alone: what is not the test is there to learn from.
        table.splits = [split if split == TEST else -1 for split in table.splits]
    return table


def fits(source: str) -> str | None:
    """Why a source looks like labelled texts, in a few words, or None."""
    if named.known(source, named.TEXTS):
        return f"the data set {source}"
    path = Path(source)
    try:
        if _fasta_files(path):
            return "FASTA files"
        if path.is_dir() and _class_folders(path):
            return "class folders of texts"
        if not path.is_dir() and path.suffix.lower() not in ENDINGS:
            return None
        first = glance(path)
        if first is None or len(first.rows) < 2:
            return None
        text, label = columns_of(first, TextRequest())
    except (DataError, OSError, ValueError):
        return None
    texts = [" ".join(values[place] for place in text) for values in first.rows]
    if not looks_like_text(texts) or label < 0 or _is_pair(first, text, label):
        return None
    return f"a table with texts ({first.header[text[0]]}) and labels ({first.header[label]})"


def lacks(source: str) -> str | None:
    """In one line what texts without labels need, or None where there are no .txt files; quick."""
    path = Path(source)
    table = "a table (CSV, TSV, JSONL) with the columns text and label"
    try:
        if path.is_file() and path.suffix.lower() == ".txt":
            return f"a text without labels. Give {table}, or a folder of .txt files for each class."
        count = sum(1 for _ in itertools.islice(path.glob("*.txt"), 2_000)) if path.is_dir() else 0
    except (OSError, ValueError):
        return None
    if not count:
        return None
    name, files = printable(path.resolve().name), f".txt file{'s'[: count > 1]}"
    return (
        f"{count:,} {files} but no class folders. Put those of each class into a folder of its own ({name}/pos/1.txt, "
        f"{name}/neg/1.txt), or give {table}."
    )


def looks_like_text(values: Sequence[str]) -> bool:
    """Whether most are of several words, of characters of a script without blanks, or long runs of letters."""
    count = max(1, len(values))
    wordy = sum(len(v.split()) >= 3 or len(re.findall(r"[\u3040-\u9fff\uac00-\ud7af]", v)) >= 4 for v in values)
    runs = sum(len(v) >= 20 and bool(_SEQUENCE.fullmatch(v)) for v in values)
    files = sum(bool(re.search(r"\.(png|jpe?g|gif|bmp|webp|wav|mp3|mp4|tiff?)$", v, re.IGNORECASE)) for v in values)
    numbers = sum(bool(re.fullmatch(r"[\s\d.,;:eE+\-]+", v)) for v in values)
    return max(wordy, runs) >= 0.4 * count and files + numbers < 0.2 * count


def _is_pair(records: Records, text: Sequence[int], label: int) -> bool:
    """Whether the labels are texts themselves: the two sides of a translation, or no classes at all."""
    labels = [values[label] for values in records.rows if values[label]]
    long = sum(len(word.split()) > 4 or len(word) > 60 for word in labels) > 0.2 * len(labels)
    return long or (len(labels) >= 40 and len(set(labels)) > 0.6 * len(labels))


def columns_of(records: Records, request: TextRequest) -> tuple[list[int], int]:
    """The places of the text's columns (several names between commas are joined) and of the label's.

    Raises DataError that says which columns there are.
    """
    if records.named or request.text_column or request.label_column:
        asked = [word.strip() for word in request.text_column.split(",")] if request.text_column else [""]
        label = records.column(request.label_column, LABEL_COLUMNS, flag="label_column", what="label")
        usual = [name for name in TEXT_COLUMNS if name != records.header[label].lower()]
        return [records.column(word, usual, flag="text_column", what="text") for word in asked], label
    some = records.rows[:500]
    width = len(records.header)
    if width < 2:
        raise DataError("there is one column; expected are texts and labels. --text-column names one.")
    spans = [sum(len(values[place]) for values in some) for place in range(width)]
    text = max(range(width), key=spans.__getitem__)
    others = [place for place in range(width) if place != text]
    # The fewest different values are the classes; of equals, the first.
    label = min(others, key=lambda place: (len({values[place] for values in some}), place))
    return [text], label


def _read_table(path: Path, request: TextRequest) -> TextTable:
    records = read_records(path)
    try:
        text, label = columns_of(records, request)
    except DataError as error:
        raise DataError(f"{printable(str(path))}: {error}") from None
    table = TextTable(entries=list(records.entries))
    names = _class_names(path, [values[label] for values in records.rows])
    for values, name, split in zip(records.rows, records.names, records.splits, strict=True):
        table.add(" ".join(values[place] for place in text), names.get(values[label], values[label]), name, split)
    return table


def _class_names(path: Path, labels: Sequence[str]) -> dict[str, str]:
    """Class number -> name, where a file beside the table lists as many names as there are numbers."""
    folder = path if path.is_dir() else path.parent
    numbers = {label for label in labels if label}
    if not numbers or not all(label.isdecimal() and len(label) < 6 for label in numbers):
        return {}
    for name in CLASS_FILES:
        if not (folder / name).is_file() or folder / name == path:
            continue
        try:
            names = [line.strip() for line in (folder / name).read_text("utf-8").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError):
            continue
        values = {int(number) for number in numbers}
        # Numbers begin at 0 or at 1: where neither the lowest nor the highest there can be occurs, nobody knows.
        first = 0 if 0 in values else 1 if len(names) in values else -1
        if first >= 0 and max(values) - first < len(names) == len(set(names)):
            return {str(place + first): word for place, word in enumerate(names)}
    return {}


def _class_folders(path: Path) -> bool:
    """Whether there are .txt files in two class folders or more, at any depth of splits; quick."""
    tops = [entry for entry in sorted(path.iterdir()) if entry.is_dir()]
    inner = [entry for top in tops if top.name.lower() in SPLIT_WORDS for entry in top.iterdir() if entry.is_dir()]
    found = [folder for folder in (inner or tops) if next(folder.glob("*.txt"), None) is not None]
    return len({folder.name for folder in found}) >= 2


def _read_folders(path: Path) -> TextTable:
    table, found = TextTable(), walk(str(path))
    table.entries += found.entries
    for name in found.names:
        parts = Path(name).parts
        if not name.lower().endswith(".txt") or len(parts) < 2:
            table.entries.append(Entry(printable(name), "ignored", "no .txt file in a class folder"))
            continue
        split = next((SPLIT_WORDS[part.lower()] for part in parts[:-1] if part.lower() in SPLIT_WORDS), -1)
        label = "" if parts[-2].lower() in UNLABELLED else parts[-2]
        if label.lower() in SPLIT_WORDS:
            table.entries.append(Entry(printable(name), "no-label", "it lies in no class folder"))
            continue
        file = path / name
        try:
            if file.stat().st_size > TEXT_LIMIT:
                table.entries.append(Entry(printable(name), "oversized", f"more than {TEXT_LIMIT:,} bytes"))
                continue
            text = file.read_bytes().decode("utf-8-sig")
        except OSError as error:
            table.entries.append(Entry(printable(name), "unreadable", str(error.strerror)))
            continue
        except UnicodeDecodeError:
            table.entries.append(Entry(printable(name), "not-utf-8", "bytes that are no UTF-8 text"))
            continue
        table.add(text, label, printable(name), split)
    return table


def _fasta_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix.lower() in FASTA else []
    if not path.is_dir():
        return []
    # No deeper: a look at the kind of a source must not walk through a million files.
    files = (file for pattern in ("*", "*/*") for file in path.glob(pattern))
    return sorted(file for file in files if file.suffix.lower() in FASTA and file.is_file())


def _read_fasta(path: Path) -> TextTable:
    """Several files: a class each, by their names. One file: the class is the last word of each header line."""
    files, table = _fasta_files(path), TextTable()
    stems = {_stem(file) for file in files}
    for file in files:
        folder = file.parent.name
        said = [*file.relative_to(path).parts[:-1], file.stem] if path.is_dir() else [file.stem]
        split = next((found for word in said if (found := split_of(word)) >= 0), -1)
        stem = folder if len(stems) < 2 and len(files) > 1 else _stem(file)
        for number, header, letters in _sequences(file, table.entries):
            words = re.split(r"[|\s;]+", header.strip("|; "))
            label = stem if len(files) > 1 and (len(stems) > 1 or split >= 0) else words[-1] if len(words) > 1 else ""
            name = f"{file.relative_to(path) if path.is_dir() else file.name}#{number}"
            table.add(letters, label, printable(name), split)
    return table


def _stem(file: Path) -> str:
    """The class that a file's name says: without the words of a split."""
    words = [word for word in re.split(r"[_.\-]", file.stem) if word.lower() not in SPLIT_WORDS]
    return "_".join(words)


def _sequences(file: Path, entries: list[Entry]) -> Iterator[tuple[int, str, str]]:
    """Number, header and letters of each sequence; what is none goes to the ledger."""
    try:
        raw = file.read_bytes()
    except OSError as error:
        entries.append(Entry(printable(file.name), "unreadable", str(error.strerror)))
        return
    blocks = raw.decode("utf-8", "replace").split(">")
    if blocks[0].strip():
        entries.append(Entry(printable(file.name), "no-header", "letters before the first line that begins with >"))
    for number, block in enumerate(blocks[1:], 1):
        header, _, rest = block.partition("\n")
        letters = re.sub(r"\s+", "", rest)
        if letters and not _SEQUENCE.fullmatch(letters):
            entries.append(Entry(f"{printable(file.name)}#{number}", "unreadable", "signs that are no letters"))
            continue
        yield number, header, letters


def changed_since(source: str, manifest: dict[str, str], request: TextRequest) -> dict[str, list[str]]:
    """The texts that are "changed", "missing" or "new" since the manifest was written."""
    now = read_texts(source, request).manifest
    return {
        "changed": sorted(name for name in now.keys() & manifest.keys() if now[name] != manifest[name]),
        "missing": sorted(manifest.keys() - now.keys()),
        "new": sorted(now.keys() - manifest.keys()),
    }


def rare_labels(table: TextTable) -> TextTable:
    """Without the texts whose label occurs once: nothing can be learned and tested of it. They are in the ledger."""
    counts = Counter(table.labels)
    lonely = {label for label, count in counts.items() if count == 1 and label}
    if not lonely or len(counts.keys() - lonely - {""}) < 2:
        return table
    kept = [place for place, label in enumerate(table.labels) if label not in lonely]
    entries = [
        Entry(table.names[place], "label-once", f"the label {printable(label)[:60]!r} occurs here alone")
        for place, label in enumerate(table.labels)
        if label in lonely
    ]
    return replace(
        table,
        texts=[table.texts[place] for place in kept],
        labels=[table.labels[place] for place in kept],
        names=[table.names[place] for place in kept],
        splits=[table.splits[place] for place in kept],
        entries=[*table.entries, *entries],
    )


def strangers(table: TextTable, classes: Sequence[str]) -> list[Entry]:
    """An entry for each text with a label that is none of the classes."""
    known = {"", *classes}
    return [
        Entry(name, "unknown-label", f"{label[:60]!r} is none of the classes")
        for name, label in zip(table.names, table.labels, strict=True)
        if label not in known
    ]
