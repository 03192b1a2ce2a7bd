"""Figures of music: `python benchmarks/music.py DATA [NAME...]`.

DATA is a folder with poly_music/ (Boulanger-Lewandowski's rolls) and jsb_chorales/. Each NAME is a row of the table
below; without one, all of them (some three hours). Every row is one run with seed 0 on the publishers' splits.
"composed" composes 100 pieces with the model of the row "jsb-16th", which it makes, too.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import matinee
from measure import printed, trained

COUNT = 100


def of(source: str, *settings: str) -> Callable[[Path, Path], dict[str, Any]]:
    """A row: one run on a source below DATA."""
    return lambda data, room: figures(trained(data / source, room, "--task", "music-generation", *settings))


def figures(result: dict[str, Any]) -> dict[str, Any]:
    """All scores of a run with their intervals, in nats, and those of its rivals."""
    told = json.loads((Path(result["run"]) / "evaluation.json").read_text("utf-8"))
    scores = {name: [round(each[key], 3) for key in ("value", "low", "high")] for name, each in told["scores"].items()}
    first = next(iter(scores))
    return {
        "scores": scores,
        "rivals": {name: round(other[first], 3) for name, other in told["baselines"].items()},
        "epochs": result["epochs"],
        "train_seconds": round(result["train_seconds"], 1),
    }


def composed(data: Path, room: Path) -> dict[str, Any]:
    """A hundred pieces beside the real ones of the test: what they share with the rest, and notes outside their key."""
    from matinee.core.progress import Progress
    from matinee.media.music_looks import longest_shared, told

    result = trained(data / JSB_16TH, room, "--task", "music-generation", "--minutes", "20")
    model = matinee.load(result["run"])
    read = model.task.read(str(data / JSB_16TH), Progress(quiet=True))
    column = read.train.ragged("cells")
    known = [column[int(row)] for part in (read.train, read.valid) for row in part.rows]
    real = [column[int(row)] for row in read.test.rows]
    inputs = model.task.encode([f"new {number}" for number in range(COUNT)])
    rolls = [np.asarray(cells) for cells in model.task.infer(model.network, inputs)[0]]
    grid = int(getattr(model.task, "grid", 4))
    bars = {
        name: [round(longest_shared(roll, known) / (4 * grid), 2) for roll in some]
        for name, some in (("composed", rolls), ("real", real))
    }
    shared = {name: {"mean": float(np.mean(each)), "most": max(each)} for name, each in bars.items()}
    return {"bars shared": shared, "composed": told(rolls, grid, False), "real": told(real, grid, False)}


JSB, NOTTINGHAM = "poly_music/JSB_Chorales.mat", "poly_music/Nottingham.mat"
JSB_16TH = "jsb_chorales/jsb-chorales-16th.json"
ROWS = {
    "jsb": of(JSB, "--minutes", "20"),
    "jsb-transformer": of(JSB, "--minutes", "20", "--network", "transformer"),
    "jsb-independent": of(JSB, "--minutes", "20", "--notes", "independent"),
    "nottingham": of(NOTTINGHAM, "--minutes", "20"),
    "nottingham-transformer": of(NOTTINGHAM, "--minutes", "20", "--network", "transformer"),
    "nottingham-independent": of(NOTTINGHAM, "--minutes", "20", "--notes", "independent"),
    "jsb-16th": of(JSB_16TH, "--minutes", "20"),
    "composed": composed,
}

if __name__ == "__main__":
    printed(__doc__, ROWS)
