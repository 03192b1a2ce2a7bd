"""The figures of video classification: `python benchmarks/films.py DATA [NAME...]`.

DATA is a folder with surv_fight/ and ck48/ as docs/tasks/video-classification.md tells. Each NAME is a row of the table
below; without one, all of them. Figures are of cross-validation in five folds, seed 0: every film is answered once by a
model that did not learn from it, near copies (and people, with --groups) whole.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure import MATINEE, printed, run

EXPRESSIONS = ("--task", "video-classification", "--sequences", r"S\d+_\d+", "--groups", r"S\d+")


def folds(source: str, *settings: str) -> Callable[[Path, Path], dict[str, Any]]:
    """A row: five folds over a source below DATA."""
    return lambda data, room: _scores([*MATINEE, "cross-validate", data / source, "--folds", "5", *settings, "--json"])


def _scores(command: list[Any]) -> dict[str, Any]:
    ran = run(command)
    told = ran.told()
    score = told["scores"]["accuracy"]
    return {
        "accuracy": [round(100 * score[key], 1) for key in ("value", "low", "high")],
        "rivals": {name: round(100 * other["accuracy"], 1) for name, other in told["rivals"].items()},
        "ahead": {n: [round(100 * by[k], 1) for k in ("value", "low", "high")] for n, by in told["ahead"].items()},
        "seconds": round(ran.seconds),
    }


def last_frames(data: Path, room: Path) -> dict[str, Any]:
    """Expressions from the last frame of each sequence alone, as pictures."""
    last: dict[str, Path] = {}
    for path in sorted((data / "ck48").glob("*/S*.png")):
        last[f"{path.parent.name}/{path.stem.rpartition('_')[0]}"] = path
    for name, path in last.items():
        (room / "last" / name).parent.mkdir(parents=True, exist_ok=True)
        (room / "last" / f"{name}.png").write_bytes(path.read_bytes())
    task = ("--task", "image-classification", "--groups", r"S\d+")
    return _scores([*MATINEE, "cross-validate", room / "last", "--folds", "5", *task, "--json"])


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


ROWS = {
    **{
        f"fight-{name}": folds("surv_fight", "--network", name) for name in ("motion", "r2plus1d", "recurrent", "frame")
    },
    **{f"ck48-{name}": folds("ck48", *EXPRESSIONS, "--network", name) for name in ("average", "motion", "frame")},
    "ck48-last-frame": last_frames,
    "decode": decode,
}

if __name__ == "__main__":
    printed(__doc__, ROWS)
