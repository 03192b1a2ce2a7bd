"""What a classifier of texts starts from: an encoder's folder, word vectors, texts without labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import matinee
from matinee.core.errors import DataError, MatineeError, SettingsError
from matinee.core.examples import Examples, Ragged
from matinee.core.moment import Moment
from matinee.core.progress import Progress
from matinee.core.task import Batch
from matinee.nets.encoder_weights import names
from matinee.nets.encoders import EncoderNetwork, EncoderShape
from matinee.nets.pretraining import FIRST, HIDDEN, WINDOW, HiddenWords, passes
from matinee.nets.sequences import BODIES, SequenceNetwork, SequenceShape
from matinee.nets.text_starts import lay_vectors
from matinee.tasks.text_classification import HELD_BACK, NO_LABEL

GOOD, BAD = ["great", "lovely", "fine", "warm", "bright"], ["dull", "awful", "grim", "cold", "bleak"]
USUAL = ["the", "film", "was", "a", "story", "of", "people", "in", "town", "that", "said", "more"]


def reviews(path: Path, count: int = 120) -> Path:
    generator = np.random.default_rng(0)
    rows = ["text\tlabel"]
    for i in range(count):
        words = [*generator.choice(USUAL, 6), *generator.choice(GOOD if i % 2 else BAD, 2)]
        rows.append(f"{' '.join(generator.permutation(words))}\t{'pos' if i % 2 else 'neg'}")
    path.write_text("\n".join(rows) + "\n", "utf-8")
    return path


def bert(path: Path) -> Path:
    """A tiny encoder with random weights, as it would be published."""
    tokenizers = pytest.importorskip("tokenizers")
    path.mkdir()
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *USUAL, *GOOD, *BAD]
    whole = tokenizers.Tokenizer(tokenizers.models.WordPiece({p: i for i, p in enumerate(pieces)}, unk_token="[UNK]"))
    whole.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    whole.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    whole.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    whole.add_special_tokens(pieces[:5])
    whole.save(str(path / "tokenizer.json"))
    config = {
        "model_type": "bert", "vocab_size": len(pieces), "hidden_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2, "intermediate_size": 64, "max_position_embeddings": 40, "type_vocab_size": 2,
        "hidden_act": "gelu", "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
    }  # fmt: skip
    (path / "config.json").write_text(json.dumps(config))
    shape = EncoderShape.of(config)
    torch.manual_seed(0)
    own = EncoderNetwork(shape, 2).state_dict()
    save_file(
        {f"bert.{theirs}": own[ours].clone() for ours, theirs in names(shape).items()}, path / "model.safetensors"
    )
    return path


def test_an_encoder_is_tuned_and_its_bundle_needs_no_folder(tmp_path: Path, quiet: Progress) -> None:
    source, folder = reviews(tmp_path / "reviews.tsv"), bert(tmp_path / "bert")
    data = matinee.read(source, task="text-classification", pretrained=str(folder), progress=quiet)
    assert data.origin.facts["pretrained"] == "bert, 2 layers of 32 units"
    model = matinee.train(data, epochs=12, learning_rate=2e-3, progress=quiet)
    assert model.task.network == "encoder"  # type: ignore[attr-defined]
    assert matinee.evaluate(model, data, progress=quiet).scores["accuracy"].value > 0.9
    answers = model.predict(["a lovely warm story", "grim and cold"])
    bundle = model.save(tmp_path / "bundle")
    for file in folder.iterdir():
        file.unlink()
    again = matinee.load(bundle)
    assert again.predict(["a lovely warm story", "grim and cold"]) == answers
    assert [answer["label"] for answer in answers] == ["pos", "neg"]
    read_again = again.task.read(str(source), quiet)
    assert matinee.evaluate(again, read_again, progress=quiet).scores["accuracy"].value > 0.9


def test_the_weights_of_the_folder_are_where_it_starts(tmp_path: Path, quiet: Progress) -> None:
    source, folder = reviews(tmp_path / "reviews.tsv"), bert(tmp_path / "bert")
    data = matinee.read(source, task="text-classification", pretrained=str(folder), progress=quiet)
    task = data.task.choose(data, None)
    network = task.build()
    task.prepare(network, data.train)
    published = load_file(folder / "model.safetensors")
    assert torch.equal(network.get_parameter("body.words.weight"), published["bert.embeddings.word_embeddings.weight"])
    baseline = task.simplest()
    assert baseline is not None and baseline.network == "linear"  # type: ignore[attr-defined]
    baseline.prepare(baseline.build(), data.train)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"network": "lstm"}, "--network lstm.*encoder"),
        ({"tokens": "words"}, "--tokens words.*tokens of its own"),
        ({"longest": 41}, "--longest 41.*40 tokens"),
        ({"unlabelled": "more.txt"}, "--unlabelled goes with word vectors"),
    ],
)
def test_settings_that_do_not_go_with_an_encoder_are_told(
    tmp_path: Path, quiet: Progress, given: dict[str, Any], words: str
) -> None:
    source, folder = reviews(tmp_path / "reviews.tsv", 20), bert(tmp_path / "bert")
    with pytest.raises(SettingsError, match=words):
        matinee.read(source, task="text-classification", pretrained=str(folder), progress=quiet, **given)


def test_what_is_no_start_is_told(tmp_path: Path, quiet: Progress) -> None:
    source = reviews(tmp_path / "reviews.tsv", 20)
    (tmp_path / "empty").mkdir()
    (tmp_path / "unsafe").mkdir()
    (tmp_path / "unsafe" / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "unsafe" / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    for place, words in (
        ("nowhere", "--pretrained .*nowhere: no such file"),
        ("empty", "--pretrained .*empty/config.json cannot be read"),
        ("unsafe", "--pretrained .*can run code"),
    ):
        with pytest.raises(DataError, match=words):
            matinee.read(source, task="text-classification", pretrained=str(tmp_path / place), progress=quiet)
    for given, words in (
        ({"network": "encoder"}, "--pretrained names its folder"),
        ({"unlabelled": str(source), "network": "linear"}, "--network linear learns nothing from --unlabelled"),
        ({"unlabelled": "nowhere.txt"}, "--unlabelled .*no such file"),
    ):
        with pytest.raises(MatineeError, match=words):
            matinee.read(source, task="text-classification", progress=quiet, **given)


def test_word_vectors_lie_under_the_words_that_have_one(tmp_path: Path, quiet: Progress) -> None:
    source = reviews(tmp_path / "reviews.tsv")
    vectors = {word: [1.0 if word in GOOD else -1.0, 0.5, 0.1 * i] for i, word in enumerate(["unheard", *GOOD, *BAD])}
    path = tmp_path / "vectors.txt"
    path.write_text("".join(f"{word} {' '.join(map(str, v))}\n" for word, v in vectors.items()))
    data = matinee.read(source, task="text-classification", pretrained=str(path), progress=quiet)
    task: Any = data.task.choose(data, None)
    assert task.network == "cnn" and task.kind == "words" and task.vector_size == 3
    assert data.origin.facts["pretrained"] == f"vectors of 3 numbers, for 10 of {len(task.words)} words"
    network = task.build()
    task.prepare(network, data.train)
    table = network.get_parameter("embed.weight")
    assert table[task.words.index("grim") + FIRST].tolist() == pytest.approx(vectors["grim"])
    assert not table[0].any()
    model = matinee.train(data, epochs=2, progress=quiet)
    path.unlink()
    again = matinee.load(model.save(tmp_path / "bundle"))
    assert again.predict(["a lovely story"]) == model.predict(["a lovely story"])
    with pytest.raises(SettingsError, match="--network linear has no place for the word vectors"):
        path.write_text("a 1 2\n")
        matinee.read(source, task="text-classification", pretrained=str(path), network="linear", progress=quiet)


def test_words_without_a_vector_are_spread_like_the_others() -> None:
    torch.manual_seed(0)
    network = SequenceNetwork("cnn", SequenceShape(2, 400, "s", numbers=8))
    generator = np.random.default_rng(0)
    lay_vectors(network, np.arange(5), generator.normal(0, 0.7, (5, 8)).astype(np.float32))
    table = network.embed.weight.detach()
    assert not table[0].any() and float(table[FIRST + 5 :].std()) == pytest.approx(0.7, rel=0.3)


def test_texts_without_labels_teach_words_but_not_those_held_back(tmp_path: Path, quiet: Progress) -> None:
    source, beside = reviews(tmp_path / "reviews.tsv", 40), tmp_path / "more"
    (beside / "deep").mkdir(parents=True)
    generator = np.random.default_rng(1)
    for number in range(130):
        text = " ".join(generator.choice([*USUAL, *GOOD, "unlabelledword"], 9))
        (beside / "deep" / f"{number}.txt").write_text(text)
    (beside / "broken.txt").write_bytes(b"\xff\xff")
    (beside / "note.md").write_text("nothing")
    plain: Any = matinee.read(source, task="text-classification", network="lstm", progress=quiet)
    leaked = source.read_text().splitlines()[1:]
    told = {name: [str(row) for row in part.rows] for name, part in plain.splits().items()}
    (beside / "leak.txt").write_text(leaked[int(told["test"][0])].split("\t")[0])
    data: Any = matinee.read(source, task="text-classification", unlabelled=str(beside), progress=quiet)
    assert [entry.kind for entry in data.origin.entries] == ["not-utf-8"]
    assert {name: part.rows.tolist() for name, part in data.splits().items()} == {
        name: [int(row) for row in rows] for name, rows in told.items()
    }
    labels = np.asarray(data.train.array("label"))
    assert (labels == NO_LABEL).sum() == 130 and (labels == HELD_BACK).sum() == 1
    assert "unlabelledword" in data.task.words and "unlabelledword" not in plain.task.words
    task = data.task.choose(data, None)
    assert task.network == "lstm" and task.pretraining == passes(130, len(data.train)) > 0
    model = matinee.train(data, epochs=1, pretraining=1, size="s", progress=quiet)
    assert matinee.load(model.save(tmp_path / "bundle")).predict(["a fine film"]) == model.predict(["a fine film"])


def test_a_run_that_pretrains_is_resumed_exactly(tmp_path: Path, quiet: Progress) -> None:
    source, more = reviews(tmp_path / "reviews.tsv", 60), tmp_path / "more.txt"
    more.write_text("\n".join(" ".join(np.random.default_rng(n).choice([*USUAL, *BAD], 8)) for n in range(120)))
    states = []
    for _ in range(2):  # the second finds what the first has learned in the cache
        data = matinee.read(source, task="text-classification", unlabelled=str(more), progress=quiet)
        model = matinee.train(data, epochs=1, pretraining=2, size="s", progress=quiet)
        states.append(model.network.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_labels_of_the_source_that_are_empty_count_as_unlabelled(tmp_path: Path, quiet: Progress) -> None:
    (tmp_path / "set").mkdir()
    reviews(tmp_path / "set" / "train.tsv", 60)
    with (tmp_path / "set" / "train.tsv").open("a") as file:
        file.write("".join(f"the story of {word} people in {number}\t\n" for number in range(30) for word in GOOD))
    (tmp_path / "set" / "test.tsv").write_text("text\tlabel\na lovely film\tpos\na grim film\tneg\nwho knows it\t\n")
    data: Any = matinee.read(tmp_path / "set", task="text-classification", network="gru", progress=quiet)
    labels = np.asarray(data.train.array("label"))
    assert (labels == NO_LABEL).sum() == 150 and (labels == HELD_BACK).sum() == 1
    assert data.task.choose(data, None).pretraining == 0  # nobody asked for it
    assert data.task.choose(data, 10.0).pretraining_minutes == pytest.approx(4.0)
    linear: Any = matinee.read(tmp_path / "set", task="text-classification", progress=quiet)
    assert linear.task.choose(linear, None).network == "linear"


@pytest.mark.parametrize("body", BODIES)
def test_hidden_words_are_learned_by_every_body(body: str, quiet: Progress) -> None:
    from matinee.core.loop import fit
    from matinee.core.train_settings import TrainSettings

    data = HiddenWords(network=body).toy()
    torch.manual_seed(0)
    network = data.task.build()
    classifier = SequenceNetwork(body, SequenceShape(3, 32, "s"))
    same = {name for name in network.state_dict() if not name.startswith("head.")}
    assert same == {name for name in classifier.state_dict() if not name.startswith(("head.", "sharpness"))}
    settings = TrainSettings(epochs=25, learning_rate=5e-3, batch_size=32, threads=1).advised({})
    before = _loss(data.task, network, data.train)
    fit(data, network, settings)
    assert _loss(data.task, network, data.train) < 0.5 * before


def _loss(task: Any, network: torch.nn.Module, examples: Examples) -> float:
    batch = task.augment(task.collate(examples.gather(np.arange(100))), Moment(seed=5))
    with torch.no_grad():
        return float(task.loss(task.forward(network.eval(), batch), batch))


def test_hidden_words_are_asked_and_no_others() -> None:
    rows = [np.arange(2, 2 + length) for length in (300, 140, 20, 1)]
    ids = torch.from_numpy(Ragged.of(rows).padded(np.arange(4)))
    task = HiddenWords(tokens=400)
    batch = task.augment(Batch(ids, ids), Moment(seed=3))
    assert batch.inputs.shape == batch.targets.shape == (4, WINDOW)
    asked = batch.targets > 0
    assert 0.08 < asked[:2].float().mean() < 0.25 and (batch.targets[asked] >= FIRST).all()
    shown = torch.where(asked, batch.targets, batch.inputs)
    for row, length in zip(shown, (WINDOW, WINDOW, 20, 1), strict=True):
        there = row[row > 0]
        assert len(there) == length and (there.diff() == 1).all()  # a window of the text, in order
    assert int(shown[0, 0]) != 2  # which begins somewhere
    hidden = batch.inputs[asked] == HIDDEN
    assert 0.6 < hidden.float().mean() < 0.95 and batch.inputs.max() < 400
