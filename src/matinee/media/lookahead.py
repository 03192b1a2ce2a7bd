"""Board games: what a network says of positions some moves ahead decides about the next move."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from matinee.media.boards import Boards
from matinee.media.minimax import decided

if TYPE_CHECKING:
    from torch import Tensor, nn

Array = np.ndarray[Any, Any]
Worth = Callable[[Array], Array]
"""Boards (few, 2, height, width) -> what they are worth to who moves, from -1 to 1, (few,)."""

SURE = 10.0  # logits for a whole win: what is seen ahead outweighs what the policy likes
AT_ONCE = 4096  # boards that go through the network together
PATIENCE = 0.99  # of what comes a move later: quick wins are better than slow ones


def searched(game: str, seen: Array, depth: int, farther: int, worth: Worth) -> Array:
    """What each action is worth to who moves (few, choices), from -1 to 1; -2 where it is not allowed.

    All lines of `depth` moves are followed, and each player takes the best; seen: (few, 2, height, width). In so many
    moves `farther`, wins and losses that can be forced are looked for without asking the network.
    """
    boards = Boards(game, 1, openings=0)
    choices, count = boards.rules.choices, len(seen)
    boards.count = count * choices
    stones = (seen[:, 0] - seen[:, 1]).reshape(count, -1).astype(np.int8)
    boards.stones, boards.plies = np.repeat(stones, choices, 0), np.zeros(count * choices, np.int64)
    actions, places = np.tile(np.arange(choices), count), np.arange(count * choices)
    allowed = boards.allowed(places)[places, actions]
    scores, ended = boards.put(places, actions)
    going = np.flatnonzero(allowed & ~ended)
    if len(going):
        after = boards.look()[going]
        if depth > 1:
            theirs = searched(game, after, depth - 1, farther, worth).max(1)
        else:
            sure = decided(game, after, farther)
            theirs = np.where(sure == 0, worth(after).clip(-1, 1), sure)
        scores[going] = -PATIENCE * theirs
    scores[~allowed] = -2.0
    return scores.reshape(count, choices)


def looked_ahead(game: str, network: nn.Module, boards: Tensor, depth: int, farther: int) -> Tensor:
    """The network's outputs for boards (few, 2, height, width), the logits and the value corrected by a search."""
    import torch

    def worth(positions: Array) -> Array:
        parts = torch.split(torch.from_numpy(positions).to(boards.device), AT_ONCE)
        found: Array = torch.cat([network(part)[:, -1] for part in parts]).cpu().numpy()
        return found

    outputs: Tensor = network(boards)
    with torch.no_grad():
        scores = torch.from_numpy(searched(game, boards.cpu().numpy(), depth, farther, worth))
    scores = scores.to(outputs.device, outputs.dtype)
    logits = outputs[:, :-1].log_softmax(-1).clamp(min=-1e4) + SURE * scores
    return torch.cat((logits, scores.max(-1, keepdim=True).values), -1)
