"""Figures of text classification on published sets: MATINEE_DATA=~/data python benchmarks/texts.py [imdb ag ...]."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import matinee

SETS = {
    "imdb": ("imdb", 0.919, {}),
    "imdb-lstm": ("imdb", 0.88, {"network": "lstm", "minutes": 19.0}),
    "imdb-transformer": ("imdb", 0.88, {"network": "transformer", "minutes": 19.0}),
    # Phrases of its own sentences validate it: equal ones are in both files, and the score there is far too good.
    "sst": ("sst2_glue", 0.85, {"network": "ensemble", "anyway": True}),
    "ag": ("ag_news_small", 0.895, {}),
    "thuc": ("thucnews_titles", 0.89, {"network": "ensemble"}),
}
FOLDS = {"splice": ("dna/splice.data", 10, 1 - 0.034, {}), "promoters": ("dna/promoters.data", 106, 101 / 106, {})}


def busy() -> float:
    """Seconds that processors worked for this process."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def main() -> None:
    """A line for each set: accuracy, the bar, seconds, and how much of them was work."""
    home, asked = Path(os.environ["MATINEE_DATA"]), sys.argv[1:] or [*SETS, *FOLDS]
    for name in asked:
        began, worked = time.perf_counter(), busy()
        if name in SETS:
            folder, bar, settings = SETS[name]
            # The linear network learns at a look; a small share is enough to make its confidence honest.
            longest = 400 if settings.get("network") in ("lstm", "transformer") else 0
            data = matinee.read(home / folder, task="text-classification", valid_share=0.04, longest=longest)
            score = matinee.evaluate(matinee.train(data, **settings), data).scores["accuracy"].value
        else:
            file, folds, bar, settings = FOLDS[name]
            data = matinee.read(home / file, task="text-classification", valid_share=0.0)
            score = matinee.cross_validate(data, folds=folds, **settings).scores["accuracy"].value
        reached = "reached" if score >= bar else "missed"
        wall, work = time.perf_counter() - began, busy() - worked
        print(f"{name:16} {score:.4f}  bar {bar:.4f} {reached}  {wall:.0f} s, {work:.0f} s of work", flush=True)


if __name__ == "__main__":
    main()
