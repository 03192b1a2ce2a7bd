"""What is special to texts: their sources, their tokens, the network that learns at a look."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import matinee
from matinee.core.errors import DataError
from matinee.core.progress import Progress
from matinee.media import texts
from matinee.media.texts import TextRequest, read_texts
from matinee.media.tokens import Reader, words_of
from matinee.nets.ngrams import NOTHING, NgramNetwork, NgramShape, distinct, hashes
from matinee.nets.sequences import BODIES, SequenceNetwork, SequenceShape
from matinee.tasks.text_classification import TextClassification

GOOD, BAD = "what a great and lovely film it was", "what a dull and awful film it was"


def reviews(count: int = 60) -> list[tuple[str, str]]:
    generator = np.random.default_rng(0)
    names = ["anna", "bert", "cora", "dina", "emil", "fred", "gina", "hans"]
    return [
        (f"{' '.join(generator.choice(names, 6))} said {GOOD if i % 2 else BAD} number {i}", "pos" if i % 2 else "neg")
        for i in range(count)
    ]


def table(path: Path, rows: list[tuple[str, str]], header: str = "text\tlabel\n") -> Path:
    path.write_text(header + "".join(f"{text}\t{label}\n" for text, label in rows), "utf-8")
    return path


def test_reviews_are_learned_at_a_look_from_file_to_answer(tmp_path: Path, quiet: Progress) -> None:
    data = matinee.read(table(tmp_path / "reviews.tsv", reviews()), task="text-classification", progress=quiet)
    model = matinee.train(data, progress=quiet)
    assert model.task.network == "linear"  # type: ignore[attr-defined]
    answers = model.predict([GOOD, BAD])
    assert [answer["label"] for answer in answers] == ["pos", "neg"]
    again = matinee.load(model.save(tmp_path / "bundle"))
    assert again.predict([GOOD, BAD]) == answers


def test_rows_that_cannot_be_used_are_in_the_ledger(tmp_path: Path, quiet: Progress) -> None:
    rows = [*reviews(), ("", "pos"), ("a text that stands alone here", "odd"), ("nobody gave this one a label", "")]
    path = table(tmp_path / "reviews.tsv", rows)
    path.write_bytes(path.read_bytes() + b"\xff\xfe broken\tpos\n")
    data = TextClassification().read(str(path), quiet)
    assert {entry.kind for entry in data.origin.entries} == {"empty", "label-once", "not-utf-8"}
    assert sum(map(len, data.splits().values())) == 60
    assert data.origin.facts["without a label"] == "1"


def test_a_wrong_column_is_told_with_those_that_are_there(tmp_path: Path) -> None:
    path = table(tmp_path / "reviews.tsv", reviews())
    with pytest.raises(DataError, match=r"no column 'stars'.*text, label.*--label-column"):
        read_texts(str(path), TextRequest(label_column="stars"))


def test_columns_without_names_are_told_by_what_they_hold(tmp_path: Path) -> None:
    one = read_texts(str(table(tmp_path / "a.tsv", reviews(), "")), TextRequest())
    (tmp_path / "b.tsv").write_text("".join(f"{label}\t{text}\n" for text, label in reviews()), "utf-8")
    other = read_texts(str(tmp_path / "b.tsv"), TextRequest())
    assert one.texts == other.texts and one.labels == other.labels and set(one.labels) == {"pos", "neg"}


def test_class_folders_with_splits_and_unlabelled_texts(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for label in ("pos", "neg", "unsup"):
            (tmp_path / split / label).mkdir(parents=True)
            (tmp_path / split / label / "1.txt").write_text(f"{split} {label}", "utf-8")
    (tmp_path / "train" / "pos" / "2.txt").write_bytes(b"\xff\xff")
    found = read_texts(str(tmp_path), TextRequest())
    assert sorted(zip(found.labels, found.splits, strict=True)) == [
        ("", 0), ("", 2), ("neg", 0), ("neg", 2), ("pos", 0), ("pos", 2),
    ]  # fmt: skip
    assert [entry.kind for entry in found.entries] == ["not-utf-8"]
    assert texts.fits(str(tmp_path)) == "class folders of texts"


def test_fasta_files_are_a_class_each(tmp_path: Path) -> None:
    (tmp_path / "donor.fa").write_text(">a\nACGT\nACGA\n>b\nTTTT\n", "utf-8")
    (tmp_path / "acceptor.fa").write_text("junk\n>c\nGG1G\n>d\nCCCC\n", "utf-8")
    found = read_texts(str(tmp_path), TextRequest())
    assert dict(zip(found.texts, found.labels, strict=True)) == {
        "ACGTACGA": "donor",
        "TTTT": "donor",
        "CCCC": "acceptor",
    }
    assert {entry.kind for entry in found.entries} == {"no-header", "unreadable"}


def test_aligned_letters_are_learned_by_their_places(tmp_path: Path, quiet: Progress) -> None:
    generator = np.random.default_rng(0)
    rows = []
    for i in range(120):
        letters = generator.choice(list("ACGT"), 30)
        letters[10:12] = list("GT") if i % 2 else list("CA")  # the classes differ at one place only
        rows.append(f"{'EI' if i % 2 else 'N'}, name-{i}, {''.join(letters)}\n")
    (tmp_path / "splice.data").write_text("".join(rows), "utf-8")
    data = TextClassification().read(str(tmp_path / "splice.data"), quiet)
    assert data.task.aligned == 30 and data.task.classes == ("EI", "N")  # type: ignore[attr-defined]
    model = matinee.train(data, progress=quiet)
    assert matinee.evaluate(model, data, progress=quiet).scores["accuracy"].value > 0.9


def test_numbers_get_the_names_beside_the_table(tmp_path: Path) -> None:
    rows = [(text, "1" if label == "pos" else "0") for text, label in reviews()]
    table(tmp_path / "train.tsv", rows)
    (tmp_path / "class.txt").write_text("unkind\nkind\n", "utf-8")
    assert set(read_texts(str(tmp_path / "train.tsv"), TextRequest()).labels) == {"kind", "unkind"}


@pytest.mark.parametrize(
    "lines",
    [
        "user\titem\trating\n1\t2\t5\n2\t3\t4\n3\t4\t1\n",
        "a dog runs over the lawn\tein hund rennt über den rasen dort\n" * 3,
        "width,height,label\n1.5,2,a\n2.5,1,b\n3.5,2,a\n",
        "file,label\ncat and dog 1.png,a\ncat and dog 2.png,b\ncat and dog 3.png,a\n",
    ],
)
def test_tables_of_other_tasks_are_not_recognised(tmp_path: Path, lines: str) -> None:
    path = tmp_path / ("data.csv" if "," in lines.split("\n")[0] else "data.tsv")
    path.write_text(lines, "utf-8")
    assert texts.fits(str(path)) is None


def test_words_of_any_script() -> None:
    assert words_of("Don't stop<br />NOW!") == ["don't", "stop", "now", "!"]
    assert words_of("我爱北京2012年") == ["我", "爱", "北", "京", "2012", "年"]
    assert words_of("Привет, мир") == ["привет", ",", "мир"]


@given(st.text(max_size=60), st.sampled_from(["words", "characters", "both", "letters"]))
def test_any_text_becomes_ids_that_are_known(text: str, kind: str) -> None:
    reader = Reader.learned(kind, [text, "some words more"], longest=20)
    (row,) = reader.rows([text])
    assert len(row) <= 40 and not (row == 0).any()
    assert row.max(initial=0) < reader.size


def test_pieces_are_learned_and_survive() -> None:
    pytest.importorskip("tokenizers")
    reader = Reader.learned("pieces", [GOOD, BAD] * 5, vocabulary=300)
    (row,) = Reader("pieces", pieces=reader.pieces).rows([GOOD])
    assert (row >= 2).all() and row.max() < reader.size


def test_a_text_of_a_million_words_keeps_its_head_and_tail() -> None:
    reader = Reader.learned("words", ["begin middle end"], longest=8)
    (row,) = reader.rows(["begin " + "middle " * 10**6 + "end"])
    assert reader.tokens(row.tolist())[0] == "begin" and reader.tokens(row.tolist())[-1] == "end" and len(row) == 8


def test_ngrams_are_those_a_loop_finds() -> None:
    ids = torch.tensor([[2, 3, 4, 3, 0, 0], [2, 3, 2, 3, 2, 3]])
    (codes,) = hashes(ids, NgramShape(2, 16, words=2))
    found, rows, counts = distinct(codes)
    expected = [
        len({tuple(r[i : i + n]) for n in (1, 2) for i in range(len(r) - n + 1)})
        for r in ([2, 3, 4, 3], [2, 3, 2, 3, 2, 3])
    ]
    assert torch.bincount(rows).tolist() == expected
    assert counts[rows == 1].sort().values.tolist() == [2, 3, 3, 3]
    assert (found != NOTHING).all()


def test_padding_changes_no_answer() -> None:
    torch.manual_seed(0)
    ids = torch.tensor([[2, 3, 4, 5, 6]])
    padded = torch.cat([ids, torch.zeros(1, 7, dtype=torch.long)], 1)
    beside = torch.cat([padded, torch.full((1, 12), 7)])
    for body in BODIES:
        network = SequenceNetwork(body, SequenceShape(3, 10, "s")).eval()
        with torch.no_grad():
            alone = network(ids)
            assert torch.allclose(alone, network(padded), atol=1e-5), body
            assert torch.allclose(alone, network(beside)[:1], atol=1e-5), body


@pytest.mark.parametrize("network", ["linear", *BODIES])
def test_every_network_learns_the_toy(network: str, quiet: Progress) -> None:
    data = TextClassification(network=network).toy()
    model = matinee.train(data, epochs=0 if network == "linear" else 6, learning_rate=5e-3, progress=quiet)
    assert matinee.evaluate(model, data, progress=quiet).scores["accuracy"].value > 0.9


def test_the_linear_network_knows_nothing_before_it_looked(quiet: Progress) -> None:
    data = TextClassification(network="linear").toy()
    task = data.task.choose(data, None)
    network = task.build()
    assert isinstance(network, NgramNetwork) and not network.weight.any()
    assert not any(parameter.requires_grad for parameter in network.parameters())
    task.prepare(network, data.train)
    assert (network.keys != NOTHING).any() and bool((network.keys.diff() >= 0).all())


def test_near_copies_are_found_and_others_not(quiet: Progress) -> None:
    data = TextClassification().toy()
    prints, threshold = data.task.fingerprint(data.train)
    likeness = prints @ prints.T - np.eye(len(prints))
    assert (likeness > threshold).mean() < 0.01
    assert json.dumps(dataclasses.asdict(data.task))
