"""Which numbers and colours in masks mean which class: lists that come with a data set, and published ones."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from matinee.core.errors import DataError
from matinee.media.picture_listing import SPLIT_WORDS

VOID = 255
"""The number of a pixel that no class is learned from."""
MOST_CLASSES = 254
SOFT, MOSTLY = 16, 0.9
"""Black and white masks with soft edges: so near to either end lies at least this share of the pixels."""
STRAY = 0.001
"""Up to this share of the pixels, a number that is no class is a slip."""
VOID_WORDS = frozenset(
    ("void", "ignore", "ignored", "unlabelled", "unlabeled", "unknown", "out of roi", "don't care", "__ignore__")
)
FILES = (
    *("classes.txt", "class_names.txt", "codes.txt", "labels.txt", "label_names.txt", "labelmap.txt"),
    *("label_colors.txt", "class_dict.csv", "classes.csv", "labels.csv", "_classes.csv"),
)


@dataclass(frozen=True)
class ClassList:
    """ids: the number of each class in masks; names; colours: "#rrggbb" of each, or none at all.

    guessed: from the names of folders, not from a list that lies there.
    """

    ids: tuple[int, ...]
    names: tuple[str, ...]
    colours: tuple[str, ...] = ()
    guessed: bool = False


def _published(names: str, colours: str) -> ClassList:
    each = tuple(names.split(","))
    return ClassList(tuple(range(len(each))), each, tuple(f"#{colour}" for colour in colours.split()), guessed=True)


CAMVID = _published(
    "Sky,Building,Pole,Road,Pavement,Tree,SignSymbol,Fence,Car,Pedestrian,Bicyclist,Unlabelled",
    "808080 800000 c0c080 804080 3c28de 808000 c08080 404080 400080 404000 0080c0 000000",
)
CITYSCAPES = _published(
    "road,sidewalk,building,wall,fence,pole,traffic light,traffic sign,vegetation,terrain,sky,person,rider,car,truck,"
    "bus,train,motorcycle,bicycle",
    "804080 f423e8 464646 666699 be9999 999999 faaa1e dcdc00 6b8e23 98fb98 4682b4 dc143c ff0000 00008e 000046 003c64 "
    "005064 0000e6 770b20",
)
CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
VOC_NAMES = (
    "background,aeroplane,bicycle,bird,boat,bottle,bus,car,cat,chair,cow,diningtable,dog,horse,motorbike,person,"
    "pottedplant,sheep,sofa,train,tvmonitor"
)


def colour_of(number: int) -> str:
    """The colour that Pascal VOC gives a number: its bits, spread over red, green and blue from the top."""
    red = green = blue = 0
    for place in range(8):
        red |= (number >> (3 * place) & 1) << (7 - place)
        green |= (number >> (3 * place + 1) & 1) << (7 - place)
        blue |= (number >> (3 * place + 2) & 1) << (7 - place)
    return f"#{red:02x}{green:02x}{blue:02x}"


def published(masks: Sequence[str]) -> ClassList | None:
    """The classes of a data set whose folders are those it was published in, by the names of its masks."""
    first = masks[0].lower() if masks else ""
    folders = first.split("/")
    if "segmentationclass" in folders or "segmentationclassaug" in folders:
        names = tuple(VOC_NAMES.split(","))
        return ClassList(tuple(range(len(names))), names, tuple(map(colour_of, range(len(names)))), guessed=True)
    if first.endswith("_gtfine_labeltrainids.png"):
        return CITYSCAPES
    if first.endswith("_gtfine_labelids.png"):
        return replace(CITYSCAPES, ids=CITYSCAPES_IDS)
    if "trainannot" in folders or "testannot" in folders or "valannot" in folders:
        return CAMVID
    return None


def find_list(names: Sequence[str]) -> str:
    """The name of the class list that lies at the top of a folder, or in the one folder around all, or of
    a split, or ""."""
    tops = {name.partition("/")[0] for name in names}
    around = len(next(iter(tops))) + 1 if len(tops) == 1 and all("/" in name for name in names) else 0
    have = {name[around:].lower(): name for name in names if "/" not in name[around:]}
    # Some programs put the same list into each split.
    told = {name.rpartition("/")[2].lower(): name for name in names if name.partition("/")[0].lower() in SPLIT_WORDS}
    return next((there[name] for there in (have, told) for name in FILES if name in there), "")


def read_list(path: str) -> ClassList:
    """A file with a class a line, in one of the forms that people have. Raises DataError.

    The forms: `name`; `id name`, `id,name` or `id: name`; `r g b name` or `name,r,g,b`; `name:r,g,b::` (CVAT). Lines
    that begin with "#" and a line of titles are passed over. Without ids, classes are numbered as they stand.
    """
    try:
        return parse_list(Path(path).read_text("utf-8-sig"), path)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: this list of classes cannot be read ({error}).") from None


def parse_list(text: str, path: str) -> ClassList:
    """The same of the words of a file; `path` is told where something is wrong with them."""
    ids: list[int] = []
    names: list[str] = []
    colours: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#") or (number == 1 and _is_title(line)):
            continue
        place, name, colour = _line(line)
        if not name or not 0 <= (len(ids) if place is None else place) <= VOID:
            raise DataError(f"{path}, line {number}: {line.strip()[:60]!r} is no class. Write: name, or id name.")
        ids.append(len(ids) if place is None else place)
        names.append(name)
        colours.append(colour)
    if not names:
        raise DataError(f"{path}: there is no class in this list. Write one a line: name, or id name.")
    if len(set(ids)) < len(ids) or len(set(names)) < len(names):
        raise DataError(f"{path}: a class stands in this list twice.")
    return ClassList(tuple(ids), tuple(names), tuple(colours) if all(colours) else ())


def _is_title(line: str) -> bool:
    words = {word.strip().lower() for word in re.split(r"[,;\t ]+", line)}
    return bool(words & {"name", "class", "class_name", "label", "pixel value"}) and len(words) > 1


def _line(line: str) -> tuple[int | None, str, str]:
    """(id or None, name, colour or "")."""
    if match := re.fullmatch(r"([^:]+):(\d+),(\d+),(\d+):.*", line.strip()):  # CVAT
        return None, match[1].strip(), _hex(match.groups()[1:])
    cells = [cell.strip() for cell in next(csv.reader([line]))] if "," in line else line.split()
    numbers = [cell for cell in cells if cell.isascii() and cell.isdigit()]
    words = " ".join(cell for cell in cells if cell not in numbers).strip()
    if not words and len(cells) == 1:  # a class whose name is a number
        return None, cells[0], ""
    if len(numbers) >= 3:
        return (int(numbers[0]) if len(numbers) == 4 else None), words, _hex(numbers[-3:])
    if match := re.fullmatch(r"(\d+)\s*[:=]\s*(.+)", line.strip()):
        return int(match[1]), match[2].strip(), ""
    return (int(numbers[0]) if len(numbers) == 1 and cells[0] == numbers[0] else None), words, ""


def _hex(numbers: Sequence[str | None]) -> str:
    return "#" + "".join(f"{min(int(number or 0), 255):02x}" for number in numbers)


@dataclass(frozen=True)
class Classes:
    """What a task learns: names, the number of each in masks, colours to draw them in; ignored: other known numbers."""

    names: tuple[str, ...]
    ids: tuple[int, ...]
    colours: tuple[str, ...]
    ignored: tuple[int, ...]


def meant(counts: Sequence[int], listed: ClassList | None, coloured: bool) -> list[int]:
    """The numbers of masks that classes may have, of those that stand there. counts: pixels of each from 0 to 255.

    Black and white masks with soft edges, as pictures that were shrunk or compressed have, mean black and white.
    Raises DataError where a list without numbers seems to count from 1, and would be shifted by one.
    """
    present, whole = [number for number, count in enumerate(counts) if count], sum(counts)
    ends = sum(counts[:SOFT]) + sum(counts[VOID + 1 - SOFT :])
    soft = counts[0] and counts[VOID] and any(counts[VOID + 1 - SOFT : VOID]) and ends >= MOSTLY * whole
    if soft and not coloured and (not listed or listed.guessed or listed.ids == (0, 1)):
        return [0, VOID]
    after = len(listed.ids) if listed else 0
    if listed and not listed.guessed and not coloured and listed.ids == tuple(range(after)) and after < VOID:
        beyond = any(counts[after + 1 : VOID])
        if not beyond and counts[after] > STRAY * whole:
            raise DataError(
                f"the masks have the number {after}, and the list names {after} classes from 0 ({listed.names[0]}) to "
                f"{after - 1} ({listed.names[-1]}). If it counts from 1, write the numbers: 1 {listed.names[0]}, and "
                f"0 void for what no class has; else name {after} too."
            )
    return present


def decide(present: Sequence[int], listed: ClassList | None, mask_colours: Sequence[str], ignore: str) -> Classes:
    """The classes of a source.

    Args:
        present: the numbers that stand in its masks. listed: the classes that come with it.
        mask_colours: of masks in colours, the colour of each number.
        ignore: what the user does not want learned: numbers, names or colours, with commas; "": what usually is not.

    Raises DataError where nothing is left to tell apart, or `ignore` names what is not there.
    """
    if listed and listed.guessed and 4 * len(set(present) - {*listed.ids, VOID}) > len(present):
        listed = None  # the folders are called so, but what lies there is something else: not a stray pixel or two
    # Black and white, with two names at most: white is a class, and not what is left out.
    binary = set(present) == {0, VOID} and (not listed or listed.ids == (0, 1))
    if listed:
        names, ids = list(listed.names), [0, VOID] if binary else list(listed.ids)
    else:
        ids = [number for number in present if number != VOID or binary]
        names = ["background", "foreground"] if binary else [str(number) for number in ids]
    colours = listed.colours if listed else ()
    if mask_colours and not listed:
        names = [mask_colours[number] if number < len(mask_colours) else str(number) for number in ids]
        colours = tuple(names)
    drawn = dict(zip(ids, colours or map(colour_of, range(1, len(ids) + 1)), strict=False))
    left_out = set(_asked(ignore, ids, list(names), drawn, binary))
    kept = [(number, name) for number, name in zip(ids, names, strict=True) if number not in left_out]
    if len(kept) < 2 or len(kept) > MOST_CLASSES:
        found = ", ".join(name for _, name in kept) or "none"
        raise DataError(
            f"the masks have {len(kept)} class{'es' * (len(kept) != 1)} ({found[:80]}): there must be from 2 to "
            f"{MOST_CLASSES}. --ignore leaves classes out, --class-list names them."
        )
    return Classes(
        tuple(name for _, name in kept), tuple(number for number, _ in kept), tuple(drawn[n] for n, _ in kept),
        tuple(sorted(left_out | ({VOID} if not binary else set()))),
    )  # fmt: skip


def _asked(ignore: str, ids: Sequence[int], names: Sequence[str], colours: dict[int, str], binary: bool) -> list[int]:
    if not ignore.strip():
        return [number for number, name in zip(ids, names, strict=True) if name.lower() in VOID_WORDS]
    place = {name.lower(): number for number, name in zip(ids, names, strict=True)}
    place |= {colour: number for number, colour in colours.items()} | {str(number): number for number in ids}
    if not binary:
        place[str(VOID)] = VOID
    found = []
    for word in (part.strip().lower() for part in ignore.split(",")):
        if word not in place:
            raise DataError(f"--ignore {word}: there is no such class. The classes are {', '.join(names)[:200]}.")
        found.append(place[word])
    return found
