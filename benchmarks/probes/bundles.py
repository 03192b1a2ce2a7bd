"""Models that have learned nothing, to time answers with, and the time of an answer.

python bundles.py make FOLDER SIDE EXAMPLES     a bundle of the default network for so many pictures of that size
python bundles.py answer BUNDLE FILE            loading it, and milliseconds for one file at a time once it is loaded
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

ANSWERS = 200


def make(folder: Path, side: int, examples: int) -> dict[str, object]:
    """Write the bundle."""
    from matinee import Model
    from matinee.nets.choices import PictureShape, choose
    from matinee.tasks.image_classification import ImageClassification

    names = tuple("abcdefghij")
    network, size = choose(PictureShape(3, side, side, len(names)), examples)
    task = ImageClassification(
        classes=names, counts=(examples // 10,) * 10, height=side, width=side, channels=3, network=network, size=size
    )
    Model(task, task.build()).save(folder)
    return {"network": f"{network} {size}"}


def answer(bundle: str, file: str) -> dict[str, float]:
    """One picture at a time."""
    from matinee import load

    began = time.perf_counter()
    model = load(bundle)
    loaded = time.perf_counter() - began
    times = []
    for _ in range(ANSWERS):
        began = time.perf_counter()
        model.predict([file])
        times.append(1000 * (time.perf_counter() - began))
    rest = sorted(times[ANSWERS // 10 :])
    return {
        "load_seconds": loaded,
        "first_milliseconds": times[0],
        "milliseconds": statistics.median(rest),
        "milliseconds_of_95_percent": rest[int(0.95 * len(rest))],
    }


def main() -> None:
    """One line of JSON."""
    if sys.argv[1] == "make":
        print(json.dumps(make(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))))
    else:
        print(json.dumps(answer(sys.argv[2], sys.argv[3])))


if __name__ == "__main__":
    main()
