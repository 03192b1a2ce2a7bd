"""Games by their names: those made here, and any of Gymnasium's."""

from __future__ import annotations

from typing import Any

import numpy as np

from matinee.core.errors import DataError
from matinee.media import boards, gymnasium_games
from matinee.media.worlds import Corridor, Rules, World

Array = np.ndarray[Any, Any]

BOARDS = tuple(boards.RULES)
DEEPEST = 8  # moves that an opponent looks ahead
NAMES = {
    "CartPole-v1": "balance a pole on a cart (needs the extra: games)",
    "Acrobot-v1": "swing two links up (needs the extra: games)",
    "LunarLander-v3": "land between two flags (needs the extra: games)",
    "ALE/Pong-v5": "Pong from its pixels (needs the extra: games)",
    "tic-tac-toe": "three in a row, by playing against itself",
    "connect-four": "four in a row, by playing against itself",
}


def looks_like_a_game(source: str) -> bool:
    """A board game's name, or one written as Gymnasium's are."""
    return split(source)[0] in BOARDS or gymnasium_games.looks_like_one(source)


def split(source: str) -> tuple[str, str]:
    """A source's game and, behind a colon, its opponent: "connect-four:minimax-6"."""
    name, _, opponent = source.partition(":")
    return (name, opponent) if name in BOARDS else (source, "")


def depth_of(opponent: str) -> int:
    """How many moves an opponent looks ahead: "random" none, "minimax-4" four. Raises DataError for another."""
    if opponent == "random":
        return 0
    kind, _, depth = opponent.partition("-")
    if kind != "minimax" or not depth.isdecimal() or not 1 <= int(depth) <= DEEPEST:
        raise DataError(f"{opponent}: opponents are random and minimax-1 to minimax-{DEEPEST}.")
    return int(depth)


def rules_of(name: str) -> Rules:
    """What there is to know of a game. Raises DataError for one that is not there or cannot be played here."""
    if name == Corridor.rules.game:
        return Corridor.rules
    return boards.RULES[name] if name in BOARDS else gymnasium_games.rules_of(name)


def open_world(name: str, count: int, *, opponents: Array | None = None, drawn: bool = False) -> World:
    """A world of this game with so many places; one that is drawn can show frames.

    opponents (count,): of a game for two, how far those look ahead against whom it is played; None: against itself.
    """
    if name == Corridor.rules.game:
        return Corridor(count)
    if name in BOARDS:
        return boards.Boards(name, count) if opponents is None else boards.Against(name, opponents)
    return gymnasium_games.open_game(name, count, drawn=drawn)
