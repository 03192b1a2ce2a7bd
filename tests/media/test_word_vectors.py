"""Files of word vectors in the forms in which they are published."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from matinee.core.errors import DataError
from matinee.media import word_vectors
from matinee.media.word_vectors import file_of, found, width

WORDS = ("film", "berlin", "good", "unheard", "new york")
VECTORS = {"the": [0.5, 1, 2], "film": [1, 2, 3], "Berlin": [4, 5, 6], "good": [7, 8, 9], "new york": [0, 1, 0]}


def lines(header: str = "") -> bytes:
    return (header + "".join(f"{word} {' '.join(map(str, v))}\n" for word, v in VECTORS.items())).encode()


def binary(cut: int = 0) -> bytes:
    plain = [(word, v) for word, v in VECTORS.items() if " " not in word]  # a blank ends a word here
    whole = b"4 3\n" + b"".join(word.encode() + b" " + struct.pack("<3f", *v) + b"\n" for word, v in plain)
    return whole[: len(whole) - cut]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("glove.3d.txt", lines()),
        ("word2vec.vec", lines("5 3\n")),
        ("glove.txt.gz", gzip.compress(lines())),
        ("word2vec.bin", binary()),
        ("word2vec.bin.gz", gzip.compress(binary())),
    ],
    ids=["glove", "word2vec", "gzip", "binary", "binary gzip"],
)
def test_every_form_is_read_alike(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    rows, values = found(path, WORDS)
    places = [0, 1, 2] if ".bin" in name else [0, 1, 2, 4]
    assert width(path) == 3 and rows.tolist() == places and values.dtype == np.float32
    assert values.tolist() == [VECTORS[word.replace("berlin", "Berlin")] for word in np.array(WORDS)[places]]


def test_the_word_itself_goes_before_another_case(tmp_path: Path) -> None:
    path = tmp_path / "v.txt"
    path.write_text("Film 1 1\nfilm 2 2\nFILM 3 3\n")
    assert found(path, ("film",))[1].tolist() == [[2.0, 2.0]]


def test_broken_lines_are_passed_over_and_broken_files_refused(tmp_path: Path) -> None:
    path = tmp_path / "v.txt"
    path.write_bytes(b"film 1 2\nberlin 1 nan\ngood x y\n\xff\xfe 1 2\nthe 3 4\n\n")
    with pytest.raises(DataError, match="no vectors of 2 numbers"):
        found(path, ("berlin", "good"))
    path.write_bytes(path.read_bytes() + b"a 1 2\nb 1 2\n")
    assert found(path, ("film", "berlin", "the", "a", "b", "good"))[0].tolist() == [0, 2, 3, 4]
    for name, content in (("w.txt", b"just some words\n"), ("w.bin", b"no header here\n"), ("w.vec", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match="no word vectors"):
            width(tmp_path / name)
    (tmp_path / "cut.bin").write_bytes(binary(cut=6))
    with pytest.raises(DataError, match="cut short"):
        found(tmp_path / "cut.bin", WORDS)
    (tmp_path / "w.txt.gz").write_bytes(b"no gzip")
    with pytest.raises(DataError, match="cannot be read"):
        width(tmp_path / "w.txt.gz")


def test_what_was_found_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "v.txt"
    path.write_bytes(lines())
    first = found(path, WORDS)
    monkeypatch.setattr(word_vectors, "_search", None)
    again = found(path, WORDS)
    assert np.array_equal(first[0], again[0]) and np.array_equal(first[1], again[1])


def test_a_folder_holds_one_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        file_of(tmp_path)
    (tmp_path / "a.txt").write_bytes(lines())
    assert file_of(tmp_path).name == "a.txt"
    (tmp_path / "b.vec").write_bytes(lines())
    with pytest.raises(DataError, match=r"several files \(a\.txt, b\.vec\)"):
        file_of(tmp_path)
    with pytest.raises(DataError, match="encoder's folder, or word vectors in a file"):
        (tmp_path / "c.zip").write_bytes(b"PK")
        file_of(tmp_path / "c.zip")
