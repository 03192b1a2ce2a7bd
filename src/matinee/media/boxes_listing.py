"""Which pictures a source has, and what its files say of the boxes on them.

Annotations/1.xml + JPEGImages/1.jpg (+ ImageSets/Main/train.txt)     PASCAL VOC
labels/train/1.txt + images/train/1.jpg (+ data.yaml)                 YOLO
label_2/1.txt + image_2/1.png                                         KITTI
annotations.json with images, annotations, categories                 COCO
boxes.csv with file, label and four sides                             a table
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from matinee.core.errors import DataError
from matinee.core.ledger import Entry
from matinee.media.boxes import Marked
from matinee.media.boxes_formats import (
    JSON_LIMIT,
    FormatError,
    coco,
    kitti,
    line_kind,
    looks_like_coco,
    text_of,
    voc,
    yaml_names,
    yolo,
)
from matinee.media.boxes_rows import looks_like_boxes, table
from matinee.media.picture_listing import SPLIT_WORDS, digest
from matinee.media.pictures import EXTENSIONS, PictureError, read_bytes
from matinee.media.walking import is_folder, printable, walk

EXPECTED = (
    "expected pictures and files that tell the boxes on them: Annotations/1.xml (PASCAL VOC), labels/1.txt (YOLO, "
    "KITTI), annotations.json (COCO), or boxes.csv with the columns file,label,left,top,right,bottom"
)
GLANCE = 500  # entries of a folder that are looked at for a first impression
GLANCE_FOLDERS = 40
HEAD = 65_536
TABLES = (".csv", ".tsv")
NAMES = ("classes.txt", "obj.names", "names.txt", "coco.names")
KNOWN = (".yaml", ".yml", *NAMES)
"""Files that say what classes are called, and who is in which split."""
ROOMS = {"labels", "label", "label_2", "images", "image", "image_2", "jpegimages", "annotations", "annotation", "imgs"}
"""Folders whose names say what kind of file lies there, not which one."""


@dataclass
class BoxListing:
    """The pictures of a source that something is said of. root: what their names are relative to."""

    root: str
    kind: str
    marked: list[Marked] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    stamp: str = ""


def fits(source: str) -> str | None:
    """In a few words why this looks like pictures with boxes, or None; looks at a few entries only."""
    try:
        if os.path.isfile(source):  # noqa: PTH113
            kind = _kind_of_file(source)
            return f"{kind} boxes" if kind in ("COCO", "CSV") else None
        if not os.path.isdir(source):  # noqa: PTH112
            return None
        todo, beside = [source], ""
        for _ in range(GLANCE_FOLDERS):
            if not todo:
                break
            folder = todo.pop(0)
            names, folders = _look(folder)
            for ending in (".xml", ".json", ".txt", *TABLES):
                first = [name for name in names if name.lower().endswith(ending)][:3]
                kinds = {_kind_of_file(os.path.join(folder, name)) for name in first}  # noqa: PTH118
                beside = beside or next((kind for kind in sorted(kinds) if kind), "")
            if beside:
                return f"{beside} boxes"
            todo += folders[:8]
    except (OSError, ValueError, DataError):
        return None
    return None


def _look(folder: str) -> tuple[list[str], list[str]]:
    names: list[str] = []
    folders: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for number, entry in enumerate(entries):
                if number >= GLANCE:
                    break
                if not entry.name.startswith("."):
                    (folders.append(entry.path) if is_folder(entry) else names.append(entry.name))
    except OSError:
        return [], []
    return sorted(names), sorted(folders)


def _kind_of_file(path: str) -> str:
    """ "VOC", "COCO", "CSV", "YOLO", "KITTI" or "", by the file's ending and first bytes."""
    lower = path.lower()
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD)
            if lower.endswith(".json"):
                file.seek(max(0, os.fstat(file.fileno()).st_size - HEAD))
                return "COCO" if looks_like_coco(head, file.read(HEAD)) else ""
    except OSError:
        return ""
    if lower.endswith(".xml"):
        return "VOC" if b"<annotation" in head and b"<" in head else ""
    if lower.endswith(TABLES):
        return "CSV" if looks_like_boxes(path, head) else ""
    if lower.endswith(".txt") and _is_label(lower.replace(os.sep, "/")):
        return {"yolo": "YOLO", "kitti": "KITTI"}.get(line_kind(head.decode("utf-8", "ignore")), "")
    return ""


def _is_label(name: str) -> bool:
    """Whether a text file lies in a folder for labels, or has a picture's place."""
    parts = name.split("/")
    return any(part.startswith(("label", "obj_train")) for part in parts[:-1])


def listed(source: str) -> BoxListing:
    """All pictures of a source with what is said of them. Raises DataError where nothing is."""
    if not os.path.exists(source):  # noqa: PTH110
        raise DataError(f"{printable(source)}: there is no such file or folder.")
    single = os.path.isfile(source)  # noqa: PTH113
    root = os.path.realpath(os.path.dirname(os.path.abspath(source)) if single else source)  # noqa: PTH100, PTH120
    found = walk(root)
    files = _Files(root, found.names)
    said = [os.path.basename(source)] if single else found.names  # noqa: PTH119
    kinds = _kinds(root, said)
    if not kinds:
        raise DataError(f"{printable(source)} tells no boxes: {EXPECTED}.")
    kind = next(kind for kind in ("COCO", "CSV", "VOC", "YOLO", "KITTI") if kind in kinds)
    listing = BoxListing(root, kind, entries=list(found.entries))
    listing.stamp = digest((kind, source if single else "", *found.facts))
    read = {"VOC": _voc, "YOLO": _lines, "KITTI": _lines, "COCO": _whole, "CSV": _whole}[kind]
    read(listing, files, kinds[kind])
    _remaining(listing, files, kinds[kind], single)
    if not listing.marked:
        first = f"; the first: {listing.entries[0].file}: {listing.entries[0].reason}" if listing.entries else ""
        raise DataError(f"{printable(source)}: no picture with boxes that can be used was found{first}.")
    return listing


class _Files:
    """The files of a source, and which picture a file that tells boxes means."""

    def __init__(self, root: str, names: Sequence[str]) -> None:
        self.root, self.names = root, names
        self.pictures = [name for name in names if os.path.splitext(name)[1].lower() in EXTENSIONS]  # noqa: PTH122
        self._known = set(self.pictures)
        self._stems: dict[str, list[str]] = {}
        for name in self.pictures:
            self._stems.setdefault(_stem(name), []).append(name)

    def read(self, name: str, limit: int = JSON_LIMIT) -> bytes:
        """Raises FormatError."""
        path = os.path.join(self.root, name)  # noqa: PTH118
        try:
            if os.path.getsize(path) > limit:  # noqa: PTH202
                raise FormatError(f"it has more than {limit:,} bytes")
            if limit <= HEAD << 8:
                return read_bytes(path)
            with open(path, "rb") as file:
                return file.read(limit)
        except (PictureError, OSError) as error:
            raise FormatError(f"it cannot be read ({error})") from None

    def picture_of(self, told: str, name: str) -> str:
        """The picture that a file `told` means by `name` (a path, or what the picture is called); "" for none.

        Of several of that name the one whose folders are most like those of the file that tells it.
        """
        plain = os.path.normpath(name.replace("\\", "/"))
        folder = told.rpartition("/")[0]
        for place in (os.path.normpath(os.path.join(folder, plain)), plain):  # noqa: PTH118
            if place in self._known:
                return place
        last = plain.rpartition("/")[2]
        named = os.path.splitext(last)[1].lower() in EXTENSIONS  # noqa: PTH122 - else a dot belongs to the name
        alike = self._stems.get(_stem(last) if named else last, [])
        if named:
            exact = [each for each in alike if each.rpartition("/")[2] == last]
            alike = exact or alike
        wanted = {part.lower() for part in (*folder.split("/"), *plain.split("/")[:-1])} - ROOMS
        return max(alike, key=lambda each: len(wanted & set(each.lower().split("/")[:-1])), default="")


def _stem(name: str) -> str:
    return os.path.splitext(name.rpartition("/")[2])[0]  # noqa: PTH122


def _kinds(root: str, names: Sequence[str]) -> dict[str, list[str]]:
    """Kind -> the files of that kind."""
    kinds: dict[str, list[str]] = {}
    for name in names:
        if name.lower().endswith((".xml", ".json", ".txt", *TABLES)):
            kind = _kind_of_file(os.path.join(root, name))  # noqa: PTH118
            if not kind and name.lower().endswith(".txt") and _is_label(name.lower()):
                kind = "empty"
            elif not kind and name.lower().endswith(".xml"):
                kind = "VOC"  # broken ones too: reading them says what is wrong
            kinds.setdefault(kind, []).append(name)
    kinds.pop("", None)
    empty = kinds.pop("empty", [])
    lines = [kind for kind in ("YOLO", "KITTI") if kind in kinds]
    if lines:  # a file of labels with no line says that nothing is to be found
        kinds[lines[0]] = sorted(kinds[lines[0]] + empty)
    return kinds


def split_of(name: str) -> int:
    """By the folders around a file, or its own name: train, val and test, also as train2017; -1 where none says."""
    folders = name.lower().split("/")
    for part in (*reversed(folders[:-1]), *re.split(r"[_.\-]", folders[-1])):
        word = part.rstrip("0123456789")
        if word in SPLIT_WORDS:
            return SPLIT_WORDS[word]
    return -1


def _add(listing: BoxListing, files: _Files, told: str, marked: Marked, name: str) -> None:
    """A picture of the listing, or an entry where it is not there or was told already."""
    marked.told, marked.name = told, files.picture_of(told, name)
    if not marked.name:
        listing.entries.append(Entry(printable(told), "missing", f"its picture ({printable(name)}) is not there"))
        return
    if marked.split < 0:
        marked.split = split_of(marked.name)
    listing.marked.append(marked)


def _voc(listing: BoxListing, files: _Files, names: Sequence[str]) -> None:
    splits = _image_sets(files)
    for name in names:
        try:
            marked, picture = voc(files.read(name, HEAD << 8))
        except FormatError as error:
            listing.entries.append(Entry(printable(name), "unreadable", str(error)))
            continue
        by_stem = files.picture_of(name, _stem(name))
        marked.split = splits.get(_stem(name), split_of(name))
        _add(listing, files, name, marked, by_stem or picture or _stem(name))


def _image_sets(files: _Files) -> dict[str, int]:
    """Stem -> split, from ImageSets/Main/train.txt and its like."""
    splits: dict[str, int] = {}
    for name in files.names:
        folder, _, last = name.lower().rpartition("/")
        if folder.endswith("imagesets/main") and (last.removesuffix(".txt") in SPLIT_WORDS):
            for line in files.read(name, HEAD << 8).decode("utf-8", "ignore").splitlines():
                word = line.split()
                if word:
                    splits[word[0]] = SPLIT_WORDS[last.removesuffix(".txt")]
    return splits


def _lines(listing: BoxListing, files: _Files, names: Sequence[str]) -> None:
    classes, places = _classes(files)
    for name in names:
        try:
            text = text_of(files.read(name, HEAD << 8), name)
        except FormatError as error:
            listing.entries.append(Entry(printable(name), "unreadable", str(error)))
            continue
        marked = yolo(text, classes) if listing.kind == "YOLO" else kitti(text)
        _add(listing, files, name, marked, _stem(name))
    for marked in listing.marked:
        said = [split for place, split in places if marked.name.startswith(place)]
        marked.split = min(said) if said else marked.split


def _classes(files: _Files) -> tuple[dict[str, str], list[tuple[str, int]]]:
    """Class number -> name, and the folders of the splits that a data file names."""
    for name in files.names:
        if name.lower().endswith((".yaml", ".yml")):
            names, said = yaml_names(files.read(name, HEAD << 4).decode("utf-8", "ignore"))
            if names:
                clean = {key: re.sub(r"^(\.{0,2}/)+", "", place) for key, place in said.items()}
                return names, [(place, SPLIT_WORDS[key]) for key, place in clean.items() if place]
    for name in files.names:
        if name.lower().rpartition("/")[2] in NAMES:
            lines = files.read(name, HEAD << 4).decode("utf-8", "ignore").splitlines()
            return {str(number): line.strip() for number, line in enumerate(lines) if line.strip()}, []
    return {}, []


def _whole(listing: BoxListing, files: _Files, names: Sequence[str]) -> None:
    """COCO files and tables: one for all pictures, or one for each split."""
    for name in names:
        try:
            raw = files.read(name)
            told = coco(raw) if listing.kind == "COCO" else table(name, text_of(raw, name))
        except FormatError as error:
            if len(names) == 1:
                raise DataError(f"{printable(name)}: {error}") from None
            listing.entries.append(Entry(printable(name), "unreadable", str(error)))
            continue
        for marked in told:
            said = marked.split if marked.split >= 0 else split_of(name)
            picture, marked.split = marked.name, said
            _add(listing, files, name, marked, picture)


def _remaining(listing: BoxListing, files: _Files, used: Sequence[str], single: bool) -> None:
    """Pictures that nothing is said of, told twice, and files that are neither, go to the ledger."""
    seen: dict[str, Marked] = {}
    kept: list[Marked] = []
    for marked in listing.marked:
        first = seen.setdefault(marked.name, marked)
        if first is marked:
            kept.append(marked)
        else:
            words = f"{printable(marked.told)} tells boxes of it, as {printable(first.told)} does"
            listing.entries.append(Entry(printable(marked.name), "duplicate-row", words))
    listing.marked = sorted(kept, key=lambda each: each.name)
    listing.entries += _unused(listing, files, set(used) | seen.keys(), single)


def _unused(listing: BoxListing, files: _Files, used: set[str], single: bool) -> Iterator[Entry]:
    pictures = set(files.pictures)
    for name in files.names:
        if name in used or name.lower().endswith(KNOWN) or "imagesets/" in name.lower():
            continue
        if name in pictures:
            if not single:  # beside one file there may be pictures of others
                reason = "no file tells what is on it (an empty one would say: nothing)"
                yield Entry(printable(name), "no-label", reason)
        elif not single:
            yield Entry(printable(name), "ignored", "neither a picture nor a file that tells boxes")
