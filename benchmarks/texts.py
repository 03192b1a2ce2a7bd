"""Figures of text classification on published sets: MATINEE_DATA=~/data python benchmarks/texts.py [imdb ag ...]."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import matinee

SETS = {
    "imdb": ("imdb", 0.919, {}),
    "imdb-lstm": ("imdb", 0.88, {"network": "lstm", "minutes": 18.0}),
    "sst": ("sst2_glue", 0.85, {}),
    "ag": ("ag_news_small", 0.895, {}),
    "thuc": ("thucnews_titles", 0.89, {}),
}
FOLDS = {"splice": ("dna/splice.data", 10, 1 - 0.034, {}), "promoters": ("dna/promoters.data", 106, 101 / 106, {})}


def main() -> None:
    """A line for each set: accuracy, the bar, seconds."""
    home, asked = Path(os.environ["MATINEE_DATA"]), sys.argv[1:] or [*SETS, *FOLDS]
    for name in asked:
        began = time.perf_counter()
        if name in SETS:
            folder, bar, settings = SETS[name]
            # The linear network learns at a look; a small share is enough to make its confidence honest.
            data = matinee.read(home / folder, task="text-classification", valid_share=0.04)
            score = matinee.evaluate(matinee.train(data, **settings), data).scores["accuracy"].value
        else:
            file, folds, bar, settings = FOLDS[name]
            data = matinee.read(home / file, task="text-classification", valid_share=0.0)
            score = matinee.cross_validate(data, folds=folds, **settings).scores["accuracy"].value
        reached = "reached" if score >= bar else "missed"
        print(f"{name:12} {score:.4f}  bar {bar:.4f} {reached}  {time.perf_counter() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
