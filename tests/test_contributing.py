"""What CONTRIBUTING.md prints is run as it stands: a task in one file, and a verb in one file."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from typing import Any

import pytest

import matinee
from matinee.cli import main
from matinee.core.progress import Progress

PAGE = (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text("utf-8")


def printed(title: str) -> str:
    found = re.search(rf'```python\n("""{title}.*?)```', PAGE, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a package of a user's own and sentences in two languages."""
    package = tmp_path / "contributed"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "language.py").write_text(printed("Say in which"), "utf-8")
    (package / "count.py").write_text(printed("Count the"), "utf-8")
    words = {"english": "the house is where we walk", "german": "das haus ist wo wir gehen"}
    lines = [f"{text} {place * 7}\t{name}" for place in range(60) for name, text in words.items()]
    (tmp_path / "sentences.tsv").write_text("\n".join([*lines, "no tab here"]), "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.startswith("contributed")]:
        monkeypatch.delitem(sys.modules, name)
    return tmp_path


def test_a_task_in_one_file(folder: Path, quiet: Progress, capsys: pytest.CaptureFixture[str]) -> None:
    data = matinee.read("sentences.tsv", task="contributed.language", progress=quiet)
    assert [entry.kind for entry in data.origin.entries] == ["no-label"]
    words = [
        "train",
        "sentences.tsv",
        "--task",
        "contributed.language",
        "--hidden",
        "8",
        "--epochs",
        "40",
        "--out",
        "run",
    ]
    assert main(words) == 0
    assert "matinee evaluate run --task contributed.language" in capsys.readouterr().out
    own = ["--task", "contributed.language"]
    assert main(["evaluate", "run", *own]) == 0
    told = capsys.readouterr().out
    assert "24 examples (test)" in told and "always the same answer" in told
    assert main(["compare", "run", "run/baselines/trivial", "--data", "sentences.tsv", *own]) == 0
    assert "24 examples, the same for all" in (told := capsys.readouterr().out) and "run is surely better" in told
    assert main(["predict", "run", "das haus", *own]) == 0
    assert '"german"' in capsys.readouterr().out
    assert main(["check", "sentences.tsv", "--task", "contributed.language"]) in (0, 1)


def test_a_verb_in_one_file(folder: Path, quiet: Progress) -> None:
    count: Any = importlib.import_module("contributed.count").count
    data = matinee.read("sentences.tsv", task="contributed.language", progress=quiet)
    model = matinee.train(data, epochs=1, progress=quiet)
    assert sum(count(model).values()) == sum(p.numel() for p in model.network.parameters())
