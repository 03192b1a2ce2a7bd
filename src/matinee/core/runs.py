"""The run folder: all that a run was, and all that it needs to go on.

settings.json   what was asked: source, task, training settings, versions
ledger.json     every file that was refused or passed over, and why
metrics.csv     one row per validation; events.out.* the same for TensorBoard
checkpoint/     latest.safetensors (where to resume) and best.safetensors (the best weights so far)
model/          the best model, a bundle, once the run has ended or was stopped in order
report.html     for people; evaluation.json the same for programs
"""

from __future__ import annotations

import copy
import csv
import io
import json
import re
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import IO, TYPE_CHECKING, Any, NoReturn

from matinee.core.errors import BundleError, Interrupted, MatineeError, SettingsError
from matinee.core.ledger import Entry
from matinee.core.plan import Event
from matinee.core.processes import job, restarts
from matinee.core.storage import nearby, read_json, read_tensors, unwritable, write_bytes, write_json, write_tensors

if TYPE_CHECKING:
    from torch import Tensor

CHECKPOINT_EVERY = 20.0  # seconds: what a kill can cost
VERSION = 1
PART = re.compile(r"\..+\.\d+\.part")  # files and bundles that are not yet in place
COUNTS = ("step", "epoch", "batch", "best_epoch", "stale", "loss_count")
CHECKPOINT = {**dict.fromkeys(COUNTS, int), "spent": float, "best": float | None, "history": list, "plan": dict}
RESULT = {
    **dict.fromkeys(("run", "task"), str),
    **dict.fromkeys(("seconds", "train_seconds", "epochs", "steps"), int | float),
    **dict.fromkeys(("test", "valid"), dict),
}
WORDS, RECORDS = ("version", "source", "source_path", "task"), ("fields", "train", "start", "given")
KINDS = {"format": int, **dict.fromkeys(WORDS, str), **dict.fromkeys(RECORDS, dict)}  # what every settings.json has


class Run:
    """A run folder, open for writing by this process alone. It is the loop's Keeper.

    here: whether this process writes it. Where several train together the first one does; the others listen to
    signals, and never touch the folder: it need not be on their machine.
    """

    def __init__(self, folder: Path, here: bool = True) -> None:
        self.folder = folder
        self.here = here
        self.before = 0.0  # seconds of training before this process went on with the run
        self.every_steps = 0  # between two checkpoints; 0: by the clock
        self._saved = time.perf_counter()
        self._asked: list[int] = []
        self._lost = False  # whether a file could not be written
        self._rows: list[dict[str, float]] = []
        self._board: Any = None
        self._lock: IO[str] | None = None
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self._writing: list[Future[None]] = []
        self._best: tuple[dict[str, Tensor], dict[str, Any]] | None = None  # not yet on its way to the disk

    @staticmethod
    def create(folder: Path, settings: Mapping[str, Any]) -> Run:
        """A new run folder. Raises SettingsError if there is something in it already."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not all(_is_leftover(entry) for entry in folder.iterdir()):
                raise SettingsError(
                    f"--out {folder}: there is something in this folder already. Name a new one, or go on with the run "
                    f"that lies there: matinee resume {folder}"
                )
            _sweep(folder)
            (folder / "checkpoint").mkdir(exist_ok=True)
        except OSError as error:
            raise unwritable(folder, error) from None
        write_json(folder / "settings.json", {"format": VERSION, **settings})
        return Run(folder)

    @staticmethod
    def again(folder: Path, settings: Mapping[str, Any]) -> Run | None:
        """The run that lies in the folder, where this very job began it and the elastic agent has restarted it.

        Compared is what was asked, not what "auto" made of it: that may follow from the machine's pace at the moment.
        """
        if not restarts() or not (folder / "settings.json").is_file():
            return None
        run, wanted = Run(folder), json.loads(json.dumps(settings))
        known = run.settings
        return run if all(known.get(k) == wanted[k] for k in ("source", "digest", "task", "start", "given")) else None

    @staticmethod
    def open(folder: Path) -> Run:
        """A run folder that exists. Raises BundleError for anything else."""
        if not (folder / "settings.json").is_file():
            what = "this is not a run folder (there is no settings.json in it)" if folder.exists() else "no such folder"
            raise BundleError(f"{folder}: {what}.{'' if folder.exists() else nearby(folder, 'runs')}")
        return Run(folder)

    @property
    def settings(self) -> dict[str, Any]:
        """What the run was asked to do. Raises BundleError for a record of a newer version or a damaged one."""
        value = read_json(self.folder / "settings.json")
        if isinstance(value, dict) and isinstance(value.get("format"), int) and value["format"] > VERSION:
            raise BundleError(
                f"{self.folder}: this run has format {value['format']}, and this Matinee reads up to {VERSION}. "
                "Update it."
            )
        if not isinstance(value, dict) or any(not isinstance(value.get(k), t) for k, t in KINDS.items()):
            raise BundleError(f"{self.folder / 'settings.json'}: this is not the record of a run; the file is damaged.")
        return value

    @property
    def begun(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return self.here and (self.folder / "checkpoint" / "latest.safetensors").is_file()

    @property
    def finished(self) -> bool:
        """Whether the run has ended and all of it is in place."""
        return (self.folder / "result.json").is_file()

    @property
    def result(self) -> dict[str, Any]:
        """What a run that has ended came to. Raises BundleError for a damaged record."""
        path = self.folder / "result.json"
        value = read_json(path)
        if not isinstance(value, dict) or any(not isinstance(value.get(k), t) for k, t in RESULT.items()):
            raise BundleError(f"{path}: this is not the result of a run; the file is damaged.")
        tables = [value["test"], value["valid"]]
        for name in ("scores", "baselines", "margins"):
            part = value.get(name, {})
            tables += part.values() if isinstance(part, dict) else [None]
        notes = value.get("notes", [])
        if not all(_is_table(table) for table in tables) or not isinstance(notes, list):
            raise BundleError(f"{path}: this is not the result of a run; the file is damaged.")
        return value

    def write(self, name: str, value: Any) -> None:
        """Put a JSON file of the run in place."""
        if self.here:
            write_json(self.folder / name, value)

    def write_ledger(self, entries: tuple[Entry, ...]) -> None:
        """The ledger, with counts by kind first."""
        kinds: dict[str, int] = {}
        for entry in entries:
            kinds[entry.kind] = kinds.get(entry.kind, 0) + 1
        self.write("ledger.json", {"counts": kinds, "entries": [asdict(entry) for entry in entries]})

    # -- the loop's Keeper

    def restore(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Tensors and facts of the last checkpoint; the log is cut back to it."""
        path = self.folder / "checkpoint" / "latest.safetensors"
        if not self.begun:
            return None
        tensors, facts = read_tensors(path)
        odd = [key for key, kind in CHECKPOINT.items() if not isinstance(facts.get(key), kind)]
        if odd or not all(_is_table(row) and "seconds" in row for row in facts["history"]):
            raise BundleError(f"{path}: this is not a checkpoint of a run.")
        self._rows = list(facts["history"])
        self.before = float(facts["spent"])
        self._write_metrics()
        return tensors, facts

    @property
    def asked(self) -> bool:
        """Whether a signal asked to stop."""
        return bool(self._asked)

    def due(self, step: int) -> bool:
        """After so many seconds or steps."""
        if self.every_steps:
            return step % self.every_steps == 0
        return time.perf_counter() - self._saved >= CHECKPOINT_EVERY

    def save(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Have the checkpoint put in place while the training goes on. Nobody may change the tensors any more."""
        self._saved = time.perf_counter()
        self._write_best()
        self._write("latest.safetensors", tensors, facts)

    def keep_best(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Have the best weights so far put in place before the next checkpoint, which alone can ask for them.

        Nobody may change the tensors any more. Were they written with every pass, a large network of short passes
        would wait for the disk.
        """
        self._best = tensors, copy.deepcopy(facts)

    def _write_best(self) -> None:
        if self._best is not None:
            (tensors, facts), self._best = self._best, None
            self._write("best.safetensors", tensors, facts)

    def _write(self, name: str, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """On a thread, in order; at most one file waits for the one before it. Raises what an earlier write raised."""
        if self.here:
            while len(self._writing) > 1:
                self._writing.pop(0).result()
            path, said = self.folder / "checkpoint" / name, copy.deepcopy(facts)
            self._writing.append(self._writer.submit(self._put, path, tensors, said))

    def _put(self, path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        if self._lost:  # a later checkpoint without the best weights that belong to it would resume to others
            return
        try:
            write_tensors(path, tensors, facts)
        except BaseException:
            self._lost = True
            raise

    def settle(self) -> None:
        """Wait until everything is in place. Raises what a write raised."""
        self._write_best()
        while self._writing:
            self._writing.pop(0).result()

    def stop(self, step: int) -> NoReturn:
        """Stop in order, once everything is in place. Raises Interrupted."""
        self.settle()
        self._asked.clear()
        raise Interrupted(f"stopped after {step:,} steps. To go on: matinee resume {self.folder}")

    def best(self) -> dict[str, Tensor]:
        """The best weights so far."""
        self.settle()
        return read_tensors(self.folder / "checkpoint" / "best.safetensors")[0]

    def events(self) -> list[Event]:
        """What the clock decided so far."""
        path = self.folder / "checkpoint" / "clock.json"
        found: Any = read_json(path) if path.exists() else []
        if not isinstance(found, list) or not all(_is_event(event) for event in found):
            raise BundleError(f"{path}: this is not a record of the clock; the file is damaged.")
        return found

    def record(self, events: list[Event]) -> None:
        """Keep what the clock decided."""
        self.write("checkpoint/clock.json", events)

    def looked(self, notes: list[str] | None) -> list[str]:
        """Keep what the look before the first step had no time for; None: what was kept of it."""
        path = self.folder / "checkpoint" / "look.json"
        if notes is not None:
            if notes:
                self.write("checkpoint/look.json", notes)
            return notes
        found: Any = read_json(path) if self.here and path.exists() else []
        if not isinstance(found, list) or not all(isinstance(note, str) for note in found):
            raise BundleError(f"{path}: this is not what a look left out; the file is damaged.")
        return found

    def log(self, row: dict[str, float]) -> None:
        """One row of metrics.csv, and the same for TensorBoard."""
        if not self.here:
            return
        self._rows.append(row)
        self._write_metrics()
        if self._board is None:
            self._board = _board(self.folder)
        _scalars(self._board, row)

    def _write_metrics(self) -> None:
        text = io.StringIO(newline="")
        names = list(dict.fromkeys(name for row in self._rows for name in row))
        table = csv.DictWriter(text, names, lineterminator="\n")
        table.writeheader()
        table.writerows(self._rows)
        write_bytes(self.folder / "metrics.csv", text.getvalue().encode())

    @contextmanager
    def working(self) -> Iterator[None]:
        """This process alone works on the run; Ctrl-C and SIGTERM save before they stop it."""
        if self.here:
            self._take_lock()
            _sweep(self.folder)
        previous: dict[int, Any] = {}

        def ask(number: int, frame: FrameType | None) -> None:
            if self._asked:  # the second time, at once
                raise KeyboardInterrupt
            self._asked.append(number)

        if threading.current_thread() is threading.main_thread():
            previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        except KeyboardInterrupt:
            raise Interrupted(f"stopped. To go on: matinee resume {self.folder}") from None
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
            self._writer.shutdown()  # a checkpoint on its way is worth more than a quick end
            if self._board is not None:
                self._board.close()
                self._board = None
            if self._lock is not None:
                self._lock.close()
                self._lock = None

    def check_asked(self) -> None:
        """Outside the loop: stop here if a signal asked to. Raises Interrupted."""
        if self._asked:
            ended = f"all was done when this was to stop: see {self.folder / 'report.html'}"
            raise Interrupted(ended if self.finished else f"stopped. To go on: matinee resume {self.folder}")

    def _take_lock(self) -> None:
        try:
            self._lock = open(self.folder / "checkpoint" / "lock", "w", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise unwritable(self.folder, error) from None
        try:
            import fcntl
        except ImportError:  # not on this system: two processes on one run are the user's own care there
            return
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            self._lock = None
            raise MatineeError(f"{self.folder}: another process is working on this run.") from None


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(number, int | float) for number in value.values())


def _is_event(event: Any) -> bool:
    whole = ("step", "epoch", "left", "every")
    return (
        isinstance(event, dict)
        and isinstance(event.get("checked", 0.0), int | float)
        and all(isinstance(event.get(key), int) for key in whole)
    )


def _is_leftover(entry: Path) -> bool:
    """What a kill leaves in a folder in which no run has begun."""
    return bool(PART.fullmatch(entry.name)) or (entry.name == "checkpoint" and not any(entry.iterdir()))


def _sweep(folder: Path) -> None:
    """Take away what a kill left half-written."""
    for entry in (*folder.iterdir(), *folder.glob("checkpoint/.*"), *folder.glob("baselines/.*")):
        if PART.fullmatch(entry.name):
            with suppress(OSError):
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def new_folder(source: str) -> Path:
    """runs/<source>-<n>, the first n that is free; made at once so that two runs cannot take the same.

    A job that the elastic agent has restarted gets the folder that it had.
    """
    name = re.sub(r"[^\w.-]+", "-", Path(source).absolute().name, flags=re.ASCII).strip("-.") or "data"
    for path in Path("runs").glob(f"{name[:60]}-*/settings.json") if restarts() else ():
        if Run(path.parent).settings.get("job") == job():
            return path.parent
    for number in range(1, 1_000_000):
        folder = Path("runs") / f"{name[:60]}-{number}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise unwritable(folder, error) from None
        return folder
    raise SettingsError("runs: there are a million runs of this source here. Name a folder with --out.")


def _board(folder: Path) -> Any:
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    return EventFileWriter(str(folder))


def _scalars(board: Any, row: Mapping[str, float]) -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    values = [Summary.Value(tag=name, simple_value=value) for name, value in row.items() if name != "step"]
    board.add_event(Event(step=int(row["step"]), wall_time=time.time(), summary=Summary(value=values)))
    with suppress(OSError):
        board.flush()
