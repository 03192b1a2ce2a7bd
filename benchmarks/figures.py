"""The figures that the README quotes, made again: `python benchmarks/figures.py DATA [NAME...]`.

DATA is a folder with mnist/, cifar10/, orl_faces/, ck48/ and hymenoptera/ as their publishers lay them out. Each NAME
is a row of the table below; without one, all of them (about an hour on two cores). Every row prints the command's own
figures, medians where it is timed, and the machine; a model's row is one run with the seed that is named.
"""

from __future__ import annotations

import csv
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MATINEE = [sys.executable, "-m", "matinee"]


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
        with tempfile.TemporaryDirectory() as room:
            began = time.perf_counter()
            row = ROWS[name](data, Path(room))
            print(json.dumps({"row": name, **row, "wall": round(time.perf_counter() - began, 1)}), flush=True)


def trained(source: str | Path, room: Path, *settings: str) -> dict[str, Any]:
    """What `matinee train --json` says, with the wall time of the whole command."""
    command = [*MATINEE, "train", str(source), "--json", "--quiet", "--out", str(room / "run"), *settings]
    began = time.perf_counter()
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"MATINEE_CACHE": str(room / "cache")}
    )
    if done.returncode:
        sys.exit(done.stderr)
    return {**json.loads(done.stdout), "command_seconds": time.perf_counter() - began}


def told(result: dict[str, Any], *settings: str) -> dict[str, Any]:
    """The figures of a model's row."""
    scores = json.loads((Path(result["run"]) / "evaluation.json").read_text())
    first = next(iter(scores["scores"]))
    return {
        "settings": " ".join(settings),
        first: round(scores["scores"][first]["value"], 4),
        "interval": [round(scores["scores"][first][k], 4) for k in ("low", "high")],
        "ece": round(scores["scores"]["ece"]["value"], 4),
        "rivals": {name: round(other[first], 4) for name, other in scores["baselines"].items()},
        "epochs": result["epochs"],
        "train_seconds": round(result["train_seconds"], 1),
        "command_seconds": round(result["command_seconds"], 1),
    }


def table(path: Path, rows: list[tuple[str, str, str]]) -> Path:
    """A table of files with labels and splits."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("file", "label", "split"), *rows])
    return path


def startup(data: Path, room: Path) -> dict[str, Any]:
    """`matinee --help` and `import matinee`, medians of 9 whole processes."""

    def median(command: list[str]) -> float:
        times = []
        for _ in range(10):
            began = time.perf_counter()
            subprocess.run(command, capture_output=True, check=True)
            times.append(time.perf_counter() - began)
        return round(statistics.median(times[1:]), 3)

    python = [sys.executable, "-c"]
    return {
        "help": median([*MATINEE, "--help"]),
        "train --help": median([*MATINEE, "train", "--help"]),
        "import matinee": median([*python, "import matinee"]),
        "python alone": median([*python, "pass"]),
    }


def decode(data: Path, room: Path) -> dict[str, Any]:
    """First and second reading of CIFAR-10's 60,000 JPEG files, against one process's plain Pillow loop.

    The rates are taken in turn, three times. The whole `matinee.read` also looks for near duplicates before it splits.
    """
    import numpy as np
    from PIL import Image

    from matinee.media.picture_table import PictureRequest, read_pictures

    files = sorted((data / "cifar10").glob("t*/*/*.jpg"))
    some = random.Random(0).sample(files, 12_000)
    plain, table_rate, second, whole, again = [], [], [], [], []
    for turn in range(3):
        began = time.perf_counter()
        for path in some:
            np.asarray(Image.open(path).convert("RGB"))
        plain.append(len(some) / (time.perf_counter() - began))
        os.environ["MATINEE_CACHE"] = str(room / f"table{turn}")
        for times in (table_rate, second):
            began = time.perf_counter()
            read_pictures(data / "cifar10", PictureRequest())
            times.append(time.perf_counter() - began)
        code = f"import matinee; matinee.read({str(data / 'cifar10')!r})"
        os.environ["MATINEE_CACHE"] = str(room / f"whole{turn}")
        for times in (whole, again):
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
            times.append(time.perf_counter() - began)
    cores = len(os.sched_getaffinity(0))
    rate = 60_000 / statistics.median(table_rate)
    return {
        "pillow, files/s on one core": round(statistics.median(plain)),
        "first read, files/s": round(rate),
        "of pillow x cores": round(rate / statistics.median(plain) / cores, 3),
        "first read, s": round(statistics.median(table_rate), 2),
        "second read, s": round(statistics.median(second), 2),
        "first matinee.read with the process, s": round(statistics.median(whole), 2),
        "second matinee.read with the process, s": round(statistics.median(again), 2),
    }


def digits(data: Path, room: Path) -> dict[str, Any]:
    """The demo's command, and the same in 30 seconds, with three splits."""
    demo = trained("digits", room / "demo")
    rows = []
    for seed in ("0", "1", "2"):
        settings = ("--minutes", "0.5", "--split-seed", seed)
        rows.append(told(trained("digits", room / seed, *settings), *settings))
    return {"demo": told(demo), "half a minute": rows}


def mnist(data: Path, room: Path) -> dict[str, Any]:
    """Three minutes, everything included."""
    settings = ("--minutes", "3")
    return told(trained(data / "mnist", room, *settings), *settings)


def orl(data: Path, room: Path) -> dict[str, Any]:
    """Pictures 1-5 of each of 40 people to train, 6-10 to test; three seeds."""
    rows = []
    for path in sorted((data / "orl_faces").glob("s*/*.pgm")):
        split = "train" if int(path.stem) <= 5 else "test"
        rows.append((str(path.relative_to(data / "orl_faces")), path.parent.name, split))
    source = _beside(data / "orl_faces", room / "orl", rows)
    out = []
    for seed in ("0", "1", "2"):
        settings = ("--seed", seed, "--flip")
        out.append(told(trained(source, room / seed, *settings), *settings))
    return {"seeds": out, "mean": round(statistics.mean(row["accuracy"] for row in out), 4)}


def _beside(folder: Path, target: Path, rows: list[tuple[str, str, str]]) -> Path:
    """A copy of a folder's pictures with a table of labels and splits: tables name only files beside them."""
    import shutil

    for name, _, _ in rows:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / name, target / name)
    return table(target / "labels.csv", rows)


def ck48(data: Path, room: Path) -> dict[str, Any]:
    """Expressions in 5 folds that keep each person together; folds by numpy's permutation of the people, seed 0."""
    import numpy as np

    files = sorted((data / "ck48").glob("*/*.png"))
    people = sorted({path.name.split("_")[0] for path in files})
    fold = {people[p]: i % 5 for i, p in enumerate(np.random.default_rng(0).permutation(len(people)))}
    right, out = 0.0, []
    for number in range(5):
        rows = [
            (f"{p.parent.name}/{p.name}", p.parent.name, "test" if fold[p.name.split("_")[0]] == number else "train")
            for p in files
        ]
        source = _beside(data / "ck48", room / f"fold{number}", rows)
        settings = ("--valid-share", "0")
        row = told(trained(source, room / str(number), *settings), *settings)
        right += row["accuracy"] * sum(r[2] == "test" for r in rows)
        out.append(row)
    return {"folds": out, "accuracy of all folds": round(right / len(files), 4)}


def cifar10(data: Path, room: Path) -> dict[str, Any]:
    """Ten minutes, reading and everything else included; official split."""
    settings = ("--minutes", "10")
    return told(trained(data / "cifar10", room, *settings), *settings)


def lenet(data: Path, room: Path) -> dict[str, Any]:
    """The tutorial's net with its settings: SGD 0.001, momentum 0.9, batches of 4, 2 epochs, no augmentation."""
    settings = "--network lenet --epochs 2 --batch-size 4 --optimiser sgd --learning-rate 0.001 --momentum 0.9"
    settings += " --weight-decay 0 --schedule constant --warmup 0 --average 0 --clip 0 --no-flip --crop 0"
    settings += " --label-smoothing 0 --precision float32 --valid-share 0"
    return told(trained(data / "cifar10", room, *settings.split()), *settings.split())


def hymenoptera(data: Path, room: Path) -> dict[str, Any]:
    """245 photographs from scratch, scored on the published 153; two seeds. No validation: too few to spare."""
    rows = []
    for path in sorted((data / "hymenoptera").glob("*/*/*.jpg")):
        name = path.relative_to(data / "hymenoptera")
        rows.append((str(name), name.parts[1], "test" if name.parts[0] == "val" else "train"))
    source = _beside(data / "hymenoptera", room / "photos", rows)
    out = []
    for seed in ("0", "1"):
        settings = ("--minutes", "2", "--seed", seed, "--valid-share", "0")
        out.append(told(trained(source, room / seed, *settings), *settings))
    return {"seeds": out, "mean": round(statistics.mean(row["accuracy"] for row in out), 4)}


def overhead(data: Path, room: Path) -> dict[str, Any]:
    """The loop with a trivial network against a bare PyTorch loop over the same gathers; medians of 7 pairs, in ms."""
    import dataclasses

    import torch

    from matinee.core.loop import fit
    from matinee.core.registry import task_class
    from matinee.core.runtime import order_of
    from matinee.core.train_settings import TrainSettings

    toy = task_class("image-classification")(network="linear", size="m").toy()  # type: ignore[call-arg]
    toy = dataclasses.replace(toy, valid=toy.valid.take(toy.valid.rows[:1] * 0))
    task, size, epochs = toy.task.choose(toy, None), 32, 200
    settings = TrainSettings(
        epochs=epochs, batch_size=size, optimiser="sgd", learning_rate=1e-3, weight_decay=0.0, average=0.0, clip=0.0,
        precision="float32",
    ).advised({})  # fmt: skip
    steps = task.steps(toy.train, size) * epochs

    def ours() -> float:
        began = time.perf_counter()
        fit(dataclasses.replace(toy, task=task), task.build(), settings)
        return time.perf_counter() - began

    def bare() -> float:
        network = task.build()
        optimiser = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, nesterov=True, fused=True)
        began = time.perf_counter()
        for epoch in range(epochs):
            order = order_of(len(toy.train), epoch)
            for first in range(0, len(order) // size * size, size):
                batch = task.collate(toy.train.gather(order[first : first + size]))
                loss = task.loss(network(batch.inputs), batch)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()
        return time.perf_counter() - began

    ours(), bare()
    pairs = [(ours(), bare()) for _ in range(7)]
    per = [1000 * (a - b) / steps for a, b in pairs]
    return {
        "ours, ms a step": round(1000 * statistics.median(a for a, _ in pairs) / steps, 4),
        "bare, ms a step": round(1000 * statistics.median(b for _, b in pairs) / steps, 4),
        "overhead, ms a step": round(statistics.median(per), 4),
        "spread": [round(min(per), 4), round(max(per), 4)],
    }


def resume(data: Path, room: Path) -> dict[str, Any]:
    """verify-resume with 20 kills, on the default network."""
    command = [*MATINEE, "verify-resume", "digits", "--kills", "20", "--batch-size", "64", "--json", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"MATINEE_CACHE": str(room)})
    said = json.loads(done.stdout)
    return {k: said[k] for k in ("exact", "kills", "steps", "tensors", "numbers", "differences")}


ROWS: dict[str, Callable[[Path, Path], dict[str, Any]]] = {
    "startup": startup,
    "decode": decode,
    "digits": digits,
    "mnist": mnist,
    "orl": orl,
    "cifar10": cifar10,
    "lenet": lenet,
    "ck48": ck48,
    "hymenoptera": hymenoptera,
    "overhead": overhead,
    "resume": resume,
}

if __name__ == "__main__":
    main()
