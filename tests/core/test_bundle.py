"""A bundle is whole or refused: damaged, foreign, crafted or newer ones raise BundleError and run nothing."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import matinee
from matinee.core.errors import BundleError, MatineeError, SettingsError
from matinee.core.model import FORMAT, Model, load
from matinee.core.registry import names, task_class
from matinee.core.storage import HEADER_LIMIT, read_tensors, write_tensors

WEIGHTS, MANIFEST, CONFIG = "model.safetensors", "manifest.json", "config.json"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small bundle with all that a trained one says."""
    toy = task_class(names("tasks")[0])().toy()
    task = toy.task.simplest()
    assert task is not None
    torch.manual_seed(0)
    facts = {"version": "0", "source": "made\udcff up", "source_path": "/x", "select": "", "valid": {"accuracy": 0.5}}
    manifest = {f"a/{n}\udcff.png": hashlib.sha256(bytes([n])).hexdigest() for n in range(9)}
    return Model(task, task.build().eval(), manifest, facts=facts, held_back=frozenset(list(manifest)[:2])).save(
        tmp_path_factory.mktemp("bundle") / "model"
    )


@pytest.fixture
def bundle(good: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(good, tmp_path / "model"))


def reseal(folder: Path, change: Callable[[dict[str, Any]], None] = lambda config: None) -> None:
    """Change the configuration as somebody would who knows how the checksums are made."""
    config = json.loads((folder / CONFIG).read_text())
    config["sha256"] |= {n: hashlib.sha256((folder / n).read_bytes()).hexdigest() for n in (WEIGHTS, MANIFEST)}
    change(config)
    config.pop("checksum", None)
    checksum = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
    (folder / CONFIG).write_text(json.dumps({**config, "checksum": checksum}))


def refused(folder: Path, words: str = "") -> None:
    with pytest.raises(BundleError) as caught:
        load(folder)
    said = str(caught.value)
    assert words in said and "\n" not in said and len(said) < 600, said


def test_it_comes_back_as_it_went(good: Path) -> None:
    model = load(good)
    assert model.facts["source"] == "made\udcff up" and len(model.manifest) == 9 and len(model.held_back) == 2
    toy = model.task.toy()
    inputs = toy.task.collate(toy.test.gather(toy.test.rows[:3] * 0)).inputs
    assert len(model.answer(inputs)) == 3


def test_equal_models_are_equal_files(good: Path, tmp_path: Path) -> None:
    model = load(good)
    for number in range(8):  # a dictionary in another order would be another file
        model.save(tmp_path / str(number))
        assert (tmp_path / str(number) / WEIGHTS).read_bytes() == (good / WEIGHTS).read_bytes()


def test_facts_are_told_again_beside_the_same_weights(good: Path, tmp_path: Path) -> None:
    model = load(good)
    model.save(tmp_path / "model")
    before = (tmp_path / "model" / WEIGHTS).stat().st_ino
    dataclasses.replace(model, facts={**model.facts, "test": {"accuracy": 0.5}}).tell_again(tmp_path / "model")
    again = load(tmp_path / "model")
    assert again.facts["test"] == {"accuracy": 0.5} and again.facts["source"] == model.facts["source"]
    assert (tmp_path / "model" / WEIGHTS).stat().st_ino == before and again.manifest == model.manifest
    (tmp_path / "model" / f".{CONFIG}.77.part").write_text("{")  # a kill in the middle of it
    model.save(tmp_path / "model")
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == sorted(path.name for path in good.iterdir())


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS, MANIFEST])
def test_one_bit(bundle: Path, name: str) -> None:
    raw = (bundle / name).read_bytes()
    for place in {*range(0, len(raw), max(1, len(raw) // 60)), *range(24), len(raw) - 2}:
        spoilt = bytearray(raw)
        spoilt[place] ^= 1 << place % 8
        (bundle / name).write_bytes(spoilt)
        refused(bundle)
    for length in (0, 1, 7, 8, 9, len(raw) // 2, len(raw) - 2):
        (bundle / name).write_bytes(raw[:length])
        refused(bundle)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS, MANIFEST])
def test_no_file_there(bundle: Path, name: str) -> None:
    path = bundle / name
    path.unlink()
    refused(bundle)
    path.mkdir()
    refused(bundle)
    path.rmdir()
    path.symlink_to(path.name)  # a link to itself
    refused(bundle)
    path.unlink()
    os.mkfifo(path)  # reading it would wait for ever
    refused(bundle)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS, MANIFEST])
def test_a_link_that_leads_out(bundle: Path, tmp_path: Path, name: str) -> None:
    (bundle / name).rename(tmp_path / "elsewhere")
    (bundle / name).symlink_to(tmp_path / "elsewhere")
    refused(bundle, "leads out")


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "evil.py", "", "model.safetensors/../../x"])
def test_a_path_that_climbs_out(bundle: Path, name: str) -> None:
    reseal(bundle, lambda config: config["sha256"].update({name: "0" * 64}))
    refused(bundle, "no bundle has")


@pytest.mark.parametrize("name", ["cat-herding", "os", "os.path", "matinee.cli", "../tasks/x", "", "x" * 10_000])
def test_a_wrong_task(bundle: Path, name: str) -> None:
    reseal(bundle, lambda config: config.update(task=name))
    refused(bundle, "is not one of")


def test_a_newer_format(bundle: Path) -> None:
    reseal(bundle, lambda config: config.update(format=FORMAT + 1, anything={"new": 1}))
    refused(bundle, f"format {FORMAT + 1}")
    (bundle / CONFIG).write_text(json.dumps({"format": FORMAT + 1}))
    refused(bundle, "Update it")
    reseal_all = {"format": 0}
    (bundle / CONFIG).write_text(json.dumps(reseal_all))
    refused(bundle)


@pytest.mark.parametrize("length", [0, 1, HEADER_LIMIT, HEADER_LIMIT + 1, 2**40, 2**63, 2**64 - 1])
def test_a_huge_header(bundle: Path, length: int) -> None:
    raw = (bundle / WEIGHTS).read_bytes()
    (bundle / WEIGHTS).write_bytes(struct.pack("<Q", length) + raw[8:])
    reseal(bundle)
    refused(bundle, WEIGHTS)


def test_a_file_far_larger_than_its_network(bundle: Path) -> None:
    config = (bundle / CONFIG).read_bytes()
    with open(bundle / WEIGHTS, "r+b") as file:
        file.truncate(10**12)  # a hole: takes no room, and must not be read
    (bundle / CONFIG).write_bytes(config)
    refused(bundle, "far larger")


@pytest.mark.parametrize("kind", [torch.float16, torch.float64, torch.int64, torch.bool])
def test_weights_of_another_type(bundle: Path, kind: torch.dtype) -> None:
    tensors = {name: value.to(kind) for name, value in read_tensors(bundle / WEIGHTS)[0].items()}
    write_tensors(bundle / WEIGHTS, tensors, {})
    reseal(bundle)
    refused(bundle, "do not fit")


STRANGE: list[Any] = [
    *(None, True, -1, 10**30, 1e308, float("nan"), float("-inf"), "", "x" * 5000, "../..", "\ud800", "1"),
    *([], [1], [[[]]], {}, {"a": 1}),
]


def places(value: Any, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, inner in pairs for place in ((*before, key), *places(inner, (*before, key)))]


def test_wrong_types_everywhere(bundle: Path, tmp_path: Path) -> None:
    whole = json.loads((bundle / CONFIG).read_text())
    for place in places(whole):
        if place[0] == "checksum":
            continue
        for strange in STRANGE:

            def spoil(config: dict[str, Any], place: tuple[Any, ...] = place, strange: Any = strange) -> None:
                inner: Any = config
                for key in place[:-1]:
                    inner = inner[key]
                inner[place[-1]] = strange

            (bundle / CONFIG).write_text(json.dumps(whole))
            reseal(bundle, spoil)
            try:
                load(bundle).save(tmp_path / "again")
            except MatineeError as error:
                assert "\n" not in str(error) and len(str(error)) < 600, (place, str(error))


@pytest.mark.parametrize(
    "value", [[], "x", 1, None, {"files": {"a": 1}, "held_back": []}, {"files": {}, "held_back": [1]}, {"files": []}]
)
def test_a_strange_manifest(bundle: Path, value: Any) -> None:
    (bundle / MANIFEST).write_text(json.dumps(value))
    reseal(bundle)
    refused(bundle, MANIFEST)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "[" * 100_000, '{"a":' * 5000 + "1" + "}" * 5000, "9" * 10_000]
)
def test_strange_json(bundle: Path, text: str) -> None:
    (bundle / CONFIG).write_text(text)
    refused(bundle, CONFIG)


def test_formats_that_run_code_are_refused(tmp_path: Path) -> None:
    from matinee.core.storage import read_foreign_tensors

    (tmp_path / "weights.pt").write_bytes(b"\x80\x04cos\nsystem\n")
    with pytest.raises(BundleError, match="can run code"):
        read_foreign_tensors(tmp_path / "weights.pt")
    for raw in (b"", b"\0" * 8, b"\x80\x04cos\nsystem\n(S'true'\ntR.", struct.pack("<Q", 2) + b"{}x"):
        (tmp_path / "weights.safetensors").write_bytes(raw)
        with pytest.raises(BundleError):
            read_foreign_tensors(tmp_path / "weights.safetensors")
    with pytest.raises(BundleError):
        read_foreign_tensors(Path(os.devnull))


Change = tuple[str, int, bytes]
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["flip", "put", "insert", "cut", "drop"]),
        st.integers(0, 2**31),
        st.binary(min_size=1, max_size=9),
    ),
    min_size=1,
    max_size=4,
)


def mutated(raw: bytes, changes: list[Change]) -> bytes:
    for what, number, some in changes:
        place = number % (len(raw) + 1)
        if what == "flip":
            raw = raw[:place] + bytes(b ^ (some[0] or 1) for b in raw[place : place + 1]) + raw[place + 1 :]
        elif what == "put":
            raw = raw[:place] + some + raw[place + len(some) :]
        elif what == "insert":
            raw = raw[:place] + some * (1 + number % 50) + raw[place:]
        elif what == "cut":
            raw = raw[:place]
        else:
            raw = raw[:place] + raw[place + number % 97 :]
    return raw


@settings(
    max_examples=400,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(name=st.sampled_from([CONFIG, WEIGHTS, MANIFEST]), changes=CHANGES, sealed=st.booleans())
def test_only_our_own_errors_come_out(
    good: Path, tmp_path: Path, name: str, changes: list[Change], sealed: bool
) -> None:
    folder = tmp_path / "fuzz"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(good, folder)
    (folder / name).write_bytes(mutated((good / name).read_bytes(), changes))
    if sealed and name != CONFIG:
        reseal(folder)
    try:
        model = load(folder)
    except MatineeError as error:
        assert len(str(error)) < 600
    else:
        assert isinstance(model, Model)


WATCHED = """
import json, os, shutil, sys
from pathlib import Path
import matinee
from matinee.core.errors import BundleError

good, folder = Path(sys.argv[1]), Path(sys.argv[2])
matinee.load(good)  # whatever torch and Pillow import, they have by now
os.chdir(folder)
sys.path.insert(0, str(folder))
seen, watching = [], True
BANNED = ("socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "pickle.",
          "marshal.", "ctypes.dlopen", "urllib.", "http.", "webbrowser.", "shutil.", "code.__new__", "os.remove",
          "os.rename", "os.mkdir", "os.chmod", "os.putenv", "sys.addaudithook", "tempfile.")

def hook(event, arguments):
    if not watching:
        return
    if event.startswith(BANNED):
        seen.append((event, repr(arguments)[:200]))
    elif event == "exec" and str(folder) in str(getattr(arguments[0], "co_filename", "")):
        seen.append((event, arguments[0].co_filename))
    elif event == "open" and str(folder) in str(arguments[0]):
        if str(arguments[0]).endswith((".py", ".pyc", ".so", ".pth")) or set(str(arguments[1] or "r")) & set("wax+"):
            seen.append((event, repr(arguments)[:200]))
    elif event == "open" and set(str(arguments[1] or "r")) & set("wax+"):
        seen.append((event, repr(arguments)[:200]))

sys.addaudithook(hook)
answer = "loaded"
try:
    model = matinee.load(folder)
except BundleError as error:
    answer = "refused"
watching = False
ours = [n for n, m in sys.modules.items() if str(getattr(m, "__file__", "") or "").startswith(str(folder))]
print(json.dumps({"answer": answer, "seen": seen, "modules": ours}))
"""


@pytest.mark.parametrize("case", ["whole", "task", "field", "pickle"])
def test_loading_runs_nothing(good: Path, bundle: Path, case: str) -> None:
    """An audit hook watches: no socket, no process, no pickle, nothing imported from the bundle, nothing written."""
    evil = "open('/dev/null', 'w'); import os; os.system('true')\n"
    ours = names("tasks")[0].replace("-", "_")
    for name in ("evil.py", f"{ours}.py", "matinee.py", "__init__.py", "sitecustomize.py", "tokenizer.py", "evil.pth"):
        (bundle / name).write_text(evil)
    (bundle / "tasks").mkdir()
    (bundle / "tasks" / f"{ours}.py").write_text(evil)
    (bundle / "tokenizer.json").write_text('{"class": "evil.Tokenizer", "auto_map": {"AutoModel": "evil.Model"}}')
    if case == "task":
        reseal(bundle, lambda config: config.update(task="evil"))
    elif case == "field":
        reseal(bundle, lambda config: config["fields"].update(__class__="evil.Evil", __reduce__=["os.system", "true"]))
    elif case == "pickle":
        (bundle / WEIGHTS).write_bytes(b"\x80\x04cos\nsystem\n(S'true'\ntR.")
        reseal(bundle)
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, str(good), str(bundle)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told == {"answer": "loaded" if case == "whole" else "refused", "seen": [], "modules": []}


def test_the_hook_would_have_seen_it(good: Path, bundle: Path) -> None:
    (bundle / "evil.py").write_text("import os; os.system('true')\n")
    spied = WATCHED.replace("model = matinee.load(folder)", "import evil")
    done = subprocess.run(
        [sys.executable, "-c", spied, str(good), str(bundle)], capture_output=True, text=True, check=False
    )
    told = json.loads(done.stdout)
    assert told["modules"] == ["evil"] and {"os.system", "exec"} <= {event for event, _ in told["seen"]}


def test_saving_never_overwrites_what_is_no_bundle(good: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "letter.txt").write_text("dear")
    with pytest.raises(MatineeError, match="something else"):
        load(good).save(tmp_path / "precious")
    assert [p.name for p in tmp_path.iterdir()] == ["precious"]
    assert matinee.load(load(good).save(tmp_path / "new")).manifest


def test_saving_never_removes_somebody_s_folder(good: Path, tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "config.json").write_text("{}")
    (tmp_path / "web" / "thesis.tex").write_text("years of work")
    with pytest.raises(SettingsError):
        load(good).save(tmp_path / "web")
    assert (tmp_path / "web" / "thesis.tex").read_text() == "years of work"
