"""The figures of translation and summarisation: `python benchmarks/translation.py DATA [NAME...]`.

DATA is a folder with multi30k_task1/, scitldr_abstract/ and bbc_news_summary/ as docs/tasks/translation.md tells. Each
NAME is a row of the table below; without one, all of them (about an hour and a half on two quiet cores). Every row is
one run with seed 0; test splits are the publishers' own, or (BBC) drawn with split seed 0.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure import printed, trained


def of(source: str, task: str, *settings: str) -> Callable[[Path, Path], dict[str, Any]]:
    """A row: one run on a source below DATA."""
    whole = ("--task", task, *settings)
    return lambda data, room: figures(trained(data / source, room, *whole), whole)


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
        "margins": {
            name: [round(100 * score[key], 2) for key in ("value", "low", "high")]
            for name, score in scores["margins"].items()
        },
        "signatures": scores.get("signatures", scores.get("signature")),
        "epochs": result["epochs"],
        "train_seconds": round(result["train_seconds"], 1),
    }


MULTI30K = ("multi30k_task1", "translation", "--direction", "de-en")
ROWS = {
    "multi30k": of(*MULTI30K, "--minutes", "40"),
    "multi30k-recurrent": of(*MULTI30K, "--minutes", "20", "--network", "recurrent"),
    "scitldr": of("scitldr_abstract", "summarisation", "--epochs", "8"),
    "bbc": of("bbc_news_summary/bbc_news_summary.jsonl", "summarisation", "--epochs", "16"),
    "scitldr-written": of(
        "scitldr_abstract", "summarisation", "--minutes", "20", "--network", "transformer", "--source-limit", "512"
    ),
}

if __name__ == "__main__":
    printed(__doc__, ROWS)
