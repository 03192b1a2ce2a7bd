"""Tables of text, as people have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from matinee.core.errors import DataError
from matinee.media.records import glance, read_records, split_of


def written(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("name", "text", "header", "first"),
    [
        ("a.csv", 'text,label\n"good, really",pos\nbad,neg\n', ("text", "label"), ("good, really", "pos")),
        ("a.tsv", 'it\'s "fine\tpos\nno\tneg\n', ("column_1", "column_2"), ('it\'s "fine', "pos")),
        ("a.txt", "一二三，四\t5\n好，不好\t2\n", ("column_1", "column_2"), ("一二三，四", "5")),
        ("a.dat", "1::2::5.0\n1::3::4.5\n", ("column_1", "column_2", "column_3"), ("1", "2", "5.0")),
        ("a.data", 'mpg  name\n18   "chevy malibu"\n15\t"amc hornet"\n', ("mpg", "name"), ("18", "chevy malibu")),
        ("a.data", "63.0,1,?\n67.0,0,2\n", ("column_1", "column_2", "column_3"), ("63.0", "1", "?")),
        ("a.jsonl", '{"text": "ja", "label": 1}\n{"text": "nein", "label": 0}\n', ("text", "label"), ("ja", "1")),
        ("a.csv", "﻿a;b\r\n1;x\r\n".encode(), ("a", "b"), ("1", "x")),
        ("a.csv", "a,b\n1,x\n".encode("utf-16"), ("a", "b"), ("1", "x")),
    ],
)  # fmt: skip
def test_tables_are_read_as_they_are_written(
    tmp_path: Path, name: str, text: str | bytes, header: tuple[str, ...], first: tuple[str, ...]
) -> None:
    records = read_records(written(tmp_path, name, text))
    assert (records.header, records.rows[0]) == (header, first)
    seen = glance(tmp_path / name)
    assert seen is not None and seen.header == header


def test_a_folder_of_splits(tmp_path: Path) -> None:
    for name, text in (("train.csv", "a,b\n1,x\n2,y\n"), ("dev.csv", "a,b\n3,z\n"), ("test.csv", "a,b\n4,x\n")):
        written(tmp_path, name, text)
    records = read_records(tmp_path)
    assert sorted(zip(records.splits, records.rows, strict=True)) == [
        (0, ("1", "x")), (0, ("2", "y")), (1, ("3", "z")), (2, ("4", "x")),
    ]  # fmt: skip
    assert records.names[0] == "dev.csv#2" and len(records.manifest()) == 4


def test_rows_that_cannot_be_read_are_in_the_ledger(tmp_path: Path) -> None:
    rows = b"a,b\n" + b"1,x\n" * 20 + b"\xff\xfe,y\n" + b"1,2,3\n" + b"\n,\n" + b"2,y\n"
    records = read_records(written(tmp_path, "t.csv", rows))
    assert len(records.rows) == 21
    assert [(entry.file, entry.kind) for entry in records.entries] == [
        ("t.csv#22", "not-utf-8"),
        ("t.csv#22", "row-length"),
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [("t.csv", b""), ("t.jsonl", b"[1, 2]"), ("t.jsonl", b"{"), ("t.csv", b"\xff\xfa\n" * 5), ("t.png", b"x")],
)
def test_what_is_no_table_is_refused(tmp_path: Path, name: str, text: bytes) -> None:
    with pytest.raises(DataError):
        read_records(written(tmp_path, name, text))


def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    records = read_records(written(tmp_path, "t.csv", "Review,stars\ngood,5\n"))
    assert records.column("review", (), flag="text_column", what="text") == 0
    assert records.column("", ("text", "stars"), flag="text_column", what="text") == 1
    assert records.column("", ("text",), flag="text_column", what="text", needed=False) == -1
    with pytest.raises(DataError, match=r"Review, stars.*--text-column"):
        records.column("body", (), flag="text_column", what="text")


def test_splits_are_said_by_file_names() -> None:
    assert [split_of(stem) for stem in ("train", "dev", "test_2016_flickr", "my_valid", "train10k", "latest")] == [
        0, 1, 2, 1, 0, -1,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("a,y\n1,x\n2,y\n3,x\n", True),  # a class is called as its column is
        ("ok,share\nTrue,5%\nFalse,12 %\nok,3%\n", True),
        ("Fläche;Ort\n3,5;Rom\n4,25;Ort\n", True),
        ("yes,?,no\nno,3,yes\nyes,4,no\n", False),  # nothing is known of the first row's number
        ("yes,no\nno,yes\nyes,yes\n", False),
        ("63.0,1.0,0\n67.0,?,1\n", False),
    ],
)
def test_whether_the_first_line_names_columns(tmp_path: Path, text: str, named: bool) -> None:
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    assert read_records(tmp_path / "t.csv").named is named
