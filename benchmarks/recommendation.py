"""Figures of the recommendation task: `python benchmarks/recommendation.py DATA [NAME ...]`.

DATA is the folder that holds movielens_1m, movielens_100k, movielens_latest_small and lastfm_hetrec2011. Every line is
one JSON object: what was run, its test scores by full ranking, and seconds. Names: closed, ranking, within, ratings,
sequence, social; without any, all of them.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import matinee
from matinee.core.measuring import collect
from matinee.core.paired import chance, margins
from matinee.core.progress import Progress
from matinee.core.runtime import machine

QUIET = Progress(quiet=True)


def told(name: str, **facts: Any) -> None:
    """One line of JSON."""
    short = {key: round(value, 4) if isinstance(value, float) else value for key, value in facts.items()}
    print(json.dumps({"name": name, **short}), flush=True)


def run(
    source: Path, reading: Mapping[str, Any], training: Mapping[str, Any]
) -> tuple[dict[str, float], Any, list[float]]:
    """Scores on the test, the meter, and seconds of learning: on the clock, and of the processor."""
    data = matinee.read(source, task="recommendation", progress=QUIET, **reading)
    began = time.perf_counter(), time.process_time()
    model = matinee.train(data, progress=QUIET, **training)
    seconds = [round(time.perf_counter() - began[0], 1), round(time.process_time() - began[1], 1)]
    meter = collect(model.task, model.network, data.test, machine("cpu", "auto"))
    return meter.score(meter.rows()), meter, seconds


def closed(folder: Path) -> None:
    """MovieLens-1M pairs, random 80/20: popularity, the linear network in closed form, factors."""
    source, reading = folder / "movielens_1m" / "user_movies.txt", {"split": "random", "valid_share": 0}
    for network, more in (
        ("popular", {}),
        ("linear", {"regularisation": 1000, "long_histories": 0, "alike": 0}),
        ("linear", {"regularisation": 700, "alike": 1}),
        ("factors", {}),
    ):
        scores, _, seconds = run(source, reading, {"network": network, **more})
        told("ml-1m " + network, settings=more, seconds=seconds, **scores)


def ranking(folder: Path) -> None:
    """MovieLens-1M pairs, random 80/20: the blend."""
    source = folder / "movielens_1m" / "user_movies.txt"
    scores, _, seconds = run(
        source,
        {"split": "random", "valid_share": 0},
        {"network": "blend", "regularisation": 700, "alike": 1, "epochs": 25, "threads": 1},
    )
    told("ml-1m blend", seconds=seconds, **scores)


def within(folder: Path) -> None:
    """MovieLens-100K, 75/25 within each user, three draws."""
    ease = {"network": "linear", "regularisation": 500, "long_histories": 0, "alike": 0}
    for name, more in (("EASE", ease), ("linear", {"network": "linear"}), ("blend", {"network": "blend"})):
        values = []
        for seed in range(3):
            reading = {"split": "within-user", "test_share": 0.25, "split_seed": seed, "valid_share": 0}
            scores, _, seconds = run(folder / "movielens_100k", reading, {**more, "seed": seed})
            values.append(scores["ndcg_10"])
            told(f"ml-100k {name}", seed=seed, seconds=seconds, **scores)
        told(f"ml-100k {name}, mean", ndcg_10=float(np.mean(values)))


def ratings(folder: Path) -> None:
    """MovieLens-100K, RMSE on u1 to u5."""
    for network in ("biases", "gaussian"):
        values = []
        for fold in range(1, 6):
            source = folder / "movielens_100k" / "ml-100k" / f"u{fold}.base"
            reading = {"objective": "rating", "valid_share": 0}
            scores, _, seconds = run(source, reading, {"network": network})
            values.append(scores["rmse"])
            told(f"ml-100k u{fold} {network}", seconds=seconds, **scores)
        told(f"ml-100k {network}, mean of five folds", rmse=float(np.mean(values)))


def _against(name: str, one: tuple[Any, Any, Any], other: tuple[Any, Any, Any]) -> None:
    meter, mine, theirs = one[1], one[1].rows(), other[1].rows()
    ahead, first = margins(meter, mine, theirs, draws=2000), meter.names_of_scores()[0]
    told(name, score=first, **asdict(ahead[first]), p=chance(meter, first, mine, theirs))


def sequence(folder: Path) -> None:
    """MovieLens-latest-small, films of five viewers or more, each user's last held back: sequences, closed form."""
    source, reading = folder / "movielens_latest_small", {"split": "last", "fewest": 5}
    done = {network: run(source, reading, {"network": network}) for network in ("popular", "linear", "sequence")}
    for network, (scores, _, seconds) in done.items():
        told(f"latest-small {network}", seconds=seconds, **scores)
    _against("latest-small sequence against linear", done["sequence"], done["linear"])


def social(folder: Path) -> None:
    """Last.fm, random 80/20, artists of at least five listeners: linear and graph, with friends or not."""
    source, reading = folder / "lastfm_hetrec2011", {"split": "random", "fewest": 5}
    done = {}
    for network in ("linear", "graph"):
        for name, more in (("alone", {"social": False}), ("with friends", {})):
            done[name] = run(source, reading, {"network": network, **more})
            told(f"last.fm {network} {name}", seconds=done[name][2], **done[name][0])
        _against(f"last.fm {network} with friends against without", done["with friends"], done["alone"])


ALL: dict[str, Callable[[Path], None]] = {
    "closed": closed,
    "ranking": ranking,
    "within": within,
    "ratings": ratings,
    "sequence": sequence,
    "social": social,
}

if __name__ == "__main__":
    if len(sys.argv) < 2 or set(sys.argv[2:]) - set(ALL):
        sys.exit(f"{__doc__}")
    for chosen in sys.argv[2:] or list(ALL):
        ALL[chosen](Path(sys.argv[1]))
