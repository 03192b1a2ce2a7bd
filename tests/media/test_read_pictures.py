from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import stat
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from matinee.core import cache
from matinee.core.errors import DataError, SettingsError
from matinee.media import columns, crew, decoding, picture_sources, picture_table
from matinee.media.picture_table import PictureRequest, PictureTable, changed_since, fits, list_plain, read_pictures


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("MATINEE_CACHE", str(folder))
    monkeypatch.setenv("MATINEE_WORKERS", "2")
    monkeypatch.delenv("MATINEE_DATA", raising=False)
    return folder


def put(root: Path, name: str, colour: int = 0, size: tuple[int, int] = (8, 8), mode: str = "L") -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)
    return path


def kinds(table: PictureTable) -> dict[str, str]:
    return {entry.file: entry.kind for entry in table.entries}


def read(source: str | Path, **wanted: int | str) -> PictureTable:
    return read_pictures(source, PictureRequest(**wanted))  # type: ignore[arg-type]


def test_class_folders(tmp_path: Path) -> None:
    for number, name in enumerate(["s10/a.png", "s2/deep/er/b.png", "s1/c.PNG", "s1/d.png"]):
        put(tmp_path, name, number)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "s1" / ".DS_Store").write_text("x")
    (tmp_path / ".git").mkdir()
    put(tmp_path, "loose.png")
    table = read(tmp_path)
    assert table.classes == ("s1", "s2", "s10")
    rows = {name: table.classes[label] for name, label in zip(table.names, table.columns["label"], strict=True)}
    assert rows == {"s10/a.png": "s10", "s2/deep/er/b.png": "s2", "s1/c.PNG": "s1", "s1/d.png": "s1"}
    assert kinds(table) == {
        "notes.txt": "ignored",
        "s1/.DS_Store": "ignored",
        ".git": "ignored",
        "loose.png": "no-label",
    }
    assert table.columns["image"].shape == (4, 8, 8, 1)
    for row, name in enumerate(table.names):
        raw = (tmp_path / name).read_bytes()
        assert table.columns["sha256"][row].tobytes() == hashlib.sha256(raw).digest()
        assert (table.columns["image"][row] == np.asarray(Image.open(tmp_path / name))[..., None]).all()
    assert {name: column.dtype.name for name, column in table.columns.items()} == {
        "image": "uint8",
        "label": "int32",
        "split": "int8",
        "group": "int32",
        "sha256": "uint8",
        "size": "int32",
    }
    assert table.columns["size"].tolist() == [[8, 8]] * 4
    assert table.columns["split"].tolist() == table.columns["group"].tolist() == [-1] * 4
    assert table.good.tolist() == [0, 1, 2, 3]


def test_split_folders(tmp_path: Path) -> None:
    for name in ("Train/a/1.png", "train/b/2.png", "Validation/a/3.png", "dev/b/4.png", "testing/a/5.png"):
        put(tmp_path, name)
    put(tmp_path, "train/loose.png")
    put(tmp_path, "extra/a/6.png")
    table = read(tmp_path)
    assert dict(zip(table.names, table.columns["split"].tolist(), strict=True)) == {
        "Train/a/1.png": 0,
        "train/b/2.png": 0,
        "Validation/a/3.png": 1,
        "dev/b/4.png": 1,
        "testing/a/5.png": 2,
    }
    assert table.classes == ("a", "b")
    assert kinds(table) == {"train/loose.png": "no-label", "extra/a/6.png": "ignored"}


def test_split_words_as_classes(tmp_path: Path) -> None:
    for name in ("test/a/1.png", "other/2.png"):
        put(tmp_path, name)
    assert read(tmp_path).classes == ("other", "test")
    for name in ("train/1.png", "plane/2.png"):
        put(tmp_path / "vehicles", name)
    assert read(tmp_path / "vehicles").classes == ("plane", "train")


def test_what_is_no_source(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "deep" / "a" / "b" / "c").mkdir(parents=True)
    put(tmp_path, "loose/a.png")
    put(tmp_path, "loose/b.png")
    for folder in ("empty", "deep", "loose"):
        with pytest.raises(DataError, match=r"expected class folders .*cat/1\.jpg"):
            read(tmp_path / folder)
        assert fits(tmp_path / folder) is None
    for wrong in ("nowhere", "", "a\0b"):
        with pytest.raises(DataError, match="no such file or folder"):
            read(wrong)
        assert fits(wrong) is None
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(DataError, match="no source of labelled pictures"):
        read(tmp_path / "x.txt")


def test_bad_files_go_to_the_ledger(tmp_path: Path) -> None:
    good = put(tmp_path, "a/good.png", 9)
    (tmp_path / "a" / "empty.jpg").write_bytes(b"")
    (tmp_path / "a" / "text.jpg").write_text("hello")
    (tmp_path / "a" / "cut.png").write_bytes(good.read_bytes()[:45])
    put(tmp_path, "b/huge.png", size=(300, 300))
    (tmp_path / "b" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    os.mkfifo(tmp_path / "b" / "pipe.png")
    table = read(tmp_path, pixel_limit=10_000)
    assert kinds(table) == {
        "a/empty.jpg": "empty",
        "a/text.jpg": "unreadable",
        "a/cut.png": "truncated",
        "b/huge.png": "oversized",
        "b/gone.png": "missing",
        "b/pipe.png": "ignored",
    }
    assert [table.names[row] for row in table.good] == ["a/good.png"]
    assert (table.columns["image"][table.good[0]] == 9).all()
    shutil.rmtree(tmp_path / "b")
    good.unlink()
    with pytest.raises(DataError, match=r"none of 3 pictures can be read \(1 truncated, 1 empty, 1 unreadable\)"):
        read(tmp_path)


def test_link_loops(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    outside = put(tmp_path.parent / (tmp_path.name + "-outside"), "x/2.png").parent
    (tmp_path / "b").symlink_to(outside)
    (tmp_path / "c").symlink_to(outside)
    (tmp_path / "self").symlink_to("self")
    table = read(tmp_path)
    assert list(table.names) == ["a/1.png", "b/2.png"]
    assert kinds(table) == {"a/loop": "link-loop", "c": "link-loop", "self": "missing"}
    assert sorted(list_plain([tmp_path])) == [str(tmp_path / "a/1.png"), str(tmp_path / "b/2.png")]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_no_permission(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png")
    put(tmp_path, "a/2.png").chmod(0)
    put(tmp_path, "b/3.png").parent.chmod(0)
    try:
        assert kinds(read(tmp_path)) == {"a/2.png": "forbidden", "b": "forbidden"}
    finally:
        (tmp_path / "b").chmod(0o700)


def test_strange_names(tmp_path: Path) -> None:
    names = ["a b/c d.png", "新しい/猫😀.png", "line\nbreak/x\ny.png", "-rf/'\".png"]
    for name in names:
        put(tmp_path, name)
    if sys.platform == "linux":
        raw = os.fsencode(tmp_path) + b"/\xff\xfe"
        os.mkdir(raw)  # noqa: PTH102 - bytes
        shutil.copy(tmp_path / names[0], raw + b"/\xe9.png")
        names.append(os.fsdecode(b"\xff\xfe/\xe9.png"))
    (tmp_path / "a b" / "bad\udce9.txt").write_text("x")
    table = read(tmp_path)
    assert sorted(table.names) == sorted(names)
    assert len(table.good) == len(names)
    assert "新しい" in table.classes
    assert "\\xff\\xfe" in table.classes
    json.dumps([table.classes, kinds(table)], ensure_ascii=False).encode("utf-8")
    assert read(tmp_path).cached


def test_groups(tmp_path: Path) -> None:
    for name in ("a/p1_1.png", "a/p1_2.png", "b/p2_1.png", "b/x.png"):
        put(tmp_path, name)
    assert read(tmp_path, groups=r"p(\d+)_").columns["group"].tolist() == [0, 0, 1, -1]
    assert read(tmp_path, groups=r"^.").columns["group"].tolist() == [0, 0, 1, 1]
    with pytest.raises(SettingsError, match="not a regular expression"):
        read(tmp_path, groups="(")


@pytest.mark.parametrize(
    "wanted", [{"height": -1, "width": 8}, {"height": 8}, {"channels": 2}, {"longest": 0}, {"width": 5000, "height": 8}]
)
def test_requests_that_make_no_sense(tmp_path: Path, wanted: dict[str, int]) -> None:
    with pytest.raises(SettingsError):
        read(tmp_path, **wanted)


def test_shapes_are_chosen(tmp_path: Path) -> None:
    for number in range(6):
        put(tmp_path, f"same/a/{number}.png", size=(90, 70), mode="RGB")
        put(tmp_path, f"wide/a/{number}.png", size=(600 + number, 400))
        put(tmp_path, f"mixed/a/{number}.png", size=(600, 400) if number % 2 else (400, 600))
    put(tmp_path, "wide/a/colour.png", size=(600, 400), mode="RGB")
    assert read(tmp_path / "same").columns["image"].shape[1:] == (70, 90, 3)
    assert read(tmp_path / "wide").columns["image"].shape[1:] == (160, 240, 3)
    assert read(tmp_path / "mixed", longest=100).columns["image"].shape[1:] == (100, 100, 1)
    assert read(tmp_path / "same", height=16, width=8, channels=1).columns["image"].shape[1:] == (16, 8, 1)


def pack(path: Path, root: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(root.rglob("*")):
            archive.write(file, file.relative_to(root.parent))
        archive.writestr("../escape/a.png", b"x")
        archive.writestr("/absolute/a.png", b"x")
        archive.writestr("__MACOSX/top/._a.png", b"x")
    return path


def test_zip(tmp_path: Path) -> None:
    for name in ("top/train/a/1.png", "top/train/b/2.png", "top/test/a/3.png"):
        put(tmp_path, name, 5)
    (tmp_path / "top" / "train" / "a" / "bad.png").write_bytes(b"no")
    path = pack(tmp_path / "pictures.zip", tmp_path / "top")
    table = read(path)
    assert table.classes == ("a", "b")
    assert [table.names[row] for row in table.good] == ["top/test/a/3.png", "top/train/a/1.png", "top/train/b/2.png"]
    assert table.columns["split"][table.good].tolist() == [2, 0, 0]
    assert (table.columns["image"][table.good] == 5).all()
    assert kinds(table) == {
        "../escape/a.png": "outside",
        "/absolute/a.png": "outside",
        "__MACOSX/top/._a.png": "ignored",
        "top/train/a/bad.png": "unreadable",
    }
    assert fits(path) == "a zip of class folders"
    manifest = {name: table.columns["sha256"][row].tobytes().hex() for row, name in enumerate(table.names)}
    assert changed_since(path, manifest) == {"changed": [], "missing": [], "new": []}


def test_zip_bombs_and_rubbish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(b"PK\x03\x04 rubbish")
    with pytest.raises(DataError, match="no zip file"):
        read(path)
    put(tmp_path, "top/a/1.png")
    (tmp_path / "top" / "a" / "bomb.png").write_bytes(bytes(400_000))
    monkeypatch.setattr("matinee.media.picture_listing.BYTE_LIMIT", 300_000)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted((tmp_path / "top" / "a").iterdir()):
            archive.write(file, f"a/{file.name}")
    assert kinds(read(path)) == {"a/bomb.png": "oversized"}
    raw = bytearray(path.read_bytes())
    raw[40:60] = bytes(20)
    path.write_bytes(raw)
    with pytest.raises(DataError):
        read(path)


def many(root: Path, count: int = 300) -> Path:
    for number in range(count):
        put(root, f"{number % 3}/{number:04}.png", number % 250, size=(6, 5))
    return root


def test_worker_processes_give_what_threads_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many(tmp_path)
    (tmp_path / "1" / "zz.png").write_bytes(b"broken")
    seen: list[tuple[int, int]] = []
    first = read_pictures(tmp_path, PictureRequest(), lambda done, total: seen.append((done, total)))
    assert seen[-1] == (301, 301)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    monkeypatch.setenv("MATINEE_CACHE", str(tmp_path / "other-cache"))
    monkeypatch.setattr(decoding, "FEW", 10_000)
    second = read(tmp_path)
    assert first.entries == second.entries
    assert len(first.good) == 300
    for name in first.columns:
        assert np.array_equal(first.columns[name], second.columns[name])


KILLER = """
import sys; sys.path[:] = {path!r}
import matinee.media.decoding as decoding, os, signal
real = decoding.decode_sized
def decode_sized(raw, *more):
    if b"kill" in raw[:8]:
        os.kill(os.getpid(), signal.SIGKILL)
    if b"hang" in raw[:8]:
        open(f"{hangs}/{{os.getpid()}}", "x").close()
        import time; time.sleep(600)
    return real(raw, *more)
decoding.decode_sized = decode_sized
from matinee.media.crew import serve; serve(sys.argv[2], sys.argv[3])
"""


def test_a_worker_that_dies_costs_one_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many(tmp_path)
    for name in ("0/0000.png", "1/0100.png", "1/0103.png"):
        (tmp_path / name).write_bytes(b"kill it")
    monkeypatch.setattr(crew, "_BEGIN", KILLER.format(path=crew.import_path(), hangs=tmp_path))
    table = read(tmp_path)
    assert kinds(table) == {"0/0000.png": "unreadable", "1/0100.png": "unreadable", "1/0103.png": "unreadable"}
    assert "ended the process" in table.entries[0].reason
    assert len(table.good) == 297
    values = [int(Path(table.names[row]).stem) % 250 for row in table.good]
    assert table.columns["image"][table.good, 0, 0, 0].tolist() == values


def test_a_picture_that_takes_for_ever_is_given_up(
    tmp_path: Path, hangs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many(tmp_path)
    (tmp_path / "1" / "0100.png").write_bytes(b"hang it")
    monkeypatch.setattr(crew, "_BEGIN", KILLER.format(path=crew.import_path(), hangs=hangs))
    table = read(tmp_path)
    assert kinds(table) == {"1/0100.png": "unreadable"}
    assert "took longer than" in table.entries[0].reason


def test_workers_that_cannot_start(tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many(tmp_path)
    monkeypatch.setattr(crew, "_BEGIN", "raise SystemExit('no luck today')")
    with pytest.raises(DataError, match=r"end at once.*no luck today"):
        read(tmp_path)
    assert not list((own_cache / "pictures").iterdir())


def test_interrupt_leaves_nothing(tmp_path: Path, own_cache: Path) -> None:
    many(tmp_path)

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        read_pictures(tmp_path, PictureRequest(), interrupt)
    assert not list((own_cache / "pictures").iterdir())
    assert threading.active_count() <= before + 2


def test_workers_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    assert decoding.worker_count() == 2
    monkeypatch.delenv("MATINEE_WORKERS")
    assert decoding.worker_count() >= 1
    for wrong in ("0", "-1", "many", "²", "99999999"):
        monkeypatch.setenv("MATINEE_WORKERS", wrong)
        with pytest.raises(SettingsError, match="MATINEE_WORKERS"):
            decoding.worker_count()


def test_full_disk(tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "a/1.png")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(columns.shutil, "disk_usage", lambda folder: usage._replace(free=10))
    with pytest.raises(DataError, match=r"disk full: .* need 0\.0 MB"):
        read(tmp_path)
    monkeypatch.undo()
    monkeypatch.setenv("MATINEE_CACHE", str(own_cache))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(columns.os, "posix_fallocate", full)
    with pytest.raises(DataError, match="disk full"):
        read(tmp_path)
    assert not list((own_cache / "pictures").iterdir())


def test_second_read_opens_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path, "a/1.png", 1)
    first = read(tmp_path)
    assert not first.cached
    with monkeypatch.context() as patch:
        patch.setattr(picture_table, "decode_all", None)
        second = read(tmp_path)
    assert second.cached
    assert second.stamp == first.stamp
    assert second.names == first.names
    assert not read(tmp_path, channels=3).cached
    put(tmp_path, "a/1.png", 2)
    os.utime(path, ns=(1, 1))
    third = read(tmp_path)
    assert not third.cached
    assert third.stamp != first.stamp
    assert (third.columns["image"] == 2).all()
    (tmp_path / "a" / "new.txt").write_text("x")
    assert not read(tmp_path).cached


@pytest.mark.parametrize("harm", ["cut", "gone", "rubbish", "record", "words", "pickle"])
def test_a_damaged_cache_is_built_again(tmp_path: Path, harm: str) -> None:
    put(tmp_path, "a/1.png", 1)
    folder = read(tmp_path).folder
    column = folder / "image.npy"
    if harm == "cut":
        column.write_bytes(column.read_bytes()[:-1])
    elif harm == "gone":
        column.unlink()
    elif harm == "rubbish":
        column.write_bytes(b"x" * column.stat().st_size)
    elif harm == "record":
        (folder / cache.RECORD).write_text("[")
    elif harm == "words":
        (folder / "names.json").write_bytes(b"{" * (folder / "names.json").stat().st_size)
    else:
        np.save(column, np.array([{"a": 1}], dtype=object), allow_pickle=True)
        record = {"files": {path.name: path.stat().st_size for path in folder.iterdir() if path.name != cache.RECORD}}
        (folder / cache.RECORD).write_text(json.dumps(record))
    again = read(tmp_path)
    assert not again.cached
    assert (again.columns["image"] == 1).all()
    assert read(tmp_path).cached


def test_changed_since(tmp_path: Path) -> None:
    for number in range(4):
        put(tmp_path, f"a/{number}.png", number)
    table = read(tmp_path)
    manifest = {name: table.columns["sha256"][row].tobytes().hex() for row, name in enumerate(table.names)}
    put(tmp_path, "a/1.png", 99)
    (tmp_path / "a" / "2.png").unlink()
    put(tmp_path, "b/new.png")
    assert changed_since(tmp_path, manifest) == {"changed": ["a/1.png"], "missing": ["a/2.png"], "new": ["b/new.png"]}


def test_list_plain(tmp_path: Path) -> None:
    for name in ("p/10.png", "p/9.png", "p/sub/1.png", "other.png"):
        put(tmp_path, name)
    (tmp_path / "p" / "x.txt").write_text("x")
    found = list_plain([tmp_path / "other.png", tmp_path / "p", "missing.jpg", tmp_path / "p" / "9.png"])
    assert found == [str(tmp_path / name) for name in ("other.png", "p/9.png", "p/10.png", "p/sub/1.png")] + [
        "missing.jpg"
    ]


def test_fits(tmp_path: Path) -> None:
    put(tmp_path, "deep/train/a/1.png")
    assert fits(tmp_path / "deep") == "class folders"
    assert fits("mnist") == "the data set mnist"
    (tmp_path / "t.csv").write_text("text,label\nhello,1\n")
    assert fits(tmp_path / "t.csv") is None
    assert picture_sources.GLANCE_FOLDERS < 100


def test_cache_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.delenv("MATINEE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.root() == tmp_path / "xdg" / "matinee"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache.root() == tmp_path / "home" / ".cache" / "matinee"
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("MATINEE_CACHE", str(tmp_path / "file" / "x"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with caplog.at_level(logging.WARNING, logger="matinee"):
        fallback = cache.root()
        assert cache.root() == fallback
    assert len(caplog.records) == 1
    assert stat.S_IMODE(fallback.stat().st_mode) == 0o700


def test_cache_build_and_sweep(own_cache: Path) -> None:
    def fill(folder: Path) -> None:
        (folder / "a").write_text("1")

    def fail(folder: Path) -> None:
        (folder / "a").write_text("1")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        cache.build("k", "x", fail)
    assert cache.find("k", "x") is None
    old = own_cache / "k" / "y.elsewhere.1.abc.tmp"
    fresh = own_cache / "k" / "z.elsewhere.1.abc.tmp"
    dead = own_cache / "k" / f"z.{cache._host()}.99999999.abc.tmp"
    for folder in (old, fresh, dead):
        folder.mkdir()
    os.utime(old, (1, 1))
    assert cache.build("k", "x", fill) == cache.find("k", "x") == own_cache / "k" / "x"
    assert not old.exists()
    assert not dead.exists()
    assert fresh.exists()
    threads = [threading.Thread(target=cache.build, args=("k", "many", fill)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache.find("k", "many") is not None
    assert sorted(path.name for path in (own_cache / "k").iterdir()) == ["many", "x", fresh.name]
