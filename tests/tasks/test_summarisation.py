"""Summaries: sources, which sentences are best, the rule of Lead, what is refused, and scores."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

import matinee
from matinee.cli import main
from matinee.core.errors import DataError
from matinee.core.progress import Progress
from matinee.core.reading import recognised
from matinee.media.rouge import best_sentences, rouge
from matinee.media.sentences import sentences_of
from matinee.nets.extracting import Extract, Lead, as_long_as, extracted, sentence_lengths
from matinee.nets.teaching import usual_length
from matinee.tasks.summarisation import Summarisation
from matinee.tasks.translation import Translation

ARTICLE = (
    "Rain falls\n\nIt rained in the north on Monday, said the office. Dr. Smith measured 3.5 inches. "
    '"We are wet," he said. Nobody was hurt in the {n} towns that were flooded. Schools stay closed today.'
)
SUMMARY = "It rained in the north on Monday, said the office. Nobody was hurt in the {n} towns that were flooded."


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Thirty articles with summaries."""
    rows = [{"id": n, "article": ARTICLE.format(n=n), "summary": SUMMARY.format(n=n)} for n in range(30)]
    path = tmp_path / "news.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), "utf-8")
    return path


def test_a_table_of_articles_is_recognised_and_read(table: Path, quiet: Progress) -> None:
    assert recognised(str(table)) is Summarisation
    data = matinee.read(table, progress=quiet)
    row = int(data.train.rows[0])
    assert data.train.ragged("best")[row].tolist() == [0, 1, 0, 0, 1, 0]
    batch = data.task.collate(data.train.gather(np.arange(2)))
    chosen = extracted(batch.inputs, batch.targets["best"] > 0)
    assert data.task._vocabulary.texts(chosen.numpy())[0].startswith("It rained in the north")


def test_a_source_of_the_length_of_its_target_is_a_translation(tmp_path: Path) -> None:
    rows = [{"source": ARTICLE.format(n=n), "target": "It rained."} for n in range(9)]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert Summarisation.recognise(str(tmp_path)) and not Translation.recognise(str(tmp_path))
    rows = [{"source": "Es regnet im Norden.", "target": "It rains in the north."} for n in range(9)]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert Translation.recognise(str(tmp_path)) and not Summarisation.recognise(str(tmp_path))


def test_lists_are_sentences_and_several_references(tmp_path: Path, quiet: Progress) -> None:
    sentences = ["We show a thing.", "It works.", "The thing is {} times faster."]
    rows = [
        {"source": [s.format(n) for s in sentences], "target": [f"Thing {n} is faster.", "It works."]}
        for n in range(20)
    ]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = matinee.read(tmp_path, task="summarisation", progress=quiet)
    meter = data.task.meter()
    batch = data.task.collate(data.train.gather(np.arange(4)))
    meter.update((extracted(batch.inputs, torch.tensor([[False, True, False]] * 4)),), batch)
    assert meter.score(meter.rows())["rouge1"] == pytest.approx(1.0)


def test_bad_rows_are_in_the_ledger_or_an_error(table: Path, tmp_path: Path, quiet: Progress) -> None:
    lines = table.read_text("utf-8").split("\n")
    lines[1] = json.dumps({"id": 1, "article": "", "summary": "nothing"})
    lines[2] = json.dumps({"id": 2, "article": "word " * 300_000, "summary": "much"})
    lines[3] = json.dumps({"id": 3, "article": "word is long. " * 2000, "summary": "some"})
    table.write_text("\n".join(lines), "utf-8")
    data = matinee.read(table, progress=quiet)
    found = {entry.file.split("#")[1]: entry.kind for entry in data.origin.entries}
    assert found == {"2": "empty", "3": "too-long", "4": "truncated"}
    table.write_text(table.read_text("utf-8").replace('"article"', '"body"'), "utf-8")
    with pytest.raises(DataError, match=r"there are: id, body, summary\. --source-column names one"):
        matinee.read(table, task="summarisation", progress=quiet)


def test_sentences_end_where_they_should() -> None:
    found = sentences_of([ARTICLE.format(n=2)])
    assert found[0] == "Rain falls" and found[2] == "Dr. Smith measured 3.5 inches." and len(found) == 6
    assert sentences_of(["今天下雨。明天晴天。"]) == ["今天下雨。", "明天晴天。"]
    assert sentences_of(["a", "b c"]) == ["a", "b c"]


def test_sentences_end_in_other_scripts_as_well() -> None:
    assert sentences_of(["Это раз. Это два. А вот т. е. три."])[:2] == ["Это раз.", "Это два."]
    assert sentences_of(["「明天晴天。」后天。"]) == ["「明天晴天。」", "后天。"]
    assert sentences_of(["यह है। वह था।"]) == ["यह है।", "वह था।"]
    assert sentences_of(["It cost approx. two pounds. £3 more."]) == ["It cost approx. two pounds.", "£3 more."]


def test_a_line_of_a_million_short_words_is_divided_in_a_moment() -> None:
    began = time.process_time()
    assert len(sentences_of(["e.g. X " * 20_000])) == 1
    assert time.process_time() - began < 5  # minutes where all of the line is looked at for each


@given(st.text(min_size=1, max_size=200).filter(str.strip))
def test_sentences_lose_no_letter(text: str) -> None:
    assert "".join("".join(sentences_of([text])).split()) == "".join(text.split())


def test_the_best_sentences_make_the_best_summary() -> None:
    sentences = ["The cat sat.", "A dog ran home.", "Birds sang in the tree."]
    assert best_sentences(sentences, ["Birds sang in the tree. The cat sat."]).tolist() == [1, 0, 1]
    assert best_sentences(sentences, ["nothing of it", "a dog ran"]).tolist() == [0, 1, 0]
    assert best_sentences(sentences, ["?"]).tolist() == [0, 0, 0]


def test_scores_are_those_of_rouge_score() -> None:
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
    said, one, other = "the cats sat on a mat", "a cat sits on the mat", "cats sat on mats"
    told = rouge(said, [one, other])["rouge"]
    for place, kind in enumerate(("rouge1", "rouge2", "rougeL")):
        assert told[place] == pytest.approx(max(scorer.score(r, said)[kind].fmeasure for r in (one, other)))


def test_scores_see_scripts_that_rouge_score_does_not() -> None:
    assert rouge("今天下雨", ["今天北京下雨了"])["rouge"] == pytest.approx([8 / 11, 4 / 9, 8 / 11])
    assert rouge("привет мир", ["Привет, большой мир"])["rouge"][0] == pytest.approx(0.8)
    scorer = RougeScorer(["rouge1"], use_stemmer=True)  # a few accents in a text of a to z are left to it
    one, other = "the café opened on the first of may", "the café in the town opened"
    assert rouge(one, [other])["rouge"][0] == pytest.approx(scorer.score(other, one)["rouge1"].fmeasure)
    assert best_sentences(["明天晴天。", "今天下雨。"], ["今天下雨了"]).tolist() == [0, 1]


SOURCE = torch.tensor([[5, 6, 3, 7, 3, 8, 9, 10, 3, 2], [11, 3, 12, 13, 3, 2, 0, 0, 0, 0]])


def test_sentences_are_taken_out_whole_and_in_order() -> None:
    assert sentence_lengths(SOURCE).tolist() == [[2, 1, 3], [1, 2, 0]]
    chosen = torch.tensor([[True, False, True], [False, True, False]])
    assert extracted(SOURCE, chosen).tolist() == [[5, 6, 3, 8, 9, 10, 3], [12, 13, 3, 0, 0, 0, 0]]


def test_the_likeliest_sentences_fill_the_budget() -> None:
    shares = torch.tensor([[0.1, 0.9, 0.8], [0.2, 0.9, 0.99]])
    chosen = as_long_as(shares, sentence_lengths(SOURCE), torch.tensor([4.4, 0.1]))
    assert chosen.tolist() == [[False, True, True], [False, True, False]]


def test_lead_counts_sentences_or_pieces() -> None:
    lead = Lead()
    for rule, wanted in (
        ((1.0, 0.0, 0.0), [[True, False, False], [True, False, False]]),
        ((1.0, 0.0, 1.0), [[False, True, False], [False, True, False]]),
        ((0.0, 0.5, 0.0), [[True, True, False], [True, True, False]]),
    ):
        lead.rule.copy_(torch.tensor(rule))
        assert lead.chosen(SOURCE).tolist() == wanted
    assert lead.chosen(SOURCE[1:, :2]).any()


def test_the_usual_length_is_the_one_that_varies_less() -> None:
    assert usual_length(np.array([10, 100, 1000]), np.array([5, 5, 6])).tolist() == [5, 0]
    assert usual_length(np.array([10, 100, 1000]), np.array([5, 50, 500])).tolist() == [0, 0.5]


def test_scores_of_sentences_do_not_depend_on_the_batch() -> None:
    torch.manual_seed(0)
    network = Extract(20, 16, 1, 0.0).eval()
    both, alone = network(SOURCE), network(SOURCE[1:, :6])
    assert torch.allclose(both[1, :2], alone[0], atol=1e-5) and both[1, 2] < -20


@pytest.mark.parametrize("name", ["transformer", "recurrent"])
def test_networks_that_write_learn_as_well(name: str, quiet: Progress) -> None:
    data = Summarisation(network=name).toy()
    model = matinee.train(data, epochs=1, progress=quiet)
    assert model.predict(["Anna sat 3. Bert won gold 7 times."])[0].keys() >= {"summary", "log_probability"}


def test_documents_are_answered_for(tmp_path: Path, quiet: Progress, capsys: pytest.CaptureFixture[str]) -> None:
    matinee.train(Summarisation().toy(), epochs=5, out=tmp_path / "run", progress=quiet)
    (tmp_path / "a.txt").write_text("Bert slept 7. Cleo won gold 7 times.\nDora sat 9. Anna won a race 3 times.\n")
    (tmp_path / "b.txt").write_bytes(b"\xff\xff")
    files = [str(tmp_path / "a.txt"), str(tmp_path / "b.txt"), "", "Anna ate 1."]
    assert main(["predict", str(tmp_path / "run"), *files, "--quiet"]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert "won" in lines[0]["summary"] and "slept" not in lines[0]["summary"]
    assert not any("truncated" in line for line in lines)
    assert "UTF-8" in lines[1]["error"] and "empty" in lines[2]["error"] and lines[3]["summary"] == "Anna ate 1."


def test_a_document_that_is_not_read_to_its_end_is_answered_with_a_word_of_it(quiet: Progress) -> None:
    data = Summarisation(source_limit=64).toy()
    model = matinee.train(data, epochs=1, progress=quiet)
    long, short = model.predict(["Anna won gold 7 times. " * 40, "Anna ate 1."])
    assert long["truncated"] is True and "truncated" not in short
