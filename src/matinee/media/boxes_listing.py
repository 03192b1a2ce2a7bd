"""Which pictures a source has, and what its files say of the boxes on them.

Annotations/1.xml + JPEGImages/1.jpg (+ ImageSets/Main/train.txt)     PASCAL VOC
labels/train/1.txt + images/train/1.jpg (+ data.yaml)                 YOLO
label_2/1.txt + image_2/1.png                                         KITTI
annotations.json with images, annotations, categories                 COCO
annotations.xml of CVAT; 1.json of LabelMe beside 1.jpg
boxes.csv with file, label and four sides                             a table
"""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from matinee.core.errors import DataError
from matinee.core.ledger import Entry
from matinee.media.boxes import Marked
from matinee.media.boxes_files import (
    HEAD,
    SMALL,
    Files,
    in_label_folder,
    sources_root,
    split_around,
    split_of,
    stem_of,
)
from matinee.media.boxes_formats import (
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
from matinee.media.boxes_tools import cvat, labelme, looks_like_cvat, looks_like_labelme
from matinee.media.picture_listing import SPLIT_WORDS, digest
from matinee.media.pictures import BROKEN
from matinee.media.walking import is_folder, printable

EXPECTED = (
    "expected pictures and files that tell the boxes on them: Annotations/1.xml (PASCAL VOC), labels/1.txt (YOLO, "
    "KITTI), annotations.json (COCO), those of CVAT and LabelMe, or boxes.csv with the columns "
    "file,label,left,top,right,bottom"
)
GLANCE = 500  # entries of a folder that are looked at for a first impression
GLANCE_FOLDERS = 40
KINDS = ("COCO", "CSV", "VOC", "YOLO", "KITTI", "CVAT", "LabelMe")
"""Where files of several kinds tell as much, the first of them is taken."""
TABLES = (".csv", ".tsv")
YAML = (".yaml", ".yml")
ENDINGS = (".xml", ".json", ".txt", *TABLES)
NAMES = ("classes.txt", "obj.names", "names.txt", "coco.names")
KNOWN = (*YAML, *NAMES)
"""Files that say what classes are called, and who is in which split."""


@dataclass
class BoxListing:
    """The pictures of a source that something is said of.

    root: what their names are relative to, or the zip whose entries number `places` they are.
    """

    root: str
    kind: str
    marked: list[Marked] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    stamp: str = ""
    archive: bool = False
    places: list[int] = field(default_factory=list)


def fits(source: str) -> str | None:
    """In a few words why this looks like pictures with boxes, or None; looks at a few entries only."""
    try:
        if source.lower().endswith(".zip") and os.path.isfile(source):  # noqa: PTH113
            return _zip_fits(source)
        if os.path.isfile(source):  # noqa: PTH113
            head, tail = _ends(source)
            if source.lower().endswith(YAML):
                classes, places = yaml_names(head.decode("utf-8", "ignore"))
                return "YOLO boxes" if classes and places else None
            kind = _kind_of(source, head, tail)
            return f"{kind} boxes" if kind in ("COCO", "CSV", "CVAT") else None
        if not os.path.isdir(source):  # noqa: PTH112
            return None
        todo = [source]
        for _ in range(GLANCE_FOLDERS):
            if not todo:
                break
            folder = todo.pop(0)
            names, folders = _look(folder)
            stems = {os.path.splitext(name)[0] for name in names if not name.lower().endswith(ENDINGS)}  # noqa: PTH122
            for ending in ENDINGS:
                for name in [name for name in names if name.lower().endswith(ending)][:3]:
                    path = os.path.join(folder, name)  # noqa: PTH118
                    label = in_label_folder(path.replace(os.sep, "/")) or os.path.splitext(name)[0] in stems  # noqa: PTH122
                    kind = _kind_of(name, *_ends(path), label)
                    if kind:
                        return f"{kind} boxes"
            todo += folders[:8]
    except (OSError, ValueError, DataError):
        return None
    return None


def _zip_fits(path: str) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            if not any(name.lower().endswith(ENDINGS) for name in archive.namelist()):
                return None
        with Files.of(path) as files:
            for ending in ENDINGS:
                for name in [name for name in files.names if name.lower().endswith(ending)][:5]:
                    kind = _kind_of(name, *files.ends(name), files.is_label(name))
                    if kind:
                        return f"a zip of {kind} boxes"
    except (*BROKEN, zipfile.BadZipFile, DataError):
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


def _ends(path: str) -> tuple[bytes, bytes]:
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD)
            file.seek(max(0, os.fstat(file.fileno()).st_size - HEAD))
            return head, file.read(HEAD)
    except OSError:
        return b"", b""


def _kind_of(name: str, head: bytes, tail: bytes, label: bool = False) -> str:
    """One of KINDS or "", by the ending of a file and its first and last bytes. label: it lies where labels do."""
    lower = name.lower()
    if lower.endswith(".json"):
        if looks_like_coco(head, tail):
            return "COCO"
        return "LabelMe" if looks_like_labelme(head, tail) else ""
    if lower.endswith(".xml"):
        plain = head.replace(b"\0", b"")
        return "CVAT" if looks_like_cvat(plain) else "VOC" if b"<annotation" in plain else ""
    if lower.endswith(TABLES):
        return "CSV" if looks_like_boxes(name, head) else ""
    if label and lower.endswith(".txt") and not lower.endswith(NAMES):
        return {"yolo": "YOLO", "kitti": "KITTI"}.get(line_kind(head.decode("utf-8-sig", "ignore")), "")
    return ""


def listed(source: str) -> BoxListing:
    """All pictures of a source with what is said of them. Raises DataError where nothing is."""
    root, single = sources_root(source)
    with Files.of(root) as files:
        kinds = _kinds(files, single or files.names)
        if not kinds:
            raise DataError(f"{printable(source)} tells no boxes: {EXPECTED}.")
        # Where there are files of several kinds, those that tell of most pictures.
        listings = [_read(files, kind, kinds[kind]) for kind in KINDS if kind in kinds]
        listing = max(listings, key=lambda each: len(each.marked))
        listing.stamp = digest((listing.kind, *single, files.stamp))
        _remaining(listing, files, kinds, bool(single))
        listing.places = [files.places[marked.name] for marked in listing.marked] if files.archive else []
    if not listing.marked:
        first = f"; the first: {listing.entries[0].file}: {listing.entries[0].reason}" if listing.entries else ""
        raise DataError(f"{printable(source)}: no picture with boxes that can be used was found{first}.")
    return listing


def _read(files: Files, kind: str, names: Sequence[str]) -> BoxListing:
    listing = BoxListing(files.root, kind, archive=files.archive)
    {"VOC": _voc, "YOLO": _lines, "KITTI": _lines}.get(kind, _whole)(listing, files, names)
    # What is wrong with single files first: it says why nothing could be used.
    listing.entries += files.entries
    return listing


def _kinds(files: Files, names: Sequence[str]) -> dict[str, list[str]]:
    """Kind -> the files of that kind."""
    kinds: dict[str, list[str]] = {}
    for name in names:
        lower = name.lower()
        if not lower.endswith(ENDINGS):
            continue
        head, tail = files.ends(name) if lower.endswith(".json") else (files.head(name), b"")
        label = lower.endswith(".txt") and files.is_label(name) and not lower.endswith(NAMES)
        kind = _kind_of(name, head, tail, label)
        if not kind and label:
            kind = "empty" if not head.strip() or in_label_folder(name) else ""
        elif not kind and lower.endswith(".xml"):
            kind = "broken"
        kinds.setdefault(kind, []).append(name)
    kinds.pop("", None)
    empty, broken = kinds.pop("empty", []), kinds.pop("broken", [])
    lines = [kind for kind in ("YOLO", "KITTI") if kind in kinds]
    if lines:  # a file of labels with no line says that nothing is to be found
        kinds[lines[0]] = sorted(kinds[lines[0]] + empty)
    if broken and (not kinds or "VOC" in kinds):  # reading them says what is wrong with them
        kinds["VOC"] = sorted(kinds.get("VOC", []) + broken)
    return kinds


def _add(listing: BoxListing, files: Files, told: str, marked: Marked, name: str) -> None:
    """A picture of the listing, or an entry where it is not there or was told already."""
    marked.told = told
    marked.name, why = files.picture_of(told, name)
    if not marked.name:
        listing.entries.append(Entry(printable(told), "missing", why))
        return
    if marked.split < 0:  # test_drive_7.jpg is no test: of pictures the folders say it
        marked.split = split_around(marked.name)
    listing.marked.append(marked)


def _text(listing: BoxListing, files: Files, name: str) -> str:
    """A small file as text, bytes that are no UTF-8 left out; "" with an entry where it cannot be read."""
    try:
        return files.read(name, SMALL).decode("utf-8-sig", "ignore")
    except FormatError as error:
        listing.entries.append(Entry(printable(name), "unreadable", str(error)))
        return ""


def _voc(listing: BoxListing, files: Files, names: Sequence[str]) -> None:
    splits = _image_sets(listing, files)
    for name in names:
        try:
            marked, picture = voc(files.read(name, SMALL))
        except FormatError as error:
            listing.entries.append(Entry(printable(name), "unreadable", str(error)))
            continue
        by_stem, _ = files.picture_of(name, stem_of(name))
        marked.split = splits.get(stem_of(name), split_around(name))
        _add(listing, files, name, marked, by_stem or picture or stem_of(name))


def _image_sets(listing: BoxListing, files: Files) -> dict[str, int]:
    """Stem -> split, from ImageSets/Main/train.txt and its like."""
    splits: dict[str, int] = {}
    for name in files.names:
        folder, _, last = name.lower().rpartition("/")
        if folder.endswith("imagesets/main") and (last.removesuffix(".txt") in SPLIT_WORDS):
            for line in _text(listing, files, name).splitlines():
                word = line.split()
                if word:
                    splits[word[0]] = SPLIT_WORDS[last.removesuffix(".txt")]
    return splits


def _lines(listing: BoxListing, files: Files, names: Sequence[str]) -> None:
    classes, places = _classes(listing, files)
    points, numbers = _has_points(listing, files), set[str]()
    for name in names:
        try:
            text = text_of(files.read(name, SMALL))
        except FormatError as error:
            listing.entries.append(Entry(printable(name), "unreadable", str(error)))
            continue
        marked = yolo(text, classes, points) if listing.kind == "YOLO" else kitti(text)
        numbers.update(line.split(maxsplit=1)[0] for line in text.splitlines() if line.strip())
        _add(listing, files, name, marked, stem_of(name))
    last = str(len(classes))
    if listing.kind == "YOLO" and "0" in classes and last not in classes and last in numbers and "0" not in numbers:
        raise DataError(
            f"{printable(listing.root)}: the labels have classes from 1 to {last}, and the list of their names counts "
            f"from 0 ({classes['0']}). Count from 0 in the labels, or put a name for 0 before the others."
        )
    for marked in listing.marked:
        said = [split for place, split in places if f"/{place}/" in f"/{marked.name}/"]
        marked.split = min(said) if said else marked.split


def _has_points(listing: BoxListing, files: Files) -> bool:
    """Whether a data file says that the lines have points of a body behind their boxes."""
    told = [_text(listing, files, name) for name in files.names if name.lower().endswith(YAML)]
    return any(line.startswith("kpt_shape") for text in told for line in text.splitlines())


def _classes(listing: BoxListing, files: Files) -> tuple[dict[str, str], list[tuple[str, int]]]:
    """Class number -> name, and the folders and pictures of the splits that a data file names."""
    for name in files.names:
        if name.lower().endswith(YAML):
            names, said = yaml_names(_text(listing, files, name))
            if names:
                return names, list(_said_places(listing, files, said))
    for name in files.names:
        if name.lower().rpartition("/")[2] in NAMES:
            lines = _text(listing, files, name).splitlines()
            return {str(number): line.strip() for number, line in enumerate(lines) if line.strip()}, []
    return {}, []


def _said_places(
    listing: BoxListing, files: Files, said: Sequence[tuple[str, str]]
) -> Iterator[tuple[str, int]]:  # fmt: skip
    for key, place in said:
        clean = re.sub(r"^(\.{0,2}/)+", "", place.replace("\\", "/")).strip("/")
        lists = [name for name in files.names if clean.endswith(".txt") and f"/{name}".endswith(f"/{clean}")]
        for name in lists[:1]:  # a list of pictures
            for line in _text(listing, files, name).splitlines():
                picture = files.picture_of(name, line.strip())[0] if line.strip() else ""
                if picture:
                    yield picture, SPLIT_WORDS[key]
        if clean and not lists:
            yield clean, SPLIT_WORDS[key]


def _whole(listing: BoxListing, files: Files, names: Sequence[str]) -> None:
    """COCO files and tables: one for all pictures, or one for each split; those of CVAT and LabelMe."""
    parse = {"COCO": coco, "CVAT": cvat, "LabelMe": labelme}
    for name in names:
        try:
            raw = files.read(name)
            told, notes = table(name, text_of(raw)) if listing.kind == "CSV" else parse[listing.kind](raw)
        except DataError as error:
            listing.entries.append(Entry(printable(name), "unreadable", str(error)))
            continue
        listing.entries += [Entry(printable(name), "event", note) for note in notes]
        for marked in told:
            said = marked.split if marked.split >= 0 else split_of(name)
            own = files.picture_of(name, stem_of(name))[0] if listing.kind == "LabelMe" else ""
            picture, marked.split = own or marked.name, said
            _add(listing, files, name, marked, picture)


def _remaining(listing: BoxListing, files: Files, kinds: dict[str, list[str]], single: bool) -> None:
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
    used = set(kinds[listing.kind])
    others = {name: kind for kind, names in kinds.items() if kind != listing.kind for name in names}
    for name, kind in others.items():
        words = f"it tells boxes as {kind} does; those of the {listing.kind} files are taken"
        listing.entries.append(Entry(printable(name), "ignored", words))
    listing.entries += _unused(files, used | seen.keys() | others.keys(), single)


def _unused(files: Files, used: Collection[str], single: bool) -> Iterator[Entry]:
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
