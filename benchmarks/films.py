"""The figures of video classification: `python benchmarks/films.py DATA [NAME...]`.

DATA is a folder with surv_fight/ and ck48/ as docs/tasks/video-classification.md tells. Each NAME is a row of the table
below; without one, all of them. Figures are of cross-validation in five folds, seed 0: every film is answered once by a
model that did not learn from it, near copies (and people) whole; what one network is ahead of another is over the same
films (paired bootstrap).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from matinee import read, train
from matinee.core.examples import Examples
from matinee.core.measuring import collect
from matinee.core.meter import Meter, Rows, Score, intervals
from matinee.core.paired import margins
from matinee.core.progress import Progress
from matinee.core.runtime import machine
from matinee.core.task import Data
from matinee.verbs.cross_validate import _fold, _folds, _pool
from measure import printed

EXPRESSIONS = {"task": "video-classification", "sequences": r"S\d+_\d+", "groups": r"S\d+"}
FOLDS = 5


def compared(data: Data, networks: Mapping[str, Mapping[str, Any]], first: str) -> dict[str, Any]:
    """Each network over the same five folds: accuracy, and how far `first` is ahead of it, with intervals.

    networks: name -> settings; "last" among them: of each film, the last frame alone is learned and asked about.
    Nothing selects: the weights at the end of the schedule are kept, so all four fifths are learned from.
    """
    data = replace(data, task=replace(data.task, valid_share=0.0))
    pool = _pool(data)
    numbers, whole = _folds(data, pool, FOLDS)
    rows: dict[str, list[Rows]] = {name: [] for name in networks}
    spent = dict.fromkeys(networks, 0.0)
    for fold in range(FOLDS):
        part = _fold(data, pool, numbers == fold, whole, fold)
        for name, settings in networks.items():
            given, began = dict(settings), time.process_time()
            some = _last(part) if given.pop("last", False) else part
            model = train(some, anyway=True, threads=1, progress=Progress(quiet=True), **given)
            meter = collect(model.task, model.network, some.test, machine("cpu", model.precision, settle=False))
            rows[name].append(meter.rows())
            spent[name] += time.process_time() - began
            print(f"fold {fold + 1}, {name}: {meter.score(meter.rows())['accuracy']:.3f}", file=sys.stderr, flush=True)
    meter, whole_rows = data.task.meter(), {name: _joined(parts) for name, parts in rows.items()}
    told: dict[str, Any] = {"films": len(pool), "folds": FOLDS}
    for name, mine in whole_rows.items():
        told[name] = {
            "accuracy": _percent(intervals(meter, mine)["accuracy"]),
            "processor seconds": round(spent[name]),
            **({} if name == first else {f"{first} ahead": _percent(_ahead(meter, whole_rows[first], mine))}),
        }
    return told


def _ahead(meter: Meter, mine: Rows, other: Rows) -> Score:
    return margins(meter, mine, other, draws=2000)["accuracy"]


def _percent(score: Score) -> list[float]:
    return [round(100 * value, 1) for value in (score.value, score.low, score.high)]


def _joined(parts: Sequence[Rows]) -> Rows:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _last(data: Data) -> Data:
    """The same films, of which only the last frame is there."""
    columns = {**data.train.columns, "film": data.train.array("film")[:, -1:]}
    parts = {name: Examples(columns, part.rows) for name, part in data.splits().items()}
    return replace(data, task=replace(data.task, frames=1), **parts)


def fights(data: Path, room: Path) -> dict[str, Any]:
    """Fight or no fight, 100 clips of surveillance cameras; near copies whole."""
    asked = {name: {"network": name} for name in ("motion", "frame", "linear")}
    return compared(read(data / "surv_fight", progress=Progress(quiet=True)), asked, "motion")


def expressions(data: Path, room: Path) -> dict[str, Any]:
    """Expressions of faces from three frames, and from the last of them; people whole."""
    found = read(data / "ck48", progress=Progress(quiet=True), **EXPRESSIONS)
    asked = {
        "average": {"network": "average"},
        "last": {"network": "frame", "last": True},
        "linear": {"network": "linear"},
    }
    return compared(found, asked, "average")


def decode(data: Path, room: Path) -> dict[str, Any]:
    """Seconds of this process to decode and sample all clips, and those of PyAV to decode all their frames."""
    import av

    from matinee.media.films import Sight, decode_film

    paths = sorted((data / "surv_fight").glob("*/*.mp4"))
    sight = Sight(64, 112, 3, frames=16)

    def ours() -> None:
        for path in paths:
            decode_film(str(path), sight)

    def alone() -> None:
        for path in paths:
            with av.open(str(path)) as container:
                container.streams.video[0].codec_context.thread_count = 1
                for _ in container.decode(video=0):
                    pass

    spent: dict[str, list[float]] = {"ours": [], "alone": []}
    for _ in range(3):
        for name, work in (("ours", ours), ("alone", alone)):
            began = time.process_time()
            work()
            spent[name].append(time.process_time() - began)
    best = {name: min(values) for name, values in spent.items()}
    return {"clips": len(paths), "seconds": best, "share of PyAV": round(best["alone"] / best["ours"], 3)}


ROWS = {"fight": fights, "ck48": expressions, "decode": decode}

if __name__ == "__main__":
    printed(__doc__, ROWS)
