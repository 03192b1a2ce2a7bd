"""How to learn a game, by its kind: few kinds, and the same settings for all games of one."""

from __future__ import annotations

from dataclasses import dataclass, replace

from matinee.core.errors import SettingsError

HEAVIEST = 16  # GB of observations in a pass


@dataclass(frozen=True)
class Recipe:
    """environments: games side by side. moves: of each in a pass. reuse: times that a pass is learned from.
    games, trials: those that are scored in the end, and those that select the model. clip: of the gradient.
    """

    network: str
    method: str
    environments: int
    moves: int
    reuse: int
    trace: float
    entropy: float
    epochs: int
    batch_size: int
    learning_rate: float
    clip: float
    games: int
    trials: int


VECTOR = Recipe("mlp", "ppo", 16, 128, 10, 0.95, 0.0, 150, 256, 1e-3, 0.5, 100, 32)
PIXELS = Recipe("cnn", "ppo", 16, 128, 3, 0.95, 0.01, 2000, 256, 2.5e-4, 0.5, 20, 8)
BOARD = Recipe("board", "search", 64, 32, 3, 0.95, 0.0, 200, 256, 1e-3, 0.5, 100, 16)


def recipe_of(pixels: bool, players: int, method: str = "auto") -> Recipe:
    """For games seen as pictures, games for two, and all others; by the method that was asked for."""
    kind = PIXELS if pixels else BOARD if players > 1 else VECTOR
    if method == "pqn":
        reuse = 2 if pixels else 4
        return replace(kind, method=method, reuse=reuse, trace=0.65, batch_size=128, learning_rate=5e-4, clip=10.0)
    return kind


def within_memory(environments: int, moves: int, size: int) -> None:
    """Raises SettingsError where a pass of so many moves, each with an observation of `size` bytes, is too large."""
    heavy = environments * moves * size / 2**30
    if heavy > HEAVIEST:
        raise SettingsError(
            f"--environments {environments} --moves {moves}: a pass of so many moves would fill {heavy:,.0f} GB. Make "
            "one of them smaller."
        )
