"""What `predict` is given for a game, an observation as numbers, text, or a file; and what it answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from matinee.core.errors import DataError
from matinee.media import boards
from matinee.media.gymnasium_games import encode_one
from matinee.media.playing import to_world
from matinee.media.worlds import Rules

if TYPE_CHECKING:
    from torch import Tensor

Array = np.ndarray[Any, Any]

MOST = 64 * 2**20  # bytes of a file


def observed(raw: Any, rules: Rules) -> Array:
    """One observation float32 (*shape): numbers, JSON text of them, or a .json, .npy or picture file.

    Raises DataError for what is none.
    """
    if isinstance(raw, Path | str):
        text = str(raw).strip()
        raw = _json(text, text) if text.startswith("[") else _file(Path(raw))
    position = encode_one(rules, raw)
    if rules.board and (wrong := boards.wrong_with(position, rules)):
        raise DataError(f"this is no position of {rules.game} in which somebody is to move: {wrong}.")
    return position


def _json(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise DataError(f"{name[:80]}: this is no JSON list of numbers, such as [0.1, 0, -0.2, 0].") from None


def _file(path: Path) -> Any:
    try:
        if not path.is_file():
            raise DataError(f"{path}: no such file. An observation is a list such as '[0.1, 0]', or a file of one.")
        if path.stat().st_size > MOST:
            raise DataError(f"{path}: this file is larger than any observation.")
        if path.suffix == ".json":
            return _json(path.read_text("utf-8"), str(path))
        if path.suffix == ".npy":
            return np.load(path, allow_pickle=False)
        from PIL import Image

        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise DataError(f"{path}: no observation can be read here ({' '.join(str(error).split())[:80]}).") from None


def answered(outputs: Tensor, rules: Rules, likely: bool = True) -> list[dict[str, Any]]:
    """The action to take, and what the position is worth, for each row of outputs.

    Of choices also how likely each one is, or where outputs are no chances (likely: False) what each is worth.
    """
    plain = outputs.float().cpu()
    values = plain[:, -1].tolist()
    if not rules.choices:
        told = to_world(plain[:, : len(rules.low)].numpy(), rules).tolist()
        return [{"action": action, "value": round(value, 4)} for action, value in zip(told, values, strict=True)]
    answers = []
    each = plain[:, : rules.choices].softmax(-1) if likely else plain[:, : rules.choices]
    for row, value in zip(each.tolist(), values, strict=True):
        action = max(range(len(row)), key=row.__getitem__)
        named = {"label": rules.actions[action]} if rules.actions else {}
        told = (
            {"probabilities": [round(share, 6) for share in row]} if likely else {"values": [round(x, 4) for x in row]}
        )
        answers.append({"action": action, **named, **told, "value": round(value, 4)})
    return answers
