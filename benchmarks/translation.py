"""The figures of translation and summarisation: `python benchmarks/translation.py DATA [NAME...]`.

DATA is a folder with multi30k_task1/, scitldr_abstract/ and bbc_news_summary/ as docs/tasks/translation.md tells. Each
NAME is a row of the table below; without one, all of them (about an hour and a half on two quiet cores). Every row is
one run with seed 0; test splits are the publishers' own, or (BBC) drawn with split seed 0.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import FailedError, SkippedError, trained

ROWS: dict[str, tuple[str, tuple[str, ...]]] = {
    "multi30k": ("multi30k_task1", ("--task", "translation", "--direction", "de-en", "--minutes", "40")),
    "multi30k-recurrent": (
        "multi30k_task1",
        ("--task", "translation", "--direction", "de-en", "--minutes", "20", "--network", "recurrent"),
    ),
    "scitldr": ("scitldr_abstract", ("--task", "summarisation", "--minutes", "10")),
    "bbc": ("bbc_news_summary/bbc_news_summary.jsonl", ("--task", "summarisation", "--minutes", "10")),
    "scitldr-written": (
        "scitldr_abstract",
        ("--task", "summarisation", "--minutes", "20", "--network", "transformer", "--source-limit", "512"),
    ),
}


def main() -> None:
    """Run the rows that are named."""
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    data, wanted = Path(sys.argv[1]).resolve(), sys.argv[2:] or list(ROWS)
    unknown = [name for name in wanted if name not in ROWS]
    if unknown:
        sys.exit(f"no such row: {', '.join(unknown)}; there are {', '.join(ROWS)}")
    from matinee.core.runtime import processor

    print(f"machine: {processor()}, load {os.getloadavg()[0]:.1f}", flush=True)
    for name in wanted:
        source, settings = ROWS[name]
        with tempfile.TemporaryDirectory() as room:
            began = time.perf_counter()
            try:
                row = figures(trained(data / source, Path(room), *settings), settings)
            except (FailedError, SkippedError) as error:
                sys.exit(f"{name}: {error}")
            print(json.dumps({"row": name, **row, "wall": round(time.perf_counter() - began, 1)}), flush=True)


def figures(result: dict[str, Any], settings: tuple[str, ...]) -> dict[str, Any]:
    """All scores of a run with their intervals, those of its rivals, and how the scores were computed."""
    scores = json.loads((Path(result["run"]) / "evaluation.json").read_text("utf-8"))
    return {
        "settings": " ".join(settings),
        "scores": {
            name: [round(100 * score[key], 2) for key in ("value", "low", "high")]
            for name, score in scores["scores"].items()
        },
        "rivals": {
            name: {key: round(100 * value, 2) for key, value in other.items()}
            for name, other in scores["baselines"].items()
        },
        "signatures": scores.get("signatures", scores.get("signature")),
        "epochs": result["epochs"],
        "train_seconds": round(result["train_seconds"], 1),
    }


if __name__ == "__main__":
    main()
