"""The figures that the README quotes, made again: `python benchmarks/figures.py DATA [NAME...]`.

DATA is a folder with mnist/, cifar10/, orl_faces/, ck48/ and hymenoptera/ as their publishers lay them out. Each NAME
is a row of the table below; without one, all of them (about an hour on two cores). Every row prints the command's own
figures, medians where it is timed, and the machine; a model's row is one run with the seed that is named.
"""

from __future__ import annotations

import csv
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rows_parts as parts
from measure import MATINEE, Bench, Line, printed, run, told, trained


def table(path: Path, rows: list[tuple[str, str, str]]) -> Path:
    """A table of files with labels and splits."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("file", "label", "split"), *rows])
    return path


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


def of_suite(row: Callable[[Bench], list[Line]]) -> Callable[[Path, Path], dict[str, Any]]:
    """A row of the suite as one of these, with all the data."""

    def shown(data: Path, room: Path) -> dict[str, Any]:
        return {"lines": [line.to_json() for line in row(Bench(data, room, full=True))]}

    return shown


def resume(data: Path, room: Path) -> dict[str, Any]:
    """verify-resume with 20 kills, on the default network."""
    command = [*MATINEE, "verify-resume", "digits", "--kills", "20", "--batch-size", "64", "--json", "--quiet"]
    said = json.loads(run(command, cache=room).out)
    return {k: said[k] for k in ("exact", "kills", "steps", "tensors", "numbers", "differences")}


ROWS: dict[str, Callable[[Path, Path], dict[str, Any]]] = {
    "startup": of_suite(parts.startup),
    "decode": of_suite(parts.decode),
    "digits": digits,
    "mnist": mnist,
    "orl": orl,
    "cifar10": cifar10,
    "lenet": lenet,
    "ck48": ck48,
    "hymenoptera": hymenoptera,
    "overhead": of_suite(parts.overhead),
    "resume": resume,
}

if __name__ == "__main__":
    printed(__doc__, ROWS)
