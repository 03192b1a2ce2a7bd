"""Accuracy of a trained run on its test split, answers averaged over six views: `python views.py RUN`."""

from __future__ import annotations

import dataclasses
import json
import sys

from matinee import evaluate, load
from matinee.core.progress import Progress


def main() -> None:
    """One line of JSON: accuracy, and seconds of the scoring."""
    model = load(sys.argv[1])
    data = model.task.read(str(model.facts["source_path"]), Progress(quiet=True))
    seen = dataclasses.replace(model, task=dataclasses.replace(model.task, views="six"))
    told = evaluate(seen, data, baselines={})
    print(json.dumps({"accuracy": told.scores["accuracy"].value, "seconds": told.seconds}))


if __name__ == "__main__":
    main()
