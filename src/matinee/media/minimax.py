"""Opponents that look ahead: every line of play to a depth, for many boards at once.

Connect Four is played on bits, seven to a column, the lowest row first and a free bit on top (Tromp, 1995): a board is
two whole numbers, and four in a row are found by shifting. At the last depth a board is worth the difference of open
threats, cells where one stone would win, and of stones in the middle.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

WIN = 10_000  # less a little for each move that it takes
NEVER = -10 * WIN  # of a move that is not allowed
COLUMNS, ROWS = 7, 6
_BIT = np.uint64(1)
_BOTTOM = np.array([1 << (7 * column) for column in range(COLUMNS)], np.uint64)
_TOP = np.array([1 << (7 * column + ROWS - 1) for column in range(COLUMNS)], np.uint64)
_COLUMN = np.array([((1 << ROWS) - 1) << (7 * column) for column in range(COLUMNS)], np.uint64)
_ALL = np.bitwise_or.reduce(_COLUMN)
_SHIFTS = tuple(np.uint64(shift) for shift in (7, 6, 8))
MOST = 20_000  # boards that are expanded at once


def looking_ahead(game: str, boards: Array, depth: int) -> Array:
    """What each action is worth to who moves, (few, choices); actions that are not allowed are NEVER.

    boards: (few, 2, height, width), own stones and the other's. depth: moves that are looked at; 0 finds all moves
    equally good. Tic-tac-toe is looked at to its end.
    """
    if not len(boards):
        return np.zeros((0, 9 if game == "tic-tac-toe" else COLUMNS))
    if game == "tic-tac-toe":
        scores = np.array([_cells(_text(board)) for board in boards], np.float64)
        return np.where(scores <= NEVER, NEVER, scores if depth else 0.0)
    own, other = packed(boards)
    if not depth:
        level: Array = np.where((own | other)[:, None] & _TOP, float(NEVER), 0.0)
        return level
    return _actions(own, other, depth)


def decided(game: str, boards: Array, depth: int) -> Array:
    """1 where who moves can force a win within so many moves, -1 where the other can, else 0; (few,)."""
    if game == "tic-tac-toe" or not depth or not len(boards):
        return np.zeros(len(boards))
    worth = _worth(*packed(boards), depth)
    found: Array = np.where(np.abs(worth) >= WIN, np.sign(worth), 0.0)
    return found


def packed(boards: Array) -> tuple[Array, Array]:
    """(few, 2, 6, 7) stones -> two uint64 (few,)."""
    weights = np.array([[1 << (7 * column + ROWS - 1 - row) for column in range(COLUMNS)] for row in range(ROWS)])
    sums = (boards.astype(np.uint64) * weights.astype(np.uint64)).sum((2, 3), dtype=np.uint64)
    return sums[:, 0], sums[:, 1]


def four(stones: Array) -> Array:
    """Whether there are four in a row."""
    found = np.zeros(stones.shape, bool)
    for shift in (_BIT, *_SHIFTS):
        pairs = stones & (stones >> shift)
        found |= (pairs & (pairs >> (shift + shift))) != 0
    return found


def children(own: Array, other: Array) -> tuple[Array, Array]:
    """Own stones after each of the seven moves (few, 7), and which of them are allowed."""
    taken = own | other
    landed = (taken[:, None] + _BOTTOM) & _COLUMN
    return own[:, None] | (landed & ~taken[:, None]), (taken[:, None] & _TOP) == 0


def _actions(own: Array, other: Array, depth: int) -> Array:
    after, allowed = children(own, other)
    scores = np.where(allowed, 0.0, float(NEVER))
    won = allowed & four(after)
    scores[won] = WIN + depth
    open_ = allowed & ~won
    if open_.any():
        rows = np.nonzero(open_)[0]
        scores[open_] = -_worth(other[rows], after[open_], depth - 1)
    return scores


def _worth(own: Array, other: Array, depth: int) -> Array:
    """What boards are worth to who moves."""
    if not depth:
        return _guess(own, other)
    if len(own) > MOST:
        parts = range(0, len(own), MOST)
        return np.concatenate([_worth(own[i : i + MOST], other[i : i + MOST], depth) for i in parts])
    full = (own | other) == _ALL
    best: Array = np.where(full, 0.0, _actions(own, other, depth).max(1))
    return best


def _guess(own: Array, other: Array) -> Array:
    empty = _ALL & ~(own | other)
    threats = _count(_threats(own) & empty) - _count(_threats(other) & empty)
    middle = _count(own & _COLUMN[3]) - _count(other & _COLUMN[3])
    guess: Array = 5.0 * threats + middle
    return guess


def _threats(stones: Array) -> Array:
    """Cells, taken or not, that would make four in a row (Pons, 2015)."""
    found = (stones << np.uint64(1)) & (stones << np.uint64(2)) & (stones << np.uint64(3))
    for shift in _SHIFTS:
        twice = shift + shift
        pair = (stones << shift) & (stones << twice)
        found |= pair & (stones << (twice + shift))
        found |= pair & (stones >> shift)
        pair = (stones >> shift) & (stones >> twice)
        found |= pair & (stones << shift)
        found |= pair & (stones >> (twice + shift))
    kept: Array = found & _ALL
    return kept


def _count(bits: Array) -> Array:
    """How many bits are set."""
    counted: Array = np.unpackbits(np.ascontiguousarray(bits).view(np.uint8).reshape(-1, 8), axis=1).sum(1)
    return counted.astype(np.int64)


def _text(board: Array) -> str:
    own, other = board.reshape(2, 9) > 0.5
    return "".join("x" if a else "o" if b else "." for a, b in zip(own, other, strict=True))


_ROWS_OF_THREE = ((0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6))


@functools.cache
def _cells(board: str) -> tuple[int, ...]:
    """Tic-tac-toe to its end; x moves."""
    scores = []
    for cell in range(9):
        if board[cell] != ".":
            scores.append(NEVER)
            continue
        after = board[:cell] + "x" + board[cell + 1 :]
        if any(all(after[i] == "x" for i in line) for line in _ROWS_OF_THREE):
            scores.append(WIN + after.count("."))
        elif "." not in after:
            scores.append(0)
        else:
            theirs = _cells(after.translate(str.maketrans("xo", "ox")))
            scores.append(-max(theirs))
    return tuple(scores)
