"""From a stretch of play to what is learned from it: values, advantages, returns and the scale of rewards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from matinee.nets.players import Player
from matinee.nets.proximal import advantages, log_probability

Array = np.ndarray[Any, Any]

CHUNK = 2048  # observations that go through the network at once
CAP = 10.0  # rewards beyond so many deviations are cut off


def learned(
    network: Player, stretch: Mapping[str, Array], discount: tuple[float, float], turn: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """Observations (moves * count, ...), and "action", "log_probability", "advantage", "return" of each.

    stretch: "observations", "actions", "rewards", "ended", "over" (moves, count, ...), "last", "broken", "unfinished".
    Takes the observations and rewards into account in the network's statistics first, so that the chances and values
    found here are those from which learning starts.
    """
    device = network.normalise.mean.device
    moves, count = stretch["rewards"].shape
    flat = torch.from_numpy(stretch["observations"]).flatten(0, 1).to(device)
    network.normalise.learn(flat)
    rewards = stretch["rewards"] if turn < 0 else _scaled(network, stretch["rewards"], stretch["over"], discount[0])
    outputs = through(network, flat)
    values = outputs[:, -1].double().cpu().numpy().reshape(moves, count)
    last = through(network, torch.from_numpy(stretch["last"]).to(device))[:, -1].double().cpu().numpy()
    following = np.concatenate((values[1:], last[None]))
    following[stretch["ended"]] = 0.0
    if len(stretch["broken"]):
        cut = through(network, torch.from_numpy(stretch["unfinished"]).to(device))[:, -1].double().cpu().numpy()
        following[stretch["broken"][:, 0], stretch["broken"][:, 1]] = cut
    found = advantages(rewards, values, following, stretch["over"], discount, turn)
    actions = torch.from_numpy(stretch["actions"]).flatten(0, 1).to(device)
    logs, _ = log_probability(outputs, actions, network.shape.choices)
    told = (found - found.mean()) / (found.std() + 1e-8)
    return flat, {
        "action": actions,
        "log_probability": logs,
        "advantage": torch.from_numpy(told.reshape(-1)).float().to(device),
        "return": torch.from_numpy((found + values).reshape(-1)).float().to(device),
    }


def through(network: nn.Module, observations: Tensor) -> Tensor:
    """The network's outputs, some observations at a time."""
    return torch.cat([network(observations[first : first + CHUNK]) for first in range(0, len(observations), CHUNK)])


def _scaled(network: Player, rewards: Array, over: Array, gamma: float) -> Array:
    """Rewards over the deviation of discounted returns so far (Engstrom et al., 2020, arXiv 2005.12729)."""
    memory = network.memory
    running, seen = memory.returns.cpu().numpy().copy(), np.empty_like(rewards)
    for move in range(len(rewards)):
        running = running * gamma + rewards[move]
        seen[move] = running
        running = np.where(over[move], 0.0, running)
    before, mean, variance = memory.moments.tolist()
    share, gap = seen.size / (before + seen.size), seen.mean() - mean
    variance = (1 - share) * variance + share * seen.var() + share * (1 - share) * gap**2
    memory.returns.copy_(torch.from_numpy(running))
    memory.moments.copy_(torch.tensor([before + seen.size, mean + share * gap, variance], dtype=torch.float64))
    scaled: Array = (rewards / np.sqrt(variance + 1e-8)).clip(-CAP, CAP)
    return scaled
