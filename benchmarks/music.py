"""Figures of music: `python benchmarks/music.py DATA [NAME...]`.

DATA is a folder with poly_music/ (Boulanger-Lewandowski's rolls). Each NAME is a row of the table below; without one,
all of them (some 50 minutes on one core). Every row is one run with seed 0; rolls have their publishers' splits. Rows
whose names begin with "composed" compose 100 pieces as well.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import matinee
from matinee.core.examples import Array
from matinee.core.progress import Progress
from matinee.media.music_looks import degrees, in_common, lengths, longest_shared, told
from measure import printed, trained

COUNT = 100


def of(source: str, *settings: str) -> Callable[[Path, Path], dict[str, Any]]:
    """A row: one run on a source below DATA, or on a sample."""
    return lambda data, room: figures(trained(_place(data, source), room, *_words(settings)))


def composed(source: str, *settings: str) -> Callable[[Path, Path], dict[str, Any]]:
    """A row: one run, and 100 pieces that it composes from nothing beside the real ones of the test."""

    def row(data: Path, room: Path) -> dict[str, Any]:
        result = trained(_place(data, source), room, *_words(settings))
        return {**figures(result), **compared(result["run"], _place(data, source))}

    return row


def _words(settings: Sequence[str]) -> list[str]:
    return ["--task", "music-generation", "--threads", "1", *settings]


def _place(data: Path, source: str) -> str:
    return str(data / source) if "/" in source else source


def figures(result: dict[str, Any]) -> dict[str, Any]:
    """All scores of a run with their intervals, in nats, and those of its rivals."""
    evaluation = json.loads((Path(result["run"]) / "evaluation.json").read_text("utf-8"))
    scores = {
        name: [round(each[key], 3) for key in ("value", "low", "high")] for name, each in evaluation["scores"].items()
    }
    first = next(iter(scores))
    return {
        "scores": scores,
        "rivals": {name: round(other[first], 3) for name, other in evaluation["baselines"].items()},
        "epochs": result["epochs"],
        "train_seconds": round(result["train_seconds"], 1),
    }


def compared(run: str, source: str) -> dict[str, Any]:
    """What 100 pieces of a model and the real ones of its test share with what it learned from, and how they look."""
    model = matinee.load(run)
    read = model.task.read(source, Progress(quiet=True))
    column = read.train.ragged("cells")
    known = [column[int(row)] for part in (read.train, read.valid) for row in part.rows]
    inputs = model.task.encode([f"new {number}" for number in range(COUNT)])
    rolls = {
        "composed": [np.asarray(cells) for cells in model.task.infer(model.network, inputs)[0]],
        "real": [column[int(row)] for row in read.test.rows],
    }
    grid, holds = model.task.grid or 1, model.task.holds
    return {
        "frames": int(inputs.shape[1]),
        "bars shared": {name: _shared(some, known, 4 * grid) for name, some in rolls.items()},
        **{name: {what: round(v, 4) for what, v in told(some, grid, holds).items()} for name, some in rolls.items()},
        "degrees in common": round(in_common(*(degrees(some) for some in rolls.values())), 4),
        "lengths in common": round(in_common(*(lengths(some, holds, 4 * grid) for some in rolls.values())), 4),
    }


def _shared(rolls: Sequence[Array], known: Sequence[Array], bar: int) -> dict[str, float]:
    bars = np.array(longest_shared(rolls, known)) / bar
    return {"mean": round(float(bars.mean()), 3), "most": float(bars.max()), "over two": int((bars > 2).sum())}


JSB, NOTTINGHAM = "poly_music/JSB_Chorales.mat", "poly_music/Nottingham.mat"
ROWS = {
    "composed-jsb": composed(JSB, "--minutes", "8"),
    "jsb-transformer": of(JSB, "--minutes", "3", "--network", "transformer"),
    "jsb-independent": of(JSB, "--minutes", "3", "--notes", "independent"),
    "nottingham": of(NOTTINGHAM, "--minutes", "15"),
    "nottingham-transformer": of(NOTTINGHAM, "--minutes", "7", "--network", "transformer"),
    "nottingham-independent": of(NOTTINGHAM, "--minutes", "7", "--notes", "independent"),
    "composed-chorales": composed("chorales", "--minutes", "7"),
}

if __name__ == "__main__":
    printed(__doc__, ROWS)
