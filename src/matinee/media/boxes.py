"""What is said of the boxes on a picture, and what of it can be used.

A box is (left, top, right, bottom) in pixels of the upright picture, measured at the edges.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field

import numpy as np

from matinee.core.examples import Array, Examples

SMALLEST = 1.0  # pixels: a box with a shorter side shows nothing
ROUNDING = 2.0  # pixels that a box may reach out of its picture before that is worth a word
MOST = 2000  # boxes of one picture; each takes memory in every step that the picture is in
ALIKE = 0.02  # by how much the proportions of a picture may differ from those that were said


@dataclass(frozen=True)
class Box:
    """A box as a file tells it. region: things that nobody counted lie in it; nothing is asked there."""

    label: str
    sides: tuple[float, float, float, float]
    region: bool = False
    where: str = ""


@dataclass
class Marked:
    """A picture and what is said of it.

    name: relative to the root. told: the file that says so. size: (width, height) that the boxes are for, (0, 0) where
    that is not said, (1, 1) where they are shares of the sides. notes: what of that file could not be read.
    """

    name: str
    told: str = ""
    boxes: list[Box] = field(default_factory=list)
    split: int = -1
    size: tuple[float, float] = (0.0, 0.0)
    notes: list[str] = field(default_factory=list)

    def digest(self, picture: bytes) -> str:
        """SHA-256 in hex of the picture's own digest and all that is said of it."""
        said = [[box.label, *box.sides, box.region] for box in self.boxes]
        return hashlib.sha256(picture + json.dumps([said, list(self.size)]).encode()).hexdigest()


def usable(marked: Marked, size: tuple[int, int]) -> tuple[list[Box], list[str], str]:
    """The boxes in pixels of a picture of this (width, height), what was wrong with others, and why none can be used.

    The last is empty where the picture can be learned from. One on which nothing is marked can.
    """
    said, notes = marked.size, list(marked.notes)
    across, down = (size[0] / said[0], size[1] / said[1]) if all(said) else (1.0, 1.0)
    if all(said) and said != (1.0, 1.0) and abs(across / down - 1) > ALIKE:
        return (
            [],
            notes,
            (f"its boxes are told for {said[0]:g} x {said[1]:g} pixels, the picture has {size[0]} x {size[1]}"),
        )
    kept: list[Box] = []
    seen: set[tuple[object, ...]] = set()
    for number, box in enumerate(marked.boxes, 1):
        sides = tuple(side * factor for side, factor in zip(box.sides, (across, down, across, down), strict=True))
        words = f"{box.where or f'box {number}'} ({box.label} {' '.join(f'{side:.6g}' for side in box.sides)})"
        fitted, wrong = _fitted(sides, size)
        if fitted is None:
            notes.append(f"{words} {wrong}; it is left out")
            continue
        key = (box.label, *(round(side, 2) for side in fitted))
        if key in seen:
            notes.append(f"{words} says the same as a box before it; it is left out")
            continue
        seen.add(key)
        if len(kept) == MOST:
            notes.append(f"{words} and all after it are left out: there are more than {MOST:,} boxes")
            break
        if wrong:
            notes.append(f"{words} {wrong}; it is cut at the edge")
        kept.append(Box(box.label, fitted, box.region))
    if marked.boxes and not kept:
        return [], notes, "none of its boxes can be used"
    return kept, notes, ""


def _fitted(sides: tuple[float, ...], size: tuple[int, int]) -> tuple[tuple[float, float, float, float] | None, str]:
    """The box within the picture, or None, and what was wrong with it."""
    left, top, right, bottom = sides
    if not all(map(math.isfinite, sides)):
        return None, "has sides that are no numbers"
    if right < left or bottom < top:
        return None, "ends before it begins"
    if right - left < SMALLEST or bottom - top < SMALLEST:
        return None, "is empty: less than a pixel wide or high"
    inside = max(0.0, left), max(0.0, top), min(float(size[0]), right), min(float(size[1]), bottom)
    if inside[2] - inside[0] < SMALLEST or inside[3] - inside[1] < SMALLEST:
        return None, f"lies outside of the picture ({size[0]} x {size[1]} pixels)"
    out = max(abs(a - b) for a, b in zip(inside, sides, strict=True))
    return inside, f"reaches {out:.3g} pixels out of the picture" if out > ROUNDING else ""


def usual_boxes(train: Examples, classes: int, most: int) -> tuple[Array, Array]:
    """Boxes that are likely whatever the picture: (most, 4) in shares of its sides, and logits (most, classes).

    Each class has boxes of its mean size side by side over the picture; how likely each is, is on what share of the
    pictures one of that class has its centre there.
    """
    sizes, boxes, labels = train.column("size"), train.ragged("boxes"), train.ragged("label")
    rows = train.rows.tolist()
    sides = np.concatenate([boxes[row] / np.tile(sizes[i], 2) for i, row in enumerate(rows)] or [np.zeros((0, 4))])
    kinds = np.concatenate([labels[row] for row in rows] or [np.zeros(0, np.int16)])
    found: list[tuple[float, int, Array]] = []
    for kind in range(classes):
        mine = sides[kinds == kind + 1]
        if not len(mine):
            continue
        extent = np.clip((mine[:, 2:] - mine[:, :2]).mean(0), 0.05, 1.0)
        across, down = (int(number) for number in np.maximum(1, np.round(1 / extent)))
        centres = np.clip((mine[:, 2:] + mine[:, :2]) / 2, 0, 0.999999)
        counts = np.zeros((down, across))
        np.add.at(counts, ((centres[:, 1] * down).astype(int), (centres[:, 0] * across).astype(int)), 1)
        for (row, column), count in np.ndenumerate(counts):
            middle = np.array([(column + 0.5) / across, (row + 0.5) / down])
            share = min(0.99, max(1e-4, float(count) / len(rows)))
            found.append((share, kind, np.concatenate((middle - extent / 2, middle + extent / 2)).clip(0, 1)))
    found.sort(key=lambda each: -each[0])
    told, logits = np.zeros((most, 4), np.float32), np.full((most, classes), -20.0, np.float32)
    for place, (share, kind, box) in enumerate(found[:most]):
        told[place], logits[place, kind] = box, math.log(share / (1 - share))
    return told, logits
