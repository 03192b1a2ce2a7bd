"""Files that are whole or not there: written under another name, flushed to disk, then renamed.

Tensors are stored as safetensors, everything else as JSON: reading either cannot run code.
"""

from __future__ import annotations

import difflib
import errno
import hashlib
import json
import os
import struct
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matinee.core.errors import BundleError, MatineeError
from matinee.core.settings import NEAR

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

HEADER_LIMIT = 64 * 2**20  # bytes of the JSON before the tensors
JSON_LIMIT = 1024 * 2**20  # bytes of a JSON file: a manifest of ten million files
ENTRY = "matinee"  # of a safetensors file's metadata


def write_bytes(path: Path, content: bytes) -> None:
    """Put a file in place in one step. A kill or a full disk leaves the old one. Raises MatineeError."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise unwritable(path, error) from None


def unwritable(path: Path, error: OSError) -> MatineeError:
    """What to tell a user whose disk refuses."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        advice = "the disk is full. Nothing written before was lost; free some space and resume"
    elif error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        advice = "this place cannot be written to. Name another with --out"
    else:
        advice = error.strerror or str(error)
    return MatineeError(f"{path}: {advice}.")


def nearby(path: Path, below: str = "") -> str:
    """ " Did you mean ...?" where something of nearly that name lies there; nothing where there is none.

    below: a folder in which it may lie as well.
    """
    if below and not path.is_absolute() and (Path(below) / path).exists():
        return f" Did you mean {Path(below) / path}?"
    parts = path.parts
    there = Path(*parts[: next((n for n in range(len(parts), 0, -1) if Path(*parts[:n]).exists()), 0)])
    rest = parts[len(there.parts) :]
    with suppress(OSError, ValueError):
        for name in difflib.get_close_matches(rest[0] if rest else "", os.listdir(there), 1, NEAR):  # noqa: PTH208
            whole = there.joinpath(name, *rest[1:])
            return f" Did you mean {whole}?" if whole.exists() else f" There is {there / name}."
    return ""


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to disk, where the file system can."""
    with suppress(OSError):  # some file systems cannot flush a folder; the rename is atomic all the same
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_json(path: Path, value: Any) -> None:
    """Put a JSON file in place in one step."""
    write_bytes(path, (json.dumps(value, indent=1, ensure_ascii=True, allow_nan=True) + "\n").encode("ascii"))


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises BundleError."""
    try:
        if path.stat().st_size > JSON_LIMIT:
            raise BundleError(f"{path}: this file is larger than any that Matinee writes; it is not read.")
        return json.loads(path.read_bytes())
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror or error}.") from None
    except (ValueError, RecursionError):
        raise BundleError(f"{path}: this is not the JSON that was written; the file is damaged.") from None


def write_tensors(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Put a safetensors file in place in one step, with a digest of its content and `facts` as JSON beside it."""
    from safetensors.torch import save

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    words = json.dumps(facts, ensure_ascii=True)
    # One entry: safetensors writes several in any order, and equal models should be equal files.
    said = json.dumps({"facts": words, "sha256": _digest(plain, words)})
    write_bytes(path, save(plain, metadata={ENTRY: said}))


def _digest(tensors: Mapping[str, Tensor], words: str) -> str:
    """Of every tensor's name, type, shape and bytes, and of the facts: whatever layout a library gives the file."""
    import torch

    whole = hashlib.sha256(words.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        whole.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        content: np.ndarray[Any, Any] = tensor.flatten().view(torch.uint8).numpy()
        whole.update(content.data)
    return whole.hexdigest()


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and facts of a file that `write_tensors` wrote. Raises BundleError if a single bit differs."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    content = _read_bounded(path)
    try:
        (length,) = struct.unpack("<Q", content[:8])
        entry = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][ENTRY])
        words, said = entry["facts"], entry["sha256"]
        tensors = load(content)
        facts = json.loads(words)
    except (SafetensorError, ValueError, KeyError, TypeError, struct.error, RecursionError, RuntimeError):
        raise BundleError(f"{path}: this is not a file that Matinee wrote, or it is damaged.") from None
    if not isinstance(words, str) or not isinstance(facts, dict) or _digest(tensors, words) != said:
        raise BundleError(f"{path}: the content does not match its checksum; the file is damaged.")
    # Tensors of `load` share one read-only buffer: copies can be trained on.
    return {name: torch.clone(tensor) for name, tensor in tensors.items()}, facts


def _read_bounded(path: Path) -> bytes:
    """The bytes of a safetensors file whose header is of a sane size."""
    try:
        with open(path, "rb") as file:
            start = file.read(8)
            if len(start) < 8:
                raise BundleError(f"{path}: this file is empty or cut short.")
            (length,) = struct.unpack("<Q", start)
            size = os.fstat(file.fileno()).st_size
            if length > min(HEADER_LIMIT, size - 8):
                raise BundleError(
                    f"{path}: its header claims {length:,} bytes; the file is damaged or not what it says."
                )
            file.seek(0)
            return file.read()
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror or error}.") from None


def read_foreign_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of any safetensors file, of a bundle's or of a run's. Raises BundleError."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    for inner in ("model/model.safetensors", "model.safetensors"):
        if path.is_dir() and (path / inner).is_file():
            return read_tensors(path / inner)[0]
    if path.is_dir():
        raise BundleError(f"{path}: there are no weights in this folder (no model.safetensors).")
    if path.suffix in (".pt", ".pth", ".bin", ".ckpt", ".pkl"):
        raise BundleError(
            f"{path}: this format can run code when it is loaded. Save the weights as safetensors: "
            "safetensors.torch.save_file(state_dict, 'weights.safetensors')"
        )
    try:
        return load(_read_bounded(path))
    except (SafetensorError, ValueError, KeyError, RuntimeError):
        raise BundleError(f"{path}: this is not a safetensors file, or it is damaged.") from None


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, hex. Raises OSError."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
