"""Board games for two: tic-tac-toe and Connect Four, many boards at once, as arrays.

A board is seen from the side of who moves: (2, height, width), own stones and the other's, the top row first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from matinee.media.worlds import Rules

Array = np.ndarray[Any, Any]
Opponent = Callable[[Array, Array], Array]
"""Boards (few, 2, height, width) from its side, seeds (few,) of its chance -> legal actions (few,)."""

OPENINGS = 4  # moves by lot, at most, before a game against itself begins
CELL = 24  # pixels of a drawn cell
PAPER, GRID, STONES = (238, 236, 230), (120, 120, 120), ((200, 60, 50), (235, 185, 40))

RULES: Mapping[str, Rules] = {
    "tic-tac-toe": Rules("tic-tac-toe", (2, 3, 3), 9, players=2, limit=9, board="cells",
                         actions=tuple(f"{row}{column}" for row in "abc" for column in "123")),
    "connect-four": Rules("connect-four", (2, 6, 7), 7, players=2, limit=42, board="columns",
                          actions=tuple(f"column {column}" for column in range(1, 8))),
}  # fmt: skip
_IN_A_ROW = {"tic-tac-toe": 3, "connect-four": 4}


def _lines(height: int, width: int, count: int) -> Array:
    """All rows, columns and diagonals of `count` cells: (lines, count) numbers of cells."""
    found = []
    for row in range(height):
        for column in range(width):
            for down, across in ((0, 1), (1, 0), (1, 1), (1, -1)):
                cells = [(row + step * down, column + step * across) for step in range(count)]
                if all(0 <= r < height and 0 <= c < width for r, c in cells):
                    found.append([r * width + c for r, c in cells])
    return np.array(found)


class Boards:
    """A game against itself: each move is for the side whose turn it is, and so are its reward and the next look.

    A seed decides up to four opening moves by lot, so that not all games are the same.
    """

    def __init__(self, name: str, count: int, openings: int = OPENINGS) -> None:
        self.rules, self.count, self._openings = RULES[name], count, openings
        _, self.height, self.width = self.rules.shape
        self._lines = _lines(self.height, self.width, _IN_A_ROW[name])
        self._drops = self.rules.board == "columns"
        # From the side of who moves: 1 own, -1 the other's.
        self.stones = np.zeros((count, self.height * self.width), np.int8)
        self.plies = np.zeros(count, np.int64)

    def begin(self, places: Array, seeds: Array) -> None:
        """An empty board, and the opening moves."""
        self.stones[places], self.plies[places] = 0, 0
        if not self._openings:
            return
        for place, seed in zip(places.tolist(), seeds.tolist(), strict=True):
            generator = np.random.default_rng(seed)
            for _ in range(int(generator.integers(0, self._openings + 1))):
                choice = int(generator.choice(np.flatnonzero(self.allowed(np.array([place]))[0])))
                before = self.stones[place].copy()
                if self.put(np.array([place]), np.array([choice]))[1][0]:
                    self.stones[place] = before
                    self.plies[place] -= 1
                    break

    def rest(self, places: Array) -> None:
        """Their boards are emptied, so that any move is allowed there."""
        self.stones[places] = 0

    def allowed(self, places: Array) -> Array:
        """Actions that the boards at these places allow, bool (few, choices)."""
        free: Array = self.stones[places] == 0
        return free[:, : self.width] if self._drops else free

    def look(self) -> Array:
        """(count, 2, height, width) float32."""
        both = np.stack((self.stones == 1, self.stones == -1), 1)
        return both.reshape(self.count, *self.rules.shape).astype(np.float32)

    def move(self, actions: Array) -> tuple[Array, Array, Array]:
        """One stone on every board."""
        rewards, ended = self.put(np.arange(self.count), actions)
        return rewards, ended, np.zeros(self.count, bool)

    def put(self, places: Array, actions: Array) -> tuple[Array, Array]:
        """A stone at each of these places: rewards and ends, for who moved. What is not allowed loses the game."""
        wrong = ~self.allowed(places)[np.arange(len(places)), actions]
        cells = actions
        if self._drops:
            free = (self.stones[places].reshape(-1, self.height, self.width) == 0).sum(1)
            row = np.maximum(0, free[np.arange(len(places)), actions] - 1)
            cells = row * self.width + actions
        stones = self.stones[places]
        stones[np.arange(len(places)), cells] = 1
        self.stones[places] = stones
        won = self.full_lines(places) & ~wrong
        self.stones[places] = -stones
        self.plies[places] += 1
        full = (stones != 0).all(1)
        return np.where(wrong, -1.0, won.astype(np.float64)), won | wrong | full

    def full_lines(self, places: Array | slice = slice(None)) -> Array:
        """Whether there is a whole line of own stones, bool (few,)."""
        found: Array = (self.stones[places][:, self._lines].sum(-1) == self._lines.shape[1]).any(1)
        return found

    def frame(self, place: int) -> Array:
        """The board from above; who began is red."""
        from PIL import Image, ImageDraw

        image = Image.new("RGB", (CELL * self.width, CELL * self.height), PAPER)
        draw = ImageDraw.Draw(image)
        turned = self.stones[place] * (1 if self.plies[place] % 2 == 0 else -1)
        for cell, stone in enumerate(turned.tolist()):
            top, left = CELL * (cell // self.width), CELL * (cell % self.width)
            draw.rectangle((left, top, left + CELL - 1, top + CELL - 1), outline=GRID)
            if stone:
                draw.ellipse((left + 4, top + 4, left + CELL - 5, top + CELL - 5), STONES[stone < 0])
        return np.asarray(image)


class Against:
    """A game against an opponent: what is looked at and rewarded is one side. Even seeds begin."""

    def __init__(self, name: str, opponents: Array) -> None:
        """opponents (count,): 0 moves by lot, more looks so many moves ahead."""
        self.count = len(opponents)
        self._boards, self._opponents = Boards(name, self.count, openings=0), opponents
        self.rules = RULES[name]
        self._seeds, self._resting = np.zeros(self.count, np.int64), np.ones(self.count, bool)

    def begin(self, places: Array, seeds: Array) -> None:
        """An empty board, or with the opponent's first stone."""
        self._boards.begin(places, seeds)
        self._seeds[places], self._resting[places] = seeds, False
        self._answer(places[seeds % 2 == 1])

    def rest(self, places: Array) -> None:
        """The boards stay as they are."""
        self._resting[places] = True

    def look(self) -> Array:
        """(count, 2, height, width) float32."""
        return self._boards.look()

    def move(self, actions: Array) -> tuple[Array, Array, Array]:
        """A stone and, where the game goes on, the opponent's."""
        rewards, ended = np.zeros(self.count), np.zeros(self.count, bool)
        places = np.flatnonzero(~self._resting)
        rewards[places], ended[places] = self._boards.put(places, actions[places])
        going = places[~ended[places]]
        theirs, over = self._answer(going)
        rewards[going], ended[going] = 0.0 - theirs, over  # a draw is 0, not -0
        return rewards, ended, np.zeros(self.count, bool)

    def _answer(self, places: Array) -> tuple[Array, Array]:
        from matinee.media.minimax import looking_ahead

        actions = np.zeros(len(places), np.int64)
        seen, depths = self._boards.look()[places], self._opponents[places]
        chance = self._seeds[places] * 64 + self._boards.plies[places]
        for depth in np.unique(depths).tolist():
            chosen = depths == depth
            scores = looking_ahead(self.rules.game, seen[chosen], int(depth))
            actions[chosen] = _among_best(scores, chance[chosen])
        return self._boards.put(places, actions)

    def frame(self, place: int) -> Array:
        """The board from above; who began is red."""
        return self._boards.frame(place)


def wrong_with(seen: Array, rules: Rules) -> str:
    """Why nobody can be to move in such a position (2, height, width), in words; "" where somebody can."""
    own, other = seen.astype(bool)
    if not np.isin(seen, (0, 1)).all() or (own & other).any():
        return "a cell has no stone (0) or one (1), and not one of both sides"
    if other.sum() - own.sum() not in (0, 1):
        return "who moves has as many stones as the other, or one less"
    taken = own | other
    if rules.board == "columns" and (taken[:-1] & ~taken[1:]).any():
        return "a stone lies on others, or on the ground, which is the last row"
    world = Boards(rules.game, 2, openings=0)
    world.stones[:] = np.stack((other, own)).reshape(2, -1).astype(np.int8)
    if world.full_lines().any() or taken.all():
        return "the game is over"
    return ""


def _among_best(scores: Array, seeds: Array) -> Array:
    """One of the best actions of each row by lot; seeds (few,)."""
    chosen = np.zeros(len(scores), np.int64)
    for row, seed in enumerate(seeds.tolist()):
        chosen[row] = np.random.default_rng(seed).choice(np.flatnonzero(scores[row] == scores[row].max()))
    return chosen
