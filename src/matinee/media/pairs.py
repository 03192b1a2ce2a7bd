"""Pairs of texts, a source and what it is to become: files with a line for each other, and tables with two columns."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final

from matinee.core.errors import DataError
from matinee.core.ledger import Entry
from matinee.core.splits import TEST
from matinee.media import named
from matinee.media.records import BYTE_LIMIT, WIDE, Records, glance, read_records, split_of
from matinee.media.text_inputs import HALF
from matinee.media.walking import content_of, printable

_CODES: Final = (
    "af ar az be bg bn bs ca cs cy da de el en eo es et eu fa fi fr ga gl gu he hi hr hu hy id is it ja ka kk km kn ko "
    "la lb lt lv mk ml mn mr ms mt my nb ne nl nn no pa pl ps pt ro ru sa si sk sl so sq sr sv sw ta te th tl tr uk ur "
    "uz vi xh yi zh zu zh-cn zh-tw pt-br source target src tgt"
)
LANGUAGES: Final = frozenset(_CODES.split())
"""Endings of parallel files and names of columns that say a language."""
ROLES: Final = (("source", "target"), ("src", "tgt"))
"""Names that say the direction themselves."""
DOCUMENTS: Final = ("article", "document", "dialogue", "source", "src", "text")
SUMMARIES: Final = ("summary", "highlights", "abstract", "tldr", "target", "tgt")
LONG: Final = 3.0
"""A source so many times as long as its target, and of a sentence or more, is one to be summarised."""


@dataclass(frozen=True)
class PairRequest:
    """What the user said: direction ("de-en"), columns of a table, the test of several. summaries: long to short.

    most: characters of a source and of a target; what is longer is refused before anything is done with it.
    """

    direction: str = ""
    source_column: str = ""
    target_column: str = ""
    test: str = ""
    summaries: bool = False
    most: tuple[int, int] = (BYTE_LIMIT, BYTE_LIMIT)


@dataclass
class Pairs:
    """Texts with what they become.

    sources, targets: of each row its parts: sentences of a source, several targets of which each is right; never empty.
    names: `file#line`. splits: 0 train, 1 valid, 2 test, -1 unknown. digests: SHA-256 of each row, hex. direction: what
    was read, "de-en". most: as in `PairRequest`.
    """

    sources: list[tuple[str, ...]] = field(default_factory=list)
    targets: list[tuple[str, ...]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    splits: list[int] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    direction: str = ""
    most: tuple[int, int] = (BYTE_LIMIT, BYTE_LIMIT)

    def add(self, name: str, split: int, source: str, target: str) -> None:
        """A row, or a line in the ledger where one side is empty, too long or no text."""
        said, become = parts(source), parts(target)
        # The parts of a source are read together; of several targets each is one.
        lengths = sum(map(len, said)), max(map(len, become), default=0)
        for side, texts, length, most in zip(("source", "target"), (said, become), lengths, self.most, strict=True):
            if not texts:
                self.entries.append(Entry(name, "empty", f"the {side} is empty"))
                return
            if length > most:
                reason = f"the {side} has {length:,} characters, at most {most:,} are read"
                self.entries.append(Entry(name, "too-long", reason))
                return
            if any(HALF.search(text) for text in texts):
                self.entries.append(Entry(name, "not-utf-8", f"the {side} has half a character (a lone surrogate)"))
                return
        self.sources.append(said)
        self.targets.append(become)
        self.names.append(name)
        self.splits.append(split)
        self.digests.append(sha256(f"{source}\0{target}".encode()).hexdigest())

    def manifest(self) -> dict[str, str]:
        """Name of each row -> SHA-256 of it."""
        return dict(zip(self.names, self.digests, strict=True))


def parts(value: str) -> tuple[str, ...]:
    """The texts in a value: itself, or those of a JSON list; without the empty ones."""
    value = value.strip()
    if value.startswith("[") and value.endswith("]"):
        try:
            found = json.loads(value)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, list) and all(isinstance(each, str) for each in found):
            return tuple(each.strip() for each in found if each.strip())
    return (value,) if value else ()


def read_pairs(source: str, request: PairRequest) -> Pairs:
    """All pairs of a source. Raises DataError where there are none or where it must be said which way they go."""
    place = named.place_of(source, named.PAIRS)
    files = _parallel(Path(place))
    pairs = _read_parallel(files, request) if files else _read_table(place, request)
    if not pairs.sources:
        why = f"; the first: {pairs.entries[0].reason}" if pairs.entries else ""
        raise DataError(f"{printable(source)}: there is no pair that can be used{why}")
    return pairs


# -- files with a line for each other


def _parallel(folder: Path) -> dict[str, dict[str, Path]]:
    """Stem -> language -> file, of stems with two languages or more."""
    found: dict[str, dict[str, Path]] = {}
    try:
        paths = sorted(folder.iterdir()) if folder.is_dir() else []
    except OSError:
        return {}
    for path in paths:
        language = path.suffix[1:].lower()
        if language in LANGUAGES and path.is_file():
            found.setdefault(path.stem, {})[language] = path
    return {stem: files for stem, files in found.items() if len(files) > 1}


def _read_parallel(files: Mapping[str, Mapping[str, Path]], request: PairRequest) -> Pairs:
    languages = sorted(set.union(*(set(each) for each in files.values())))
    here, there = direction_of(languages, request.direction)
    pairs = Pairs(direction=f"{here}-{there}", most=request.most)
    wanted = {stem: each for stem, each in files.items() if here in each and there in each}
    if not wanted:
        raise DataError(f"no two files are called the same but for .{here} and .{there}")
    tests = [stem for stem in wanted if split_of(stem) == TEST]
    if request.test and request.test not in tests:
        raise DataError(f"--test {request.test}: there is no such test; there are {', '.join(tests) or 'none'}")
    chosen = request.test or (tests[0] if tests else "")
    for stem, each in wanted.items():
        if stem in tests and stem != chosen:
            pairs.entries.append(Entry(each[here].name, "ignored", f"another test; --test {stem} names it"))
            continue
        _add_lines(pairs, each[here], each[there], split_of(stem))
    return pairs


def _add_lines(pairs: Pairs, one: Path, other: Path, split: int) -> None:
    left, right = lines_of(one), lines_of(other)
    if len(left) != len(right):
        raise DataError(
            f"{printable(one.name)} has {len(left):,} lines and {printable(other.name)} {len(right):,}: line by line, "
            "each must be the translation of the other. Give both the same number of lines."
        )
    for number, (source, target) in enumerate(zip(left, right, strict=True), 1):
        name = f"{one.name}#{number}"
        if source is None or target is None:
            bad = one if source is None else other
            pairs.entries.append(Entry(f"{bad.name}#{number}", "not-utf-8", "bytes that are no UTF-8 text"))
            continue
        pairs.add(name, split, source, target)


def lines_of(path: Path) -> list[str | None]:
    """The lines of a text file; None for one that is not UTF-8. Raises DataError for a file that cannot be read."""
    raw = content_of(path, BYTE_LIMIT).removeprefix(b"\xef\xbb\xbf")
    if raw[:2] in WIDE:  # its lines cannot be told apart as bytes
        raw = raw.decode("utf-16", "replace").encode("utf-8", "replace")
    lines = raw.split(b"\n")
    found: list[str | None] = []
    for line in lines[:-1] if not lines[-1] else lines:
        try:
            found.append(line.decode("utf-8").replace("\0", " ").strip())
        except UnicodeDecodeError:
            found.append(None)
    return found


def direction_of(languages: Sequence[str], said: str) -> tuple[str, str]:
    """From which of these languages into which. Raises DataError where nothing tells, and says what to say."""
    known = ", ".join(languages)
    if said:
        for first in languages:
            for second in languages:
                if first != second and said.lower() in (f"{first}-{second}", f"{first}_{second}", f"{first}>{second}"):
                    return first, second
    for here, there in ROLES:
        if here in languages and there in languages:
            return here, there
    if said:
        example = f"{languages[0]}-{languages[-1]}"
        raise DataError(f"--direction {said}: there are the languages {known}. Say two of them, like {example}.")
    ways = [f"--direction {a}-{b}" for a in languages for b in languages if a != b]
    more = f" and so on ({len(ways)} ways)" if len(ways) > 6 else ""
    raise DataError(f"texts in {known} lie here. Say from which language into which: {' or '.join(ways[:6])}{more}.")


# -- tables


def _read_table(source: str, request: PairRequest) -> Pairs:
    if request.test:
        raise DataError(f"--test {request.test}: it names one of several parallel files, and here is a table.")
    records = read_records(source)
    here, there = _columns(records, request)
    direction = f"{records.header[here]}-{records.header[there]}".lower()
    pairs = Pairs(entries=list(records.entries), direction=direction, most=request.most)
    for values, name, split in zip(records.rows, records.names, records.splits, strict=True):
        pairs.add(name, split, values[here].replace("\0", " "), values[there].replace("\0", " "))
    return pairs


def _columns(records: Records, request: PairRequest) -> tuple[int, int]:
    """The places of the source's and the target's column. Raises DataError that says which there are."""
    lower = [name.strip().lower() for name in records.header]
    languages = [name for name in lower if name in LANGUAGES]
    if not request.summaries and not (request.source_column or request.target_column) and len(languages) > 1:
        first, second = direction_of(languages, request.direction)
        return lower.index(first), lower.index(second)
    sources, targets = (DOCUMENTS, SUMMARIES) if request.summaries else (("source", "src"), ("target", "tgt"))
    here = records.column(request.source_column, sources, flag="source_column", what="source")
    there = records.column(request.target_column, targets, flag="target_column", what="target")
    if here == there:
        raise DataError(
            f"source and target are the same column, {records.header[here]}. --target-column names another."
        )
    return here, there


# -- what a source looks like


@dataclass(frozen=True)
class Look:
    """What a first look at a source found: languages of parallel files or columns; whether targets are summaries."""

    words: str
    summaries: bool


def look(source: str) -> Look | None:
    """Whether a source holds pairs of texts, by its names and first rows. Quick."""
    if named.known(source, named.PAIRS):
        return Look(f"the data set {source}", False)
    files = _parallel(Path(source))
    if files:
        languages = sorted(set.union(*(set(each) for each in files.values())))
        stem, each = next(iter(files.items()))
        first, second = list(each.values())[:2]
        short = Look(f"files with a line for each other: {stem}.{languages[0]}, {stem}.{languages[1]}", False)
        if not {"source", "src"} & set(languages):
            return short
        return Look(short.words, _is_long([_head(first)], [_head(second)]))
    records = glance(source)
    if records is None or not records.rows or not records.named:
        return None
    lower = [name.strip().lower() for name in records.header]
    roles = [(here, there) for here, there in ROLES if here in lower and there in lower]
    if roles:
        here, there = (lower.index(name) for name in roles[0])
        columns = list(zip(*records.rows, strict=True))
        said, become = columns[here], columns[there]
        if not _wordy(said) or not _wordy(become):
            return None
        return Look(f"a table with the columns {roles[0][0]} and {roles[0][1]}", _is_long(said, become))
    languages = [name for name in lower if name in LANGUAGES]
    if len(languages) > 1 and all(_wordy([row[lower.index(name)] for row in records.rows]) for name in languages):
        return Look(f"a table with columns in {', '.join(languages)}", False)
    document = next((name for name in DOCUMENTS if name in lower), "")
    summary = next((name for name in SUMMARIES if name in lower and name != document), "")
    if document and summary and _wordy([row[lower.index(summary)] for row in records.rows]):
        return Look(f"a table with the columns {document} and {summary}", True)
    return None


def _head(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(4096).split(b"\n")[0].decode("utf-8", "ignore")
    except OSError:
        return ""


def _wordy(values: Sequence[str]) -> bool:
    """Whether these are texts, mostly letters, and no mere numbers or names of things."""
    some = [" ".join(parts(value)) for value in values[:50]]
    return (
        sum(len(value) > 1 and 2 * len(re.findall(r"[^\W\d_]", value)) > len(value) for value in some) > len(some) / 2
    )


def _is_long(sources: Sequence[str], targets: Sequence[str]) -> bool:
    said = sum(len(" ".join(parts(each))) for each in sources[:50])
    become = sum(len(parts(each)[0]) if parts(each) else 0 for each in targets[:50])
    return said > LONG * max(1, become) and said > 100 * min(50, len(sources))
