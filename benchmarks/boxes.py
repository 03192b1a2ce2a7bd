"""The figures of object detection: `python benchmarks/boxes.py DATA [NAME...]`.

DATA is a folder with bccd/, coco128/ and camvid/ as their publishers lay them out. Each NAME is a row of the table
below; without one, all of them (about an hour and a quarter on two quiet cores). Every row is one run with seed 0.

bccd: the published splits. coco128: the same pictures to train and to test, whether it can learn them by heart.
camvid: boxes around what hangs together in the published masks (cars with buses and lorries, people, riders), the
published splits. The masks do not tell one car from the next: what has fewer than 100 pixels is the rest of something
that stands behind something else, what is too wide or too ragged for one thing is a row of parked cars or a group of
people. Both are regions, where nobody counted (MASKED has the limits, set by looking at training pictures).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from measure import MATINEE, printed, run, trained

MASKED = {8: ("car", 2.0, 0.7), 9: ("pedestrian", 0.55, 0.0), 10: ("bicyclist", 1.5, 0.0)}
"""Classes by their number in the masks; how wide for its height one thing is at most, and how full its box at least."""
LEAST = 100  # pixels: a smaller part of a mask is the rest of something that stands in front


def figures(run_folder: Path, result: dict[str, Any], settings: tuple[str, ...]) -> dict[str, Any]:
    """All scores of a run with their intervals, those of its rivals, and what it took."""
    scores = json.loads((run_folder / "evaluation.json").read_text("utf-8"))
    return {
        "settings": " ".join(settings),
        "split": scores["split"],
        "scores": {
            name: [round(score[key], 4) for key in ("value", "low", "high")] for name, score in scores["scores"].items()
        },
        "classes": scores["classes"],
        "sizes": scores["sizes"],
        "rivals": scores["baselines"],
        "epochs": result["epochs"],
        "train_seconds": round(result["train_seconds"], 1),
    }


def bccd(data: Path, room: Path) -> dict[str, Any]:
    """Blood cells, from scratch: under a microscope nothing has an upper side."""
    settings = ("--minutes", "30", "--size", "s", "--mirror", "both")
    return figures(room / "run", trained(data / "bccd", room, *settings), settings)


def coco128(data: Path, room: Path) -> dict[str, Any]:
    """Seventy-one classes on 128 pictures, learned by heart."""
    same = (word for name in ("zoom", "shift", "colour") for word in (f"--{name}", "0"))
    held = ("--test-share", "0", "--valid-share", "0", "--mirror", "none")
    settings = ("--minutes", "20", "--size", "s", "--picture-size", "320", "--learning-rate", "0.002", *held, *same)
    result = trained(data / "coco128", room, *settings)
    run([*MATINEE, "evaluate", room / "run", "--split", "train", "--quiet", "--json"], room / "cache")
    return figures(room / "run", result, settings)


def camvid(data: Path, room: Path) -> dict[str, Any]:
    """Cars, people and riders on the road."""
    settings = ("--size", "s", "--picture-size", "480", "--epochs", "50")
    return figures(room / "run", trained(from_masks(data / "camvid", room / "set"), room, *settings), settings)


def from_masks(camvid: Path, folder: Path) -> Path:
    """A folder of CamVid's pictures and a table of the boxes around what hangs together in their masks."""
    rows = ["file,label,left,top,right,bottom,difficult,split"]
    for split in ("train", "val", "test"):
        shutil.copytree(camvid / split, folder / split)
        for picture in sorted((camvid / split).iterdir()):
            mask = np.asarray(Image.open(camvid / f"{split}annot" / f"{picture.stem}.png"))
            name = f"{split}/{picture.name}"
            found = [
                f"{name},{label},{','.join(map(str, sides))},{int(cut)},{split}" for label, sides, cut in parts(mask)
            ]
            rows += found or [f"{name},,,,,,,{split}"]
    (folder / "boxes.csv").write_text("\n".join(rows) + "\n", "utf-8")
    return folder


def parts(mask: np.ndarray) -> Iterator[tuple[str, tuple[int, int, int, int], bool]]:
    """Label, sides (left, top, right, bottom) and "not one whole thing" of the parts of a mask (height, width).

    A part hangs together up, down and sideways.
    """
    for value, (label, widest, fullest) in MASKED.items():
        left = {(int(row), int(column)) for row, column in np.argwhere(mask == value)}
        while left:
            todo, part = [left.pop()], []
            while todo:
                row, column = todo.pop()
                part.append((row, column))
                for near in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
                    if near in left:
                        left.remove(near)
                        todo.append(near)
            (top, first), (bottom, last) = (int(v) for v in np.min(part, 0)), (int(v) for v in np.max(part, 0) + 1)
            height, width = bottom - top, last - first
            cut = len(part) < LEAST or width > widest * height or len(part) < fullest * width * height
            yield label, (first, top, last, bottom), cut


ROWS = {"bccd": bccd, "coco128": coco128, "camvid": camvid}

if __name__ == "__main__":
    printed(__doc__, ROWS)
