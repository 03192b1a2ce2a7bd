"""Games as worlds: several copies of one game that are stepped together, told apart by their place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Rules:
    """What a player must know of a game before the first move. All of it can be written down as JSON.

    game: its name. shape: of one observation. pixels: observations are uint8 pictures (channels, height, width), else
    float32.
    choices: number of actions, 0 where an action is a vector. low, high: bounds of each number of such a vector.
    players: 1, or 2 who move in turn and see the board from their own side; what one wins the other loses.
    board: what an action fills, "cells" or "columns" of a board for two; "" where there is none.
    limit: moves after which a game is broken off. threshold: the mean return that counts as solved, or none.
    """

    asked: ClassVar[str] = "OBSERVATION..."

    game: str = ""
    shape: tuple[int, ...] = ()
    choices: int = 0
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    actions: tuple[str, ...] = ()
    players: int = 1
    limit: int = 1000
    threshold: tuple[float, ...] = ()
    pixels: bool = False
    board: str = ""


class World(Protocol):
    """Copies of a game. Who moves must begin those that ended anew, or let their places rest."""

    rules: Rules
    count: int

    def begin(self, places: Array, seeds: Array) -> None:
        """New games at these places (few,), each with its seed, from which all its chance comes."""

    def rest(self, places: Array) -> None:
        """What happens at these places is of no interest until a game begins there: all places are so at first."""

    def look(self) -> Array:
        """The observations as they are now, (count, *shape); later moves may overwrite them."""

    def move(self, actions: Array) -> tuple[Array, Array, Array]:
        """One move at every place: rewards float64 (count,), ended bool (count,), broken off at the limit (count,)."""

    def frame(self, place: int) -> Array:
        """A picture of the game at a place, uint8 (height, width, 3)."""


Opened = Callable[[int], World]
"""Makes a world with so many places."""


class Corridor:
    """A game for tests: walk to the end of a corridor that a sign tells, in as few steps as can be.

    Observations are the place on the way (-1 to 1), the sign (-1 or 1), and their product; actions are left and right.
    The right end earns 1, the wrong one -1, each step costs 0.02.
    """

    SIDE, LIMIT = 4, 24
    rules = Rules("corridor", (3,), 2, actions=("left", "right"), limit=LIMIT, threshold=(0.8,))

    def __init__(self, count: int) -> None:
        self.count = count
        self._place, self._sign, self._moves = (np.zeros(count, np.int64) for _ in range(3))

    def begin(self, places: Array, seeds: Array) -> None:
        """A place off the ends and a sign, both by lot."""
        for place, seed in zip(places, seeds, strict=True):
            generator = np.random.default_rng(int(seed))
            self._place[place] = generator.integers(-2, 3)
            self._sign[place] = generator.choice((-1, 1))
            self._moves[place] = 0

    def rest(self, places: Array) -> None:
        """They walk on: that costs nothing."""

    def look(self) -> Array:
        """(count, 3) float32."""
        way = self._place / self.SIDE
        return np.stack((way, self._sign, way * self._sign), 1).astype(np.float32)

    def move(self, actions: Array) -> tuple[Array, Array, Array]:
        """0 is a step to the left, 1 to the right."""
        self._place += 2 * actions.astype(np.int64) - 1
        self._moves += 1
        ended = np.abs(self._place) == self.SIDE
        rewards = np.where(ended, np.sign(self._place) * self._sign, 0) - 0.02
        return rewards, ended, ~ended & (self._moves >= self.LIMIT)

    def frame(self, place: int) -> Array:
        """The corridor from above: the player blue, the right end green."""
        picture = np.full((16, 16 * (2 * self.SIDE + 1), 3), 235, np.uint8)
        for at, colour in ((self.SIDE * self._sign[place], (60, 160, 80)), (self._place[place], (40, 90, 200))):
            left = 16 * (int(at) + self.SIDE)
            picture[3:13, left + 3 : left + 13] = colour
        return picture
