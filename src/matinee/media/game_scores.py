"""Scores of whole games: what they brought, how long they took, how many were won; and films of two of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from matinee.core.errors import MatineeError
from matinee.core.meter import Meter, Rows
from matinee.core.pieces import Bars, Film, Piece, Table, Text

if TYPE_CHECKING:
    import torch

    from matinee.core.task import Batch

Array = np.ndarray[Any, Any]
Shown = Callable[[int, int, Array], tuple[Sequence[Array], float]]
"""Seed, opponent and actions of a game -> its pictures, and what it brought."""

GROUPS = 12  # bars of the picture of returns


class GameMeter(Meter):
    """For targets with "return", "length", "seed", "opponent" (batch,) and "actions" (batch, moves, ...) of games.

    Alone (players 1) the mean return comes first, then the share of games that reached the threshold; against an
    opponent, what a game brought (1 won, 0 drawn, -1 lost) and the shares of these.
    """

    proportions: ClassVar[frozenset[str]] = frozenset({"solved", "wins", "draws", "losses"})
    lower_is_better: ClassVar[frozenset[str]] = frozenset({"losses"})
    plain: ClassVar[frozenset[str]] = frozenset({"return", "length"})
    meanings: ClassVar[Mapping[str, str]] = {
        "return": "what a game brought, on average",
        "solved": "share of the games that brought what counts as solved",
        "length": "moves of a game, on average",
        "wins": "share of the games that were won",
        "draws": "share of the games that nobody won",
        "losses": "share of the games that were lost",
    }

    def __init__(self, players: int, threshold: Sequence[float], shown: Shown) -> None:
        super().__init__()
        self._players, self._threshold, self._shown = players, tuple(threshold), shown
        self._kept_games: dict[str, tuple[float, int, int, Array]] = {}

    def collect(self, outputs: Any, batch: Batch) -> dict[str, torch.Tensor]:
        """What the game brought and its length."""
        return {"return": batch.targets["return"], "length": batch.targets["length"]}

    def update(self, outputs: Any, batch: Batch) -> None:
        """The rows, and how the best and the worst game so far was played."""
        super().update(outputs, batch)
        if "actions" not in batch.targets or not len(batch):
            return
        told = {name: value.cpu().numpy() for name, value in batch.targets.items()}
        for title, place in (("best", told["return"].argmax()), ("worst", told["return"].argmin())):
            value, known = float(told["return"][place]), self._kept_games.get(title)
            if known is None or (value > known[0] if title == "best" else value < known[0]):
                actions = told["actions"][place, : int(told["length"][place])]
                self._kept_games[title] = value, int(told["seed"][place]), int(told["opponent"][place]), actions

    def score(self, rows: Rows) -> dict[str, float]:
        """Means over games."""
        returns, lengths = rows["return"].astype(np.float64), rows["length"].astype(np.float64)
        if not len(returns):
            return dict.fromkeys(self.names_of_scores(), float("nan"))
        scores = {"return": float(returns.mean())}
        if self._players > 1:
            scores |= {"wins": float((returns > 0).mean()), "draws": float((returns == 0).mean())}
            scores["losses"] = float((returns < 0).mean())
        elif self._threshold:
            scores["solved"] = float((returns >= self._threshold[0]).mean())
        return {**scores, "length": float(lengths.mean())}

    def names_of_scores(self) -> Sequence[str]:
        """The return first."""
        if self._players > 1:
            return ("return", "wins", "draws", "losses", "length")
        return ("return", *(("solved",) if self._threshold else ()), "length")

    def detail(self, rows: Rows) -> dict[str, Any]:
        """How returns are spread."""
        if not len(rows["return"]):
            return {}
        marks = np.percentile(rows["return"], [0, 25, 50, 75, 100])
        names = ("least", "quarter", "median", "three_quarters", "most")
        return {
            "returns": {**dict(zip(names, map(float, marks), strict=True)), "deviation": rows["return"].std().item()}
        }

    def pieces(self, rows: Rows) -> Sequence[Piece]:
        """How returns are spread, and films of the best and the worst game."""
        found: list[Piece] = []
        told = self.detail(rows).get("returns")
        if told:
            titles = [name.replace("_", " ") for name in told]
            found.append(Table(titles, [[round(value, 3) for value in told.values()]], "What a game brought."))
            found.append(_spread(rows["return"]))
        games = self._kept_games
        if len({game[1] for game in games.values()}) == 1:  # all brought the same
            games = {"first": next(iter(games.values()))}
        return [*found, *(self._film(title, *game) for title, game in games.items())]

    def _film(self, title: str, value: float, seed: int, opponent: int, actions: Array) -> Piece:
        try:
            frames, brought = self._shown(seed, opponent, actions)
        except MatineeError as error:
            return Text(f"The {title} game cannot be shown: {error}", "warning")
        if not math.isclose(brought, value, rel_tol=1e-6, abs_tol=1e-6):
            return Text(
                f"The {title} game ({value:g}) cannot be shown: played again from its seed {seed}, the same moves "
                f"brought {brought:g}. The chance of this game does not come from its seed alone.",
                "warning",
            )
        return Film(list(frames), f"The {title} game: {value:g} in {len(actions):,} moves (seed {seed}).")


def _spread(returns: Array) -> Bars:
    """Shares of games by what they brought."""
    values = np.unique(returns)
    if len(values) <= GROUPS:
        shares = [float((returns == value).mean()) for value in values]
        return Bars([f"{value:g}" for value in values], shares, caption="Share of games by return.", percent=True)
    counts, edges = np.histogram(returns, GROUPS)
    names = [f"{low:.4g} to {high:.4g}" for low, high in itertools.pairwise(edges)]
    return Bars(names, (counts / len(returns)).tolist(), caption="Share of games by return.", percent=True)
