"""The short rows: start-up, reading, the floor, a step, the loop, batches, memory, answers."""

from __future__ import annotations

import functools
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

from measure import HERE, MATINEE, PYTHON, Bench, Line, in_turn, run

SIDES = (20, 24, 28, 32)
"""Pixels a side at which the recipe for CIFAR-10 trains."""
MEMORY = ("--epochs", "1", "--minutes", "1")
INDEX = (1_000, 100_000, 10_000_000)


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if "sched_getaffinity" in dir(os) else os.cpu_count() or 1


def seconds(command: list[Any]) -> float:
    """Wall time of a process."""
    return run(command).seconds


def startup(bench: Bench) -> list[Line]:
    """`matinee --help`, `import matinee` and the like as whole processes, against Python alone and `import torch`."""
    commands: dict[str, list[Any]] = {
        "python alone": [PYTHON, "-c", "pass"],
        "import torch": [PYTHON, "-c", "import torch"],
        "import matinee": [PYTHON, "-c", "import matinee"],
        "matinee --help": [*MATINEE, "--help"],
        "matinee train --help": [*MATINEE, "train", "--help"],
    }
    for command in commands.values():
        run(command)
    ways = [functools.partial(seconds, command) for command in commands.values()]
    times = dict(zip(commands, in_turn(max(5, bench.rounds), *ways), strict=True))
    plain = times["python alone"]
    lines = [Line(name, "s", times[name], "python alone", plain) for name in list(commands)[2:]]
    return [*lines, Line("import matinee", "s", times["import matinee"], "import torch", times["import torch"])]


def decode(bench: Bench) -> list[Line]:
    """Reading CIFAR-10's JPEG files for the first and the second time; in quick runs the 10,000 of the test split."""
    folder = bench.folder("cifar10") if bench.full else bench.folder("cifar10") / "test"

    def fresh() -> Path:
        return Path(tempfile.mkdtemp(dir=bench.room))

    def whole() -> tuple[float, float]:
        cache, code = fresh(), f"import matinee; matinee.read({str(folder)!r})"
        first, second = (run([PYTHON, "-c", code], cache=cache).seconds for _ in range(2))
        return first, second

    ours, plain, one, read = in_turn(
        bench.rounds,
        lambda: bench.probe("reading", "table", folder, cache=fresh()),
        lambda: bench.probe("reading", "pillow", folder, cores()),
        lambda: bench.probe("reading", "pillow", folder, 1),
        whole,
    )
    files = ours[0]["files"]
    name = f"of {files:,} JPEG files"
    rates = [[a["files"] / a["seconds"] for a in answers] for answers in (ours, plain, one)]
    firsts, others = zip(*read, strict=True)
    return [
        Line(f"first reading {name}", "files/s", rates[0], f"Pillow in {cores()} processes", rates[1]),
        Line(f"first reading {name}", "files/s", rates[0], "Pillow in one process", rates[2]),
        Line(f"second reading {name}", "s", [a["again"] for a in ours], "the first", [a["seconds"] for a in ours]),
        Line(f"matinee.read {name}, process and near duplicates included", "s", firsts),
        Line("the same again", "s", others, "the first", firsts),
    ]


def machine(bench: Bench) -> list[Line]:
    """The floor: matrix products and copies."""
    rates = [bench.probe("rates") for _ in range(bench.rounds)]
    bf16, fp32, copied = ([rate[name] for rate in rates] for name in ("bf16_tflops", "fp32_tflops", "copy_gbs"))
    return [
        Line("matrix products in bf16", "TFLOP/s", bf16, "in fp32", fp32),
        Line("memory copied", "GB/s", copied),
    ]


def step(bench: Bench) -> list[Line]:
    """A training step of the default CIFAR-10 network: against the matrix rate, and against plain PyTorch in fp32."""
    sides = ",".join(str(side) for side in SIDES)
    first = bench.probe("step", SIDES[0], 3)["sides"][0]
    batch, size = first["batch"], first["network"].split()[1]

    def plain() -> list[dict[str, Any]]:
        script, words = HERE / "rivals" / "plain_small.py", ["--batch", batch, "--steps", 4, "--size", size, "--side"]
        return [run([PYTHON, script, *words, side]).told() for side in SIDES]

    ours, theirs = in_turn(bench.rounds, lambda: bench.probe("step", sides, 6), plain)
    lines = []
    for place, side in enumerate(SIDES):
        mine = [answer["sides"][place] for answer in ours]
        times = [row["milliseconds"] for row in mine]
        rates = [row["gflop"] / row["milliseconds"] for row in mine]
        name, kind = f"step of {batch} at {side} px", ours[0]["precision"]
        other = [answer[place]["milliseconds_a_step"] for answer in theirs]
        lines += [
            Line(
                f"{name}, {mine[0]['gflop']:.0f} GFLOP counted", "TFLOP/s", rates, f"{kind} matrix product",
                [answer["tflops"] for answer in ours], "ratio >= 0.6",
            ),
            Line(name, "ms", times, "same network, plain PyTorch fp32", other, "ratio <= 0.2"),
        ]  # fmt: skip
    return lines


def overhead(bench: Bench) -> list[Line]:
    """The loop with a trivial network against a bare PyTorch loop over the same gathers."""
    answer = bench.probe("overhead")
    pairs = answer["overhead"]
    return [
        Line("step of a trivial network", "ms", answer["ours"], "bare PyTorch loop", answer["bare"]),
        Line("the loop's own share of it", "ms", pairs, goal="<= 0.06 ms"),
    ]


def batches(bench: Bench) -> list[Line]:
    """Gather and augment on one core; what a picture costs out of indices of different lengths."""
    goals = {32: "60,000", 160: "2,500"}
    ways = [functools.partial(bench.probe, "batches", "pictures", side) for side in goals]
    ways += [functools.partial(bench.probe, "batches", "index", rows) for rows in INDEX]
    answers = in_turn(bench.rounds, *ways)
    lines = []
    for (side, goal), rows in zip(goals.items(), answers, strict=False):
        name = f"gather + augment, {side} px, batches of {rows[0]['batch']:.0f}, one core"
        lines.append(Line(name, "pictures/s", [row["pictures_per_second"] for row in rows], goal=f">= {goal}"))
    costs = [[row["nanoseconds"] for row in rows] for rows in answers[len(goals) :]]
    for count, cost in zip(INDEX[1:], costs[1:], strict=True):
        name = f"a picture out of an index of {count:,} rows"
        lines.append(Line(name, "ns", cost, f"of {INDEX[0]:,} rows", costs[0], "flat"))
    return lines


def memory(bench: Bench) -> list[Line]:
    """The most that `matinee train` on CIFAR-10 holds, mapped files included: from files, and from the cache."""
    source, cache = bench.folder("cifar10"), Path(tempfile.mkdtemp(dir=bench.room))
    first = bench.train(source, *MEMORY, cache=cache)
    rest = [bench.train(source, *MEMORY, cache=cache) for _ in range(bench.few())]
    words = f"resident peak, train {' '.join(MEMORY)}"
    return [
        Line(f"{words}, first reading included", "GB", [first["peak_bytes"] / 1e9], goal="<= 1.2 GB"),
        Line(f"{words}, read before", "GB", [one["peak_bytes"] / 1e9 for one in rest], goal="<= 1.2 GB"),
    ]


def predict(bench: Bench) -> list[Line]:
    """`matinee predict` over folders against the decoder's pace; one picture; the start of a bundle.

    The networks have learned nothing: how long an answer takes does not depend on it.
    """
    lines = []
    for name, part, side, examples in (("cifar10", "test", 32, 50_000), ("hymenoptera", ".", 160, 245)):
        folder, bundle = bench.folder(name) / part, bench.room / f"bundle-{side}"
        made = bench.probe("bundles", "make", bundle, side, examples)
        one = next(path for path in sorted(folder.rglob("*.jpg")))
        command = [*MATINEE, "predict", bundle]
        whole, single, encoded, plain, loaded = in_turn(
            bench.rounds,
            functools.partial(seconds, [*command, folder]),
            functools.partial(seconds, [*command, one]),
            functools.partial(bench.probe, "reading", "encode", bundle, folder),
            functools.partial(bench.probe, "reading", "pillow", folder, cores()),
            functools.partial(bench.probe, "bundles", "answer", bundle, one),
        )
        files = encoded[0]["files"]
        started = statistics.median(single)
        rates = [(files - 1) / max(1e-3, spent - started) for spent in whole]
        words = f"predict, {name}/{part} ({files:,} files, {made['network']} at {side} px)"
        lines += [
            Line(f"{words}, start-up taken off", "files/s", rates, "decoding alone, as predict does it",
                 [row["files"] / row["seconds"] for row in encoded]),
            Line(f"{words}, start-up taken off", "files/s", rates, f"Pillow at full size, {cores()} processes",
                 [row["files"] / row["seconds"] for row in plain]),
            Line(f"{words}, the whole command", "s", whole),
            Line(f"predict of one file at {side} px, the whole command", "s", single),
            Line(f"one file at {side} px with a loaded model", "ms", [row["milliseconds"] for row in loaded]),
            Line("the same, 95 % are below", "ms", [row["milliseconds_of_95_percent"] for row in loaded]),
            Line("the same, the first answer", "ms", [row["first_milliseconds"] for row in loaded]),
            Line(f"loading the bundle ({made['network']}), `import torch` included", "s",
                 [row["load_seconds"] for row in loaded]),
        ]  # fmt: skip
    return lines
