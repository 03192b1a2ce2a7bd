"""What every row of the benchmarks uses: processes in turn, their seconds and memory, medians, the lines of a row."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PYTHON = sys.executable
MATINEE = [PYTHON, "-m", "matinee"]
RIVALS = HERE.parent / ".venv-rivals" / "bin" / "python"


class SkippedError(Exception):
    """A row cannot be run here, and why."""


class FailedError(Exception):
    """A process of a row ended with an error: the last of what it said."""


@dataclass(frozen=True)
class Line:
    """One comparison: a figure of Matinee's and of what it is held against, one number a round each.

    The ratio is the median of ours over theirs, round by round: what slows one round down slows both.
    """

    what: str
    unit: str
    ours: Sequence[float]
    rival: str = ""
    theirs: Sequence[float] = ()
    goal: str = ""
    note: str = ""

    def ratios(self) -> list[float]:
        """Ours over theirs, round by round; none where there is nothing to compare with."""
        if len(self.ours) != len(self.theirs):
            return [mine / statistics.median(self.theirs) for mine in self.ours] if self.theirs else []
        return [mine / other for mine, other in zip(self.ours, self.theirs, strict=True)]

    def to_json(self) -> dict[str, Any]:
        """Every number, with medians and spreads."""
        return {
            "what": self.what,
            "unit": self.unit,
            "matinee": summary(self.ours),
            "rival": self.rival,
            "theirs": summary(self.theirs),
            "ratio": summary(self.ratios()),
            "goal": self.goal,
            "note": self.note,
        }


@dataclass(frozen=True)
class Ran:
    """A process that has ended: its wall time, the most memory it or a child of its held, what it printed."""

    seconds: float
    peak_bytes: int
    out: str

    def told(self) -> dict[str, Any]:
        """Its last line, as JSON."""
        lines = self.out.strip().splitlines()
        value: dict[str, Any] = json.loads(lines[-1])
        return value


@dataclass
class Bench:
    """What a row is given. room: an empty folder. rounds: of short rows. kept: results that other rows may use."""

    data: Path | None
    room: Path
    full: bool = False
    rounds: int = 3
    kept: dict[str, Any] = field(default_factory=dict)

    def few(self) -> int:
        """Rounds of what takes minutes: one, unless a number was asked for."""
        return self.rounds if self.kept.get("rounds asked") else 1

    def folder(self, name: str) -> Path:
        """A folder of the data. Raises SkippedError where it is not there."""
        if self.data is None:
            raise SkippedError(f"needs {name}/ in the folder that MATINEE_DATA names")
        if not (self.data / name).is_dir():
            raise SkippedError(f"there is no {name}/ in MATINEE_DATA ({self.data})")
        return self.data / name

    def probe(self, name: str, *words: object, cache: Path | None = None) -> dict[str, Any]:
        """A script of probes/ in Matinee's environment: its answer."""
        return run([PYTHON, HERE / "probes" / f"{name}.py", *words], cache=cache or self.room / "cache").told()

    def rival(self, name: str, *words: object) -> dict[str, Any]:
        """A script of rivals/ in its own environment: its answer, "seconds_whole" the process's where it tells none."""
        if not RIVALS.exists():
            raise SkippedError("there is no .venv-rivals: `make .venv-rivals` builds it (this needs the network)")
        ran = run([RIVALS, HERE / "rivals" / f"{name}.py", *words])
        return {"seconds_whole": ran.seconds, **ran.told()}

    def train(self, source: Path, *settings: str, cache: Path | None = None) -> dict[str, Any]:
        """`matinee train`, from an empty cache unless one is named."""
        return trained(source, Path(tempfile.mkdtemp(dir=self.room)), *settings, cache=cache)


def run(command: Sequence[object], cache: Path | None = None) -> Ran:
    """One process, with what it took. Raises FailedError with the end of what it said where it failed."""
    known = os.environ | ({"MATINEE_CACHE": str(cache)} if cache else {})
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as said:
        began = time.perf_counter()
        child = subprocess.Popen([str(word) for word in command], stdout=out, stderr=said, env=known)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        said.seek(0)
        if child.returncode:
            raise FailedError(f"{' '.join(map(str, command))}: {said.read()[-2000:] or out.read()[-2000:]}")
        return Ran(seconds, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024), out.read())


def trained(source: str | Path, room: Path, *settings: str, cache: Path | None = None) -> dict[str, Any]:
    """What `matinee train --json` says, with the wall time and the memory of the whole command."""
    command = [*MATINEE, "train", source, "--json", "--quiet", "--out", room / "run", *settings]
    ran = run(command, cache=cache or room / "cache")
    settings_of_run = json.loads((room / "run" / "settings.json").read_text("utf-8"))
    return {
        **json.loads(ran.out),
        "command_seconds": ran.seconds,
        "peak_bytes": ran.peak_bytes,
        "batch_size": settings_of_run["train"]["batch_size"],
    }


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


def in_turn(rounds: int, *ways: Callable[[], Any]) -> list[list[Any]]:
    """The answers of each way, tried one after the other in every round, every other round in reverse."""
    answers: list[list[Any]] = [[] for _ in ways]
    for number in range(rounds):
        order = range(len(ways)) if number % 2 == 0 else range(len(ways) - 1, -1, -1)
        for place in order:
            answers[place].append(ways[place]())
    return answers


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Median, least and most of some numbers, and all of them; nothing for none."""
    if not values:
        return {}
    return {
        "median": statistics.median(values),
        "low": min(values),
        "high": max(values),
        "all": list(values),
    }


def printed(words: str | None, rows: Mapping[str, Callable[[Path, Path], dict[str, Any]]]) -> None:
    """The command line of a table of rows, DATA [NAME...]: prints the machine, then a line of JSON for each row.

    words: what is said where DATA is missing. A row is given DATA and an empty folder of its own.
    """
    if len(sys.argv) < 2:
        sys.exit(words)
    data, wanted = Path(sys.argv[1]).resolve(), sys.argv[2:] or list(rows)
    unknown = [name for name in wanted if name not in rows]
    if unknown:
        sys.exit(f"no such row: {', '.join(unknown)}; there are {', '.join(rows)}")
    from matinee.core.runtime import processor

    print(f"machine: {processor()}, load {os.getloadavg()[0]:.1f}", flush=True)
    for name in wanted:
        with tempfile.TemporaryDirectory() as room:
            began = time.perf_counter()
            try:
                row = rows[name](data, Path(room))
            except (FailedError, SkippedError) as error:
                sys.exit(f"{name}: {error}")
            print(json.dumps({"row": name, **row, "wall": round(time.perf_counter() - began, 1)}), flush=True)
