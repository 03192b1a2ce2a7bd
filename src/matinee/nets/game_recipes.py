"""How to learn a game, by its kind: few kinds, and the same settings for all games of one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """environments: games side by side. moves: of each in a pass. reuse: times that a pass is learned from.
    games, trials: those that are scored in the end, and those that select the model.
    """

    network: str
    method: str
    environments: int
    moves: int
    reuse: int
    entropy: float
    epochs: int
    batch_size: int
    learning_rate: float
    games: int
    trials: int


VECTOR = Recipe("mlp", "ppo", 16, 128, 10, 0.0, 150, 256, 1e-3, 100, 32)
PIXELS = Recipe("cnn", "ppo", 16, 128, 3, 0.01, 2000, 256, 2.5e-4, 20, 8)
BOARD = Recipe("board", "search", 64, 32, 3, 0.0, 200, 256, 1e-3, 100, 16)


def recipe_of(pixels: bool, players: int) -> Recipe:
    """For games seen as pictures, games for two, and all others."""
    return PIXELS if pixels else BOARD if players > 1 else VECTOR
