"""What a user gives a classifier of texts to start from: an encoder's folder, word vectors, texts without labels."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from matinee.core.errors import DataError, SettingsError
from matinee.media.encoder_folders import CONFIG, read_folder
from matinee.media.tokens import PRETRAINED
from matinee.media.walking import printable
from matinee.media.word_vectors import file_of, vectors_of, width

LEARNED: Final = ("cnn", "rnn", "lstm", "gru", "transformer")
"""Networks with a table of words, which steps teach."""
LONGEST: Final = 256
"""Tokens that an encoder is given of a text where nobody says more: what it costs grows with their number."""

Sizes = Callable[[dict[str, Any]], tuple[str, int]]
"""What config.json says -> the encoder's sizes as text, and the tokens that it reads at most."""


class Asked(Protocol):
    """A task's settings, as the user gave them."""

    @property
    def pretrained(self) -> str: ...
    @property
    def unlabelled(self) -> str: ...
    @property
    def network(self) -> str: ...
    @property
    def tokens(self) -> str: ...
    @property
    def longest(self) -> int: ...


def located(asked: Asked, sizes: Sizes) -> dict[str, Any]:
    """Facts of the task that follow from what lies there. Raises DataError, SettingsError."""
    places = tuple(str(Path(place).absolute()) if place else "" for place in (asked.pretrained, asked.unlabelled))
    if asked.unlabelled and asked.network not in ("auto", *LEARNED):
        raise SettingsError(
            f"--network {asked.network} learns nothing from --unlabelled. Those that do are {', '.join(LEARNED)}."
        )
    if not asked.pretrained:
        if asked.network == "encoder":
            raise SettingsError("--network encoder: --pretrained names its folder (config.json, model.safetensors).")
        return {"places": places}
    config, tokenizer, numbers = _looked_at(places[0])
    _fitting(asked, places[0], bool(numbers))
    if numbers:
        return {"places": places, "vector_size": numbers}
    if asked.unlabelled:
        raise SettingsError("--unlabelled goes with word vectors or none: an encoder is tuned with labels only.")
    try:
        encoder, most = sizes(config)
    except DataError as error:
        raise DataError(f"--pretrained {printable(places[0])}: {error}") from None
    kept = asked.longest or min(LONGEST, most)
    if kept > most:
        raise SettingsError(f"--longest {kept}: this encoder reads {most:,} tokens at most.")
    return {"places": places, "encoder": encoder, "kind": PRETRAINED, "pieces": tokenizer, "kept": kept}


def told(encoder: str, place: str, words: Sequence[str]) -> str:
    """In a few words, what the network starts from. encoder: its sizes as text; "": the place is of word vectors."""
    if encoder:
        sizes = json.loads(encoder)
        return f"{sizes['family']}, {sizes['layers']} layers of {sizes['units']} units"
    rows, values = vectors_of(Path(place), words)
    return f"vectors of {values.shape[1]} numbers, for {len(rows):,} of {len(words):,} words"


def _looked_at(place: str) -> tuple[dict[str, Any], str, int]:
    """What config.json says and the tokenizer, of an encoder; or the width of word vectors."""
    path, named = Path(place), printable(place)
    try:
        if not path.exists():
            raise DataError("no such file or folder.")
        if path.is_dir() and ((path / CONFIG).is_file() or not _holds_vectors(path)):
            return *read_folder(path), 0
        return {}, "", width(file_of(path))
    except DataError as error:
        said = str(error)
        raise DataError(f"--pretrained {said if said.startswith(named) else f'{named}: {said}'}") from None


def _fitting(asked: Asked, place: str, vectors: bool) -> None:
    """Raises SettingsError where network or tokens do not go with an encoder, or with word vectors."""
    named = printable(place)
    if not vectors and asked.network not in ("auto", "encoder"):
        raise SettingsError(f"--network {asked.network}: {named} is an encoder, itself a network. Leave --network out.")
    if not vectors and asked.tokens != "auto":
        raise SettingsError(f"--tokens {asked.tokens}: the encoder {named} has tokens of its own. Leave --tokens out.")
    if vectors and asked.network not in ("auto", *LEARNED):
        raise SettingsError(
            f"--network {asked.network} has no place for the word vectors in {named}. Those that have are "
            f"{', '.join(LEARNED)}."
        )
    if vectors and asked.tokens not in ("auto", "words", "both"):
        raise SettingsError(f"--tokens {asked.tokens}: word vectors are of words. Choose --tokens words.")


def _holds_vectors(folder: Path) -> bool:
    try:
        file_of(folder)
    except DataError:
        return False
    return True
