"""Whether a source looks like a table of numbers, categories and dates, and not like what other tasks learn from."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from matinee.media.films import EXTENSIONS as FILMS
from matinee.media.pairs import LANGUAGES
from matinee.media.pictures import EXTENSIONS as PICTURES
from matinee.media.records import PLAIN_ENDINGS, SPLIT_COLUMNS, Records, glance
from matinee.media.sounds import EXTENSIONS as SOUNDS
from matinee.media.table_columns import CATEGORY, is_missing, kind_of
from matinee.media.table_samples import SAMPLES
from matinee.media.walking import printable

LEAST_ROWS: Final = 10
WORDS: Final = 5  # words in the mean value of a column of text
USERS: Final = frozenset({"user", "userid", "user_id", "username", "customer_id", "reviewerid", "session_id"})
ITEMS: Final = frozenset({"item", "itemid", "item_id", "movie", "movieid", "movie_id", "artistid", "artist_id", "asin",
                          "product_id", "book_id", "track_id", "song_id"})  # fmt: skip

_SEQUENCE: Final = re.compile(r"[ACGTUNacgtunRYSWKMBDHVryswkmbdhv-]{12,}")


def fits(source: str) -> str | None:
    """In a few words why this looks like a table to predict a column of, or None; looks at its first rows only."""
    if source in SAMPLES and not Path(source).exists():
        return f"the data set {source}"
    seen = glance(source)
    if seen is None or len(seen.header) < 2 or len(seen.rows) < LEAST_ROWS:
        return None
    if len(seen.entries) > 0.1 * len(seen.rows) or _of_another_kind(seen):
        return None
    columns = [[row[place] for row in seen.rows] for place in range(len(seen.header))]
    useful = [place for place, name in enumerate(seen.header) if name.lower() not in SPLIT_COLUMNS]
    kinds = [kind_of(columns[place]) for place in useful]
    if all(kind == CATEGORY for kind in kinds) and not any(_few(columns[place]) for place in useful):
        return None
    counts = Counter(kind.split("-")[0] for kind in kinds)
    plural = {"number": "numbers", "category": "categories", "date": "dates"}
    told = ", ".join(f"{count} of {plural[kind]}" for kind, count in counts.items())
    return f"a table with {'named' if seen.named else 'unnamed'} columns: {told}"


def lacks(source: str) -> str | None:
    """In one line why there is nothing to learn from in a table: too few rows or columns; None for what is no table."""
    seen = None if Path(source).suffix.lower() in PLAIN_ENDINGS else glance(source)
    if seen is None:
        return None
    columns = ", ".join(printable(name)[:40] for name in seen.header[:8]) + ", ..." * (len(seen.header) > 8)
    there = f"the column{'s'[: len(seen.header) > 1]} {columns}"
    if not seen.rows and not seen.entries:
        return f"a table with {there} and no row below them: there is nothing to learn from. Add the rows."
    if len(seen.entries) > 0.1 * len(seen.rows):
        return (
            f"a table with {there}, of whose first {len(seen.rows) + len(seen.entries):,} rows {len(seen.entries):,} "
            f"have not as many values ({printable(seen.entries[0].file)}: {seen.entries[0].reason}). Mend these lines."
        )
    if len(seen.header) < 2:
        return f"a table with {there} alone: there is nothing to learn it from. Add a column."
    if len(seen.rows) < LEAST_ROWS:
        rows = f"{len(seen.rows)} row{'s'[: len(seen.rows) > 1]}"
        return f"a table with {there} and {rows}: too few to learn from. Give it {LEAST_ROWS} rows at the least."
    return None


def _numbered(seen: Records) -> bool:
    """Whether the first two columns hold the numbers of things: whole ones, and many different of one of them."""
    pair = [[row[place] for row in seen.rows] for place in (0, 1)]
    many = max(len(set(words)) for words in pair) > min(10, len(seen.rows) // 4)
    return many and all(word.isdecimal() for words in pair for word in words)


def _written_together(said: Sequence[str]) -> bool:
    """Whether these are texts in a script without blanks between words."""
    return sum(sum(letter >= "\u2e80" for letter in word) for word in said) > WORDS * len(said)


def _few(column: Sequence[str]) -> bool:
    return 1 < len(set(column)) <= max(2, len(column) // 4)


def _of_another_kind(seen: Records) -> bool:
    """Pictures, films, sounds, users with items, texts, sequences of letters."""
    lower = {re.sub(r"[ .-]", "_", name.lower()) for name in seen.header}
    if lower & USERS and (lower & ITEMS or sum(name.endswith("id") for name in lower) > 1):
        return True
    spoken = [place for place, name in enumerate(seen.header) if name.strip().lower() in LANGUAGES]
    if len(spoken) > 1 and all(" " in row[place] for row in seen.rows[:LEAST_ROWS] for place in spoken):
        return True  # the same in several languages
    if not seen.named and len(seen.header) <= 4 and _numbered(seen):
        return True  # who, what and how much of it, as ratings are published
    for place in range(len(seen.header)):
        said = [row[place] for row in seen.rows if not is_missing(row[place])]
        if not said:
            continue
        if sum(Path(word).suffix.lower() in PICTURES | FILMS | SOUNDS for word in said) > 0.5 * len(said):
            return True
        long = sum(len(word.split()) for word in said) > WORDS * len(said)
        if (long or _written_together(said)) and len(set(said)) > 0.5 * len(said):
            return True
        if sum(_SEQUENCE.fullmatch(word.replace(" ", "")) is not None for word in said) > 0.5 * len(said):
            return True
    return False
