"""What a source of labelled pictures is: class folders, a zip, a manifest, arrays or a name."""

from __future__ import annotations

import itertools
import os
import zipfile
from pathlib import Path

from matinee.core.errors import DataError
from matinee.media import cifar, idx
from matinee.media.mask_names import has_masks, zip_has_masks
from matinee.media.named import FASHION_CLASSES, NAMES, locate
from matinee.media.picture_arrays import ArraySource, cifar_source, digits_source, idx_source
from matinee.media.picture_listing import EXPECTED, SPLIT_WORDS, Listing, list_folder, list_zip
from matinee.media.picture_manifest import ENDINGS, list_manifest, looks_like_pictures, mentions_pictures
from matinee.media.pictures import EXTENSIONS
from matinee.media.walking import is_folder, printable

GLANCE = 2_000  # entries of a folder that are looked at for a first impression
GLANCE_FOLDERS = 24


def recognise(source: str | Path, file_column: str = "", label_column: str = "") -> tuple[str, Listing | ArraySource]:
    """The absolute path (or name) of a source and its list of files, or its arrays, not yet read.

    A path that exists goes before a name. Raises DataError where the source is nothing that can be read as pictures.
    """
    path = os.fspath(source)
    classes: tuple[str, ...] = ()
    if path in NAMES and not os.path.exists(path):  # noqa: PTH110
        if path == "digits":
            return path, digits_source()
        classes = FASHION_CLASSES if path == "fashion-mnist" else ()
        path = locate(path)
    if not path or "\0" in path or not os.path.exists(path):  # noqa: PTH110
        raise DataError(
            f"{printable(path) or 'an empty name'}: there is no such file or folder, and no data set of that name "
            f"({', '.join(NAMES)})"
        )
    path = os.path.realpath(path)
    try:
        if os.path.isdir(path):  # noqa: PTH112
            return path, _folder(path, file_column, label_column, classes)
        return path, _file(path, file_column, label_column, classes)
    except OSError as error:
        raise DataError(f"{printable(path)} cannot be read: {error}") from error


def fits(source: str | Path) -> str | None:
    """In a few words why this looks like labelled pictures, or None; looks at a few entries only."""
    path = os.fspath(source)
    try:
        if path in NAMES and not os.path.exists(path):  # noqa: PTH110
            return f"the data set {path}"
        if os.path.isdir(path):  # noqa: PTH112
            return _glance(path)
        lower = path.lower()
        if not os.path.isfile(path):  # noqa: PTH113
            return None
        if lower.endswith(".zip"):
            return "a zip of class folders" if _zip_has_pictures(path) and not zip_has_masks(path) else None
        if idx.PATTERN.fullmatch(os.path.basename(path)):  # noqa: PTH119
            return "idx files"
        if lower.endswith((".tar.gz", ".tgz")) and "cifar" in os.path.basename(lower):  # noqa: PTH119
            return "CIFAR batches"
        return "a table of picture files and labels" if _is_table(path) else None
    except (OSError, ValueError, DataError):
        return None


def lacks(source: str | Path) -> str | None:
    """In one line what pictures without classes need, or None where there are none; looks at a few entries only."""
    path = os.fspath(source)
    name = printable(os.path.basename(os.path.normpath(path)))  # noqa: PTH119
    if os.path.splitext(path)[1].lower() in EXTENSIONS and os.path.isfile(path):  # noqa: PTH113, PTH122
        return "this is one picture. To learn from pictures, name a folder with a folder of them for each class."
    loose = _loose_pictures(path)
    if not loose:
        return None
    count = f"{loose:,} pictures" if loose < GLANCE else f"{GLANCE:,} pictures and more"
    return (
        f"{'1 picture' if loose == 1 else count} but no class folders. Put those of each class into a folder of its "
        f"own ({name.removesuffix('.zip')}/cat/1.jpg, {name.removesuffix('.zip')}/dog/2.jpg), or name their classes "
        "in a CSV file with the columns file and label."
    )


def _loose_pictures(path: str) -> int:
    """How many pictures lie right in a folder or a zip; at most GLANCE are counted."""
    try:
        if path.lower().endswith(".zip"):
            with zipfile.ZipFile(path) as archive:
                names = [name for name in archive.namelist() if "/" not in name]
        elif os.path.isdir(path):  # noqa: PTH112
            with os.scandir(path) as entries:
                names = [entry.name for entry in itertools.islice(entries, GLANCE) if not entry.name.startswith(".")]
        else:
            return 0
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return 0
    return sum(os.path.splitext(name)[1].lower() in EXTENSIONS for name in names[:GLANCE])  # noqa: PTH122


def _folder(path: str, file_column: str, label_column: str, classes: tuple[str, ...]) -> Listing | ArraySource:
    if idx.find_pairs(path):
        return idx_source(path, classes)
    if cifar.is_folder(path):
        return cifar_source(path)
    table = _table_of(path, bool(file_column or label_column))
    if table:
        return list_manifest(table, file_column, label_column)
    return list_folder(path)


def _file(path: str, file_column: str, label_column: str, classes: tuple[str, ...]) -> Listing | ArraySource:
    lower = path.lower()
    if lower.endswith(".zip"):
        return list_zip(path)
    if idx.PATTERN.fullmatch(os.path.basename(path)):  # noqa: PTH119
        return idx_source(path, classes)
    if lower.endswith((".tar.gz", ".tgz")):
        return cifar_source(path)
    if lower.endswith(ENDINGS):
        return list_manifest(path, file_column, label_column)
    if cifar.BATCH.fullmatch(os.path.basename(path)):  # noqa: PTH119
        return cifar_source(os.path.dirname(path))  # noqa: PTH120
    raise DataError(f"{printable(path)} is no source of labelled pictures: {EXPECTED.format(root='photos')}")


def _table_of(path: str, asked: bool) -> str:
    """The manifest that speaks for a folder: metadata.csv, or the only table beside loose pictures; else ""."""
    tables: list[str] = []
    folders: list[str] = []
    loose = False
    with os.scandir(path) as entries:
        for entry in entries:
            ending = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122
            if entry.name.startswith("."):
                continue
            if is_folder(entry):
                folders.append(entry.name.lower())
            elif ending in ENDINGS:
                tables.append(entry.name)
            else:
                loose = loose or ending in EXTENSIONS
    named = [name for name in sorted(tables) if name.lower().startswith("metadata.")]
    chosen = named if len(named) == 1 else tables
    if len(chosen) != 1:
        return ""
    table = os.path.join(path, chosen[0])  # noqa: PTH118
    # A lone table beside several class folders is more likely a note about them.
    speaks = named or loose or (len(folders) <= 1 and not SPLIT_WORDS.keys() & set(folders))
    return table if asked or (speaks and looks_like_pictures(table)) else ""


def _is_table(path: str) -> bool:
    return path.lower().endswith(ENDINGS) and (looks_like_pictures(path) or mentions_pictures(path))


def _zip_has_pictures(path: str) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()[: 10 * GLANCE]
    except (zipfile.BadZipFile, NotImplementedError):
        return True  # reading it says what is wrong with it
    return any("/" in name and os.path.splitext(name)[1].lower() in EXTENSIONS for name in names)  # noqa: PTH122


def _glance(path: str) -> str | None:
    if idx.find_pairs(path):
        return "idx files"
    if cifar.is_folder(path):
        return "CIFAR batches"
    if _table_of(path, False):
        return "a table of picture files and labels"
    if has_masks(path):
        return None  # folders of pictures and of their masks are no classes
    todo = [(path, 0)]
    for _ in range(GLANCE_FOLDERS):
        if not todo:
            break
        folder, depth = todo.pop()
        pictures, folders = _look(folder)
        if pictures and depth >= 1:
            return "class folders"
        # The deepest first: one picture in a class folder is enough.
        todo += [(name, depth + 1) for name in reversed(folders[:8])]
    return None


def _look(folder: str) -> tuple[bool, list[str]]:
    folders: list[str] = []
    pictures = False
    try:
        with os.scandir(folder) as entries:
            for number, entry in enumerate(entries):
                if number >= GLANCE:
                    break
                if entry.name.startswith("."):
                    continue
                if is_folder(entry):
                    folders.append(entry.path)
                elif os.path.splitext(entry.name)[1].lower() in EXTENSIONS:  # noqa: PTH122
                    pictures = True
    except OSError:
        return False, []
    return pictures, folders
