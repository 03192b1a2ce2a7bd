"""Proximal policy optimisation (Schulman et al., 2017, arXiv 1707.06347): its numbers, as plain functions.

A player's outputs are one tensor: for n choices (batch, n + 1), logits and the value; for an action of n numbers
(batch, 2 n + 1), their means, the logarithms of their deviations, and the value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Array = np.ndarray[Any, Any]

FORBIDDEN = -1e4  # the logit of a move that the board does not allow


def drawn(policy: Array, noise: Array, choices: int) -> Array:
    """Actions by lot: numbers of choices (count,), or vectors (count, n).

    policy: (count, n) logits, or (count, 2 n) means and log-deviations. noise: for choices (count,), uniform from 0 up
    to 1; for vectors (count, n), normal.
    """
    if not choices:
        half = policy.shape[1] // 2
        vectors: Array = (policy[:, :half] + np.exp(policy[:, half:]) * noise).astype(np.float32)
        return vectors
    shares = np.exp(policy - policy.max(1, keepdims=True))
    sums = shares.cumsum(1)
    # Shares of zero (moves that are not allowed) are never taken: the comparison is strict on their side.
    chosen: Array = (sums <= noise[:, None] * sums[:, -1:]).sum(1).clip(max=choices - 1)
    return chosen


def ladder(count: int) -> Array:
    """How often each of some games side by side is played by lot: 40 % down to under 0.1 %, (count,).

    A share for each place (Horgan et al., 2018, arXiv 1803.00933) needs no schedule and no end that is known.
    """
    shares: Array = 0.4 ** (1 + 7 * np.arange(count) / max(1, count - 1))
    return shares


def explored(worth: Array, noise: Array, shares: Array) -> Array:
    """The actions that are worth most, or in so large a share of cases (count,) one by lot of those allowed.

    worth: (count, n). noise: (count,), uniform from 0 up to 1.
    """
    allowed = worth > FORBIDDEN
    which = np.floor(noise / shares * allowed.sum(1))
    lot = (allowed.cumsum(1) <= which[:, None]).sum(1)
    found: Array = np.where(noise < shares, lot, worth.argmax(1))
    return found


def best(policy: Array, choices: int) -> Array:
    """The likeliest actions."""
    return policy.argmax(1) if choices else policy[:, : policy.shape[1] // 2].astype(np.float32)


def log_probability(
    outputs: Tensor, actions: Tensor, choices: int, entropic: bool = True
) -> tuple[Tensor, Tensor | None]:
    """Of the actions that were played, (batch,), and the entropy of all, (batch,), where it is asked for."""
    import math

    if choices:
        logs = outputs[:, :choices].log_softmax(-1)
        # Moves that are not allowed have a share of 0 and a logarithm far below: their product must stay a number.
        entropy = -(logs.exp() * logs.clamp(min=-50.0)).sum(-1) if entropic else None
        return logs.gather(-1, actions[:, None])[:, 0], entropy
    size = (outputs.shape[1] - 1) // 2
    mean, log_deviation = outputs[:, :size], outputs[:, size : 2 * size]
    half = 0.5 * math.log(2 * math.pi)
    each = -0.5 * ((actions - mean) / log_deviation.exp()).square() - log_deviation - half
    return each.sum(-1), (log_deviation + 0.5 + half).sum(-1)


def advantages(
    rewards: Array, values: Array, following: Array, over: Array, discount: tuple[float, float], turn: float = 1.0
) -> Array:
    """Generalised advantage estimation (Schulman et al., 2015, arXiv 1506.02438), all (moves, count).

    following: the value of what came after each move, 0 where the game had ended. over: whether a game ended or was
    broken off there. discount: of what comes a move later, and of later estimates. turn: -1 where two players move in
    turn, since what follows is then worth to one the opposite of what it is worth to the other.
    """
    gamma, decay = discount
    errors = rewards + gamma * turn * following - values
    carried = gamma * decay * turn * ~over
    found, running = np.empty_like(errors), np.zeros(errors.shape[1])
    for move in range(len(errors) - 1, -1, -1):
        running = errors[move] + carried[move] * running
        found[move] = running
    return found


def loss(outputs: Tensor, targets: Mapping[str, Tensor], choices: int, clip: float, entropy_share: float) -> Tensor:
    """The clipped objective, a quarter of the squared error of the value, and a little reward for chance; a mean.

    targets: "action", "log_probability" of it when it was played, "advantage", "return" (batch,).
    """
    outputs = outputs.float()
    logs, entropy = log_probability(outputs, targets["action"], choices, entropy_share > 0)
    ratio, advantage = (logs - targets["log_probability"]).exp(), targets["advantage"]
    gained = (ratio * advantage).minimum(ratio.clamp(1 - clip, 1 + clip) * advantage)
    whole: Tensor = 0.25 * (outputs[:, -1] - targets["return"]).square().mean() - gained.mean()
    return whole if entropy is None else whole - entropy_share * entropy.mean()


def loss_of_values(outputs: Tensor, targets: Mapping[str, Tensor], choices: int) -> Tensor:
    """Half the squared error of what the actions that were played are worth; a mean.

    Q(lambda) without a memory of old moves (Gallici et al., 2024, arXiv 2407.04811). targets: "action", "return".
    """
    played = outputs[:, :choices].float().gather(-1, targets["action"][:, None])[:, 0]
    whole: Tensor = 0.5 * (played - targets["return"]).square().mean()
    return whole


def loss_of_search(outputs: Tensor, targets: Mapping[str, Tensor], choices: int) -> Tensor:
    """How far the policy is from what a search found better, and half the squared error of the value; a mean.

    Expert iteration (Anthony et al., 2017, arXiv 1705.08439; Silver et al., 2018, Science 362:1140). targets: "wish",
    the search's chances (batch, choices), and "return" (batch,).
    """
    outputs = outputs.float()
    logs = outputs[:, :choices].log_softmax(-1).clamp(min=-50.0)
    errors = (outputs[:, -1] - targets["return"]).square()
    whole: Tensor = (0.5 * errors - (targets["wish"] * logs).sum(-1)).mean()
    return whole
