from __future__ import annotations

import gzip
import hashlib
import importlib.metadata
import io
import os
import pickle
import struct
import tarfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matinee.core.errors import DataError
from matinee.media import cifar, idx, named
from matinee.media.picture_table import NAMES, PictureRequest, changed_since, fits, read_pictures


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("MATINEE_CACHE", str(folder))
    monkeypatch.delenv("MATINEE_DATA", raising=False)
    return folder


def packed_idx(values: np.ndarray[Any, Any]) -> bytes:
    return bytes((0, 0, 8, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def put_idx(folder: Path, stem: str = "", packed: bool = True) -> np.ndarray[Any, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    images = np.random.default_rng(0).integers(0, 255, (12, 7, 5), dtype=np.uint8)
    labels = np.array([3, 1] * 6, dtype=np.uint8)
    for split, part in (("train", slice(0, 8)), ("t10k", slice(8, 12))):
        for kind, values in (("images-idx3", images[part]), ("labels-idx1", labels[part])):
            raw = packed_idx(values)
            name = f"{stem}{split}-{kind}-ubyte"
            if packed:
                (folder / f"{name}.gz").write_bytes(gzip.compress(raw))
            else:
                (folder / name).write_bytes(raw)
    return images


@pytest.mark.parametrize("packed", [True, False])
def test_idx_folder(tmp_path: Path, packed: bool) -> None:
    images = put_idx(tmp_path, packed=packed)
    (tmp_path / "README").write_text("x")
    assert fits(tmp_path) == "idx files"
    table = read_pictures(tmp_path, PictureRequest())
    assert np.array_equal(table.columns["image"][..., 0], images)
    assert table.classes == ("1", "3")
    assert table.columns["label"].tolist() == [1, 0] * 6
    assert table.columns["split"].tolist() == [0] * 8 + [2] * 4
    assert table.names[7:9] == ["train-images#7", "t10k-images#0"]
    assert [(entry.file, entry.kind) for entry in table.entries] == [("README", "ignored")]
    assert read_pictures(tmp_path, PictureRequest()).cached
    manifest = {name: table.columns["sha256"][row].tobytes().hex() for row, name in enumerate(table.names)}
    assert changed_since(tmp_path, manifest) == {"changed": [], "missing": [], "new": []}
    manifest["train-images#3"] = "0" * 64
    assert changed_since(tmp_path, manifest)["changed"] == ["train-images#3"]
    scaled = read_pictures(tmp_path, PictureRequest(height=10, width=10, channels=3))
    assert scaled.columns["image"].shape == (12, 10, 10, 3)
    assert scaled.columns["size"][0].tolist() == [5, 7]


def test_one_file_of_several_sets(tmp_path: Path) -> None:
    put_idx(tmp_path, "letters-")
    put_idx(tmp_path, "digits-")
    with pytest.raises(DataError, match="several data sets"):
        read_pictures(tmp_path, PictureRequest())
    path = tmp_path / "digits-train-images-idx3-ubyte.gz"
    assert fits(path) == "idx files"
    assert len(read_pictures(path, PictureRequest()).good) == 12


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "no idx file"),
        (b"\0\0\x08\x01\0\0\0\x02ab", "no idx file"),
        (bytes((0, 0, 8, 3)) + struct.pack(">3I", 10**9, 28, 28), "too short for that"),
        (bytes((0, 0, 8, 3)) + struct.pack(">3I", 0, 28, 28), "sides from 1"),
        (bytes((0, 0, 8, 3)) + struct.pack(">3I", 1, 5000, 1) + bytes(5000), "sides from 1"),
        (packed_idx(np.zeros((2, 4, 4), np.uint8)) + b"x", "more bytes than"),
        (packed_idx(np.zeros((2, 4, 4), np.uint8))[:-1], "too short|cut short"),
    ],
)
@pytest.mark.parametrize("packed", [True, False])
def test_broken_idx(tmp_path: Path, raw: bytes, words: str, packed: bool) -> None:
    path = tmp_path / ("train-images-idx3-ubyte" + (".gz" if packed else ""))
    path.write_bytes(gzip.compress(raw) if packed else raw)
    with pytest.raises(DataError, match=f"{words}|cut short"):
        idx.read_images(str(path))
    with pytest.raises(DataError, match="not the file beside it"):
        read_pictures(tmp_path, PictureRequest())


def test_idx_counts_that_differ(tmp_path: Path) -> None:
    put_idx(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(packed_idx(np.zeros(3, np.uint8))))
    with pytest.raises(DataError, match=r"4 pictures.*3 labels"):
        read_pictures(tmp_path, PictureRequest())
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(b"no gzip")
    with pytest.raises(DataError, match="cannot be unpacked"):
        read_pictures(tmp_path, PictureRequest())


def batch(count: int = 6, seed: int = 0) -> dict[bytes, Any]:
    data = np.random.default_rng(seed).integers(0, 255, (count, 3072), dtype=np.uint8)
    return {b"data": data, b"labels": [row % 2 for row in range(count)], b"filenames": [b"x.png"] * count}


def put_cifar(folder: Path, protocol: int = 2) -> Path:
    folder.mkdir(parents=True)
    for number, name in enumerate(["data_batch_1", "data_batch_2", "test_batch"]):
        (folder / name).write_bytes(pickle.dumps(batch(seed=number), protocol))
    (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": [b"airplane", b"car"]}, protocol))
    (folder / "readme.html").write_text("x")
    return folder


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_cifar_folder_and_archive(tmp_path: Path, protocol: int) -> None:
    folder = put_cifar(tmp_path / "cifar-10-batches-py", protocol)
    path = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, "cifar-10-batches-py")
    assert fits(folder) == fits(path) == "CIFAR batches"
    for source in (folder, path):
        table = read_pictures(source, PictureRequest())
        assert table.columns["image"].shape == (18, 32, 32, 3)
        wanted = batch(seed=2)[b"data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        assert np.array_equal(table.columns["image"][12:], wanted)
        assert table.columns["split"].tolist() == [0] * 12 + [2] * 6
        assert table.classes == ("airplane", "car")
        assert table.names[12] == "test_batch#0"


class Attack:
    def __init__(self, call: Any, *arguments: object) -> None:
        self.state = (call, arguments)

    def __reduce__(self) -> tuple[Any, tuple[object, ...]]:
        return self.state


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (pickle.dumps(Attack(os.system, "touch /tmp/matinee-owned")), "system"),
        (pickle.dumps(Attack(eval, "1")), "eval"),
        (pickle.dumps(Attack(np.load, "x")), "asks for numpy"),
        (pickle.dumps(OrderedDict(a=1)), "OrderedDict"),
        (pickle.dumps(np.array([{"a": 1}], dtype=object), 2), "not plain numbers"),
        (pickle.dumps(np.zeros(2, dtype=[("a", "i4")]), 2), "not plain numbers"),
        (b"cos\nsystem\n(S'true'\ntR.", "os.system"),
        (b"\x80\x04\x8c\x08builtins\x8c\x04exec\x93.", "builtins.exec"),
        (b"\x80\x02r\xff\xff\xff\x7f.", "memo number"),
        (b"cnumpy\ndtype\n}S'a'\nI1\nsb.", "a change to a function"),
        (b"cnumpy\nndarray\n(I1000000000\ntR.", "an array made directly"),
        (b"\x80\x02" + b")" + b"\x85" * 200_000 + b".", "more opcodes"),
        (b"\x80\x02cnumpy\nndarray\n)\x81.", "NEWOBJ"),
        (b"", "refused"),
        (b"rubbish", "refused"),
    ],
)
def test_what_a_pickle_may_not(tmp_path: Path, payload: bytes, words: str) -> None:
    with pytest.raises(DataError, match=words):
        cifar.unpickle(payload, "data_batch_1")
    assert not Path("/tmp/matinee-owned").exists()
    folder = put_cifar(tmp_path / "x")
    (folder / "data_batch_2").write_bytes(payload)
    with pytest.raises(DataError, match="data_batch_2 is refused"):
        read_pictures(folder, PictureRequest())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1], "no dict"),
        ({b"labels": [1]}, "no array"),
        ({b"data": np.zeros((2, 3072), np.int32), b"labels": [0, 1]}, "no array"),
        ({b"data": np.zeros((2, 100), np.uint8), b"labels": [0, 1]}, "no array"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0]}, "not one label"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, -1]}, "whole numbers"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, "x"]}, "whole numbers"),
        ({b"data": np.zeros((0, 3072), np.uint8), b"labels": []}, "no pictures"),
    ],
)
def test_batches_that_are_none(content: object, words: str) -> None:
    with pytest.raises(DataError, match=words):
        cifar.parse({"data_batch_1": pickle.dumps(content, 3)})


SMALL_BATCH = pickle.dumps(batch(1), 2)
SMALL_IDX = packed_idx(np.zeros((2, 4, 4), np.uint8))
CHANGES = st.lists(st.tuples(st.integers(0, 5000), st.binary(max_size=5)), max_size=6)


def mutate(raw: bytes, changes: list[tuple[int, bytes]], cut: int | None) -> bytes:
    changed = bytearray(raw)
    for place, new in changes:
        at = place % len(changed)
        changed[at : at + len(new)] = new
    return bytes(changed[:cut])


@settings(max_examples=300, deadline=None)
@given(changes=CHANGES, head=st.booleans(), cut=st.one_of(st.none(), st.integers(0, 4000)))
def test_mutated_batches(changes: list[tuple[int, bytes]], head: bool, cut: int | None) -> None:
    places = [(place % 120 if head else place, new) for place, new in changes]
    try:
        cifar.parse({"data_batch_1": mutate(SMALL_BATCH, places, cut)})
    except DataError as error:
        assert "data_batch_1" in str(error) or "CIFAR" in str(error)


@settings(max_examples=150, deadline=None)
@given(raw=st.binary(max_size=80))
def test_any_bytes_as_a_pickle(raw: bytes) -> None:
    try:
        cifar.parse({"test_batch": raw + b"."})
    except DataError as error:
        assert str(error)


@settings(max_examples=150, deadline=None)
@given(changes=CHANGES, packed=st.booleans(), cut=st.one_of(st.none(), st.integers(0, 60)))
def test_mutated_idx(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, bytes]], packed: bool, cut: int | None
) -> None:
    folder = tmp_path_factory.getbasetemp() / "mutated-idx"
    folder.mkdir(exist_ok=True)
    path = folder / ("x.gz" if packed else "x")
    path.write_bytes(mutate(gzip.compress(SMALL_IDX, mtime=0) if packed else SMALL_IDX, changes, cut))
    try:
        assert idx.read_images(str(path)).ndim == 3
    except DataError as error:
        assert str(path) in str(error)


def test_digits() -> None:
    pytest.importorskip("sklearn")
    assert fits("digits") == "the data set digits"
    table = read_pictures("digits", PictureRequest())
    assert table.columns["image"].shape == (1797, 8, 8, 1)
    assert table.columns["image"].max() == 255
    assert table.classes == tuple("0123456789")
    assert read_pictures("digits", PictureRequest()).cached


def test_digits_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", none)
    with pytest.raises(DataError, match=r"pip install 'matinee\[samples\]'"):
        read_pictures("digits", PictureRequest())


def test_names_in_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MATINEE_DATA", str(tmp_path))
    put_idx(tmp_path / "fashion_mnist")
    put_idx(tmp_path / "MNIST" / "raw")
    put_cifar(tmp_path / "cifar-10-batches-py")
    assert read_pictures("fashion-mnist", PictureRequest()).classes == named.FASHION_CLASSES
    assert len(read_pictures("mnist", PictureRequest()).good) == 12
    assert len(read_pictures("cifar10", PictureRequest()).good) == 18
    monkeypatch.setenv("MATINEE_DATA", tmp_path.as_uri())
    assert len(read_pictures("mnist", PictureRequest()).good) == 12
    monkeypatch.setenv("MATINEE_DATA", "http://example.org/")
    with pytest.raises(DataError, match="https://"):
        read_pictures("mnist", PictureRequest())


class Answer(io.BytesIO):
    def __init__(self, raw: bytes, address: str) -> None:
        super().__init__(raw)
        self._address = address

    def geturl(self) -> str:
        return self._address


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Addresses and what they answer; all others cannot be reached."""
    pages: dict[str, bytes] = {}

    def urlopen(address: str, timeout: float) -> Answer:
        assert timeout <= 10
        if address not in pages:
            raise named.urllib.error.URLError("no route to host")
        return Answer(pages[address], address)

    monkeypatch.setattr(named.urllib.request, "urlopen", urlopen)
    return pages


def test_offline(net: dict[str, bytes], own_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MATINEE_DATA", str(tmp_path))
    for name in ("mnist", "fashion-mnist", "cifar10"):
        with pytest.raises(
            DataError, match=rf"{name} is not on this machine.*no route.*Looked in: .*MATINEE_DATA="
        ) as no:
            read_pictures(name, PictureRequest())
        assert "\n" not in str(no.value)
    assert not list((own_cache / "downloads").iterdir())


def test_downloads_are_checked(net: dict[str, bytes], own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = packed_idx(np.zeros((2, 4, 4), np.uint8)), packed_idx(np.array([0, 9], np.uint8))
    files = {f"{split}-{kind}.gz": raw for split in ("train", "t10k") for kind, raw in (
        ("images-idx3-ubyte", images), ("labels-idx1-ubyte", labels))}  # fmt: skip
    pins = {name: hashlib.sha256(raw).hexdigest() for name, raw in files.items()}
    small = named.Download("https://one.example/", pins, 10_000, unpacked=True)
    monkeypatch.setitem(named.DOWNLOADS, "mnist", small)
    monkeypatch.setenv("MATINEE_DATA", "https://mirror.example/sets/")
    base = "https://mirror.example/sets/mnist/"
    net.update({base + name: gzip.compress(raw) for name, raw in files.items()})
    bad = base + "t10k-labels-idx1-ubyte.gz"
    for wrong, words in ((gzip.compress(b"x"), "not the published file"), (bytes(20_000), "longer than")):
        right, net[bad] = net[bad], wrong
        with pytest.raises(DataError, match=words):
            read_pictures("mnist", PictureRequest())
        assert not list((own_cache / "downloads").iterdir())
        net[bad] = right
    assert len(read_pictures("mnist", PictureRequest()).good) == 4
    net.clear()
    monkeypatch.delenv("MATINEE_DATA")
    assert read_pictures("mnist", PictureRequest()).cached


def test_pins_are_digests() -> None:
    assert {*NAMES, *named.TEXTS, *named.PAIRS, *named.RATINGS} == {"digits", *named.DOWNLOADS}
    assert named.PLACES.keys() == named.DOWNLOADS.keys()
    for download in named.DOWNLOADS.values():
        assert download.address.startswith("https://")
        assert all(len(pin) == 64 and int(pin, 16) >= 0 for pin in download.files.values())
