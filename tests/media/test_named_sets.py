"""Named sets of texts, pairs and ratings: fetched, checked, taken apart, and never anything else."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest

import matinee
from matinee.core.errors import DataError
from matinee.core.progress import Progress
from matinee.core.reading import recognised
from matinee.media import named
from matinee.media.archives import files, reviews

REVIEWS = {
    "aclImdb/train/pos/0_9.txt": "a warm and lovely film",
    "aclImdb/train/neg/0_2.txt": "a cold and awful film",
    "aclImdb/train/unsup/0_0.txt": "a film",
    "aclImdb/test/pos/1_8.txt": "gr\u00fcn and lovely",
    "aclImdb/test/neg/1_1.txt": "grey and awful",
    "aclImdb/train/urls_pos.txt": "http://",
    "aclImdb/README": "about",
}
RATINGS = {
    "ml-100k/u.data": "".join(
        f"{user}\t{item}\t{1 + item % 5}\t88125094{item}\n" for user in range(9) for item in range(8)
    ),
    "ml-100k/u.item": "".join(f"{item}|Film {item}|01-Jan-1995||http://|0|1\n" for item in range(8)),
    "ml-100k/u.genre": "unknown|0\nAction|1\n",
    "ml-100k/u.user": "1|24|M|technician|85711\n",
    "ml-100k/README": "about",
    "ml-100k/allbut.pl": "a script",
}
LINES = {"train": 30, "val": 4, "test": 4}
STEMS = {"train": "training.tar.gz", "val": "validation.tar.gz", "test": "mmt16_task1_test.tar.gz"}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def tar(members: dict[str, str], odd: bool = False) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as whole:
        for name, text in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            whole.addfile(info, io.BytesIO(text.encode()))
        if odd:
            for name, kind, leads in (
                ("aclImdb/train/pos/7_7.txt", tarfile.SYMTYPE, "/etc/passwd"),
                ("aclImdb/train/pos/8_8.txt", tarfile.LNKTYPE, "aclImdb/README"),
                ("aclImdb/train/pos/9_9.txt", tarfile.FIFOTYPE, ""),
            ):
                info = tarfile.TarInfo(name)
                info.type, info.linkname = kind, leads
                whole.addfile(info)
            text = b"outside"
            for name in ("../../train/pos/6_6.txt", "/train/pos/../../../evil.txt"):
                info = tarfile.TarInfo(name)
                info.size = len(text)
                whole.addfile(info, io.BytesIO(text))
    return target.getvalue()


def packed_zip(members: dict[str, str]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as whole:
        for name, text in members.items():
            whole.writestr(name, text)
    return target.getvalue()


def publish(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, packed: dict[str, bytes]) -> None:
    """These archives in a folder, as if they were the published ones."""
    folder.mkdir(parents=True, exist_ok=True)
    for file, raw in packed.items():
        (folder / file).write_bytes(raw)
    old = named.DOWNLOADS[name]
    pins = {file: hashlib.sha256(raw).hexdigest() for file, raw in packed.items()}
    monkeypatch.setitem(named.DOWNLOADS, name, named.Download(old.address, pins, old.byte_limit, False, old.archives))


def test_reviews_are_taken_out_of_their_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MATINEE_DATA", str(tmp_path / "data"))
    publish(monkeypatch, tmp_path / "data" / "imdb", "imdb", {"aclImdb_v1.tar.gz": tar(REVIEWS)})
    place = Path(named.locate("imdb"))
    assert sorted(path.name for path in place.iterdir()) == [
        "columns.json", "test.jsonl", "train.jsonl", "unlabelled.jsonl",
    ]  # fmt: skip
    rows = [json.loads(line) for line in (place / "test.jsonl").read_text().splitlines()]
    assert rows == [
        {"id": "1_8", "text": "gr\u00fcn and lovely", "label": "pos"},
        {"id": "1_1", "text": "grey and awful", "label": "neg"},
    ]
    assert len((place / "train.jsonl").read_text().splitlines()) == 2
    assert "label" not in (place / "unlabelled.jsonl").read_text()
    monkeypatch.delenv("MATINEE_DATA")
    assert named.locate("imdb") == str(place)  # from the cache


def test_an_archive_puts_nothing_outside_and_links_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "odd.tar.gz").write_bytes(tar(REVIEWS, odd=True))
    reviews(tmp_path / "odd.tar.gz", tmp_path / "in")
    assert names(tmp_path) == ["in", "odd.tar.gz"]
    rows = [json.loads(line) for line in (tmp_path / "in" / "train.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == ["0_9", "0_2", "6_6"]  # a text, whatever path it claims, is a line of ours
    assert names(tmp_path / "in") == ["test.jsonl", "train.jsonl", "unlabelled.jsonl"]


def test_only_the_files_asked_for_are_taken(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "a.zip").write_bytes(packed_zip({**RATINGS, "../../u.user": "x", "x/../../evil": "x"}))
    files(("u.data", "u.user"))(tmp_path / "a.zip", tmp_path / "in")
    assert names(tmp_path / "in") == ["u.data", "u.user"] and len(names(tmp_path)) == 2
    assert (tmp_path / "in" / "u.user").read_text() == RATINGS["ml-100k/u.user"]
    with pytest.raises(DataError, match=r"u\.none is not in it"):
        files(("u.none",))(tmp_path / "a.zip", tmp_path / "in")
    (tmp_path / "b.tar.gz").write_bytes(tar(REVIEWS)[:200])
    with pytest.raises(DataError, match=r"cannot be unpacked|there are no reviews in it"):
        reviews(tmp_path / "b.tar.gz", tmp_path / "in")
    (tmp_path / "c.zip").write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(DataError, match="cannot be unpacked"):
        files(("u.data",))(tmp_path / "c.zip", tmp_path / "in")


def test_an_archive_that_is_not_the_published_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MATINEE_DATA", str(tmp_path / "data"))
    publish(monkeypatch, tmp_path / "data", "imdb", {"aclImdb_v1.tar.gz": tar(REVIEWS)})
    (tmp_path / "data" / "aclImdb_v1.tar.gz").write_bytes(tar({**REVIEWS, "aclImdb/train/pos/2_9.txt": "more"}))
    with pytest.raises(DataError, match="not the published file: its SHA-256"):
        named.locate("imdb")
    assert not (tmp_path / "cache" / "downloads").exists() or not names(tmp_path / "cache" / "downloads")


def test_the_names_are_read_by_their_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quiet: Progress) -> None:
    monkeypatch.setenv("MATINEE_DATA", str(tmp_path / "data"))
    more = {f"aclImdb/{split}/{label}/{n}_5.txt": f"{label} words number {n} of {split}" for split in ("train", "test")
            for label in ("pos", "neg", "unsup") for n in range(2, 30)}  # fmt: skip
    publish(monkeypatch, tmp_path / "data", "imdb", {"aclImdb_v1.tar.gz": tar({**REVIEWS, **more})})
    publish(monkeypatch, tmp_path / "data" / "ml-100k", "movielens-100k", {"ml-100k.zip": packed_zip(RATINGS)})
    lines = {
        stem: {f"{stem}.{language}": "".join(f"{language} a line of words {i} {stem}\n" for i in range(count))
               for language in ("de", "en")} | {f"._{stem}.de": "junk"}
        for stem, count in LINES.items()
    }  # fmt: skip
    packed = {STEMS[stem]: tar(members) for stem, members in lines.items()}
    publish(monkeypatch, tmp_path / "data" / "multi30k", "multi30k", packed)
    kinds = {"imdb": "TextClassification", "movielens-100k": "Recommendation", "multi30k": "Translation"}
    for name, kind in kinds.items():
        assert recognised(name).__name__ == kind
    data = matinee.read("imdb", unlabelled="imdb", progress=quiet)
    assert data.origin.given == {"test"} and len(data.test) == 58 and data.origin.facts["without a label"] == "57"
    ratings = matinee.read("movielens-100k", progress=quiet)
    assert ratings.task.titles[0].startswith("Film")  # type: ignore[attr-defined]
    pairs = matinee.read("multi30k", direction="de-en", progress=quiet)
    assert (len(pairs.valid), len(pairs.test)) == (4, 4)


def test_a_path_of_the_same_name_goes_before(tmp_path: Path) -> None:
    (tmp_path / "imdb").mkdir()
    assert not named.known("imdb", named.TEXTS) and named.place_of("imdb", named.TEXTS) == "imdb"
