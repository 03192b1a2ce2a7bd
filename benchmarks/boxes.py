"""The figures of object detection: `python benchmarks/boxes.py DATA [NAME...]`.

DATA is a folder with bccd/, coco128/ and camvid/ as their publishers lay them out. Each NAME is a row of the table
below; without one, all of them (about an hour and a quarter on two quiet cores). Every row is one run with seed 0.

bccd: the published splits. coco128: the same pictures to train and to test, whether it can learn them by heart.
camvid: boxes around what hangs together in the published masks (cars, people, riders of at least 100 pixels), the
published splits.
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

MASKED = {8: "car", 9: "pedestrian", 10: "bicyclist"}
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
    for split in ("train", "val", "test"):
        for picture in sorted((data / "camvid" / split).iterdir()):
            images, labels = room / "set" / "images" / split, room / "set" / "labels" / split
            images.mkdir(parents=True, exist_ok=True)
            labels.mkdir(parents=True, exist_ok=True)
            shutil.copy(picture, images)
            mask = np.asarray(Image.open(data / "camvid" / f"{split}annot" / f"{picture.stem}.png"))
            (labels / f"{picture.stem}.txt").write_text("\n".join(lines(mask)))
    names = "\n".join(MASKED.values())
    (room / "set" / "classes.txt").write_text(names)
    settings = ("--minutes", "20")
    return figures(room / "run", trained(room / "set", room, *settings), settings)


def lines(mask: np.ndarray) -> Iterator[str]:
    """YOLO's lines for the parts of a mask (height, width) that hang together, up, down and sideways."""
    height, width = mask.shape
    for number, value in enumerate(MASKED):
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
            if len(part) >= LEAST:
                low, high = np.min(part, 0), np.max(part, 0) + 1
                (y, x), (down, across) = (low + high) / 2 / (height, width), (high - low) / (height, width)
                yield f"{number} {x:.6f} {y:.6f} {across:.6f} {down:.6f}"


ROWS = {"bccd": bccd, "coco128": coco128, "camvid": camvid}

if __name__ == "__main__":
    printed(__doc__, ROWS)
