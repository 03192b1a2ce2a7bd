from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from matinee.core.errors import DataError
from matinee.media.picture_listing import Listing
from matinee.media.picture_manifest import list_manifest, read_manifest
from matinee.media.picture_table import PictureRequest, fits, read_pictures


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MATINEE_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for number in range(4):
        path = tmp_path / "images" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("L", (8, 8), number).save(path)
    return tmp_path


def write(folder: Path, name: str, text: str | bytes) -> str:
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(folder / name)


def reasons(listing: Listing) -> list[tuple[str, str]]:
    return [(entry.file, entry.kind) for entry in listing.entries]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_csv(pictures: Path, separator: str, mark: str) -> None:
    rows = [
        ("Path", "Class", "set", "person"),
        ("images/0.png", "dög", "train", "x"),
        ("images/1.png", "cat", "dev", ""),
    ]
    text = mark + "\r\n".join(separator.join(row) for row in rows)
    listing = list_manifest(write(pictures, "all.tsv" if separator == "\t" else "all.csv", text))
    assert listing.names == ["images/0.png", "images/1.png"]
    assert [listing.classes[label] for label in listing.labels] == ["dög", "cat"]
    assert listing.splits == [0, 1]
    assert listing.groups == [0, -1]
    assert listing.root == str(pictures)


def test_json_lines(pictures: Path) -> None:
    records = [{"image": f"images/{number}.png", "label": number % 2, "split": "test"} for number in range(4)]
    lines = write(pictures, "a.jsonl", "\n".join(json.dumps(record) for record in records) + "\n\n")
    array = write(pictures, "b.json", json.dumps(records))
    for path in (lines, array):
        listing = list_manifest(path)
        assert listing.classes == ("0", "1")
        assert listing.labels == [0, 1, 0, 1]
        assert listing.splits == [2] * 4


def test_rows_that_cannot_be_used(pictures: Path) -> None:
    outside = pictures.parent / (pictures.name + "-outside.png")
    Image.new("L", (8, 8)).save(outside)
    (pictures / "images" / "link.png").symlink_to(outside)
    (pictures / "inner.png").symlink_to("images/0.png")
    (pictures / "away").symlink_to(pictures.parent)
    rows = [
        ("images/0.png", "a"),
        ("images/0.png", "a"),
        ("images/0.png", "b"),
        ("images/none.png", "a"),
        (f"../{outside.name}", "a"),
        (str(outside), "a"),
        ("C:/x.png", "a"),
        ("images/link.png", "a"),
        (f"away/{outside.name}", "a"),
        ("images/../images/1.png", "a"),
        ("images\\2.png", "a"),
        ("inner.png", "a"),
        ("images", "a"),
        ("images/3.png", ""),
        ("", "a"),
    ]
    listing = list_manifest(write(pictures, "a.csv", "file,label\n" + "\n".join(",".join(row) for row in rows)))
    assert listing.names == ["images/0.png", "images/0.png", "images/1.png", "images/2.png", "inner.png"]
    assert [listing.classes[label] for label in listing.labels] == ["a", "b", "a", "a", "a"]
    assert [kind for _, kind in reasons(listing)] == [
        "duplicate-row",
        "missing",
        "outside",
        "outside",
        "outside",
        "outside",
        "outside",
        "unreadable",
        "no-label",
        "missing",
    ]
    assert listing.entries[0].reason.startswith("line 3 ")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.csv", "name,label\nx,y\n", r"no column that looks like the file name .*there are: name, label"),
        ("a.csv", "file,kind\nx,y\n", r"no column that looks like the label .*there are: file, kind"),
        ("a.csv", "", "is empty"),
        ("a.csv", "file,label\n", "no row with a picture"),
        ("a.csv", "file,label\nnone.png,a\n", r"no row .*none\.png: line 2: there is no such file"),
        ("a.csv", b"file,label\nok.png,a\n\xff\xfe.png,b\n", r"line 3: the text is not UTF-8"),
        ("a.jsonl", '{"file": "x", "label": 1}\n{"file": ', r"line 2: not JSON"),
        ("a.jsonl", "[" * 100_000, r"not JSON"),
        ("a.jsonl", "7\n", r"line 1: expected an object"),
        ("a.csv", "file,label,split\nimages/0.png,a,train\nimages/1.png,b,tset\n", r"'split' says 'tset'; known are"),
        ("a.csv", "file,label\n" + "x" * 200_000 + ",a\n", "no row with a picture"),
    ],
)
def test_tables_that_cannot_be_read(pictures: Path, name: str, text: str | bytes, words: str) -> None:
    with pytest.raises(DataError, match=words):
        list_manifest(write(pictures, name, text))


def test_named_columns(pictures: Path) -> None:
    path = write(pictures, "a.csv", "label,file,breed\n1,images/0.png,poodle\n")
    assert list_manifest(path, label_column="breed").classes == ("poodle",)
    with pytest.raises(DataError, match=r"no column 'kind'; there are: label, file, breed"):
        list_manifest(path, label_column="kind")


def test_a_split_column_of_something_else(pictures: Path) -> None:
    path = write(pictures, "a.csv", "file,label,set\nimages/0.png,a,7\n")
    assert list_manifest(path).splits == [-1]


def test_a_folder_with_its_table(pictures: Path) -> None:
    write(pictures, "metadata.csv", "file_name,label\nimages/0.png,a\nimages/3.png,b\n")
    assert fits(pictures) == "a table of picture files and labels"
    table = read_pictures(pictures, PictureRequest())
    assert table.classes == ("a", "b")
    assert table.columns["image"][:, 0, 0, 0].tolist() == [0, 3]
    assert read_pictures(pictures / "metadata.csv", PictureRequest()).names == table.names
    (pictures / "images" / "3.png").write_bytes(b"x")
    again = read_pictures(pictures, PictureRequest())
    assert not again.cached
    assert again.good.tolist() == [0]
    assert [(entry.file, entry.kind) for entry in again.entries] == [("images/3.png", "unreadable")]


def test_a_table_of_something_else_beside_class_folders(pictures: Path) -> None:
    (pictures / "more").mkdir()
    Image.new("L", (8, 8)).save(pictures / "more" / "1.png")
    write(pictures, "notes.csv", "file,label\nimages/0.png,a\n")
    assert read_pictures(pictures, PictureRequest()).classes == ("images", "more")
    assert read_pictures(pictures, PictureRequest(label_column="label")).classes == ("a",)


@settings(max_examples=150, deadline=None)
@given(text=st.text(max_size=200), name=st.sampled_from(["a.csv", "a.tsv", "a.jsonl"]))
def test_any_text_is_a_table_or_a_data_error(text: str, name: str) -> None:
    try:
        read_manifest(name, text)
    except DataError as error:
        assert name in str(error)
