"""Folders of pretrained encoders: what is read of them, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from matinee.core.errors import DataError
from matinee.media.encoder_folders import encoded, read_folder, read_weights
from matinee.media.tokens import FIRST, PRETRAINED, Reader

tokenizers = pytest.importorskip("tokenizers")

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "film", "was", "good", "##ness", "!", "uber", "a"]


def folder(path: Path, **config: object) -> Path:
    """The folder of an encoder with a vocab.txt alone."""
    path.mkdir(exist_ok=True)
    (path / "vocab.txt").write_text("\n".join(PIECES) + "\n", "utf-8")
    (path / "config.json").write_text(json.dumps({"model_type": "bert", "vocab_size": len(PIECES), **config}))
    save_file({"a.weight": torch.ones(2)}, path / "model.safetensors")
    return path


def test_a_vocabulary_is_read_as_word_pieces(tmp_path: Path) -> None:
    config, tokenizer = read_folder(folder(tmp_path / "bert"))
    assert config["model_type"] == "bert"
    found = [row.tolist() for row in encoded(tokenizer, ["The film was goodness!", "Über [SEP] 電", ""])]
    assert found == [[2, 5, 6, 7, 8, 9, 10, 3], [2, 11, 1, 1, 1, 1, 3], [2, 3]]


def test_case_counts_where_the_vocabulary_has_capitals_or_it_is_said(tmp_path: Path) -> None:
    place = folder(tmp_path / "bert")
    (place / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert next(encoded(read_folder(place)[1], ["The film"])).tolist() == [2, 1, 6, 3]


def test_long_texts_keep_head_and_tail_between_the_marks(tmp_path: Path) -> None:
    _, tokenizer = read_folder(folder(tmp_path / "bert"))
    reader = Reader(PRETRAINED, pieces=tokenizer, longest=8)
    cut: list[int] = []
    rows = list(reader.rows(["the film!", "the " + "film " * 50 + "good !"], cut))
    assert rows[1].tolist() == [i + FIRST for i in (2, 5, 6, 6, 6, 6, 10, 3)] and cut == [1]
    assert reader.size == FIRST + len(PIECES)
    assert reader.tokens([5 + FIRST, 2 + FIRST])[0] == "the"


def test_what_a_tokenizer_says_of_cutting_and_padding_is_left_out(tmp_path: Path) -> None:
    place = folder(tmp_path / "bert")
    whole = tokenizers.Tokenizer.from_str(read_folder(place)[1])
    whole.enable_truncation(4)
    whole.enable_padding(length=9)
    (place / "tokenizer.json").write_text(whole.to_str(), "utf-8")
    assert next(encoded(read_folder(place)[1], ["the film was good !"])).tolist() == [2, 5, 6, 7, 8, 10, 3]


def test_marks_of_another_kind_are_found(tmp_path: Path) -> None:
    whole = tokenizers.Tokenizer(tokenizers.models.WordLevel({"<s>": 0, "a": 1, "</s>": 2, "?": 3}, unk_token="?"))
    whole.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    whole.add_special_tokens(["<s>", "</s>"])
    text = str(whole.to_str())
    assert next(encoded(text, ["a b"])).tolist() == [1, 3]  # none at all
    whole.post_processor = tokenizers.processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    assert next(encoded(str(whole.to_str()), ["a b"])).tolist() == [0, 1, 3, 2]


def test_weights_in_several_files_are_one(tmp_path: Path) -> None:
    place = folder(tmp_path / "bert")
    (place / "model.safetensors").unlink()
    for number in (1, 2):
        save_file({f"part.{number}": torch.full((2,), float(number))}, place / f"model-{number}.safetensors")
    listed = {f"part.{number}": f"model-{number}.safetensors" for number in (1, 2)}
    (place / "model.safetensors.index.json").write_text(json.dumps({"weight_map": listed}))
    read_folder(place)
    assert {name: float(value[0]) for name, value in read_weights(place).items()} == {"part.1": 1.0, "part.2": 2.0}
    listed["part.1"] = "../bert/model-1.safetensors"
    (place / "model.safetensors.index.json").write_text(json.dumps({"weight_map": listed}))
    with pytest.raises(DataError, match="no list of safetensors files beside it"):
        read_weights(place)


def test_what_could_run_code_is_refused_with_a_way_out(tmp_path: Path) -> None:
    place = folder(tmp_path / "bert")
    (place / "model.safetensors").rename(place / "pytorch_model.bin")
    with pytest.raises(DataError, match=r"pytorch_model\.bin.*can run code.*save_pretrained"):
        read_folder(place)
    (place / "pytorch_model.bin").unlink()
    with pytest.raises(DataError, match="there are no weights"):
        read_folder(place)


def test_broken_folders_are_told_apart(tmp_path: Path) -> None:
    place = folder(tmp_path / "bert")
    (place / "model.safetensors").write_bytes(b"\xff" * 30)
    with pytest.raises(DataError, match="header claims"):
        read_weights(place)
    (place / "tokenizer.json").write_text("{}")
    with pytest.raises(DataError, match="tokenizer cannot be read"):
        read_folder(place)
    (place / "tokenizer.json").unlink()
    (place / "vocab.txt").write_text("just\nwords\n")
    with pytest.raises(DataError, match=r"no WordPiece vocabulary: no \[UNK\]"):
        read_folder(place)
    (place / "vocab.txt").unlink()
    with pytest.raises(DataError, match=r"no tokenizer\.json"):
        read_folder(place)
    (place / "config.json").write_text("[1]")
    with pytest.raises(DataError, match="no JSON object"):
        read_folder(place)


def test_a_tokenizer_with_more_tokens_than_the_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="token 12, the encoder 12 tokens"):
        read_folder(folder(tmp_path / "bert", vocab_size=12))


def test_a_text_of_a_million_tokens_is_cut(tmp_path: Path) -> None:
    _, tokenizer = read_folder(folder(tmp_path / "bert"))
    reader = Reader(PRETRAINED, pieces=tokenizer, longest=16)
    assert [len(row) for row in reader.rows(["the " * 10**5, "x" * 10**6])] == [16, 3]
    assert next(encoded(tokenizer, ["\0 the"])).dtype == np.int32
