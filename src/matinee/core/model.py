"""Model: a task bound to weights, and the bundle it is saved as.

    model/config.json         format version, task, its fields, checksums
    model/model.safetensors   the weights
    model/manifest.json       name and SHA-256 of every file it learned from
    model/README.md           the model card

Loading a bundle cannot run code: safetensors and JSON only, and the task's name is looked up in our own folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matinee.core.errors import BundleError, DataError, MatineeError, SettingsError
from matinee.core.reading import task_name
from matinee.core.registry import trusted_task_class
from matinee.core.settings import from_json, to_json
from matinee.core.storage import (
    HEADER_LIMIT,
    nearby,
    read_json,
    read_tensors,
    sha256_of,
    unwritable,
    write_bytes,
    write_json,
    write_tensors,
)
from matinee.core.task import Task

if TYPE_CHECKING:
    import torch
    from torch import nn

    from matinee.core.quick import Kept

FORMAT = 1
CONFIG_LIMIT = 64 * 2**20
FACTS = {"source": str, "source_path": str, "version": str, "select": str, "valid": dict, "test": dict}
FILES = ("config.json", "model.safetensors", "manifest.json", "README.md", "tokenizer.json")


def _nothing_kept() -> Kept:
    from matinee.core.quick import Kept

    return Kept()


@dataclass(frozen=True)
class Model:
    """A task bound to weights.

    network: a plain module in evaluation mode. manifest: files of its source, name -> SHA-256;
    held_back: those of them that it never learned from. facts: source, scores
    and settings, as JSON. run: the run folder it came from or was written to, if any.
    """

    task: Task
    network: nn.Module
    manifest: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    run: Path | None = None
    held_back: frozenset[str] = frozenset()
    kept: Kept = field(default_factory=_nothing_kept, init=False, repr=False, compare=False)

    @property
    def precision(self) -> str:
        """The number format that training was asked to use: answers and scores use the same."""
        asked = self.facts.get("train")
        return str(asked.get("precision", "auto")) if isinstance(asked, dict) else "auto"

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        import torch

        parameter = next(self.network.parameters(), None)
        return torch.device("cpu") if parameter is None else parameter.device

    def predict(self, raws: Sequence[Any]) -> list[dict[str, Any]]:
        """An answer for each raw file or value, as `matinee predict` prints it. Raises DataError for a bad one."""
        from matinee.core.answering import answered

        if isinstance(raws, str | bytes | Path):
            raise SettingsError("predict takes a list: model.predict([file])")
        answers: list[dict[str, Any]] = []
        for _, answer in self.task.follow(chain.from_iterable(answered(self, raws))):
            if isinstance(answer, DataError):
                raise answer
            answers.append(answer)
        return answers

    def answer(self, inputs: torch.Tensor) -> list[dict[str, Any]]:
        """An answer for each row of an input tensor."""
        import torch

        from matinee.core.runtime import machine

        where = machine(str(self.device), self.precision, settle=False)
        network = self.kept.form(self.network, where.precision)
        with torch.inference_mode(), where.autocast():
            outputs = self.task.infer(network, inputs.to(where.device))
        return self.task.decode(outputs)

    def save(self, folder: str | Path) -> Path:
        """Write the bundle; one that lies there already is replaced in one step. Raises MatineeError."""
        target = Path(folder)
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            if target.exists() and not _is_bundle(target):
                raise SettingsError(f"{target}: there is something else in this folder. Name a new one.")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            self._write(part)
            old = target.with_name(f".{target.name}.old")
            if target.exists():
                shutil.rmtree(old, ignore_errors=True)
                target.rename(old)
            part.rename(target)
            shutil.rmtree(old, ignore_errors=True)
        except OSError as error:
            raise unwritable(target, error) from None
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return target

    def _write(self, folder: Path) -> None:
        write_tensors(folder / "model.safetensors", self.network.state_dict(), {})
        write_json(folder / "manifest.json", {"files": dict(self.manifest), "held_back": sorted(self.held_back)})
        write_bytes(folder / "README.md", self._card().encode("utf-8", "backslashreplace"))
        config = {
            "format": FORMAT,
            "task": task_name(type(self.task)),
            "fields": to_json(self.task),
            "facts": dict(self.facts),
            "sha256": {n: sha256_of(folder / n) for n in ("model.safetensors", "manifest.json")},
        }
        write_json(folder / "config.json", {**config, "checksum": _checksum(config)})

    def _card(self) -> str:
        count = sum(p.numel() for p in self.network.parameters())
        split = "test" if self.facts.get("test") else "valid"
        scores = self.facts.get(split) or {}
        lines = [
            "# Model card",
            "",
            f"A model for {task_name(type(self.task))}, made by Matinee {self.facts.get('version', '')}.".replace(
                " .", "."
            ),
            "",
            f"* Learned from: {self.facts.get('source', 'data given in Python')}, {len(self.manifest):,} files",
            f"* Parameters: {count:,}",
            *(f"* {name} on the {split} split: {value:.4f}" for name, value in scores.items()),
            "",
            "Load it with `matinee.load(folder)`. It is made of safetensors and JSON; loading it runs no code.",
            "The scores hold for pictures, texts or sounds like those it learned from; measure it on your own",
            "(`matinee evaluate RUN SOURCE`) before you rely on it.",
            "",
        ]
        return "\n".join(lines)


def _is_bundle(folder: Path) -> bool:
    """Whether nothing but a bundle's files would be lost with this folder."""
    return folder.is_dir() and all(entry.name in FILES and entry.is_file() for entry in folder.iterdir())


def _checksum(config: Mapping[str, Any]) -> str:
    plain = {k: v for k, v in config.items() if k != "checksum"}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def load(path: str | Path, *, task: str | None = None, device: str = "auto") -> Model:
    """The model of a run folder or a bundle.

    Args:
        task: the importable module of a task of your own, if the bundle is of one; never taken from the bundle.
        device: where to put the network.

    Raises BundleError for anything that is not a whole, undamaged bundle of this or an older version.
    """
    try:
        folder, run = _bundle_folder(Path(path))
        config = _config(folder)
        kind = trusted_task_class(config["task"], task)
        try:
            ready = from_json(kind, config["fields"])
        except SettingsError as error:
            raise BundleError(f"{folder / 'config.json'}: {error}") from None
        network = _planned(ready, folder)
        for name, said in config["sha256"].items():
            if sha256_of(_inside(folder, name)) != said:
                raise BundleError(f"{folder / name}: the content does not match its checksum; the file is damaged.")
        files, held_back = _manifest(folder / "manifest.json")
        return Model(ready, _filled(network, folder, device), files, config["facts"], run, held_back)
    except OSError as error:
        raise BundleError(f"{error.filename or path}: {error.strerror or error}.") from None


def _manifest(path: Path) -> tuple[dict[str, str], frozenset[str]]:
    """The files the model's source had, and which of them it never learned from."""
    value = read_json(path)
    files = value.get("files") if isinstance(value, dict) else None
    held_back = value.get("held_back") if isinstance(value, dict) else None
    if not isinstance(files, dict) or not isinstance(held_back, list):
        raise BundleError(f"{path}: the file is damaged.")
    if not all(isinstance(word, str) for word in [*files.values(), *held_back]):
        raise BundleError(f"{path}: the file is damaged.")
    return files, frozenset(held_back)


def _bundle_folder(path: Path) -> tuple[Path, Path | None]:
    if (path / "settings.json").is_file():
        for name in ("model", ".model.old"):  # the second only if a kill fell between two renames
            if (path / name / "config.json").is_file():
                return path / name, path
        raise BundleError(f"{path}: this run has not ended, so there is no model yet. To go on: matinee resume {path}")
    if not path.is_dir():
        what = "this is not a run folder or a model folder" if path.exists() else "there is no such folder"
        raise BundleError(f"{path}: {what}.{'' if path.exists() else nearby(path, 'runs')}")
    if not (path / "config.json").is_file():
        raise BundleError(f"{path}: there is no model here (no config.json, no settings.json).")
    run = path.parent if (path.parent / "settings.json").is_file() else None
    return path, run


def _inside(folder: Path, name: str) -> Path:
    if name not in FILES:
        raise BundleError(f"{folder}: the bundle names a file {name[:80]!r} that no bundle has; it is not loaded.")
    path = folder / name
    if not path.is_file():
        raise BundleError(f"{path}: this file of the bundle is missing.")
    if path.resolve().parent != folder.resolve():
        raise BundleError(f"{path}: this leads out of the bundle; it is not loaded.")
    return path


def _config(folder: Path) -> dict[str, Any]:
    path = _inside(folder, "config.json")
    if path.stat().st_size > CONFIG_LIMIT:
        raise BundleError(f"{path}: this file is larger than any that Matinee writes; it is not read.")
    config = read_json(path)
    kinds = {"format": int, "task": str, "fields": dict, "facts": dict, "sha256": dict, "checksum": str}
    if isinstance(config, dict) and isinstance(config.get("format"), int) and config["format"] > FORMAT:
        raise BundleError(
            f"{folder}: this model has format {config['format']}, and this Matinee reads up to {FORMAT}. Update it."
        )
    if not isinstance(config, dict) or any(not isinstance(config.get(k), t) for k, t in kinds.items()):
        raise BundleError(f"{path}: this is not the configuration of a model.")
    if _checksum(config) != config["checksum"]:
        raise BundleError(f"{path}: the content does not match its checksum; the file is damaged.")
    if not {"model.safetensors", "manifest.json"} <= set(config["sha256"]):
        raise BundleError(f"{path}: the checksums of the weights are missing.")
    odd = [key for key, kind in FACTS.items() if not isinstance(config["facts"].get(key, kind()), kind)]
    odd += [key for key in ("valid", "test") if key not in odd and not _are_scores(config["facts"].get(key, {}))]
    if odd or config["format"] < 1:
        raise BundleError(f"{path}: {odd[0] if odd else 'format'} is not what a model says there.")
    return config


def _are_scores(value: Mapping[str, Any]) -> bool:
    return all(isinstance(score, int | float) and not isinstance(score, bool) for score in value.values())


def _planned(task: Task, folder: Path) -> nn.Module:
    """The network without memory for its weights. Raises BundleError where the file of its weights is far larger."""
    import torch

    from matinee.core.quick import Unfilled

    try:
        with torch.device("meta"), Unfilled():
            network = task.build()
    except (MatineeError, ValueError, TypeError, KeyError, IndexError, ArithmeticError, RuntimeError) as error:
        words = " ".join(str(error).split())[:200]
        raise BundleError(f"{folder / 'config.json'}: no network can be built of these fields ({words}).") from None
    needed = sum(value.numel() * value.element_size() for value in network.state_dict().values())
    if _inside(folder, "model.safetensors").stat().st_size > needed + HEADER_LIMIT:
        raise BundleError(f"{folder / 'model.safetensors'}: the file is far larger than the network's weights.")
    return network


def _filled(network: nn.Module, folder: Path, device: str) -> nn.Module:
    """The network with its weights, once names, shapes and types agree."""
    from matinee.core.runtime import machine

    tensors, _ = read_tensors(_inside(folder, "model.safetensors"))
    wanted = {name: (tuple(value.shape), value.dtype) for name, value in network.state_dict().items()}
    found = {name: (tuple(value.shape), value.dtype) for name, value in tensors.items()}
    if wanted != found:
        odd = min(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        raise BundleError(f"{folder}: the weights do not fit the network (at {odd!r}).")
    network.load_state_dict(tensors, assign=True)
    return machine(device, settle=False).place(network).eval()


def remove_unfinished(folder: Path) -> None:
    """Take away what a kill left half-written beside a bundle."""
    for entry in folder.iterdir():
        if re.fullmatch(r"\.model\.(\d+\.part|old)", entry.name) and (folder / "model").is_dir():
            with suppress(OSError):
                shutil.rmtree(entry)
