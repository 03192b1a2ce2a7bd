"""Translations: sources, scores equal to sacreBLEU's, search, and what is refused."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU, CHRF

import matinee
from matinee.cli import main
from matinee.core.errors import DataError
from matinee.core.examples import Examples, Ragged
from matinee.core.meter import intervals
from matinee.core.progress import Progress
from matinee.core.reading import recognised
from matinee.core.runtime import of_like_lengths
from matinee.core.task import Batch, Data
from matinee.media.pairs import PairRequest, parts, read_pairs
from matinee.media.scripts import tokens_of
from matinee.media.text_inputs import lines_given
from matinee.media.text_scores import BETWEEN, TranslationMeter, kept_text, told_texts
from matinee.media.vocabulary import Pieces, learn
from matinee.tasks.translation import Translation

GERMAN = ["Ein Mann läuft.", "Zwei Hunde spielen im Park.", "Eine Frau liest ein Buch.", "Das Kind schläft tief."] * 8
ENGLISH = ["A man walks.", "Two dogs play in the park.", "A woman reads a book.", "The child sleeps soundly."] * 8


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Parallel files in two languages, split."""
    place = tmp_path / "pairs"
    place.mkdir()
    for name, count in (("train", 32), ("val", 12), ("test_2016", 8), ("test_2017", 4)):
        for ending, lines in (("de", GERMAN), ("en", ENGLISH)):
            text = "".join(f"{line} {n if name == 'train' else name}\n" for n, line in enumerate(lines[:count]))
            (place / f"{name}.{ending}").write_text(text, "utf-8")
    return place


def test_parallel_files_are_read_with_their_splits(folder: Path, quiet: Progress) -> None:
    assert recognised(str(folder)) is Translation
    data = matinee.read(folder, direction="de-en", progress=quiet)
    assert {name: len(part) for name, part in data.splits().items()} == {"train": 32, "valid": 12, "test": 8}
    assert data.origin.given == {"train", "valid", "test"}
    assert [entry.kind for entry in data.origin.entries] == ["ignored"] and "2017" in data.origin.entries[0].file
    batch = data.task.collate(data.train.gather(np.arange(3)))
    assert data.task._reads.texts(batch.inputs.numpy())[0] == "Ein Mann läuft. 0"
    assert told_texts(batch.targets["reference"])[1] == ["Two dogs play in the park. 1"]
    other = matinee.read(folder, direction="en-de", test="test_2017", progress=quiet)
    assert len(other.test) == 4 and other.task._reads.texts(
        other.task.collate(other.test.gather(np.arange(1))).inputs.numpy()
    ) == ["A man walks. test_2017"]


def test_the_direction_must_be_said_and_must_be_there(folder: Path, quiet: Progress) -> None:
    with pytest.raises(DataError, match="--direction de-en or --direction en-de"):
        matinee.read(folder, progress=quiet)
    with pytest.raises(DataError, match="there are the languages de, en"):
        matinee.read(folder, direction="de-fr", progress=quiet)
    with pytest.raises(DataError, match="there are test_2016, test_2017"):
        matinee.read(folder, direction="de-en", test="newstest", progress=quiet)


def test_files_of_different_numbers_of_lines_are_an_error(folder: Path, quiet: Progress) -> None:
    with (folder / "train.en").open("a") as file:
        file.write("one more\n")
    with pytest.raises(DataError, match=r"train\.de has 32 lines and train\.en 33"):
        matinee.read(folder, direction="de-en", progress=quiet)


def test_bad_lines_are_in_the_ledger(folder: Path, quiet: Progress) -> None:
    lines = (folder / "train.de").read_bytes().split(b"\n")
    lines[2], lines[5], lines[7] = b"\xff\xfe\x80", b"   ", b"lang " * 200_000
    (folder / "train.de").write_bytes(b"\n".join(lines))
    data = matinee.read(folder, direction="de-en", progress=quiet)
    found = {entry.file: entry.kind for entry in data.origin.entries if entry.kind != "ignored"}
    assert found == {"train.de#3": "not-utf-8", "train.de#6": "empty", "train.de#8": "too-long"}
    assert len(data.train) == 29


def test_half_a_character_and_long_lists_of_references(tmp_path: Path, quiet: Progress) -> None:
    rows = [json.dumps({"source": f"{GERMAN[n]} {n}", "target": f"{ENGLISH[n]} {n}"}) for n in range(32)]
    rows[1] = '{"source": "\\ud800 Mann", "target": "a man"}'
    rows[2] = json.dumps({"source": "Ein Hund", "target": ["A dog runs far away."] * 600})  # each is short
    (tmp_path / "train.jsonl").write_text("\n".join(rows))
    data = matinee.read(tmp_path, task="translation", progress=quiet)
    assert [(entry.file, entry.kind) for entry in data.origin.entries] == [("train.jsonl#2", "not-utf-8")]
    with pytest.raises(DataError, match="half a character"):
        data.task.encode(["\udcff Mann"])
    with pytest.raises(DataError, match="--test a: it names one of several parallel files"):
        matinee.read(tmp_path, task="translation", test="a", progress=quiet)


def test_marks_and_ends_of_lines_of_windows_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "train.de").write_bytes(b"\xef\xbb\xbfEins\r\nZwei\r\n")
    (tmp_path / "train.en").write_bytes(b"One\nTwo")
    pairs = read_pairs(str(tmp_path), PairRequest("de-en"))
    assert (pairs.sources, pairs.targets) == ([("Eins",), ("Zwei",)], [("One",), ("Two",)])
    (tmp_path / "train.de").write_bytes("Eins\nZwei ä\n".encode("utf-16"))
    assert read_pairs(str(tmp_path), PairRequest("de-en")).sources == [("Eins",), ("Zwei ä",)]


def test_a_target_that_is_its_source_and_single_words_are_learned(tmp_path: Path, quiet: Progress) -> None:
    for ending in ("de", "en"):
        (tmp_path / f"train.{ending}").write_text("".join(f"Wort{n}\n" for n in range(40)), "utf-8")
    data = matinee.read(tmp_path, direction="de-en", progress=quiet)
    told = matinee.evaluate(matinee.train(data, epochs=1, progress=quiet), data)
    assert told.baselines["trivial"]["bleu_words"] == 0  # one word has no runs of two
    assert told.baselines["trivial"]["chrf"] == pytest.approx(1.0)


def test_batches_of_like_lengths_have_every_pair_once() -> None:
    generator = np.random.default_rng(0)
    longs = generator.integers(3, 60, 320)
    sides = {"source": longs, "target": np.maximum(1, longs + generator.integers(-3, 3, 320))}
    pairs = Examples.of({side: Ragged.of([np.ones(n) for n in counts]) for side, counts in sides.items()})
    lengths = Translation().lengths(pairs)
    order = of_like_lengths(generator.permutation(320), lengths, 24, 7)
    assert sorted(order.tolist()) == list(range(320))
    wide = [counts[order[first : first + 24]] for first in range(0, 312, 24) for counts in sides.values()]
    filled = sum(int(each.sum()) for each in wide) / sum(24 * int(each.max()) for each in wide)
    assert filled > 0.85


def test_a_line_of_too_many_pieces_is_in_the_ledger(folder: Path, quiet: Progress) -> None:
    data = matinee.read(folder, direction="de-en", target_limit=10, vocabulary=500, progress=quiet)
    refused = [entry for entry in data.origin.entries if entry.kind == "too-long"]
    assert refused and "at most 10" in refused[0].reason and "--target-limit" in refused[0].reason
    with pytest.raises(DataError, match="every pair is too long"):
        matinee.read(folder, direction="de-en", target_limit=4, vocabulary=260, progress=quiet)


def test_tables_name_their_columns_or_are_told(tmp_path: Path, quiet: Progress) -> None:
    rows = [f'"{a} {n}","{b} {n}"' for n, (a, b) in enumerate(zip(GERMAN, ENGLISH, strict=True))]
    table = tmp_path / "pairs.csv"
    table.write_text("\n".join(["source,target", *rows]), "utf-8")
    assert recognised(str(table)) is Translation
    data = matinee.read(table, progress=quiet)
    assert sum(map(len, data.splits().values())) == 32 and data.task.direction == "source-target"
    table.write_text("\n".join(["german text,english text", *rows]), "utf-8")
    with pytest.raises(DataError, match=r"there are: german text, english text. --source-column names one"):
        matinee.read(table, task="translation", progress=quiet)
    with pytest.raises(DataError, match="no column 'deutsch'"):
        matinee.read(table, task="translation", source_column="deutsch", progress=quiet)
    told = {"source_column": "german text", "target_column": "english text"}
    assert len(matinee.read(table, task="translation", progress=quiet, **told).train)
    lines = [json.dumps({"de": a, "en": b}) for a, b in zip(GERMAN, ENGLISH, strict=True)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(lines), "utf-8")
    assert matinee.read(tmp_path / "pairs.jsonl", direction="en-de", progress=quiet).task.direction == "en-de"


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_any_bytes_are_pairs_a_ledger_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, one: bytes, two: bytes
) -> None:
    place = tmp_path_factory.mktemp("fuzz")
    (place / "train.de").write_bytes(one)
    (place / "train.en").write_bytes(two)
    try:
        pairs = read_pairs(str(place), PairRequest("de-en"))
    except DataError as error:
        assert "\n" not in str(error)
    else:
        assert len(pairs.sources) == len(pairs.targets) == len(pairs.names) > 0


def test_lists_in_a_cell_are_several_texts() -> None:
    assert parts('["one", " two ", ""]') == ("one", "two")
    assert parts("[1, 2]") == ("[1, 2]",) and parts("[not json]") == ("[not json]",) and parts("  ") == ()


@given(st.lists(st.text(max_size=60), min_size=1, max_size=8))
def test_a_vocabulary_reads_back_what_it_wrote(texts: list[str]) -> None:
    pieces = Pieces.of(_learned())
    rows = pieces.numbers(texts)
    width = max(1, *(len(row) for row in rows), 1)
    table = np.zeros((len(rows), width), np.int64)
    for place, row in enumerate(rows):
        table[place, : len(row)] = row
    assert pieces.texts(table) == [text.strip() for text in texts]


def _learned() -> str:
    return learn(ENGLISH + GERMAN, 400)


def test_a_word_of_a_hundred_thousand_letters_is_learned_from_in_a_moment() -> None:
    began = time.process_time()
    learned = learn([*ENGLISH, "xyz" * 33_333], 400)
    assert time.process_time() - began < 3
    assert Pieces.of(learned).texts(Pieces.of(learned).numbers(["xyzxyz a"])[0][None]) == ["xyzxyz a"]


def test_marks_in_a_text_are_letters() -> None:
    pieces = Pieces.of(_learned())
    assert (pieces.numbers(["<end> <pad>"])[0] > 3).all()
    assert _learned() == _learned()


def _rows(
    said: list[str], references: list[list[str]], tokens: str = "13a"
) -> tuple[TranslationMeter, dict[str, np.ndarray]]:
    pieces = Pieces.of(_learned())
    numbers = [torch.from_numpy(row.astype(np.int64)) for row in pieces.numbers(said)]
    table = torch.nn.utils.rnn.pad_sequence(numbers, batch_first=True)
    kept = [torch.from_numpy(kept_text(each).copy()) for each in references]
    targets = {"reference": torch.nn.utils.rnn.pad_sequence(kept, batch_first=True)}
    meter = TranslationMeter(pieces, tokens)
    half = len(said) // 2
    for part in (slice(0, half), slice(half, None)):
        meter.update((table[part],), Batch(table[part], {"reference": targets["reference"][part]}))
    return meter, meter.rows()


def test_scores_are_those_of_sacrebleu() -> None:
    generator = np.random.default_rng(0)
    said = [" ".join(generator.permutation(line.split())[:4]) + "." for line in ENGLISH]
    said[3] = ENGLISH[3].upper()
    references = [[line] for line in ENGLISH]
    meter, rows = _rows(said, references)
    scores, flat = meter.score(rows), [ENGLISH]
    assert scores["bleu"] == pytest.approx(BLEU().corpus_score(said, flat).score / 100, abs=1e-7)
    assert scores["bleu_lower"] == pytest.approx(BLEU(lowercase=True).corpus_score(said, flat).score / 100, abs=1e-7)
    assert scores["chrf"] == pytest.approx(CHRF().corpus_score(said, flat).score / 100, abs=1e-7)
    measure = BLEU()
    measure.corpus_score(said, flat)
    assert meter.detail(rows)["signatures"]["bleu"] == str(measure.get_signature())
    measure = CHRF()
    measure.corpus_score(said, flat)
    assert meter.detail(rows)["signatures"]["chrf"] == str(measure.get_signature())
    told = intervals(meter, rows, draws=100)
    assert told["bleu"].low < scores["bleu"] < told["bleu"].high


def test_scores_with_several_references_are_those_of_sacrebleu() -> None:
    said, references = ["A man runs home."], [["A man walks home.", "The man runs off home."]]
    meter, rows = _rows(said * 2, references * 2)
    flat = [[r[0] for r in references * 2], [r[1] for r in references * 2]]
    assert meter.score(rows)["bleu"] == pytest.approx(BLEU().corpus_score(said * 2, flat).score / 100, abs=1e-7)
    assert "nrefs:2" in meter.detail(rows)["signatures"]["bleu"]


def test_bleu_of_words_splits_as_the_page_says() -> None:
    meter, rows = _rows(["The man's T-shirt, red"] * 2, [["the man's t-shirt , red"]] * 2)
    assert meter.score(rows)["bleu_words"] == pytest.approx(1.0)
    assert list(rows["bleu_words"][0]) == [8, 8, 8, 7, 6, 5, 8, 7, 6, 5]


@pytest.mark.parametrize(
    ("tokens", "said", "reference"),
    [
        ("zh", ["今天北京下雨了。", "我喜欢 3 只猫。"], ["今天北京下大雨。", "我喜欢三只猫。"]),
        ("char", ["これは日本語です。", "雨が降る。"], ["これが日本語です。", "雨が降っている。"]),
    ],
)
def test_scripts_without_blanks_are_cut_as_sacrebleu_can(tokens: str, said: list[str], reference: list[str]) -> None:
    assert tokens_of(reference) == tokens
    meter, rows = _rows(said, [[line] for line in reference], tokens)
    measure = BLEU(tokenize=tokens)
    found = measure.corpus_score(said, [reference]).score / 100
    assert meter.score(rows)["bleu"] == pytest.approx(found, abs=1e-7) and found > 0.1
    assert meter.detail(rows)["signatures"]["bleu"] == str(measure.get_signature())
    assert meter.score(rows)["bleu_words"] > 0.1


def test_how_texts_are_cut_is_told_by_their_script() -> None:
    assert [tokens_of([text]) for text in ("Ein Mann", "안녕하세요 세계", "ภาษาไทย", "Это раз", "")] == [
        "13a", "13a", "char", "13a", "13a"
    ]  # fmt: skip
    with pytest.raises(matinee.SettingsError, match="cut for BLEU"):
        Translation(tokens="flores200")


def test_references_survive_their_column() -> None:
    texts = ["Grüße", "日本\u2028", f"a{BETWEEN}b\0c"]
    whole = torch.from_numpy(kept_text(texts).copy())[None]
    assert told_texts(whole) == [["Grüße", "日本\u2028", "a b c"]]


@pytest.mark.parametrize("name", ["transformer", "recurrent"])
def test_both_networks_learn_with_either_vocabulary(name: str, quiet: Progress) -> None:
    data = Translation(network=name, shared=False).toy()
    assert data.task.target_pieces and data.task.source_size != 0
    model = matinee.train(data, epochs=8, progress=quiet)
    told = matinee.evaluate(model, data)
    assert told.scores["bleu"].low > told.baselines["trivial"]["bleu"]
    assert told.detail["signatures"]["bleu"].startswith("nrefs:1|case:mixed")


def test_a_trained_model_answers_lines_and_files(
    toy_run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "lines.txt").write_bytes(b"kein rot hund ruft uns\n\n\xff\xfe\njed alt baum malt mich\r\n")
    assert main(["predict", str(toy_run), "ein neu stern sieht euch", str(tmp_path / "lines.txt"), "--quiet"]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert ["translation" in line for line in lines] == [True, True, False, False, True]
    assert lines[1]["translation"] == "no red dog calls us"
    assert "empty" in lines[2]["error"] and "UTF-8" in lines[3]["error"]
    model = matinee.load(toy_run)
    with pytest.raises(DataError, match="characters"):
        model.predict(["lang " * 200_000])
    with pytest.raises(DataError, match="not int"):
        model.predict([3])


@pytest.fixture
def toy_run(tmp_path: Path, quiet: Progress) -> Path:
    """A run on the made-up language."""
    matinee.train(Translation().toy(), epochs=8, out=tmp_path / "run", progress=quiet)
    assert "<img" in (tmp_path / "run" / "report.html").read_text("utf-8")  # attention is drawn
    return tmp_path / "run"


def test_lines_are_given_as_they_lie(tmp_path: Path) -> None:
    (tmp_path / "a.de").write_bytes(b"\xef\xbb\xbfeins\nzwei")
    assert list(lines_given([str(tmp_path / "a.de"), "drei", "x" * 5000])) == ["eins", "zwei", "drei", "x" * 5000]


def test_lower_case_is_kept_to_what_was_asked(folder: Path, quiet: Progress) -> None:
    data: Data = matinee.read(folder, direction="de-en", lower_case="source", progress=quiet)
    batch = data.task.collate(data.train.gather(np.arange(1)))
    assert data.task._reads.texts(batch.inputs.numpy()) == ["ein mann läuft. 0"]
    assert data.task._writes.texts(batch.targets["target"].numpy()) == ["A man walks. 0"]
    both = replace(data.task, lower_case="both", source_pieces="", target_pieces="")
    batch = (again := both.read(str(folder), quiet)).task.collate(again.train.gather(np.arange(1)))
    assert again.task._writes.texts(batch.targets["target"].numpy()) == ["a man walks. 0"]
    assert told_texts(batch.targets["reference"]) == [["A man walks. 0"]]  # scored against what stands there


def test_a_vocabulary_of_another_network_is_refused() -> None:
    task = Translation().toy().task
    with pytest.raises(DataError, match="do not belong together"):
        replace(task, source_size=task.source_size - 1).encode(["ein"])
    with pytest.raises(DataError, match="no vocabulary"):
        replace(task, source_pieces="{}").encode(["ein"])
