"""What users' folders, disks and hands do: one clear line, the right exit code, nothing lost in silence."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from matinee.cli import main
from matinee.core import storage
from matinee.core.command import put
from matinee.core.storage import read_tensors, write_tensors

QUICK = ("--network", "linear", "--epochs", "1", "--threads", "1", "--quiet")
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """The command line sets the handler of SIGTERM."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def picture(path: str | Path | bytes, light: int, seed: int, side: int = 8) -> None:
    noise = np.random.default_rng([light, seed]).normal(light, 30, (side, side))
    out = io.BytesIO()
    Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(out, "PNG")
    with open(path, "wb") as file:
        file.write(out.getvalue())


def photos(root: Path, classes: Sequence[str] = ("cat", "dog"), each: int = 20) -> Path:
    for number, name in enumerate(classes):
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(each):
            picture(root / name / f"{i}.png", 60 + 120 * number // max(1, len(classes) - 1), 1000 * number + i)
    return root


def said(capsys: Capture, *words: str | Path, code: int) -> dict[str, Any]:
    """What a command prints with --json: exactly one object, and for a refusal one message, no traceback."""
    found = main([words_ if isinstance(words_, str) else str(words_) for words_ in (*words, "--json")])
    out, err = capsys.readouterr()
    assert found == code, (found, out, err)
    assert "Traceback" not in err
    value = json.loads(out)
    assert isinstance(value, dict) and out.count("\n") == 1
    if "error" in value:
        assert value["error"] and err.startswith("matinee: ")
    return value


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has ended, and its source beside it. Not to be changed."""
    home = tmp_path_factory.mktemp("withstand")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MATINEE_CACHE", str(home / "cache"))
        patch.chdir(home)
        assert main(["train", str(photos(home / "photos")), *QUICK, "--out", str(home / "run")]) == 0
    return home / "run"


@pytest.fixture
def run(model: Path, tmp_path: Path) -> Path:
    """A copy of that run with a source of its own."""
    folder = Path(shutil.copytree(model, tmp_path / "run"))
    shutil.copytree(model.parent / "photos", tmp_path / "photos")  # the same names and bytes
    settings = json.loads((folder / "settings.json").read_text())
    settings["source_path"] = settings["source"] = str(tmp_path / "photos")
    (folder / "settings.json").write_text(json.dumps(settings))
    return folder


def unfinished(run: Path) -> Path:
    (run / "result.json").unlink()
    return run


# -- files


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, packed: bytes) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def many_frames(count: int) -> bytes:
    """A GIF of so many frames of 4 x 4, each of them whole."""
    frame = b"\x21\xf9\x04\x00\x01\x00\x00\x00\x2c\x00\x00\x00\x00\x04\x00\x04\x00\x00\x02\x04\x84\x8f\x09\x05\x00"
    return b"GIF89a\x04\x00\x04\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff" + frame * count + b"\x3b"


def test_every_file_that_is_no_picture_has_its_line(tmp_path: Path, capsys: Capture) -> None:
    source = photos(tmp_path / "photos")
    whole = (source / "cat" / "0.png").read_bytes()
    bad = {
        "empty": ("cat/empty.jpg", b""),
        "unreadable": ("cat/text.jpg", b"this is a letter, not a picture"),
        "truncated": ("cat/half.png", whole[: len(whole) // 2]),
        "oversized": ("dog/bomb.png", png(30_000, 30_000, zlib.compress(bytes(3751) * 30_000, 1))),
    }
    for file, raw in bad.values():
        (source / file).write_bytes(raw)
    (source / "dog" / "header.png").write_bytes(png(30_000, 30_000, b""))
    (source / "dog" / "frames.gif").write_bytes(many_frames(10_000))
    (source / "dog" / "notes.txt").write_text("notes")
    (source / "cat" / "nowhere.png").symlink_to("/nowhere/at/all.png")
    (source / "cat" / "self.png").symlink_to("self.png")
    (source / "cat" / "round").symlink_to("..")
    os.mkfifo(source / "cat" / "pipe.png")
    began = time.process_time()
    told = said(capsys, "check", source, "--quiet", code=1)
    assert time.process_time() - began < 10
    assert told["ledger"] == {
        **dict.fromkeys(("empty", "unreadable", "truncated", "link-loop"), 1),
        "oversized": 2,
        "missing": 2,
        "ignored": 2,
    }
    assert "training would be unsafe" in said(capsys, "train", source, *QUICK, "--out", "no", code=1)["error"]
    assert not Path("no").exists()
    said(capsys, "train", source, *QUICK, "--anyway", "--out", "run", code=0)
    ledger = json.loads(Path("run/ledger.json").read_text())
    assert {entry["file"]: entry["kind"] for entry in ledger["entries"]} == {
        **{file: kind for kind, (file, _) in bad.items()},
        "dog/header.png": "oversized",
        "cat/nowhere.png": "missing",
        "cat/self.png": "missing",
        "cat/round": "link-loop",
        "dog/notes.txt": "ignored",
        "cat/pipe.png": "ignored",
    }
    answers = said(capsys, "predict", "run", source / "cat", source / "dog", "--quiet", code=1)
    assert answers["failed"] == 7  # the two dangling links too; the link round in a circle is not followed
    frames = next(a for a in answers["answers"] if a["file"].endswith("frames.gif"))
    assert frames["label"] in ("cat", "dog")


STRANGE_NAMES = [
    *(b"a b.png", b"new\nline.png", "🐱.png".encode(), "中文.png".encode(), b"\xff\xfe.png", b"--help.png", b"-x.png"),
    *(
        b"<script>alert(1)</script>.png".replace(b"/", b"|"),
        b"esc\x1b[31m.png",
        b"%s%n.png",
        b"back\\slash.png",
        b" .png",
    ),
]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_names_of_all_kinds(tmp_path: Path, capsys: Capture) -> None:
    source = photos(tmp_path / "ph\udcffotos 中", ("cat", "cl\nass", "--json", "\udcff\udcfe"))
    for number, name in enumerate(STRANGE_NAMES):
        try:
            picture(os.fsencode(source / "cat") + b"/" + name, 60, 5000 + number)
        except OSError:
            pytest.skip("this file system does not take such names")
    assert said(capsys, "check", source, "--quiet", code=0)["ledger"] == {}
    told = said(capsys, "train", source, *QUICK, "--out", "run", code=0)
    assert told["examples"] == 80 + len(STRANGE_NAMES)
    assert said(capsys, "evaluate", "run", "--quiet", code=0)["changed"] == {"changed": [], "missing": [], "new": []}
    assert len(said(capsys, "predict", "run", source / "cat", "--quiet", code=0)["answers"]) == 20 + len(STRANGE_NAMES)
    assert main(["check", str(source)]) == 0 and main(["predict", "run", str(source / "cat")]) == 0
    assert "Traceback" not in capsys.readouterr().err


def test_names_that_look_like_flags(model: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, name in enumerate(("--json", "--help.png", "-x.png")):
        picture(name, 60, number)
    assert main(["predict", str(model), "--", "--json", "--help.png", "-x.png"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [a["file"] for a in answers] == ["--json", "--help.png", "-x.png"]
    assert "./" in said(capsys, "predict", model, "-x.png", code=2)["error"]
    assert said(capsys, "predict", model, "./-x.png", code=0)["failed"] == 0


# -- sources


def test_one_class(tmp_path: Path, capsys: Capture) -> None:
    source = photos(tmp_path / "photos", ("only",))
    assert [p["kind"] for p in said(capsys, "check", source, code=1)["problems"]] == ["one-class"]
    assert "one class only" in said(capsys, "train", source, *QUICK, code=1)["error"]
    assert not list(Path("runs").iterdir()) if Path("runs").exists() else True


def test_one_file_per_class(tmp_path: Path, capsys: Capture) -> None:
    source = photos(tmp_path / "photos", ("a", "b", "c"), 1)
    assert "tiny-class" in [p["kind"] for p in said(capsys, "check", source, code=1)["problems"]]
    said(capsys, "train", source, *QUICK, "--anyway", "--out", "run", code=0)
    assert said(capsys, "evaluate", "run", code=1)["error"]


def test_a_thousand_classes(tmp_path: Path, capsys: Capture) -> None:
    source = photos(tmp_path / "photos", [f"class {n}" for n in range(1000)], 2)
    told = said(capsys, "check", source, code=0)
    assert len(told["counts"]["train"]) == 1000
    said(capsys, "train", source, *QUICK, "--out", "run", code=0)


def test_folders_with_nothing_in_them(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "sub" / "a" / "b" / "c").mkdir(parents=True)
    (tmp_path / "loops" / "a").mkdir(parents=True)
    (tmp_path / "loops" / "a" / "b").symlink_to("..")
    (tmp_path / "self").symlink_to("self")
    for name in ("empty", "sub", "loops", "self", "nowhere", os.devnull):
        told = said(capsys, "check", name, code=1)
        assert [p["kind"] for p in told["problems"]] == ["unreadable-source"] and not told["safe"]
        assert said(capsys, "train", name, *QUICK, code=1)["error"]
    assert not Path("runs").exists()


def test_class_folders_that_are_links(tmp_path: Path, capsys: Capture) -> None:
    source = photos(tmp_path / "elsewhere")
    (tmp_path / "photos").mkdir()
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).symlink_to(source / name)
    assert sum(said(capsys, "check", "photos", code=0)["counts"]["train"].values()) > 20


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path: Path, capsys: Capture) -> None:
    source = photos(tmp_path / "photos", ("cat", "dog", "bird"))
    (source / "cat" / "0.png").chmod(0)
    (source / "bird").chmod(0)
    try:
        assert said(capsys, "check", source, code=0)["ledger"] == {"forbidden": 2}
        source.chmod(0)
        assert "no permission" in said(capsys, "check", source, code=1)["problems"][0]["words"]
    finally:
        source.chmod(0o755)
        (source / "bird").chmod(0o755)


def test_a_table_that_points_elsewhere(tmp_path: Path, capsys: Capture) -> None:
    source = photos(tmp_path / "photos")
    picture(tmp_path / "outside.png", 60, 77)
    (source / "link.png").symlink_to(tmp_path / "outside.png")
    rows = [f"{c}/{i}.png,{c}" for c in ("cat", "dog") for i in range(20)]
    rows += ["../outside.png,cat", f"{tmp_path}/outside.png,cat", "link.png,cat", "nowhere.png,cat", "cat/0.png,cat"]
    rows += ["cat/1.png,", ",dog", "cat,dog", "/etc/passwd,dog"]
    (source / "labels.csv").write_text("file,label\n" + "\n".join(rows) + "\n")
    told = said(capsys, "check", source / "labels.csv", code=1)
    assert told["ledger"] == {"outside": 4, "missing": 2, "duplicate-row": 1, "no-label": 1, "unreadable": 1}
    said(capsys, "train", source / "labels.csv", *QUICK, "--anyway", "--out", "run", code=0)
    assert len(json.loads(Path("run/ledger.json").read_text())["entries"]) == 9


@pytest.mark.parametrize(
    ("name", "raw", "words"),
    [
        ("x.csv", b"", "the file is empty"),
        ("x.csv", b"image,kind\na.png,x\n", "no column that looks like the label"),
        ("x.csv", "file,label\na.png,x\n".encode("utf-16"), "UTF-8"),
        ("x.csv", b"file,label\n" + b"x" * 200_000 + b".png,y\na.png,z\n", ""),
        ("x.jsonl", b'{"file": "a.png", "label": "x"}\n[1]\n', "line 2"),
        ("x.zip", b"PK\x03\x04 and then nothing", "zip"),
        ("x.tar.gz", b"\x1f\x8b", ""),
        ("train-images-idx3-ubyte", b"\0\0\x08\x03", ""),
    ],
)
def test_sources_that_are_broken(tmp_path: Path, capsys: Capture, name: str, raw: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(raw)
    assert words in said(capsys, "check", name, code=1)["problems"][0]["words"]


# -- predicting


def test_nothing_to_predict(model: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "empty").mkdir()
    assert "no pictures" in said(capsys, "predict", model, "empty", code=1)["error"]
    assert (
        said(capsys, "predict", model, "nowhere.png", os.devnull, tmp_path / "empty" / "x.png", code=1)["failed"] == 3
    )
    for others in (["empty"], ["nowhere.png"]):
        answers = said(capsys, "predict", model, "empty", *others, code=1)["answers"]
        assert "no pictures" in answers[0]["error"] and len(answers) == len({"empty", *others})
    (tmp_path / "empty" / "round").symlink_to("..")
    assert "no pictures" in said(capsys, "predict", model, "empty", code=1)["error"]
    (tmp_path / "empty" / "gone.png").symlink_to("nowhere")
    assert said(capsys, "predict", model, "empty", code=1)["answers"][0]["error"]


# -- programs and terminals


@pytest.mark.parametrize(
    ("words", "code"),
    [
        *((["predict", "nowhere", "x.png"], 1), (["evaluate", "nowhere"], 1), (["resume", "nowhere"], 1)),
        *((["resume", "photos"], 1), (["verify-resume", "nowhere"], 1), (["trian", "photos"], 2), (["check"], 2)),
        *((["train", "photos", "--epoch", "1"], 2), (["train", "photos", "--epochs", "0.5"], 2)),
        *((["train", "photos", "--minutes", "nan"], 2), (["train", "photos", "--epochs", "9" * 5000], 2)),
        *((["train", "photos", "--network", "x" * 5000], 2), (["train", "photos", "--device", "cuda:99"], 2)),
        *((["train", "photos", "--groups", "("], 2), (["train", "photos", "--select", "nope"], 2)),
        *((["train", "photos", "--task", "os.path"], 2), (["train", "photos", "--start", "nowhere"], 2)),
        *((["train", "photos", "--start", os.devnull, *QUICK], 1), (["train", "photos", "--out", "photos", *QUICK], 2)),
        *((["train", "photos", "--out", "file/run", *QUICK], 1), (["train", "photos", "--out", "x" * 300, *QUICK], 1)),
    ],
)
def test_one_json_object_whatever_goes_wrong(tmp_path: Path, capsys: Capture, words: list[str], code: int) -> None:
    photos(tmp_path / "photos", each=6)
    (tmp_path / "file").write_text("")
    assert len(said(capsys, *words, code=code)["error"]) < 1000
    assert not list(Path("runs").iterdir()) if Path("runs").exists() else True


class Gone(io.StringIO):
    """A standard output that nobody reads."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error


@pytest.mark.parametrize("reason", [BrokenPipeError(errno.EPIPE, "gone"), OSError(errno.ENOSPC, "full")])
def test_nobody_reads_the_answer(
    model: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, reason: OSError
) -> None:
    for words in (
        ["check", str(model.parent / "photos")],
        ["predict", str(model), "nowhere.png"],
        ["check", "nowhere"],
    ):
        for more in ([], ["--json"]):
            monkeypatch.setattr(sys, "stdout", Gone(reason))
            assert main([*words, *more]) == 1
            monkeypatch.undo()
    monkeypatch.setattr(sys, "stdout", None)  # matinee ... >&-
    assert main(["check", str(model.parent / "photos"), "--quiet"]) == 0


def test_nobody_reads_the_progress(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training goes on when its terminal has gone."""
    photos(tmp_path / "photos")
    monkeypatch.setattr(sys, "stderr", Gone(BrokenPipeError(errno.EPIPE, "gone")))
    assert main(["train", "photos", *QUICK[:-1], "--out", "run"]) == 0
    assert main(["check", "nowhere"]) == 1
    assert main(["trian"]) == 2


def test_an_ascii_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos(tmp_path / "图片", ("猫", "狗\n\x1b[31m"))
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="backslashreplace"))
    assert main(["check", "图片"]) == 0
    assert b"\\u732b" in sys.stdout.buffer.getvalue() and b"\x1b[31m" not in sys.stdout.buffer.getvalue()  # type: ignore[attr-defined]
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))  # strict
    assert main(["train", "图片", *QUICK[:-1], "--out", "跑"]) == 0
    assert main(["check", "没有"]) == 1
    Path("没有.png").write_text("no picture")
    asked = ["check", "图片", "--json"], ["predict", "跑", "没有.png"], ["check", "没有", "--json"]
    for words, code in zip(asked, (0, 1, 1), strict=True):
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
        assert main([*words, "--quiet"]) == code
        raw = sys.stdout.buffer.getvalue()  # type: ignore[attr-defined]
        assert words[1] in raw.decode("utf-8") or "没有" in raw.decode("utf-8")  # JSON is UTF-8 whatever the locale
        json.loads(raw)


def test_half_a_character_is_escaped(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    put(json.dumps({"file": "caf\udce9 猫"}, ensure_ascii=False))
    raw = capfdbinary.readouterr().out
    assert raw == b'{"file": "caf\\udce9 \xe7\x8c\xab"}\n' and json.loads(raw) == {"file": "caf\udce9 猫"}


# -- disks


class Full:
    """From the n-th flush on, the disk is full."""

    def __init__(self, after: int, error: int = errno.ENOSPC) -> None:
        self.left, self.error = after, error

    def __call__(self, handle: int) -> None:
        self.left -= 1
        if self.left < 0:
            raise OSError(self.error, os.strerror(self.error))


def test_a_full_disk_costs_nothing_that_was_written(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos(tmp_path / "photos")
    settings = ("--network", "linear", "--epochs", "3", "--threads", "1", "--quiet", "--checkpoint-steps", "1")
    whole = said(capsys, "train", "photos", *settings, "--out", "whole", code=0)
    for after in (0, 1, 2, 3, 5, 9, 14, 20, 26):
        with monkeypatch.context() as patch:
            patch.setattr(storage.os, "fsync", Full(after))
            error = said(capsys, "train", "photos", *settings, "--out", f"run{after}", code=1)["error"]
        assert "disk is full" in error
        assert not list(Path(f"run{after}").rglob("*.part"))
        again = ("resume",) if Path(f"run{after}/settings.json").exists() else ("train", "photos", *settings, "--out")
        assert said(capsys, *again, f"run{after}", "--quiet", code=0)["sha256"] == whole["sha256"]


def test_a_full_disk_for_the_cache(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    photos(tmp_path / "photos")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 0))  # type: ignore[attr-defined]
        assert "MATINEE_CACHE" in said(capsys, "train", "photos", *QUICK, code=1)["error"]
    assert not [p for p in (tmp_path / "cache").rglob("*") if p.is_file()] and not Path("runs").exists()


def test_a_read_only_run_folder(run: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    said(capsys, "evaluate", run, tmp_path / "photos", "--quiet", code=0)  # fills the cache
    said(capsys, "check", tmp_path / "photos", "--quiet", code=0)

    make = Path.mkdir

    def refuse(self: Path, *rest: Any, **more: Any) -> None:
        if "read-only" in self.name:
            raise OSError(errno.EROFS, "Read-only file system", str(self))
        make(self, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(storage.os, "fsync", Full(0, errno.EROFS))
        assert said(capsys, "evaluate", run, tmp_path / "photos", "--quiet", code=0)["scores"]
        assert "--out" in said(capsys, "evaluate", run, tmp_path / "photos", "--out", "new", code=1)["error"]
        assert said(capsys, "predict", run, tmp_path / "photos", code=0)["failed"] == 0
        assert "--out" in said(capsys, "resume", unfinished(run), "--quiet", code=1)["error"]
    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", refuse)
        assert "--out" in said(capsys, "train", tmp_path / "photos", *QUICK, "--out", "read-only", code=1)["error"]


# -- interruptions


def test_interrupted_while_reading(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    from matinee.media import decoding

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    photos(tmp_path / "photos")
    monkeypatch.setattr(decoding, "decode_sized", stop)
    assert said(capsys, "train", "photos", *QUICK, code=130)["error"]
    assert not Path("runs").exists() and not list((tmp_path / "cache").rglob("*.tmp"))


def test_what_a_kill_leaves_is_swept(run: Path, tmp_path: Path, capsys: Capture) -> None:
    left = [run / ".report.html.99.part", run / "checkpoint" / ".latest.safetensors.99.part"]
    for path in left:
        path.write_bytes(b"half")
    bundles = [run / ".model.99.part", run / "baselines" / ".linear.99.part"]
    for path in bundles:
        path.mkdir()
        (path / "config.json").write_text("{")
    said(capsys, "resume", unfinished(run), "--quiet", code=0)
    assert not [path for path in (*left, *bundles) if path.exists()]
    # A kill before the settings were in place: the same command may be given again.
    (tmp_path / "new" / "checkpoint").mkdir(parents=True)
    (tmp_path / "new" / ".settings.json.99.part").write_text("{")
    said(capsys, "train", tmp_path / "photos", *QUICK, "--out", "new", code=0)
    assert not (tmp_path / "new" / ".settings.json.99.part").exists()


LONG = 300  # seconds that a busy machine may take for anything


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts the command in a process of its own, which does not outlive the test."""
    with ExitStack() as started:

        def begin(*words: str) -> subprocess.Popen[str]:
            command, pipe = [sys.executable, "-m", "matinee", *words], subprocess.PIPE
            process = started.enter_context(subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True))
            started.callback(process.kill)
            return process

        yield begin


def wait_until(true: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + LONG
    while not true():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)


def test_signals_and_kill(tmp_path: Path, capsys: Capture, start: Callable[..., subprocess.Popen[str]]) -> None:
    photos(tmp_path / "photos")
    latest = tmp_path / "run" / "checkpoint" / "latest.safetensors"
    settings = ("--network", "mlp", "--size", "s", "--epochs", "100000", "--threads", "1", "--quiet", "--json")
    process = start("train", "photos", *settings, "--checkpoint-steps", "2", "--out", "run")
    wait_until(latest.exists, process)
    assert "another process" in said(capsys, "resume", "run", "--quiet", code=1)["error"]
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=LONG)
    assert process.returncode == 130 and "matinee resume run" in json.loads(out)["error"] and "Traceback" not in err
    first = step(latest)
    process = start("resume", "run", "--quiet", "--json")
    wait_until(lambda: step(latest) > first, process)  # a checkpoint is never seen half-written
    process.kill()
    assert process.communicate(timeout=LONG)[0] == ""
    for path in (tmp_path / "run").rglob("*.json"):
        json.loads(path.read_text())
    first = step(latest)
    process = start("resume", "run", "--quiet", "--json")
    wait_until(lambda: step(latest) > first, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=LONG)
    assert process.returncode == 130 and "matinee resume run" in json.loads(out)["error"] and "Traceback" not in err


def step(checkpoint: Path) -> int:
    return int(read_tensors(checkpoint)[1]["step"])


def test_a_pipe_that_is_closed(tmp_path: Path, start: Callable[..., subprocess.Popen[str]]) -> None:
    """`matinee ... | head -1`, for real: no word about a broken pipe, even when Python ends."""
    photos(tmp_path / "photos", [f"class {n}" for n in range(9)], 4)
    process = start("check", "photos", "--quiet")
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.wait(LONG) == 1 and process.stderr.read() == ""
    process.stderr.close()


# -- runs that are not what they were


def test_a_run_that_was_moved(run: Path, tmp_path: Path, capsys: Capture) -> None:
    run.rename(tmp_path / "moved")
    told = said(capsys, "resume", "moved", "--quiet", code=0)
    assert told["run"] == "moved" and told["report"] == "moved/report.html"
    assert said(capsys, "evaluate", "moved", tmp_path / "photos", "--quiet", code=0)["run"] == "moved"


def test_a_run_that_has_not_ended_says_so(run: Path, tmp_path: Path, capsys: Capture) -> None:
    photo = tmp_path / "photos" / "cat" / "0.png"
    assert not any("not ended" in note for note in said(capsys, "evaluate", run, "--quiet", code=0)["notes"])
    unfinished(run)
    assert f"matinee resume {run}" in said(capsys, "evaluate", run, "--quiet", code=0)["notes"][0]
    assert main(["predict", str(run), str(photo), "--quiet"]) == 0
    assert "has not ended" in capsys.readouterr().err


def test_a_source_that_has_gone_or_changed(run: Path, tmp_path: Path, capsys: Capture) -> None:
    source = tmp_path / "photos"
    unfinished(run)
    picture(source / "cat" / "0.png", 60, 4711)
    assert "not those" in said(capsys, "resume", run, "--quiet", code=1)["error"]
    source.rename(tmp_path / "gone")
    assert str(source) in said(capsys, "resume", run, "--quiet", code=1)["error"]
    assert str(source) in said(capsys, "verify-resume", run, "--quiet", code=1)["error"]
    assert said(capsys, "predict", run, tmp_path / "gone", code=0)["failed"] == 0
    (tmp_path / "gone").rename(source)
    said(capsys, "resume", run, "--anyway", "--quiet", code=0)


def test_evaluate_says_what_changed(tmp_path: Path, capsys: Capture) -> None:
    source = photos(tmp_path / "photos")
    said(capsys, "train", source, *QUICK, "--out", "run", code=0)
    shutil.copy(source / "dog" / "1.png", source / "cat" / "1.png")
    (source / "cat" / "2.png").unlink()
    (source / "dog" / "3.png").write_bytes(b"broken")
    picture(source / "dog" / "new.png", 180, 99)
    changed = said(capsys, "evaluate", "run", "--quiet", code=0)["changed"]
    assert changed == {"changed": ["cat/1.png", "dog/3.png"], "missing": ["cat/2.png"], "new": ["dog/new.png"]}


STRANGE: list[Any] = [None, 7, "x", [], [[]], {}, {"a": 1}, True, -1e300]


@pytest.mark.parametrize(
    "name", ["settings.json", "result.json", "checkpoint/clock.json", "checkpoint/latest.safetensors"]
)
def test_strange_records(run: Path, capsys: Capture, name: str) -> None:
    """Wrong types in what a run wrote down: a refusal, or it goes on; never anything else."""
    if name != "result.json":
        unfinished(run)
    path = run / name
    whole = path.read_bytes() if path.exists() else b"[]"
    tensors, facts = read_tensors(path) if path.suffix == ".safetensors" else ({}, json.loads(whole))
    keys = list(facts) if isinstance(facts, dict) else []
    cases: list[Any] = [*STRANGE, *({**facts, key: strange} for key in keys for strange in STRANGE[:5])]
    cases += [{k: v for k, v in facts.items() if k != key} for key in keys]
    backup = run.with_name("backup")
    shutil.copytree(run, backup)
    for case in cases:
        shutil.rmtree(run)
        shutil.copytree(backup, run)
        if tensors:
            write_tensors(path, tensors, case)
        else:
            path.write_text(json.dumps(case))
        code = main(["resume", str(run), "--quiet", "--json", "--anyway"])
        out, err = capsys.readouterr()
        assert code in (0, 1) and "Traceback" not in err and isinstance(json.loads(out), dict), (case, err)
    for raw in (b"", b"{", b"[" * 50_000, whole[: len(whole) // 2]):
        shutil.rmtree(run)
        shutil.copytree(backup, run)
        path.write_bytes(raw)
        assert said(capsys, "resume", run, "--quiet", "--anyway", code=1)["error"]
