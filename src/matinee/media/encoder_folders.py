"""Folders of pretrained encoders as they are published: config.json, model.safetensors, tokenizer.json.

    config, tokenizer = read_folder("bert-base-uncased/")
    ids = encoded(tokenizer, ["some text"])           # int32, the encoder's own numbers, with its marks

Nothing in such a folder can run code here: JSON, safetensors, and tokenizers that are data.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from matinee.core.errors import BundleError, DataError, MatineeError
from matinee.core.examples import Array
from matinee.media.walking import content_of, printable

if TYPE_CHECKING:
    from torch import Tensor

CONFIG: Final = "config.json"
WEIGHTS: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"
LIMIT: Final = 1 << 26
"""Bytes of a JSON file or vocabulary that are read at most."""
CHUNK: Final = 256
"""Texts that are cut into tokens at once."""
RISKY: Final = ("pytorch_model.bin", "pytorch_model.pt", "model.pt", "model.bin", "tf_model.h5", "flax_model.msgpack")


def read_folder(folder: Path) -> tuple[dict[str, Any], str]:
    """What config.json says, and the tokenizer as JSON. Raises DataError that says what is missing or refused."""
    named = printable(str(folder))
    config = _json(folder / CONFIG)
    if not (folder / WEIGHTS).is_file() and not (folder / INDEX).is_file():
        risky = next((name for name in RISKY if (folder / name).is_file()), None)
        if risky:
            raise DataError(
                f"{named}: its weights are in {risky}, a format that can run code when it is loaded; it is not read. "
                "Where you trust it, convert it once: transformers.AutoModel.from_pretrained(FOLDER)"
                ".save_pretrained(FOLDER) writes model.safetensors."
            )
        raise DataError(f"{named}: there are no weights in this folder (no {WEIGHTS}).")
    text = _tokenizer_text(folder)
    highest = max(tokenizer_of(text).get_vocab(with_added_tokens=True).values(), default=0)
    if isinstance(size := config.get("vocab_size"), int) and highest >= size:
        raise DataError(f"{named}: the tokenizer has a token {highest:,}, the encoder {size:,} tokens from 0 on.")
    return config, text


def read_weights(folder: Path) -> dict[str, Tensor]:
    """All tensors of the folder, by their published names. Raises DataError."""
    from matinee.core.storage import read_foreign_tensors

    files = [WEIGHTS]
    if not (folder / WEIGHTS).is_file() and (folder / INDEX).is_file():
        listed = _json(folder / INDEX).get("weight_map")
        files = sorted({str(name) for name in listed.values()}) if isinstance(listed, dict) else []
        if not files or any(Path(name).name != name or not name.endswith(".safetensors") for name in files):
            raise DataError(f"{printable(str(folder / INDEX))}: this is no list of safetensors files beside it.")
    found: dict[str, Tensor] = {}
    for name in files:
        try:
            found |= read_foreign_tensors(folder / name)
        except BundleError as error:
            raise DataError(str(error)) from None
    return found


@functools.lru_cache(maxsize=8)
def tokenizer_of(text: str) -> Any:
    """The tokenizer that this JSON is. What it says of cutting and padding is left to us. Raises DataError."""
    tokenizers = _library()
    try:
        tokenizer = tokenizers.Tokenizer.from_str(text)
    except Exception as error:  # noqa: BLE001 - the library raises nothing narrower
        raise DataError(f"the tokenizer cannot be read ({str(error)[:200]}).") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True  # "[SEP]" in a text is five signs, not the end of a part
    return tokenizer


def encoded(tokenizer_text: str, texts: Iterable[str]) -> Iterator[Array]:
    """The tokens of each text between the marks of begin and end, int32 (tokens,)."""
    tokenizer, waiting = tokenizer_of(tokenizer_text), iter(texts)
    while chunk := list(islice(waiting, CHUNK)):
        for one in tokenizer.encode_batch(chunk):
            yield np.array(one.ids, np.int32)


def _tokenizer_text(folder: Path) -> str:
    named = printable(str(folder))
    try:
        if (folder / "tokenizer.json").is_file():
            return content_of(folder / "tokenizer.json", LIMIT).decode("utf-8")
        if (folder / "vocab.txt").is_file():
            return _word_pieces(folder)
    except UnicodeDecodeError:
        raise DataError(f"{named}: its tokenizer is no UTF-8 text.") from None
    raise DataError(
        f"{named}: there is no tokenizer.json (nor a vocab.txt). "
        "transformers.AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER) writes one."
    )


def _word_pieces(folder: Path) -> str:
    """The tokenizer of a vocab.txt, a piece in each line (Devlin et al., 2019), as JSON.

    Whether case counts is said in tokenizer_config.json; where nothing is, it does if a piece has a capital.
    """
    tokenizers = _library()
    pieces = content_of(folder / "vocab.txt", LIMIT).decode("utf-8").split("\n")
    pieces = [piece.rstrip("\r") for piece in (pieces[:-1] if not pieces[-1] else pieces)]
    numbers = {piece: number for number, piece in enumerate(pieces)}
    missing = [mark for mark in ("[UNK]", "[CLS]", "[SEP]") if mark not in numbers]
    if missing:
        raise DataError(f"{printable(str(folder / 'vocab.txt'))}: this is no WordPiece vocabulary: no {missing[0]}.")
    said = _json(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").is_file() else {}
    capitals = any(piece != piece.lower() for piece in pieces if not piece.startswith("["))
    lower = bool(said.get("do_lower_case", not capitals))
    accents = said.get("strip_accents")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(numbers, unk_token="[UNK]"))
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(
        lowercase=lower, strip_accents=accents if isinstance(accents, bool) else None
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = tokenizers.decoders.WordPiece()
    tokenizer.add_special_tokens([mark for mark in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]") if mark in numbers])
    tokenizer.post_processor = tokenizers.processors.BertProcessing(
        ("[SEP]", numbers["[SEP]"]), ("[CLS]", numbers["[CLS]"])
    )
    return str(tokenizer.to_str())


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(content_of(path, LIMIT))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise DataError(f"{printable(str(path))}: this is no JSON object.")
    return value


def _library() -> Any:
    try:
        import tokenizers
        import tokenizers.decoders
        import tokenizers.models
        import tokenizers.normalizers
        import tokenizers.pre_tokenizers
        import tokenizers.processors
    except ImportError:
        raise MatineeError("tokens of pieces need the package tokenizers: pip install 'matinee[text]'") from None
    return tokenizers
