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
from matinee.core.examples import Examples, Ragged
from matinee.core.pieces import Table, Text, Words
from matinee.core.progress import Progress
from matinee.core.task import Data
from matinee.media import text_words, texts
from matinee.media.text_kinds import kind_of
from matinee.media.texts import TextRequest, read_texts
from matinee.media.tokens import Reader, words_of
from matinee.nets import ngram_fit, ngram_likeness, ngram_reading
from matinee.nets.ngrams import NOTHING, NgramNetwork, NgramShape, distinct, hashes
from matinee.nets.sequences import BODIES, SequenceNetwork, SequenceShape
from matinee.nets.text_networks import Ensemble
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


@pytest.mark.parametrize("body", ["rnn", "lstm", "gru"])
def test_long_texts_are_read_in_stretches_whatever_is_beside_them(body: str) -> None:
    torch.manual_seed(0)
    ids = torch.randint(2, 10, (1, 230))
    beside = torch.cat([torch.nn.functional.pad(ids, (0, 100)), torch.full((1, 330), 7)])
    network = SequenceNetwork(body, SequenceShape(3, 10, "s")).eval()
    with torch.no_grad():
        assert torch.allclose(network(ids), network(beside)[:1], atol=1e-5)
        vectors = network.embed(ids)
        states = network.body(vectors, ids > 0)
        alone = network.body(vectors[:, 100:200], ids[:, 100:200] > 0)
        assert torch.allclose(states[:, 100:200], alone, atol=1e-5) and states.shape[1] == 230


def test_an_ensemble_joins_what_its_members_say(quiet: Progress) -> None:
    data = TextClassification(network="ensemble").toy()
    model = matinee.train(data, epochs=2, progress=quiet)
    network, (batch, *_) = model.network, model.task.batches(data.test, model.network, 32, None)
    assert isinstance(network, Ensemble) and network.linear.looked == len(data.train)
    with torch.no_grad():
        linear, *others = [part(batch.inputs).log_softmax(1) for part in (network.linear, *network.learned)]
        expected = (linear + sum(others) / len(others)) * network.sharpness
        assert torch.allclose(network(batch.inputs).log_softmax(1), expected.log_softmax(1), atol=1e-4)


@pytest.mark.parametrize("network", ["linear", "ensemble", *BODIES])
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


def test_no_two_ngrams_of_different_kinds_share_a_hash() -> None:
    words = torch.arange(2, 400)[:, None]
    both = torch.cat([words, -words], 1)
    blocks = [codes[codes != NOTHING] for codes in hashes(both, NgramShape(2, 16, words=1, letters=1))]
    assert len(blocks) == 2 and not torch.isin(blocks[0], blocks[1]).any()


@pytest.mark.parametrize("length", [12, 120])
def test_what_is_said_of_an_aligned_sequence_does_not_depend_on_those_beside_it(length: int) -> None:
    shape = NgramShape(2, 4096, words=3, places=3, length=length)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(2, 6, (40, length), generator=generator)
    network = NgramNetwork(shape)
    ngram_fit.fit(network, [ids], torch.arange(40) % 2)
    longer = torch.cat([ids, torch.zeros(40, 9, dtype=torch.long)], 1)
    longer[1:, length:] = 3
    shorter = torch.zeros_like(ids)
    shorter[:, :2] = ids[:, :2]
    assert torch.allclose(network(ids)[:1], network(longer)[:1], atol=1e-5)
    assert torch.allclose(network(shorter[:1, :2]), network(torch.cat([shorter[:1], ids]))[:1], atol=1e-5)


def test_likeness_finds_what_the_ngrams_themselves_do(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(2, 6, (60, 10), generator=generator)
    labels = (ids[:, 3] == 2).long() + (ids[:, 4] == 3).long()
    shape = NgramShape(3, 8192, words=3, places=3, length=10)
    ids[0, 8:] = 0
    found = ngram_fit.look([ids], shape)
    alike = ngram_likeness.likeness(ids, shape)
    for part, expected in zip((found.blocks < 3, found.blocks == 3), alike, strict=True):
        dense = torch.zeros(60, len(found.keys))
        dense[found.rows[part], found.places[part]] = found.values[part]
        assert torch.allclose(dense @ dense.T, expected, atol=1e-5)
    table, truth = found.table(), ngram_fit.signs(labels, 3)
    monkeypatch.setattr(ngram_likeness, "PAIRS", (1.0,))
    monkeypatch.setattr(ngram_likeness, "COSTS", (1.0,))
    told = ngram_likeness.solution(ids, found, labels, torch.ones(60), shape)
    weight, bias = ngram_fit.solve(table, torch.ones(len(found.keys), 3), truth, torch.ones(60, 1))
    assert told.cost == 1.0
    margins = table.straight @ told.weight + told.bias
    assert torch.allclose(margins, table.straight @ weight + bias, atol=5e-3)


def test_pairs_of_places_are_left_out_where_they_mislead() -> None:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(2, 6, (300, 20), generator=generator)
    labels = (ids[:, 3] == 2).long()
    found = ngram_fit.look([ids], shape := NgramShape(2, 2**16, words=2, places=2, length=20))
    told = ngram_likeness.solution(ids, found, labels, torch.ones(300), shape)
    pairs = found.places[found.blocks == 2].unique()
    margins = found.table().straight @ told.weight + told.bias
    assert (ngram_fit.answers(margins) == labels).all()
    assert told.weight[pairs].abs().max() < told.weight.abs().max()


def test_a_word_a_million_times_is_counted(quiet: Progress) -> None:
    network = NgramNetwork(NgramShape(2, 64, words=1))
    ids = torch.full((2, 40_000), 2)
    ids[1] = 3
    ngram_fit.fit(network, [ids], torch.tensor([0, 1]))
    assert network(ids).argmax(1).tolist() == [0, 1] and bool(network(ids).isfinite().all())


def test_balanced_classes_weigh_in_the_linear_network_too() -> None:
    said = []
    for weights in ("none", "balanced"):
        task = TextClassification(tokens="words", class_weights=weights)._learned(["same", "other"])
        task = dataclasses.replace(task, classes=("rare", "usual"), counts=(10, 190))
        ids = Ragged.of(list(task.reader.rows(["same"] * 40 + ["other"] * 160)))
        labels = np.array([0] * 10 + [1] * 190)
        network = task.build()
        task.prepare(network, Examples.of({"ids": ids, "label": labels}))
        said.append(task.decode(network(task.encode(["same", "other"]))))
    assert [answer["label"] for answer in said[0]] == ["usual", "usual"]
    assert [answer["label"] for answer in said[1]] == ["rare", "usual"]


def test_only_some_texts_are_looked_at_where_there_is_no_room(monkeypatch: pytest.MonkeyPatch, quiet: Progress) -> None:
    data = TextClassification(network="linear").toy()
    task = data.task.choose(data, None)
    network = task.build()
    monkeypatch.setattr(ngram_fit, "ROOM", 20_000)
    task.prepare(network, data.train)
    assert isinstance(network, NgramNetwork) and 10 < network.looked < len(data.train)
    warning = task.describe(network, data.test)[0]
    assert isinstance(warning, Text) and warning.tone == "warning" and "330" in warning.words


@pytest.mark.parametrize("kind", ["words", "both", "characters", "aligned"])
def test_what_tokens_add_is_what_the_network_says(kind: str, quiet: Progress) -> None:
    generator = np.random.default_rng(0)
    if kind == "aligned":
        said = ["".join(generator.choice(list("ACGT"), 12)) for _ in range(80)]
        labels = np.array([text[4] in "AC" for text in said]).astype(int)
    else:
        pairs = reviews(80)
        said, labels = [text for text, _ in pairs], np.array([label == "pos" for _, label in pairs]).astype(int)
    tokens = "letters" if kind == "aligned" else kind
    task = dataclasses.replace(TextClassification(tokens=tokens)._learned(said), classes=("no", "yes"), counts=(40, 40))
    examples = Examples.of({"ids": Ragged.of(list(task.reader.rows(said))), "label": labels})
    task = task.choose(Data(task, examples, examples, examples), None)
    assert isinstance(task, TextClassification)
    network = task.build()
    task.prepare(network, examples)
    assert isinstance(network, NgramNetwork)
    inputs, _ = task.encode_each(said)
    logits = network(inputs)
    answers = logits.argmax(1)
    added = ngram_reading.shares(network, inputs, answers).sum(1)
    bias = network.as_logits(network.bias[None]) * network.sharpness
    expected = logits - logits.mean(1, keepdim=True) - bias + bias.mean(1, keepdim=True)
    assert torch.allclose(added, expected.gather(1, answers[:, None])[:, 0], atol=1e-4)
    pieces = task.describe(network, examples)
    (told,) = [piece for piece in pieces if isinstance(piece, Table)]
    words = {str(row[1]) for row in told.rows if row[0] == "yes"}
    hints = ("at 5",) if kind == "aligned" else ("grea", "love", "and l")
    assert any(hint in word for word in words for hint in hints)
    shown = [piece for piece in pieces if isinstance(piece, Words)]
    assert shown and all(max(map(abs, piece.weights)) == 1 for piece in shown)
    assert task.describe(TextClassification(network="cnn", kind="words", classes=("a", "b")).build(), examples) == ()


def test_texts_are_shown_as_they_were_written_with_each_token_in_its_word() -> None:
    reader = Reader.learned("both", ["a great film, really great! four-hounded"])
    (row,) = reader.rows(["Great unheard-of film, GREAT!"])
    ids = row.tolist()
    shares = [0.0] * len(ids)
    shares[[i for i, n in enumerate(ids) if n > 0][-2]] = 2.0  # the second "great"
    piece = text_words.weighed(reader, ids, shares, "")
    assert next(iter(piece.words)) == "great" and list(piece.words)[-2:] == ["film,", "great!"]
    assert list(piece.weights) == [0.0, 0.0, 0.0, 1.0]


def test_pieces_of_one_word_are_told_once() -> None:
    reader = Reader.learned("both", ["computer"])
    (row,) = reader.rows(["computer"])
    spoken = [ngram_reading.Spoken(0, tuple(range(a, a + 5)), 1.0, 1) for a in (2, 3, 4)]
    told = text_words.ngram_table(reader, [spoken], [row], ["one"], False)
    assert [line[1] for line in told.rows] == ["-compu-"]


def test_files_folders_and_what_is_neither_are_told_apart_in_predict(tmp_path: Path, quiet: Progress) -> None:
    model = matinee.train(TextClassification(network="linear").toy(), progress=quiet)
    (tmp_path / "one.txt").write_text("the team won the match today", "utf-8")
    (tmp_path / "bad.txt").write_bytes(b"\xff\xff")
    (tmp_path / "rows.csv").write_text("text\na b c\n", "utf-8")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "two.txt").write_text("a virus and a cell\0", "utf-8")
    (tmp_path / "none").mkdir()
    places = [str(tmp_path / name) for name in ("one.txt", "bad.txt", "rows.csv", "more", "none", "lost.txt")]
    answers = list(matinee.predict(model, model.task.inputs([*places, "the bank is old", " ", "<br />"])))
    told = [answer.get("label", answer.get("error")) for answer in answers]
    assert (told[0], told[3], told[6]) == ("sport", "health", "money")
    reasons = {1: "UTF-8", 2: "table", 4: "no .txt file", 5: "No such file", 7: "empty", 8: "without a word"}
    assert all(reason in str(told[place]) for place, reason in reasons.items())


def test_numbers_that_fit_two_ways_keep_no_name(tmp_path: Path) -> None:
    lines = {("1", "2"): {"one", "two"}, ("0", "2"): {"zero", "two"}, ("1", "3"): {"zero", "two"}}
    for numbers, names in lines.items():
        rows = [(text, numbers[label == "pos"]) for text, label in reviews()]
        table(tmp_path / "train.tsv", rows)
        (tmp_path / "class.txt").write_text("zero\none\ntwo\n", "utf-8")
        expected = set(numbers) if numbers == ("1", "2") else names
        assert set(read_texts(str(tmp_path / "train.tsv"), TextRequest()).labels) == expected


def test_only_texts_that_were_shortened_are_told(tmp_path: Path, quiet: Progress) -> None:
    path = table(tmp_path / "reviews.tsv", [*reviews(), ("a " * 40, "pos")])
    length = len(words_of(reviews()[0][0]))
    data = TextClassification(tokens="words", longest=length).read(str(path), quiet)
    assert data.origin.facts["shortened"] == f"1 texts to {length} tokens"


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (["ACGTNACGTACGTA", "acgtacg-tacgtaa*"], "letters"),
        (["MKVLAAGIVGLLLAQWERTYIP", "MSTNPKPQRKTKRNTNRRPQDV"], "letters"),
        (["what a film it was", "not bad at all"], "both"),
        (["我爱北京", "今天天气很好啊好不好呢"], "words"),
        (["word " * 300, "more " * 200], "words"),
    ],
)
def test_the_kind_of_tokens_is_told_from_the_texts(said: list[str], kind: str) -> None:
    assert kind_of(said) == kind


def test_texts_without_a_word_are_in_the_ledger(tmp_path: Path, quiet: Progress) -> None:
    path = table(tmp_path / "reviews.tsv", [*reviews(), ("<br /><br />", "pos")])
    data = TextClassification().read(str(path), quiet)
    assert [entry.kind for entry in data.origin.entries] == ["empty"] and "without a label" not in data.origin.facts
