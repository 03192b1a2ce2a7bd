"""What one file says of boxes, as CVAT and LabelMe write it. Polygons, ellipses and circles become their boxes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from matinee.media.boxes import Box, Marked
from matinee.media.boxes_formats import FormatError, xml_tree

Sides = tuple[float, float, float, float]


def looks_like_cvat(head: bytes) -> bool:
    """Whether a file in XML begins as CVAT's do."""
    return b"<annotations>" in head


def looks_like_labelme(head: bytes, tail: bytes) -> bool:
    """Whether a file in JSON has the keys of LabelMe's; the picture itself may stand between them."""
    return b'"shapes"' in head + tail and b'"imagePath"' in head + tail


def cvat(raw: bytes) -> tuple[list[Marked], list[str]]:
    """What CVAT's XML for images says of each, and what it says of none. Raises FormatError."""
    tree = xml_tree(raw)
    found: list[Marked] = []
    for _, shapes, _, said in (child for child in tree[1] if child[0] == "image"):
        size = (_number(said.get("width")), _number(said.get("height")))
        marked = Marked(said.get("name", ""), size=(0.0, 0.0) if math.isnan(sum(size)) else size)
        for number, (kind, _, _, told) in enumerate((shape for shape in shapes if shape[0] != "tag"), 1):
            sides = _cvat_sides(kind, told)
            if sides is None or not told.get("label"):
                marked.notes.append(f"shape {number} ({kind[:20]}) has no label or no box; it is left out")
                continue
            marked.boxes.append(Box(told["label"], sides, where=f"shape {number}"))
        found.append(marked)
    tracks = sum(child[0] == "track" for child in tree[1])
    notes = [f"{tracks:,} tracks in a film are left out: export them as images"] if tracks else []
    return found, notes


def _cvat_sides(kind: str, told: Mapping[str, str]) -> Sides | None:
    """The upright box around a shape; None for one that has none."""
    if kind == "box":
        sides = [_number(told.get(side)) for side in ("xtl", "ytl", "xbr", "ybr")]
        turn = math.radians(_number(told.get("rotation", "0")))
        x, y = (sides[0] + sides[2]) / 2, (sides[1] + sides[3]) / 2
        wide, high = (sides[2] - sides[0]) / 2, (sides[3] - sides[1]) / 2
        if turn:
            cosine, sine = abs(math.cos(turn)), abs(math.sin(turn))
            wide, high = wide * cosine + high * sine, wide * sine + high * cosine
        return _whole((x - wide, y - high, x + wide, y + high))
    if kind == "ellipse":
        x, y, wide, high = (_number(told.get(name)) for name in ("cx", "cy", "rx", "ry"))
        return _whole((x - wide, y - high, x + wide, y + high))
    if kind == "polygon":
        return _around([point.split(",") for point in told.get("points", "").split(";")])
    return None


def labelme(raw: bytes) -> tuple[list[Marked], list[str]]:
    """What LabelMe's JSON says of its one picture. Raises FormatError."""
    try:
        whole = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"it is no JSON that can be read ({error})") from None
    if not isinstance(whole, dict) or not isinstance(whole.get("shapes"), list):
        raise FormatError("it has no list of shapes")
    size = (_number(whole.get("imageWidth")), _number(whole.get("imageHeight")))
    marked = Marked(str(whole.get("imagePath") or ""), size=(0.0, 0.0) if math.isnan(sum(size)) else size)
    for number, shape in enumerate(whole["shapes"], 1):
        told = shape if isinstance(shape, dict) else {}
        points, kind = told.get("points"), told.get("shape_type") or "polygon"
        sides = _around(points) if isinstance(points, list) and kind in ("polygon", "rectangle", "circle") else None
        if sides and points and kind == "circle":  # the middle and a point of the edge
            (x, y), edge = map(_number, points[0]), [_number(each) for each in points[1]]
            far = math.dist((x, y), edge)
            sides = _whole((x - far, y - far, x + far, y + far))
        if sides is None or not isinstance(told.get("label"), str) or not told["label"].strip():
            marked.notes.append(f"shape {number} ({str(kind)[:20]}) has no label or is no area; it is left out")
            continue
        marked.boxes.append(Box(told["label"].strip(), sides, where=f"shape {number}"))
    return [marked], []


def _around(points: Sequence[Any]) -> Sides | None:
    """The box around points (x, y); None where there are less than two, or one is none."""
    if len(points) < 2 or not all(isinstance(point, list) and len(point) == 2 for point in points):
        return None
    across, down = [_number(x) for x, _ in points], [_number(y) for _, y in points]
    return _whole((min(across), min(down), max(across), max(down))) if _whole((sum(across), sum(down), 0, 0)) else None


def _whole(sides: Sides) -> Sides | None:
    return sides if all(map(math.isfinite, sides)) else None


def _number(value: object) -> float:
    """NaN for what is no number."""
    try:
        return float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        return math.nan
