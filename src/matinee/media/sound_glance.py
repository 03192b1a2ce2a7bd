"""A first look at a source: whether it holds labelled sounds, by a few of its entries."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from matinee.core.errors import DataError
from matinee.media.picture_listing import TEST, VALID
from matinee.media.records import WIDE
from matinee.media.sound_tables import FILE_COLUMNS, LABELS, TABLES
from matinee.media.sounds import EXTENSIONS
from matinee.media.walking import is_folder

LISTS: Final = {"validation_list.txt": VALID, "testing_list.txt": TEST}
"""Files that name the sounds of a split, a line each (Speech Commands, Warden, 2018, arXiv 1804.03209)."""
MOST: Final = 2_000  # entries of a folder that are read
FOLDERS: Final = 24
SPOKEN: Final = (".scp", ".textgrid")
"""Beside sounds, these hold what is said in them: then they are something else than examples of classes."""
WRITTEN: Final = (".txt", ".lab", ".trn")
"""These may do so too, or tell who recorded them."""
MANY: Final = 3  # texts in a folder of their own
BEGINNING: Final = 65_536  # bytes of a file


def fits(source: str | Path) -> str | None:
    """In a few words why this looks like labelled sounds, or None; looks at a few entries only."""
    path = Path(source)
    try:
        if path.is_dir():
            return _glance(path)
        if path.suffix.lower() == ".zip":
            return "a zip of sounds" if _zip_has_sounds(path) else None
        if path.suffix.lower() in TABLES and path.is_file() and _speaks_of_sounds(path, set()):
            return "a table of sound files and labels"
    except (OSError, ValueError, DataError):
        return None
    return None


@dataclass
class _Shelf:
    """What lies in one folder: stems of sounds, texts, tables, folders."""

    sounds: set[str] = field(default_factory=set)
    texts: list[Path] = field(default_factory=list)
    tables: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    spoken: bool = False

    def transcribed(self) -> bool:
        """Whether its texts hold what is said: many without a sound, or such as are called like sounds or name them."""
        if self.spoken or not self.texts:
            return self.spoken
        if not self.sounds:
            return len(self.texts) >= MANY
        alike = sum(text.stem.lower() in self.sounds for text in self.texts)
        return alike * 2 > len(self.texts) or any(_names(text, self.sounds) for text in self.texts[:4])


def _glance(root: Path) -> str | None:
    todo, spoken, tables, shelves, loose = [(root, 0)], False, [], 0, False
    known: set[str] = set()
    for _ in range(FOLDERS):
        if not todo:
            break
        folder, depth = todo.pop()
        shelf = _look(folder)
        known |= shelf.sounds
        tables += shelf.tables
        todo += [(inner, depth + 1) for inner in shelf.folders]
        spoken = spoken or (shelf.transcribed() if depth else shelf.spoken)
        shelves += bool(shelf.sounds) and depth > 0
        loose = loose or (bool(shelf.sounds) and depth == 0)
    if not shelves and not loose:
        return None
    if any(_speaks_of_sounds(table, known) for table in tables[:8]):
        return "a table of sound files and labels"
    if spoken or (tables and shelves < 2):
        return None
    return "class folders of sounds" if shelves > 1 and not loose else "a folder of sounds"


def _look(folder: Path) -> _Shelf:
    shelf = _Shelf()
    with os.scandir(folder) as entries:
        for number, entry in enumerate(entries):
            if number >= MOST:
                break
            stem, ending = os.path.splitext(entry.name.lower())  # noqa: PTH122
            if entry.name.startswith("."):
                continue
            if is_folder(entry):
                shelf.folders.append(Path(entry.path))
            elif ending in EXTENSIONS:
                shelf.sounds.add(stem)
            elif ending in TABLES:
                shelf.tables.append(Path(entry.path))
            elif ending in WRITTEN and entry.name.lower() not in LISTS:
                shelf.texts.append(Path(entry.path))
            shelf.spoken = shelf.spoken or ending in SPOKEN
    return shelf


def _beginning(path: Path) -> str:
    with path.open("rb") as file:
        raw = file.read(BEGINNING)
    return raw.decode("utf-16" if raw[:2] in WIDE else "utf-8-sig", "ignore").lower()


def _names(text: Path, sounds: set[str]) -> bool:
    """Whether lines begin with names of sounds, two or the only one, as those of a transcript do."""
    words = [line.split(maxsplit=1)[0] for line in _beginning(text).splitlines() if line.strip()]
    return sum(word in sounds or os.path.splitext(word)[0] in sounds for word in words) >= min(2, len(sounds))  # noqa: PTH122


def _speaks_of_sounds(path: Path, sounds: set[str]) -> bool:
    """Whether a table has a column of labels, and names sounds by their endings or those that were seen by their stems.

    Reads only the beginning of it.
    """
    if path.suffix.lower() == ".parquet":
        return False
    text = _beginning(path)
    words = set(re.split(r"[^a-z_]+", text.partition("\n")[0]))
    if not words & set(LABELS):
        return False
    if words & set(FILE_COLUMNS) and any(
        f"{ending}{end}" in text for ending in EXTENSIONS for end in (",", "\t", ";", '"', "\n", "\r")
    ):
        return True
    rows = [re.split(r"[,;\t]", line) for line in text.splitlines()[1:100]]
    named = {cell for row in rows for cell in row if os.path.splitext(cell.strip('"'))[0] in sounds}  # noqa: PTH122
    return bool(rows) and len(named) * 2 > len(rows)


def _zip_has_sounds(path: Path) -> bool:
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()[: 10 * MOST]
    except (zipfile.BadZipFile, NotImplementedError):
        return False  # whoever reads any zip says what is wrong with it
    return any(os.path.splitext(name)[1].lower() in EXTENSIONS for name in names)  # noqa: PTH122
