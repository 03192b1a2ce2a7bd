"""How fast pictures are read.

python reading.py table FOLDER        seconds of the first and the second reading, by Matinee
python reading.py pillow FOLDER N     seconds of a plain Pillow loop over its files, in N processes
python reading.py encode BUNDLE FOLDER   seconds of turning its files into a model's inputs, without the model
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image


def opened(path: Path) -> int:
    """The bytes of one decoded picture."""
    return int(np.asarray(Image.open(path).convert("RGB")).nbytes)


def pillow(folder: Path, processes: int) -> dict[str, float]:
    """Every file opened once, in the plainest way."""
    files = sorted(folder.rglob("*.jpg"))
    began = time.perf_counter()
    if processes > 1:
        with multiprocessing.Pool(processes) as pool:
            pool.map(opened, files, chunksize=max(1, len(files) // (8 * processes)))
    else:
        for path in files:
            opened(path)
    return {"files": len(files), "seconds": time.perf_counter() - began}


def table(folder: Path) -> dict[str, float]:
    """The columns that training uses, decoded and then found in the cache."""
    from matinee.media.picture_table import PictureRequest, read_pictures

    times = []
    for _ in range(2):
        began = time.perf_counter()
        files = len(read_pictures(folder, PictureRequest()).names)
        times.append(time.perf_counter() - began)
    return {"files": files, "seconds": times[0], "again": times[1]}


def encode(bundle: str, folder: str) -> dict[str, float]:
    """What `predict` does to files before the network sees them, in as many threads."""
    from concurrent.futures import ThreadPoolExecutor

    from matinee import load
    from matinee.core.answering import MOST

    task = load(bundle).task
    files, began = iter(task.inputs([folder])), time.perf_counter()
    batches = iter(lambda: list(itertools.islice(files, 64)), [])
    with ThreadPoolExecutor(min(MOST, os.cpu_count() or 1)) as pool:
        count = sum(pool.map(lambda some: len(task.encode(some)), batches))
    return {"files": count, "seconds": time.perf_counter() - began}


def main() -> None:
    """One line of JSON."""
    kind, rest = sys.argv[1], sys.argv[2:]
    if kind == "encode":
        answer = encode(rest[0], rest[1])
    else:
        answer = table(Path(rest[0])) if kind == "table" else pillow(Path(rest[0]), int(rest[1]))
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
