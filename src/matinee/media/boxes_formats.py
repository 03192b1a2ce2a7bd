"""What one file says of boxes, as PASCAL VOC, YOLO, KITTI and COCO write it. Nothing in a file is run or expanded."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from xml.parsers import expat

from matinee.core.errors import DataError
from matinee.media.boxes import Box, Marked
from matinee.media.records import WIDE

XML_LIMIT = 1 << 24  # bytes of one file; a picture with ten thousand boxes has three million
DEEPEST = 50  # elements within elements
KITTI_WIDTH = 15  # words of a line; 16 with a score
UNASKED = ("dontcare", "ignore", "ignored")  # KITTI's word for regions that nobody counted, and its kin


class FormatError(DataError):
    """A file that is not what its place says it is."""


# -- PASCAL VOC


def voc(raw: bytes) -> tuple[Marked, str]:
    """What an annotation in XML says, and the picture's file name in it. Raises FormatError.

    A document that declares entities is refused: they can make gigabytes of a few bytes.
    """
    tree = xml_tree(raw)
    if tree[0] != "annotation":
        raise FormatError(f"its first element is <{tree[0][:40]}>, not <annotation>")
    marked = Marked("")
    size = _child(tree, "size")
    if size is not None:
        marked.size = (_number(_text(size, "width")) or 0.0, _number(_text(size, "height")) or 0.0)
    for number, each in enumerate((child for child in tree[1] if child[0] == "object"), 1):
        place, label = _child(each, "bndbox"), _text(each, "name")
        sides = [_number(_text(place, side)) if place else None for side in ("xmin", "ymin", "xmax", "ymax")]
        if not label or any(side is None for side in sides):
            marked.notes.append(f"object {number} has no name, or not four sides; it is left out")
            continue
        difficult = _text(each, "difficult") == "1"
        left, top, right, bottom = (side or 0.0 for side in sides)
        marked.boxes.append(Box(label, (left, top, right, bottom), difficult, f"object {number}"))
    return marked, _text(tree, "filename")


Element = tuple[str, list[Any], list[str], Mapping[str, str]]  # name, children, pieces of text, attributes


def xml_tree(raw: bytes) -> Element:
    """The first element of a document. Raises FormatError: where it declares entities, too."""
    if len(raw) > XML_LIMIT:
        raise FormatError(f"it has more than {XML_LIMIT:,} bytes")
    root: Element = ("", [], [], {})
    stack = [root]

    def begin(name: str, attributes: Mapping[str, str]) -> None:
        if len(stack) > DEEPEST:
            raise FormatError(f"its elements are nested deeper than {DEEPEST}")
        element: Element = (name, [], [], attributes)
        stack[-1][1].append(element)
        stack.append(element)

    def end(name: str) -> None:
        stack.pop()

    def refuse(*nothing: Any) -> None:
        raise FormatError("it declares entities, which are not expanded here")

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = begin, end
    parser.CharacterDataHandler = lambda words: stack[-1][2].append(words)
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(raw, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise FormatError(f"it is no XML that can be read ({error})") from None
    first: Element = root[1][0]
    return first


def _child(element: Element, name: str) -> Element | None:
    return next((child for child in element[1] if child[0] == name), None)


def _text(element: Element, name: str) -> str:
    child = _child(element, name)
    return "".join(child[2]).strip() if child is not None else ""


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None


# -- YOLO and KITTI: a line for each box


def yolo(text: str, names: Mapping[str, str], points: bool = False) -> Marked:
    """Lines of class number, centre, width and height as shares of the sides; or of a polygon, whose box is taken.

    points: what follows a box are points of the body in it, not the corners of a polygon.
    """
    marked = Marked("", size=(1.0, 1.0))
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words:
            continue
        values = [_number(word) for word in words[1:]]
        values = values[:4] if points else values
        polygon = len(values) >= 6 and len(values) % 2 == 0
        if any(value is None for value in values) or not (len(values) in (4, 5) or polygon):
            marked.notes.append(f"line {number} is not a class and four shares; it is left out")
            continue
        shares = [value or 0.0 for value in values]
        if polygon:
            sides = (min(shares[0::2]), min(shares[1::2]), max(shares[0::2]), max(shares[1::2]))
        else:
            x, y, width, height = shares[:4]
            sides = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        if max(map(abs, shares[:4])) > 2:
            marked.notes.append(f"line {number} has pixels where shares of the sides are expected; it is left out")
            continue
        if names and words[0] not in names:
            marked.notes.append(f"line {number} has the class {words[0][:20]}, which has no name; it is left out")
            continue
        marked.boxes.append(Box(names.get(words[0], words[0]), sides, where=f"line {number}"))
    return marked


def kitti(text: str) -> Marked:
    """Lines of a class, truncation, occlusion, angle, four sides in pixels, and seven numbers in space."""
    marked = Marked("")
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words:
            continue
        sides = [_number(word) for word in words[4:8]]
        if len(words) < KITTI_WIDTH or any(side is None for side in sides):
            marked.notes.append(f"line {number} is not a class and {KITTI_WIDTH - 1} numbers; it is left out")
            continue
        left, top, right, bottom = (side or 0.0 for side in sides)
        region = words[0].lower() in UNASKED
        # A region is for any class: which it stands for is known where all classes are.
        marked.boxes.append(Box("" if region else words[0], (left, top, right, bottom), region, f"line {number}"))
    return marked


def line_kind(text: str) -> str:
    """ "yolo", "kitti" or "", by the first line that is not empty."""
    words = next((line.split() for line in text.splitlines() if line.strip()), [])
    if len(words) >= KITTI_WIDTH and _number(words[0]) is None and all(_number(w) is not None for w in words[1:8]):
        return "kitti"
    numbers = [_number(word) for word in words]
    shares = len(words) >= 5 and words[0].isdigit() and None not in numbers
    return "yolo" if shares and all(abs(value or 0.0) <= 2 for value in numbers[1:]) else ""


def _key(line: str) -> tuple[str, str]:
    """What stands before a line's first colon and after it, without quotation marks and notes; "" where there is none.

    By hand: expressions take for ever over lines that are made for that.
    """
    name, colon, rest = line.partition(":")
    rest = rest.strip()
    if rest[:1] == "#":
        rest = ""
    elif rest[:1] not in tuple("[{\"'"):
        rest = rest.split(" #")[0].strip()
    return (_bare(name), rest) if colon else ("", "")


def yaml_names(text: str) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Class number -> name, and pairs of "train", "val" or "test" and where, from the few lines of a YOLO data file
    that matter.

    Lists, maps and numbered lines are understood; anything else in the file is passed over.
    """
    names: list[tuple[str, str]] = []
    places: list[tuple[str, str]] = []
    within = ""
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        key, value = _key(line)
        item = line.strip()
        if within and item.startswith("- ") and not line[:1].strip(" -"):
            if within == "names":
                names.append((str(len(names)), _bare(item[1:])))
            else:
                places.append((within, _bare(item[1:])))
        elif within == "names" and key and line[:1] in " \t":
            names.append((key, _bare(value)))
        else:
            within = key if key in ("names", "train", "val", "test") else ""
            if not within or not value:
                continue
            if value[0] in "[{":
                inline = _inline(text[text.index(value[0], text.index(line)) :])
                names = inline if within == "names" else names
                places += [(within, place) for _, place in inline if within != "names"]
            elif within != "names":
                places.append((within, _bare(value)))
            within = ""
    return dict(names), places


def _inline(text: str) -> list[tuple[str, str]]:
    body = text[1 : min((at for at in (text.find("]"), text.find("}")) if at > 0), default=len(text))]
    parts = [part.strip() for part in re.findall(r"""(?:[^,"'\n]|"[^"]*"|'[^']*')+""", body) if part.strip()]
    if text[:1] == "[":
        return [(str(number), _bare(part)) for number, part in enumerate(parts)]
    pairs = (part.partition(":") for part in parts)
    return [(key.strip(), _bare(name)) for key, _, name in pairs]


def _bare(word: str) -> str:
    word = word.strip()
    return word[1:-1] if len(word) > 1 and word[0] == word[-1] and word[0] in "\"'" else word.split(" #")[0].strip()


# -- COCO


def coco(raw: bytes) -> tuple[list[Marked], list[str]]:
    """What a COCO file says of each of its pictures, `name` as written there, and what it says of none. Raises
    FormatError.
    """
    try:
        whole = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"it is no JSON that can be read ({error})") from None
    parts = [whole.get(key) if isinstance(whole, dict) else None for key in ("images", "annotations", "categories")]
    if not all(isinstance(part, list) for part in parts):
        raise FormatError("it has not the lists images, annotations and categories")
    images, annotations, categories = ([each for each in part or () if isinstance(each, dict)] for part in parts)
    names = {each.get("id"): str(each.get("name", "")) for each in categories if _plain(each.get("id"))}
    found: dict[Any, Marked] = {}
    for each in images:
        if _plain(each.get("id")) and isinstance(each.get("file_name"), str):
            size = [_float(each.get(side)) or 0.0 for side in ("width", "height")]
            found[each["id"]] = Marked(each["file_name"], size=(size[0], size[1]))
    unnamed, lost = len(parts[0] or ()) - len(found), 0
    for number, each in enumerate(annotations, 1):
        image, label = each.get("image_id"), each.get("category_id")
        marked = found.get(image) if _plain(image) else None
        if marked is None:
            lost += 1
            continue
        sides, name = _sides(each.get("bbox")), names.get(label, "") if _plain(label) else ""
        if sides is None or not name:
            marked.notes.append(f"annotation {number} has no box or no class; it is left out")
            continue
        marked.boxes.append(
            Box(name, sides, bool(each.get("iscrowd") or each.get("ignore")), f"annotation {each.get('id', number)}")
        )
    notes = [f"{unnamed} images have no id of their own or no file_name"] if unnamed else []
    notes += [f"{lost} annotations are of images that it does not list"] if lost else []
    return list(found.values()), notes


def _float(value: object) -> float | None:
    """None for what is no number, or one that is larger than any float."""
    try:
        return float(value) if isinstance(value, int | float) else None
    except OverflowError:
        return None


def _plain(value: object) -> bool:
    return isinstance(value, int | str)


def _sides(box: object) -> tuple[float, float, float, float] | None:
    sides = [_float(side) for side in box] if isinstance(box, list) else []
    if len(sides) != 4 or None in sides:
        return None
    left, top, width, height = (side or 0.0 for side in sides)
    return left, top, left + width, top + height


def looks_like_coco(head: bytes, tail: bytes) -> bool:
    """By the first and the last bytes of a file; annotations often come last."""
    return b'"images"' in head + tail and b'"bbox"' in head + tail


def text_of(raw: bytes) -> str:
    """A small file as text, in UTF-8 or, by its mark, UTF-16. Raises FormatError."""
    try:
        return raw.decode("utf-16" if raw[:2] in WIDE else "utf-8-sig")
    except UnicodeDecodeError:
        raise FormatError("its text is not UTF-8; save the file as UTF-8") from None
