"""The published CIFAR-10 batches, which are pickles, read without running anything that a pickle can name.

Only numbers, strings, bytes, lists, tuples, dicts and plain numeric arrays come out. What a pickle calls for by name
is looked up in a table of five stand-ins written here; not even numpy's own functions are run on its behalf. Before
that its opcodes are checked one by one, because some of them ask for memory alone.
"""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import re
import struct
import tarfile
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from matinee.core.errors import DataError
from matinee.media.picture_listing import TEST, TRAIN
from matinee.media.pictures import Quiet
from matinee.media.walking import printable

BATCH = re.compile(r"(?:.*/)?(data_batch_[0-9]+|test_batch|batches\.meta)")
BYTE_LIMIT = 64 * 1024 * 1024  # of one batch file; the published ones have 31 MB
ARCHIVE_LIMIT = 1024**3
OPCODE_LIMIT = 5_000_000
DTYPES = re.compile(r"[<>=|]?(?:[iu][1248]|f[248]|b1)")
TUPLE_LIMIT = 1_000  # deep nests of them as keys would overflow the stack
HARMLESS = frozenset(
    (
        *("PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "DUP", "NONE", "NEWTRUE", "NEWFALSE"),
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
        *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
        *("EMPTY_LIST", "APPEND", "APPENDS", "LIST", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
        *("EMPTY_DICT", "DICT", "SETITEM", "SETITEMS", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"),
        *("GET", "BINGET", "LONG_BINGET", "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD"),
    )
)
BROKEN = (
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    RecursionError,
    struct.error,
)

Batches = dict[str, object]


class PlainType:
    """Stands in for numpy.dtype: a numeric type, nothing else."""

    def __init__(self, code: object, *_: object) -> None:
        word = code.decode("ascii", "replace") if isinstance(code, bytes) else code
        if not isinstance(word, str) or DTYPES.fullmatch(word) is None:
            raise pickle.UnpicklingError(f"an array of type {str(word)[:40]!r} is not plain numbers")
        self.dtype = np.dtype(word)

    def __setstate__(self, state: object) -> None:
        """Takes only the order of the bytes from numpy's state (version, order, ...)."""
        if not isinstance(state, tuple) or len(state) < 2:
            raise pickle.UnpicklingError("a broken array type")
        order = state[1].decode("ascii", "replace") if isinstance(state[1], bytes) else state[1]
        if order == ">":
            self.dtype = self.dtype.newbyteorder(">")


class PlainArray:
    """Stands in for an array being rebuilt; `array` is it once its state has come, and was consistent."""

    def __init__(self) -> None:
        self.array: np.ndarray[Any, Any] | None = None

    def __setstate__(self, state: object) -> None:
        """Takes numpy's state (version, shape, dtype, Fortran order, bytes)."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise pickle.UnpicklingError("a broken array")
        _, shape, kind, fortran, raw = state
        if isinstance(raw, str):
            raw = raw.encode("latin1")
        sides = isinstance(shape, tuple) and len(shape) <= 4 and all(type(side) is int and side >= 0 for side in shape)
        if not sides or not isinstance(kind, PlainType) or not isinstance(raw, bytes):
            raise pickle.UnpicklingError("a broken array")
        total = kind.dtype.itemsize
        for side in shape:
            total *= side
        if total != len(raw):
            raise pickle.UnpicklingError("an array whose bytes do not fit its shape")
        self.array = np.frombuffer(raw, dtype=kind.dtype).reshape(shape, order="F" if fortran else "C")


def _rebuild(*_: object) -> PlainArray:
    return PlainArray()


def _encode(text: object, encoding: object = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1", b"latin1", b"latin-1"):
        raise pickle.UnpicklingError("an encoding other than latin1")
    return text.encode("latin1")


def _refuse(*_: object) -> object:
    raise pickle.UnpicklingError("an array made directly")


class _StandIn:
    """What a name in a pickle becomes: it can be called, but, unlike a function or class, not changed by the pickle."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., object]) -> None:
        self._make = make

    def __call__(self, *arguments: object) -> object:
        return self._make(*arguments)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("a change to a function")


KNOWN: Mapping[tuple[str, str], Callable[..., object]] = {
    ("numpy.core.multiarray", "_reconstruct"): _rebuild,
    ("numpy._core.multiarray", "_reconstruct"): _rebuild,
    ("numpy", "ndarray"): _refuse,
    ("numpy", "dtype"): PlainType,
    ("_codecs", "encode"): _encode,
}


class _Restricted(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> Callable[..., object]:
        """Only the five stand-ins; anything else is refused by name."""
        known = KNOWN.get((module_name, global_name))
        if known is None:
            raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}"[:120])
        return _StandIn(known)


def unpickle(raw: bytes, name: str) -> object:
    """What a pickle holds, of the harmless kinds only; byte strings of Python 2 come as bytes.

    Raises DataError, naming what was refused.
    """
    try:
        with Quiet():  # Python warns of odd escapes in the text that pickles of version 0 hold
            _check_opcodes(raw)
            return _Restricted(io.BytesIO(raw), fix_imports=False, encoding="bytes").load()
    except BROKEN as error:
        words = printable(str(error))[:200] or type(error).__name__
        raise DataError(f"{printable(name)} is refused: {words}; CIFAR batches hold only arrays and lists") from error


def _check_opcodes(raw: bytes) -> None:
    tuples = 0
    for count, (opcode, argument, _) in enumerate(pickletools.genops(raw)):
        if opcode.name not in HARMLESS:
            raise pickle.UnpicklingError(f"the pickle opcode {opcode.name}")
        # The C unpickler makes its memo as long as the greatest number in it.
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and not 0 <= int(argument or 0) <= count:
            raise pickle.UnpicklingError("a memo number beyond the pickle's length")
        tuples += opcode.name.startswith("TUPLE")
        if count > OPCODE_LIMIT or tuples > TUPLE_LIMIT:
            raise pickle.UnpicklingError("more opcodes than a batch can have")


def is_folder(folder: str) -> bool:
    """Whether the batches lie in this folder."""
    return any(os.path.isfile(os.path.join(folder, name)) for name in ("data_batch_1", "test_batch"))  # noqa: PTH113, PTH118


def read_batches(path: str) -> dict[str, bytes]:
    """The bytes of each batch file, by its short name, from the folder or the .tar.gz. Raises DataError."""
    try:
        return _from_archive(path) if os.path.isfile(path) else _from_folder(path)  # noqa: PTH113
    except (OSError, EOFError, tarfile.TarError, zlib.error, ValueError, struct.error, MemoryError) as error:
        raise DataError(f"{printable(path)} cannot be read: {error}") from error


def parse(batches: Mapping[str, bytes]) -> tuple[np.ndarray[Any, Any], list[int], list[int], list[str], list[str]]:
    """images uint8 (n, 32, 32, 3), labels, splits, names of the rows, names of the classes. Raises DataError."""
    images: list[np.ndarray[Any, Any]] = []
    labels: list[int] = []
    splits: list[int] = []
    names: list[str] = []
    classes: list[str] = []
    for name in sorted(batches):
        fields = _fields(unpickle(batches[name], name), name)
        if name == "batches.meta":
            classes = _class_names(fields)
            continue
        pixels, rows = _rows(fields, name)
        images.append(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        labels += rows
        splits += [TEST if name == "test_batch" else TRAIN] * len(rows)
        names += [f"{name}#{row}" for row in range(len(rows))]
    if not labels:
        raise DataError("the CIFAR batches hold no pictures")
    classes += [str(number) for number in range(len(classes), max(labels) + 1)]
    return np.concatenate(images), labels, splits, names, classes


def _from_folder(path: str) -> dict[str, bytes]:
    batches: dict[str, bytes] = {}
    for name in sorted(os.listdir(path)):  # noqa: PTH208
        if BATCH.fullmatch(name):
            with open(os.path.join(path, name), "rb") as file:  # noqa: PTH118
                batches[name] = _limited(file.read(BYTE_LIMIT + 1), name)
    return batches


def _from_archive(path: str) -> dict[str, bytes]:
    batches: dict[str, bytes] = {}
    total = 0
    with tarfile.open(path, "r|gz") as archive:
        for member in archive:
            total += member.size
            if total > ARCHIVE_LIMIT:
                raise DataError(f"{printable(path)} unpacks to more than {ARCHIVE_LIMIT:,} bytes")
            match = BATCH.fullmatch(member.name)
            file = archive.extractfile(member) if match and member.isreg() else None
            if match and file is not None:
                batches[match[1]] = _limited(file.read(BYTE_LIMIT + 1), match[1])
    return batches


def _limited(raw: bytes, name: str) -> bytes:
    if len(raw) > BYTE_LIMIT:
        raise DataError(f"{name} has more than {BYTE_LIMIT:,} bytes")
    return raw


def _fields(content: object, name: str) -> dict[str, object]:
    if not isinstance(content, dict):
        raise DataError(f"{name} holds no dict, as a CIFAR batch does")
    return {
        key.decode("latin1") if isinstance(key, bytes) else key: value
        for key, value in content.items()
        if isinstance(key, str | bytes)
    }


def _class_names(fields: Mapping[str, object]) -> list[str]:
    said = fields.get("label_names")
    words = said if isinstance(said, list) else []
    return [
        word.decode("utf-8", "replace") if isinstance(word, bytes) else printable(word)
        for word in words[:1000]
        if isinstance(word, str | bytes)
    ]


def _rows(fields: Mapping[str, object], name: str) -> tuple[np.ndarray[Any, Any], list[int]]:
    data, said = fields.get("data"), fields.get("labels")
    pixels = data.array if isinstance(data, PlainArray) else None
    if isinstance(said, PlainArray) and said.array is not None and said.array.ndim == 1:
        said = said.array.tolist()
    if pixels is None or pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape[1] != 3072:
        raise DataError(f'{name} has no array "data" of bytes (n, 3072)')
    if not isinstance(said, list) or len(said) != len(pixels):
        raise DataError(f"{name} has not one label for each of its {len(pixels):,} pictures")
    if not all(type(label) is int and 0 <= label < 1000 for label in said):
        raise DataError(f"{name} has labels that are not whole numbers from 0 to 999")
    return pixels, said
