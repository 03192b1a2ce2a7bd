"""What a run tells the people who must decide on it: from the answer in two sentences down to the settings."""

from __future__ import annotations

import math
import platform
import shlex
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matinee.core.evaluation import Evaluation, called, figure
from matinee.core.meter import Score
from matinee.core.model import Model
from matinee.core.pieces import Bars, Code, Lines, Piece, Section, Table, Text
from matinee.core.progress import seconds
from matinee.core.runs import Run
from matinee.core.settings import flag, rules
from matinee.core.storage import read_json, write_bytes
from matinee.core.telling import NO_STEP, idle
from matinee.report.page import page


@dataclass(frozen=True)
class Story:
    """All that the page tells. problems: (severity, words, files). counts: split -> class -> examples.

    kept: the epoch whose weights are the model's; 0 where that is not known.
    """

    run: Run
    model: Model
    history: Sequence[Mapping[str, float]]
    evaluation: Evaluation | None
    problems: Sequence[tuple[str, str, Sequence[str]]]
    counts: Mapping[str, Mapping[str, int]]
    seconds: float
    kept: int = 0


def write(path: Path, story: Story) -> None:
    """Put the page in place."""
    write_bytes(path, tell(story).encode("utf-8", "backslashreplace"))


def tell(story: Story) -> str:
    """The page."""
    settings = story.run.settings
    title = (
        f"{settings['task'].replace('-', ' ').capitalize()}: {Path(str(settings['source'])).name or settings['source']}"
    )
    sections = [
        _scores(story),
        *_looks(story),
        _training(story),
        _data(story),
        _settings(settings, rules(story.model.task)),
        _environment(story),
    ]
    again = _again(settings, story.run.folder, story.model.task.asked)
    return page(title, _lead(story), [*sections, again], facts=_tiles(story))


def _percent(score: Score) -> str:
    return f"{100 * score.value:.1f} % ({100 * score.low:.1f} to {100 * score.high:.1f})"


def _shown(told: Evaluation, name: str, value: float) -> str:
    return figure(value, name in told.shares)


def _lead(story: Story) -> str:
    told, tests = story.evaluation, sum(story.counts.get("train", {}).values())
    if told is None:
        return f"The model learned from {tests:,} examples. None were held back, so nothing is known of how good it is."
    name, score = next(iter(told.scores.items()))
    words = called(name)
    where = "that it never saw" if told.split == "test" else "that were used to choose it, so a little too good"
    if name in told.shares:
        lead = (
            f"On {told.examples:,} examples {where}, the model reaches {100 * score.value:.1f} % {words}; "
            f"with 95 % confidence the true figure lies between {100 * score.low:.1f} and {100 * score.high:.1f} %."
        )
    else:
        span = f"({score.low:.4f} to {score.high:.4f})"
        lead = f"On {told.examples:,} examples {where}, {words} is {score.value:.4f} {span}."
    rivals = [
        f"{told.names.get(other, other)} {_shown(told, name, scores[name])}"
        for other, scores in told.baselines.items()
        if name in scores
    ]
    return lead + (f" For comparison: {', '.join(rivals)}." if rivals else "")


def _tiles(story: Story) -> dict[str, str]:
    tiles = {}
    if story.evaluation is not None:
        for name in list(story.evaluation.scores)[:1]:
            score = story.evaluation.scores[name]
            plain = f"{score.value:.4g} ({score.low:.4g} to {score.high:.4g})"
            tiles[f"{story.evaluation.split} {called(name)}"] = (
                _percent(score) if name in story.evaluation.shares else plain
            )
        if "f1" in story.evaluation.scores and "f1" not in list(story.evaluation.scores)[:1]:
            tiles["F1, mean of classes"] = _percent(story.evaluation.scores["f1"])
    if network := story.run.settings["fields"].get("network"):
        tiles["network"] = str(network)
    tiles["learned from"] = f"{sum(story.counts.get('train', {}).values()):,} examples"
    tiles["time"] = seconds(story.seconds)
    return tiles


def _scores(story: Story) -> Section:
    told = story.evaluation
    if told is None:
        return Section("Scores", [Text("No examples were held back: there is nothing to score on.", "warning")])
    pieces: list[Piece] = [Text(note, "warning") for note in told.notes]
    pieces += [Text(f"{words[0].upper()}{words[1:]}.", "good") for words in told.better()]
    others = list(told.baselines)
    rows = [
        (
            called(name),
            _shown(told, name, score.value),
            f"{_shown(told, name, score.low)} to {_shown(told, name, score.high)}",
            *(_shown(told, name, told.baselines[other].get(name, math.nan)) for other in others),
            told.meanings.get(name, ""),
        )
        for name, score in told.scores.items()
    ]
    columns = ("score", "this model", "95 % interval", *(told.names.get(o, o) for o in others), "what it is")
    pieces.append(Table(columns, rows))
    first = next(iter(told.scores))
    if first in told.shares:
        score = told.scores[first]
        names = ["this model", *(told.names.get(o, o) for o in others)]
        values = [score.value, *(told.baselines[o].get(first, math.nan) for o in others)]
        spans: list[tuple[float, float] | None] = [(score.low, score.high), *(None for _ in others)]
        pieces.append(Bars(names, values, spans, f"{called(first)} on the {told.split} split", percent=True))
    return Section("Scores", pieces)


def _looks(story: Story) -> list[Section]:
    """What the task shows of its scores, and the examples worth looking at."""
    told = story.evaluation
    if told is None:
        return []
    detail = [Section("In detail", list(told.pieces))] if told.pieces else []
    return [*detail, *told.galleries]


def _training(story: Story) -> Section:
    history, names = story.history, []
    if story.run.settings["train"]["epochs"] == 0:
        look = "This network is not trained in steps: it is computed from the training examples at a look."
        words = f"{NO_STEP[0].upper()}{NO_STEP[1:]}" if idle(story.model.task, story.model.network, 0) else look
        steps = ("epoch", "step", "loss", "seconds", "examples_per_second")
        found = [(called(name), value) for name, value in (history or [{}])[-1].items() if name not in steps]
        told = [Table(("on the validation examples", ""), found)] if found else []
        return Section("Training", [Text(words), *told])
    if history:
        names = [n for n in history[-1] if n in ("accuracy", "f1", "recall")]
    first = str(story.model.facts.get("select", ""))
    names = list(dict.fromkeys([*([first] if history and first in history[-1] else []), *names]))
    curves = {f"valid {n}": [(row["epoch"], row[n]) for row in history if n in row] for n in names}
    kept = [row for row in history if row["epoch"] == story.kept]
    if kept and first in kept[0]:
        curves["kept"] = [(story.kept, kept[0][first])]
    pieces: list[Piece] = [
        Lines({"training loss": [(row["epoch"], row["loss"]) for row in history]}, "epoch", "loss"),
    ]
    if curves:
        pieces.append(Lines(curves, "epoch", "score"))
    columns = list(dict.fromkeys(name for row in history for name in row))
    rows = [[*(row.get(name) for name in columns), "kept" if row in kept else ""] for row in history]
    caption = "One row per validation; the same as metrics.csv."
    if kept:
        by = f", chosen by {called(first)} on the validation examples" if first in kept[0] else ""
        caption += f" Kept are the weights at the end of epoch {story.kept:,}{by}."
    pieces.append(Table([*map(called, columns), ""], rows, caption))
    return Section("Training", pieces)


def _data(story: Story) -> Section:
    pieces: list[Piece] = []
    for severity, words, files in story.problems:
        named = f" ({', '.join(files[:3])}{', ...' if len(files) > 3 else ''})" if files else ""
        pieces.append(Text(words + named, "warning" if severity == "error" else "plain"))
    if not story.problems:
        pieces.append(Text("Nothing wrong was found while reading.", "good"))
    splits = list(story.counts)
    names = list(dict.fromkeys(name for split in splits for name in story.counts[split]))
    rows: list[list[str | int]] = [[name, *(story.counts[split].get(name, 0) for split in splits)] for name in names]
    if names != ["examples"]:
        rows.append(["all", *(sum(story.counts[split].values()) for split in splits)])
    pieces.append(Table(("class" if names != ["examples"] else "", *splits), rows))
    facts = _facts(story.run.folder / "check.json")
    if facts:
        pieces.append(Table(("what was read", ""), list(facts.items())))
    ledger = read_json(story.run.folder / "ledger.json")
    entries = [(e["file"], e["kind"], e["reason"]) for e in ledger["entries"]]
    if entries:
        pieces.append(
            Table(("what", "kind", "why"), entries, "The ledger: everything that was left out or passed over.")
        )
    return Section("Data", pieces)


def _facts(path: Path) -> dict[str, str]:
    """What reading found out, in words; nothing where that was not kept."""
    return {str(name): str(value) for name, value in read_json(path)["facts"].items()} if path.exists() else {}


def _settings(settings: Mapping[str, Any], known: Container[str]) -> Section:
    """known: the settings of the task; its other fields are what it read from the data."""
    fields = {name: value for name, value in settings["fields"].items() if name in known}
    rows = [(flag(name), _plain(value)) for name, value in {**settings["train"], **fields}.items()]
    return Section("Settings", [Table(("setting", "value"), rows)], folded=True)


def _plain(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else "none" if value in (None, "") else str(value)
    return text if len(text) <= 200 else f"{text[:200]} ..."


def _environment(story: Story) -> Section:
    import numpy as np
    import torch

    from matinee.core.runtime import machine, peak_memory

    asked = story.run.settings["train"]
    where = machine(asked["device"], asked["precision"])
    last = story.history[-1] if story.history else {}
    rows = [
        ("machine", where.describe()),
        ("wall time", seconds(story.seconds)),
        ("of it training", seconds(last.get("seconds", 0.0))),
        *(
            []
            if asked["epochs"] == 0
            else [("examples a second while training", f"{last.get('examples_per_second', 0):,.0f}")]
        ),
        ("peak memory", f"{peak_memory() / 2**20:,.0f} MiB"),
        ("parameters", f"{sum(p.numel() for p in story.model.network.parameters()):,}"),
        ("Matinee", str(story.run.settings["version"])),
        ("Python, PyTorch, NumPy", f"{platform.python_version()}, {torch.__version__}, {np.__version__}"),
        ("system", platform.platform()),
    ]
    return Section("Environment and cost", [Table(("", ""), rows)])


def _again(settings: Mapping[str, Any], folder: Path, asked: str) -> Section:
    given = " ".join(_typed(name, value) for name, value in settings["given"].items())
    source = shlex.quote(str(settings["source"]))
    commands = [
        f"matinee train {source} {given}".rstrip(),
        f"matinee evaluate {shlex.quote(str(folder))}",
        f"matinee predict {shlex.quote(str(folder))} {asked}",
    ]
    return Section(
        "The same again",
        [
            Text(
                "These commands make this run again and use it. The same machine, versions and data give the same "
                "bits, if the length was set by --epochs; --minutes follows the clock."
            ),
            Code("\n".join(commands)),
        ],
    )


def _typed(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return flag(name) if value else flag(name).replace("--", "--no-", 1)
    return f"{flag(name)} {shlex.quote(str(value))}"
