"""Sources whose pictures lie in arrays: idx files, CIFAR batches, the digits of scikit-learn."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from matinee.core.errors import DataError
from matinee.media import cifar, idx
from matinee.media.picture_listing import digest
from matinee.media.walking import printable


@dataclass(frozen=True)
class Arrays:
    """images: uint8 (n, height, width, channels); labels: places in classes; splits: -1, 0, 1, 2; names of rows."""

    images: np.ndarray[Any, Any]
    labels: Sequence[int]
    splits: Sequence[int]
    names: Sequence[str]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class ArraySource:
    """A source that has been recognised; `load` reads it (and raises DataError), `stamp` says whether it changed."""

    stamp: str
    load: Callable[[], Arrays]
    passed_over: tuple[str, ...] = ()  # names of the files beside those that are read


def hash_rows(images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """SHA-256 of the pixels of each row of (n, ...): uint8 (n, 32)."""
    hashes = b"".join(hashlib.sha256(row.tobytes()).digest() for row in images)
    return np.frombuffer(hashes, dtype=np.uint8).reshape(len(images), 32)


def idx_source(path: str, classes: Sequence[str] = ()) -> ArraySource:
    """A folder of idx files, or one of them. Raises DataError where there are none that belong together."""
    folder, only = (path, "") if os.path.isdir(path) else os.path.split(os.path.abspath(path))  # noqa: PTH100, PTH112
    pairs = idx.find_pairs(folder, only)
    if not pairs:
        raise DataError(f"{printable(path)} has no idx files like train-images-idx3-ubyte.gz")
    files = [name for _, images, labels in pairs for name in (images, labels)]
    return ArraySource(_stamp(folder, files), lambda: _load_idx(folder, pairs, classes), _others(path, files))


def cifar_source(path: str) -> ArraySource:
    """The folder of the batches or its .tar.gz."""
    if os.path.isfile(path):  # noqa: PTH113
        folder, files = os.path.dirname(os.path.abspath(path)), [os.path.basename(path)]  # noqa: PTH100, PTH119, PTH120
    else:
        folder, files = path, sorted(name for name in os.listdir(path) if cifar.BATCH.fullmatch(name))  # noqa: PTH208
    return ArraySource(_stamp(folder, files), lambda: _load_cifar(path), _others(path, files))


def digits_source() -> ArraySource:
    """The 1,797 handwritten digits of scikit-learn. Raises DataError where it is not installed."""
    try:
        version = importlib.metadata.version("scikit-learn")
    except importlib.metadata.PackageNotFoundError:
        raise DataError(
            "digits come with scikit-learn, which is not installed: pip install 'matinee[samples]'"
        ) from None
    return ArraySource(digest(("digits", version)), _load_digits)


def _stamp(folder: str, files: Sequence[str]) -> str:
    try:
        states = [(name, os.stat(os.path.join(folder, name))) for name in files]  # noqa: PTH116, PTH118
    except OSError as error:
        raise DataError(f"{printable(folder)} cannot be read: {error}") from error
    return digest(f"{name}\0{state.st_size} {state.st_mtime_ns}" for name, state in states)


def _others(path: str, files: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted(set(os.listdir(path)) - set(files))) if os.path.isdir(path) else ()  # noqa: PTH112, PTH208


def _load_idx(folder: str, pairs: Sequence[tuple[int, str, str]], classes: Sequence[str]) -> Arrays:
    images: list[np.ndarray[Any, Any]] = []
    labels: list[np.ndarray[Any, Any]] = []
    splits: list[int] = []
    names: list[str] = []
    for split, image_file, label_file in pairs:
        pixels = idx.read_images(os.path.join(folder, image_file))  # noqa: PTH118
        said = idx.read_labels(os.path.join(folder, label_file))  # noqa: PTH118
        if len(said) != len(pixels):
            raise DataError(
                f"{printable(image_file)} has {len(pixels):,} pictures, {printable(label_file)} {len(said):,} labels"
            )
        if images and images[0].shape[1:] != pixels.shape[1:]:
            raise DataError(f"{printable(folder)}: the pictures of the idx files differ in size")
        images.append(pixels)
        labels.append(said)
        splits += [split] * len(said)
        stem = idx.PATTERN.fullmatch(image_file)
        short = f"{stem[1]}{stem[2]}-images" if stem else image_file
        names += [f"{short}#{row}" for row in range(len(said))]
    numbers = np.concatenate(labels)
    present = [int(number) for number in np.unique(numbers)]
    if classes and present[-1] < len(classes):
        return Arrays(np.concatenate(images)[..., None], numbers.tolist(), splits, names, tuple(classes))
    place = np.zeros(256, dtype=np.int64)
    place[present] = np.arange(len(present))
    words = tuple(str(number) for number in present)
    return Arrays(np.concatenate(images)[..., None], place[numbers].tolist(), splits, names, words)


def _load_cifar(path: str) -> Arrays:
    images, labels, splits, names, classes = cifar.parse(cifar.read_batches(path))
    return Arrays(images, labels, splits, names, tuple(classes))


def _load_digits() -> Arrays:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DataError(f"digits come with scikit-learn, which cannot be imported ({error})") from error
    found = load_digits()
    images = np.rint(np.asarray(found.images) * (255.0 / 16.0)).astype(np.uint8)[..., None]
    labels = [int(label) for label in found.target]
    names = [f"digits#{row}" for row in range(len(labels))]
    return Arrays(images, labels, [-1] * len(labels), names, tuple(str(number) for number in range(10)))
