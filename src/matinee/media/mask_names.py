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
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from matinee.core.ledger import Entry
from matinee.media.picture_listing import SPLIT_WORDS
from matinee.media.pictures import EXTENSIONS
from matinee.media.walking import natural, printable

PICTURE_WORDS = {
    *("images", "image", "imgs", "img", "pictures", "picture", "photos", "photo", "jpegimages", "leftimg8bit", "rgb"),
    *("frames", "inputs", "input", "raw", "x"),
}
MASK_WORDS = {
    *("masks", "mask", "labels", "label", "annotations", "annotation", "annots", "annot", "gt", "groundtruth"),
    *("ground_truth", "ground-truth", "gtfine", "segmentationclass", "segmentationclassaug", "segmentation"),
    *("segmentations", "seg", "semantic", "targets", "target", "y"),
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
    """What a name says: "picture", "mask" or "other", the key that both halves of a pair share, and the split."""

    kind: str
    key: tuple[str, ...]
    split: int


def pair(names: Sequence[str]) -> Pairs:
    """The pairs among these names (with "/" between folders), which may be of any files."""
    found, pictures, masks, sides = Pairs(), {}, {}, {}
    for name in names:
        path = PurePosixPath(name)
        if any(part.startswith(".") for part in path.parts):
            found.entries.append(Entry(printable(name), "ignored", "a hidden file"))
        elif path.suffix.lower() not in EXTENSIONS:
            continue  # class lists and notes: whoever reads them says so
        else:
            sides[name] = said = _said(path)
            if said.kind == "other":
                found.entries.append(Entry(printable(name), "ignored", "not the classes of pixels, by its name"))
            elif said.kind == "mask":
                _prefer(masks, said.key, name, found.entries)
            else:
                pictures.setdefault(said.key, []).append(name)
    if not masks:
        _by_ending(pictures, masks)
    for key in sorted(pictures, key=lambda key: natural("/".join(key))):
        for name in pictures[key]:
            mask = masks.get(key)
            if mask is None:
                found.entries.append(Entry(printable(name), "no-label", "there is no mask of this name"))
                continue
            found.pictures.append(name)
            found.masks.append(mask)
            found.splits.append(max(sides[name].split, sides[mask].split))
    for key in masks.keys() - pictures.keys():
        found.entries.append(Entry(printable(masks[key]), "no-picture", "there is no picture of this name"))
    found.entries.sort(key=lambda entry: natural(entry.file))
    return found


def has_masks(root: str) -> bool:
    """Whether at least half of what the names in a folder call masks has a picture; not all names are looked at.

    Raises OSError where the folder cannot be listed.
    """
    found = pair(sorted(_glance(root)))
    lonely = sum(entry.kind == "no-picture" for entry in found.entries)
    return bool(found.pictures) and len(found.pictures) >= FEWEST * (len(found.pictures) + lonely)


def _glance(root: str) -> list[str]:
    names: list[str] = []
    todo = [("", 0)]
    for folder, depth in itertools.islice(todo, GLANCE_FOLDERS):  # grows on the way
        with os.scandir(os.path.join(root, folder)) as entries:  # noqa: PTH118
            some = [entry for entry in itertools.islice(entries, GLANCE) if entry.name[:1] != "."]
        prefix = folder + "/" if folder else ""
        names += [prefix + entry.name for entry in some if entry.is_file()]
        if depth < DEPTH:
            todo += sorted((prefix + entry.name, depth + 1) for entry in some if entry.is_dir())
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
    stem = path.stem
    if _OTHER_STEM.fullmatch(stem):
        kind = "other"
    elif match := _MASK_STEM.fullmatch(stem):
        # In a folder of pictures, a name that ends so is a mask; in one of masks, the ending says nothing more.
        kind, stem = ("mask" if kind != "other" else kind), match["rest"]
    elif match := _PICTURE_STEM.fullmatch(stem):
        stem = match["rest"]
    return _Named(kind, (*kept, stem), split)


def _prefer(masks: dict[tuple[str, ...], str], key: tuple[str, ...], name: str, entries: list[Entry]) -> None:
    """One mask for a key: that of the classes that are learned (Cityscapes has both), else the first."""
    other = masks.get(key)
    if other is None:
        masks[key] = name
        return
    better = "trainids" in name.lower() and "trainids" not in other.lower()
    kept, left = (name, other) if better else (other, name)
    masks[key] = kept
    entries.append(Entry(printable(left), "ignored", f"another mask of the same picture is taken: {printable(kept)}"))


def _by_ending(pictures: dict[tuple[str, ...], list[str]], masks: dict[tuple[str, ...], str]) -> None:
    """Where no name says mask: of a JPEG and a PNG of one name, the PNG is the mask."""
    for key, names in pictures.items():
        lossless = [name for name in names if name[name.rfind(".") :].lower() in MASK_ENDINGS]
        if len(names) == 2 and len(lossless) == 1:
            masks[key] = lossless[0]
            pictures[key] = [name for name in names if name != lossless[0]]
