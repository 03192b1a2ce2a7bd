"""Which picture belongs to which mask, by the names of files and folders alone.

Two files belong together if their names are equal once the words that only say "picture" or "mask" are taken away:

    train/a.jpg, trainannot/a.png                                  images/a.jpg, labels/a.png
    JPEGImages/a.jpg, SegmentationClass/a.png                      a.jpg, a_mask.png
    leftImg8bit/val/x/a_leftImg8bit.png, gtFine/val/x/a_gtFine_labelIds.png
    a.jpg, a.png                                                   (where nothing else says which is the mask)
"""

from __future__ import annotations

import itertools
import os
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from matinee.core.ledger import Entry
from matinee.media.picture_listing import SPLIT_WORDS
from matinee.media.pictures import EXTENSIONS
from matinee.media.walking import natural, printable

PICTURE_WORDS = {
    "701_stillsraw_full",  # CamVid, as its authors publish it
    *("images", "image", "imgs", "img", "pictures", "picture", "photos", "photo", "jpegimages", "leftimg8bit", "rgb"),
    *("frames", "inputs", "input", "raw", "x"),
}
MASK_WORDS = {
    "labeledapproved_full",
    *("masks", "mask", "labels", "label", "annotations", "annotation", "annots", "annot", "gt", "groundtruth"),
    *("ground_truth", "ground-truth", "gtfine", "segmentationclass", "segmentationclassaug", "segmentation"),
    *("segmentations", "seg", "semantic", "targets", "target", "y"),
    *("lbl", "lbls", "msk", "msks", "anno", "annos", "ann", "trimaps"),
}
OTHER_WORDS = frozenset(["segmentationobject", "instances", "instance", "depth", "disparity", "gtcoarse"])
_FOLDER = re.compile(
    r"(?P<rest>.*?)[ _-]?(?P<word>masks?|labels?|annots?|annotations?|gt|groundtruth|images?|imgs?)", re.IGNORECASE
)
_MASK_STEM = re.compile(
    r"(?P<rest>.+?)[_.-](?P<word>masks?|labels?|labelids|labeltrainids|gt|seg|segmentation|annot|annotation|l|"
    r"gtfine_labelids|gtfine_labeltrainids)",
    re.IGNORECASE,
)
_PICTURE_STEM = re.compile(r"(?P<rest>.+?)[_.-](?:leftimg8bit|image|img|rgb|sat)", re.IGNORECASE)
_OTHER_STEM = re.compile(r".+_(?:gtfine_color|gtfine_instanceids|instanceids|color)", re.IGNORECASE)
MASK_ENDINGS = frozenset((".png", ".bmp", ".tif", ".tiff", ".gif", ".pgm", ".ppm", ".webp"))
GLANCE, GLANCE_FOLDERS, DEPTH = 4_000, 24, 4  # entries of a folder, folders, and how deep, for a first impression
FEWEST = 0.5  # of the files that the names call masks must have a picture


_Key = tuple[str, ...]


@dataclass
class Pairs:
    """Pictures and their masks, relative names in natural order; splits: -1 not said, 0 train, 1 valid, 2 test.

    entries: pictures without a mask, masks without a picture, and what is neither.
    """

    pictures: list[str] = field(default_factory=list)
    masks: list[str] = field(default_factory=list)
    splits: list[int] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)


@dataclass(frozen=True)
class _Named:
    """What a name says. folder: "picture", "mask" or "other". place: the folders that tell pairs apart.

    stem: the name without its ending; short: without what says that it is a mask, or a picture, as well.
    """

    folder: str
    place: tuple[str, ...]
    stem: str
    short: str
    split: int

    @property
    def whole(self) -> _Key:
        return (*self.place, self.stem)

    @property
    def key(self) -> _Key:
        return (*self.place, self.short)


def pair(names: Sequence[str]) -> Pairs:
    """The pairs among these names (with "/" between folders), which may be of any files."""
    found, said = Pairs(), dict[str, _Named]()
    for name in names:
        path = PurePosixPath(name)
        if any(part.startswith(".") for part in path.parts):
            found.entries.append(Entry(printable(name), "ignored", "a hidden file"))
        elif path.suffix.lower() in EXTENSIONS:  # class lists and notes: whoever reads them says so
            said[name] = _said(path)
    pictures, masks = _sorted(said, found.entries)
    exact = {said[mask].whole: mask for mask in masks}
    short: dict[_Key, str] = {}
    for mask in masks:
        key = said[mask].key
        # Cityscapes has a mask with all numbers beside one with those that are learned.
        if key not in short or "trainids" in mask.lower():
            short[key] = mask
    used = set[str]()
    for name in sorted(pictures, key=natural):
        keys = (said[name].whole, said[name].key)
        mask = next((masks_[key] for key in keys for masks_ in (exact, short) if key in masks_), "")
        if not mask:
            found.entries.append(Entry(printable(name), "no-label", "there is no mask of this name"))
            continue
        used.add(mask)
        found.pictures.append(name)
        found.masks.append(mask)
        found.splits.append(max(said[name].split, said[mask].split))
    for mask in masks:
        if mask not in used:
            taken = short[said[mask].key]
            reason = f"another mask of the same picture is taken: {printable(taken)}"
            told = ("ignored", reason) if taken in used else ("no-picture", "there is no picture of this name")
            found.entries.append(Entry(printable(mask), *told))
    found.entries.sort(key=lambda entry: natural(entry.file))
    return found


def _sorted(said: Mapping[str, _Named], entries: list[Entry]) -> tuple[list[str], list[str]]:
    """Pictures and masks; what is neither is put into the entries."""
    pictures, masks = list[str](), list[str]()
    plain = {named.whole for named in said.values() if named.folder == "picture"}
    for name, named in said.items():
        # Outside folders of masks, a name that ends like a mask's is one only beside a picture of the name without.
        beside = named.short != named.stem and _MASK_STEM.fullmatch(named.stem) and named.key in plain
        if named.folder == "other":
            entries.append(Entry(printable(name), "ignored", "not the classes of pixels, by its name"))
        elif named.folder == "mask" or beside:
            masks.append(name)
        else:
            pictures.append(name)
    if not masks:  # where no name says mask: of a JPEG and a PNG of one name, the PNG is the mask
        twins: dict[_Key, list[str]] = {}
        for name in pictures:
            twins.setdefault(said[name].whole, []).append(name)
        for both in twins.values():
            lossless = [name for name in both if PurePosixPath(name).suffix.lower() in MASK_ENDINGS]
            if len(both) == 2 and len(lossless) == 1:
                masks += lossless
        pictures = [name for name in pictures if name not in set(masks)]
    return pictures, masks


def has_masks(root: str) -> bool:
    """Whether at least half of what the names in a folder call masks has a picture; not all names are looked at.

    Also where none has, but folders are called so: reading them says that their names do not agree.

    Raises OSError where the folder cannot be listed.
    """
    return _mostly_pairs(_glance(root))


def zip_has_masks(path: str) -> bool:
    """The same of a zip; False for any other file. Raises OSError where it cannot be opened."""
    if not path.lower().endswith(".zip") or not os.path.isfile(path):  # noqa: PTH113
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return _mostly_pairs(archive.namelist()[: GLANCE_FOLDERS * GLANCE])
    except (zipfile.BadZipFile, NotImplementedError):
        return False


def _mostly_pairs(names: Sequence[str]) -> bool:
    found = pair(sorted(names))
    lonely = sum(entry.kind == "no-picture" for entry in found.entries)
    if not found.pictures:  # no classes either: folders that say what they are, of files whose names do not agree
        folders = {part.lower() for name in names for part in PurePosixPath(name).parts[:-1]}
        return lonely > 0 and bool(folders & MASK_WORDS) and bool(folders & PICTURE_WORDS)
    return len(found.pictures) >= FEWEST * (len(found.pictures) + lonely)


def _glance(root: str) -> list[str]:
    names: list[str] = []
    todo = [("", 0)]
    for folder, depth in itertools.islice(todo, GLANCE_FOLDERS):  # grows on the way
        with os.scandir(os.path.join(root, folder)) as entries:  # noqa: PTH118
            some = [entry for entry in itertools.islice(entries, GLANCE) if entry.name[:1] != "."]
        prefix = folder + "/" if folder else ""
        names += [prefix + entry.name for entry in some if os.path.isfile(entry.path)]  # noqa: PTH113  a link in a circle is none
        if depth < DEPTH:
            todo += sorted((prefix + entry.name, depth + 1) for entry in some if os.path.isdir(entry.path))  # noqa: PTH112
    return names


def _said(path: PurePosixPath) -> _Named:
    kind, kept, split = "picture", [], -1
    for folder in path.parts[:-1]:
        word = folder.lower()
        if word in OTHER_WORDS:
            kind = "other"
        elif word in MASK_WORDS:
            kind = "mask" if kind != "other" else kind
        elif word not in PICTURE_WORDS:
            if (match := _FOLDER.fullmatch(word)) and match["rest"]:
                word = match["rest"]
                if not match["word"].startswith("im") and kind != "other":
                    kind = "mask"
            split = max(split, SPLIT_WORDS.get(word, -1))
            kept.append(word)
    if _OTHER_STEM.fullmatch(path.stem):
        kind = "other"
    match = _MASK_STEM.fullmatch(path.stem) or _PICTURE_STEM.fullmatch(path.stem)
    return _Named(kind, tuple(kept), path.stem, match["rest"] if match else path.stem, split)
