"""Training over columns larger than memory: `python benchmarks/larger_than_memory.py [--side 160] [--folder DIR]`.

Makes a column of pictures half as large again as the machine's memory (at least 24 GB), a sparse file with pictures
really written in stretches all over it, and trains through Matinee's loop over those, read from a cold cache, with a
network so small that the disk is what is waited for. In turn with that, 32 threads read rows of the same file plainly:
the disk's own pace. Each training is a process of its own, which may have 1 GB of data of its own; start all of it in a
control group to bound its page cache too (`systemd-run --scope -p MemoryMax=2G python benchmarks/...`). Prints one JSON
line; `mapped` is the same training with rows gathered from the mapping, as columns that fit in memory are.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from matinee.core import on_disk
from matinee.core.examples import Array, Examples
from matinee.core.loop import Hook, Step, fit
from matinee.core.runtime import peak_memory, processor
from matinee.core.task import Batch, Data
from matinee.core.train_settings import TrainSettings
from matinee.tasks.image_classification import ImageClassification

if TYPE_CHECKING:
    from torch import Tensor

STRETCH = 64 * 2**20  # bytes written in one piece
EVERY = 8  # pixels between those that the network looks at
DATA = 10**9  # bytes of its own that a training may have


def main() -> None:
    """Both ways of training, in turn with plain reading."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", default=None, help="where to make the column")
    parser.add_argument("--side", type=int, default=160)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--gigabytes", type=float, default=max(24.0, 1.5 * on_disk.memory() / 1e9))
    parser.add_argument("--written", type=float, default=10.0, help="gigabytes really written")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--train", default="", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.train:
        print(json.dumps(train(Path(asked.folder), asked.train, asked.batch)))
        return
    with tempfile.TemporaryDirectory(dir=asked.folder) as made:
        folder = Path(made)
        rows = make(folder, asked)
        pace, trained, mapped = [], [], []
        for repeat in range(asked.repeats):
            pace.append(plain(folder / "image.npy", rows, asked.side**2 * 3, seed=repeat))
            trained.append(run(folder, "read", asked))
            if not repeat:
                mapped.append(run(folder, "mapped", asked))
    print(json.dumps(told(asked, pace, trained, mapped)))


def told(asked: argparse.Namespace, pace: list[float], trained: list[Any], mapped: list[Any]) -> dict[str, Any]:
    """The line that is printed: medians, with all measurements beside them."""
    per_second = statistics.median(one["pictures_per_second"] for one in trained)
    pairs = [(one["pictures_per_second"], disk) for one, disk in zip(trained, pace, strict=True)]
    return {
        "pictures": f"{asked.side} x {asked.side} x 3, batches of {asked.batch}",
        "column_gb": asked.gigabytes,
        "written_gb": asked.written,
        "pictures_per_second": round(per_second),
        "megabytes_per_second": round(per_second * asked.side**2 * 3 / 1e6),
        "disk_pictures_per_second": round(statistics.median(pace)),
        "ratio": round(statistics.median(one / disk for one, disk in pairs), 3),
        "all": [[round(one), round(disk)] for one, disk in pairs],
        "peak_mb": max(one["peak_mb"] for one in trained),
        "anonymous_mb": max(one["RssAnon"] for one in trained),
        "file_mb": max(one["RssFile"] for one in trained),
        "data_limit_mb": DATA // 10**6,
        "group_limit_mb": on_disk.memory() // 10**6,
        "mapped": mapped,
        "machine": processor(),
    }


def make(folder: Path, asked: argparse.Namespace) -> Array:
    """The column, and the rows of it that are on the disk, which `rows.npy` holds too."""
    row = asked.side**2 * 3
    count = int(asked.gigabytes * 1e9) // row
    shape = (count, asked.side, asked.side, 3)
    column = np.lib.format.open_memmap(folder / "image.npy", "w+", np.uint8, shape)  # type: ignore[no-untyped-call]
    offset = column.offset
    del column
    per = STRETCH // row
    stretches = np.linspace(0, count - per, int(asked.written * 1e9) // STRETCH).astype(np.int64)
    noise = np.random.default_rng(0).integers(0, 256, per * row, np.uint8).tobytes()
    with open(folder / "image.npy", "r+b", buffering=0) as file:
        for start in stretches.tolist():
            file.seek(offset + start * row)
            file.write(noise)
        os.fsync(file.fileno())
    rows: Array = (stretches[:, None] + np.arange(per)).ravel()
    np.save(folder / "rows.npy", rows)
    return rows


def drop(path: Path) -> None:
    """Have the system forget what it holds of a file."""
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def plain(path: Path, rows: Array, row: int, seed: int, threads: int = 32, seconds: float = 4.0) -> float:
    """Rows a second that threads read in random order from a cold cache, each into a buffer of its own."""
    drop(path)
    offset = np.load(path, mmap_mode="r").offset
    order = np.random.default_rng(seed).permutation(rows)
    done, began = [0] * threads, time.perf_counter()

    def work(thread: int) -> None:
        file, buffer = os.open(path, os.O_RDONLY), bytearray(row)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)
        for place in (order[thread::threads] * row + offset).tolist():
            if time.perf_counter() - began > seconds:
                break
            os.preadv(file, [buffer], place)
            done[thread] += 1
        os.close(file)

    workers = [threading.Thread(target=work, args=(thread,)) for thread in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(done) / (time.perf_counter() - began)


def run(folder: Path, way: str, asked: argparse.Namespace) -> Any:
    """What a training in a process of its own says."""
    drop(folder / "image.npy")
    command = [sys.executable, __file__, "--folder", str(folder), "--train", way, "--batch", str(asked.batch)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout)


@dataclass(frozen=True, kw_only=True)
class FewPixels(ImageClassification):
    """Looks at one pixel in 64, so that next to nothing is computed."""

    def collate(self, columns: Mapping[str, Tensor]) -> Batch:
        """A sparse grid of pixels."""
        return super().collate({**columns, "image": columns["image"][:, ::EVERY, ::EVERY]})


class Clock(Hook):
    """The time of each step, and what the process held at most, of its own and of files."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.most = {"RssAnon": 0, "RssFile": 0}

    def on_step(self, step: Step) -> None:
        """Once in a while a look at the memory."""
        self.times.append(time.perf_counter())
        if step.number % 50 == 1:
            for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
                name, _, value = line.partition(":")
                if name in self.most:
                    self.most[name] = max(self.most[name], int(value.split()[0]) // 1000)


def train(folder: Path, way: str, batch: int) -> dict[str, Any]:
    """One pass over the rows that are on the disk; over few of them where it is slow."""
    resource.setrlimit(resource.RLIMIT_DATA, (DATA, DATA))
    on_disk.SHARE = 0.0 if way == "read" else float("inf")
    rows = np.load(folder / "rows.npy")
    if way == "mapped":
        rows = np.random.default_rng(0).permutation(rows)[: 20 * batch]
    image = np.load(folder / "image.npy", mmap_mode="r")
    columns = {"image": image, "label": np.random.default_rng(0).integers(0, 4, len(image), dtype=np.int32)}
    side = len(range(0, image.shape[1], EVERY))
    task = FewPixels(
        classes=("a", "b", "c", "d"),
        counts=(1, 1, 1, 1),
        height=side,
        width=side,
        channels=3,
        network="linear",
        size="m",
    )
    task = dataclasses.replace(task, flip=False, crop=0, scale=0.0, rotate=0.0, colour=0.0, cutout=0, mixup=0.0)
    examples = Examples(columns, rows)
    clock = Clock()
    settings = TrainSettings(epochs=1, batch_size=batch, threads=1).advised(task.advice(len(rows)))
    fit(Data(task, examples, examples.take(rows[:0]), examples.take(rows[:0])), task.build(), settings, hooks=[clock])
    pace = (len(clock.times) - 1) * batch / (clock.times[-1] - clock.times[0])
    return {"pictures_per_second": pace, "peak_mb": peak_memory() // 10**6, **clock.most}


if __name__ == "__main__":
    main()
