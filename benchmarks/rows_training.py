"""The long rows: time to an accuracy, accuracy in a time, and what else trains the same pictures."""

from __future__ import annotations

import functools
import statistics
from typing import Any

from measure import HERE, PYTHON, RIVALS, Bench, Line, SkippedError, in_turn, run

CIFAR_TIME = ("--epochs", "10", "--valid-share", "0")
"""What `matinee train cifar10` is told in the row that reaches airbench's accuracy."""
CIFAR_BEST = ("--minutes", "30")
MNIST = ("--minutes", "0.5")
MNIST_GOAL = 0.994
AIRBENCH_SIDES = "20,20,20,24,24,28,32,32"
"""Pixels a side in each of its epochs, for the second way of running airbench."""
RESNET_EPOCHS = 8
RESNET_GROUND = (
    "extrapolated from its first steps to 8 epochs, as many as airbench takes, whose recipe was made to need few; "
    "what it would reach in them is not measured"
)
KERAS_EPOCHS = 3


def accuracy(result: dict[str, Any]) -> float:
    """Share of the test split that a `matinee train` got right."""
    return float(result["test"]["accuracy"])


def with_views(bench: Bench, result: dict[str, Any]) -> dict[str, Any]:
    """A training's result, with its test accuracy over six views of each picture."""
    return {**result, "six views": bench.probe("views", result["run"])["accuracy"]}


def mnist(bench: Bench) -> list[Line]:
    """MNIST from its files, an empty cache and half a minute; a seed for each round, one round where it is short."""
    source, reached = bench.folder("mnist"), []
    for seed in range(bench.rounds if bench.full else bench.few()):
        reached.append(bench.train(source, *MNIST, "--seed", str(seed)))
    words = f"train mnist {' '.join(MNIST)}"
    return [
        Line(words, "test accuracy", [accuracy(one) for one in reached], goal=f">= {MNIST_GOAL}"),
        Line(f"{words}, the whole command", "s", [one["command_seconds"] for one in reached], goal="<= 30 s"),
        Line(f"{words}, training alone", "s", [one["train_seconds"] for one in reached]),
    ]


def tutorial(bench: Bench) -> list[Line]:
    """PyTorch's tutorial for its 2 epochs, and Matinee for as long, its reading and reporting included."""
    return _as_long(bench, "tutorial", "PyTorch's CIFAR-10 tutorial, 2 epochs", goal=">= 0.82")


def keras(bench: Bench) -> list[Line]:
    """A small CNN as in Keras's documentation, and Matinee for as long, its reading and reporting included."""
    rival = f"Keras 3 CNN on torch, {KERAS_EPOCHS} epochs"
    return _as_long(bench, "keras_cnn", rival, "--epochs", KERAS_EPOCHS)


def _as_long(bench: Bench, script: str, rival: str, *words: object, goal: str = "") -> list[Line]:
    """Accuracies in the time that the rival trains; its imports, reading and scoring are not counted, ours are."""
    source, ours, theirs = bench.folder("cifar10"), [], []
    for seed in range(bench.few()):
        theirs.append(bench.rival(script, source, *words))
        minutes = theirs[-1]["seconds_training"] / 60
        ours.append(bench.train(source, "--minutes", f"{minutes:.4f}", "--seed", str(seed)))
    return [
        Line("CIFAR-10 in the rival's training time", "test accuracy", [accuracy(one) for one in ours], rival,
             [one["accuracy"] for one in theirs], goal),
        Line("the same: ours the whole command, theirs training alone", "s", [one["command_seconds"] for one in ours],
             rival, [one["seconds_training"] for one in theirs]),
        Line("the same, both as whole processes", "s", [one["command_seconds"] for one in ours], rival,
             [one["seconds_whole"] for one in theirs]),
    ]  # fmt: skip


def cifar_time(bench: Bench) -> list[Line]:
    """Time to the accuracy of an airbench94-style recipe in 8 epochs, with and without growing resolution."""
    source, rounds = bench.folder("cifar10"), bench.few()
    seeds = (iter(range(rounds)), iter(range(rounds)), iter(range(rounds)))  # the seeds of each
    ours, plain, growing = in_turn(
        rounds,
        lambda: with_views(bench, bench.train(source, *CIFAR_TIME, "--seed", str(next(seeds[0])))),
        lambda: bench.rival("airbench", source, "--seed", next(seeds[1])),
        lambda: bench.rival("airbench", source, "--seed", next(seeds[2]), "--resolutions", AIRBENCH_SIDES),
    )
    bench.kept["cifar-time"] = ours
    words = f"train cifar10 {' '.join(CIFAR_TIME)}"
    lines = []
    for rival, theirs in (("airbench-style", plain), (f"airbench-style at {AIRBENCH_SIDES} px", growing)):
        goal = "ratio <= 0.45" if theirs is plain else ""
        lines += [
            Line(f"{words}, training", "s", [one["train_seconds"] for one in ours], rival,
                 [one["seconds_training"] for one in theirs], goal),
            Line(f"{words}, whole", "s", [one["command_seconds"] for one in ours], rival,
                 [one["seconds_whole"] for one in theirs], goal),
            Line(words, "test accuracy", [accuracy(one) for one in ours], f"{rival}, no test-time augmentation",
                 [one["accuracy"] for one in theirs], "ratio >= 1"),
            Line(f"{words}, six views", "test accuracy", [one["six views"] for one in ours],
                 f"{rival}, with test-time augmentation", [one["accuracy_augmented"] for one in theirs], "ratio >= 1"),
        ]  # fmt: skip
    return lines


def cifar_best(bench: Bench) -> list[Line]:
    """The best of half an hour."""
    best = with_views(bench, bench.train(bench.folder("cifar10"), *CIFAR_BEST))
    words = f"train cifar10 {' '.join(CIFAR_BEST)}"
    return [
        Line(words, "test accuracy", [accuracy(best)], goal=">= 0.93"),
        Line(f"{words}, six views", "test accuracy", [best["six views"]], goal=">= 0.93"),
        Line(f"{words}, whole", "s", [best["command_seconds"]]),
    ]


def resnet18(bench: Bench) -> list[Line]:
    """Plain PyTorch ResNet-18 in fp32 over the image folder; its rate is measured, its time extrapolated."""
    source, steps = bench.folder("cifar10"), 12
    rates = [bench.rival("resnet18", source, "--steps", steps, "--epochs", RESNET_EPOCHS) for _ in range(bench.rounds)]
    ours = bench.kept.get("cifar-time") or [bench.train(source, *CIFAR_TIME)]
    whole = [one["seconds_of_all_epochs"] for one in rates]
    reached = statistics.median(accuracy(one) for one in ours)
    return [
        Line(f"CIFAR-10 to {reached:.4f} of the test split, training", "s", [one["train_seconds"] for one in ours],
             f"plain PyTorch ResNet-18 fp32, {RESNET_EPOCHS} epochs", whole, "ratio <= 0.05", RESNET_GROUND),
        Line("pictures a second, training", "pictures/s",
             [one["steps"] * one["batch_size"] / one["train_seconds"] for one in ours], "ResNet-18",
             [one["examples_per_second"] for one in rates]),
    ]  # fmt: skip


def lightning(bench: Bench) -> list[Line]:
    """What a Trainer with its defaults costs a step; the small network in it, in fp32 as it is by default."""
    linear, ours = in_turn(bench.rounds, lambda: bench.rival("lightning_net"), lambda: bench.probe("overhead"))
    added = Line(
        "what the loop adds to a bare one, trivial network", "ms a step", [one["overhead_median"] for one in ours],
        "lightning's Trainer", [one["overhead_milliseconds"] for one in linear],
    )  # fmt: skip
    if not bench.full:
        return [added]
    step = functools.partial(bench.probe, "step", 32, 6)
    batch = step()["sides"][0]["batch"]
    small = ("--network", "small", "--steps", 5, "--batch", batch, "--rounds", 1)
    trained, steps = in_turn(bench.rounds, lambda: bench.rival("lightning_net", *small), step)
    return [
        added,
        Line(f"step of {batch} at 32 px, small network", "ms", [one["sides"][0]["milliseconds"] for one in steps],
             "lightning's Trainer, fp32", [one["milliseconds_a_step"] for one in trained]),
    ]  # fmt: skip


def fastai(bench: Bench) -> list[Line]:
    """Says why there is nothing to compare with: fastai imports torchvision, which this suite does without."""
    if not RIVALS.exists():
        raise SkippedError("there is no .venv-rivals: `make .venv-rivals` builds it (this needs the network)")
    code = "try:\n import fastai.vision.all\nexcept Exception as error:\n print(type(error).__name__, error)"
    said = run([RIVALS, "-c", code]).out.strip()
    if said:
        raise SkippedError(
            f"fastai does not import here ({said}); it needs torchvision, whose wheels are bound to one build of torch"
        )
    raise SkippedError("fastai imports here, but this suite has no script for it")


def larger_than_memory(bench: Bench) -> list[Line]:
    """Training over a column larger than memory, against plain reads of the same file."""
    answer = run([PYTHON, HERE / "larger_than_memory.py", "--folder", bench.room]).told()
    ours, theirs = zip(*answer["all"], strict=True)
    note = f"{answer['column_gb']:.0f} GB column, {answer['pictures']}"
    return [
        Line("training over columns larger than memory", "pictures/s", ours, "32 threads reading plainly", theirs,
             note=note),
        Line("the same: resident peak, mapped files included", "GB", [answer["peak_mb"] / 1e3], note=note),
    ]  # fmt: skip
