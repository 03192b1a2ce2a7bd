"""Atari's games from their pixels, by the vector environment of ale-py: four grey pictures, every fourth frame."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from matinee.core.errors import DataError
from matinee.media.worlds import Rules

Array = np.ndarray[Any, Any]

FRAMES = 108_000  # of the longest game: half an hour (Machado et al., 2018, arXiv 1709.06009)
SKIP = 4  # frames that an action lasts


def rules_of_atari(name: str, specification: Any) -> Rules:
    """Of a game registered by ale-py. Raises DataError for variants that are not played from pixels."""
    if specification.kwargs.get("obs_type", "rgb") == "ram":
        raise DataError(f"{name}: games are played from their pixels here, not from their memory.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        world = Atari(Rules(name, (4, 84, 84), 2, pixels=True), specification, 1)
    actions = tuple(action.name.lower() for action in world.vector.ale.get_action_set())
    limit = min(specification.max_episode_steps or FRAMES, FRAMES) // SKIP
    return Rules(name, (4, 84, 84), len(actions), actions=actions, limit=limit, pixels=True)


class Atari:
    """Emulators side by side on threads. Chance (sticky actions, idle moves at the start) comes from the seeds."""

    def __init__(self, rules: Rules, specification: Any, count: int) -> None:
        from ale_py.vector_env import AtariVectorEnv
        from gymnasium.vector import AutoresetMode

        self.rules, self.count = rules, count
        told = specification.kwargs
        self.vector = AtariVectorEnv(
            told["game"], count, repeat_action_probability=float(told.get("repeat_action_probability", 0.0)),
            full_action_space=bool(told.get("full_action_space", False)), reward_clipping=False,
            max_num_frames_per_episode=FRAMES, autoreset_mode=AutoresetMode.NEXT_STEP,
        )  # fmt: skip
        self._seen, _ = self.vector.reset(seed=np.arange(count))
        self._moves, self._resting = np.zeros(count, np.int64), np.ones(count, bool)

    def begin(self, places: Array, seeds: Array) -> None:
        """Reset with the seeds."""
        mask = np.zeros(self.count, bool)
        mask[places] = True
        # The vector environment takes the seeds in the order of the places.
        self._seen, _ = self.vector.reset(seed=seeds[np.argsort(places)].astype(np.int64), options={"reset_mask": mask})
        self._moves[places], self._resting[places] = 0, False

    def rest(self, places: Array) -> None:
        """Nobody plays them; where they end, the emulator begins anew by itself."""
        self._resting[places] = True

    def look(self) -> Array:
        """(count, 4, 84, 84)."""
        seen: Array = self._seen
        return seen

    def move(self, actions: Array) -> tuple[Array, Array, Array]:
        """Four frames of each."""
        self._seen, rewards, ended, broken, _ = self.vector.step(np.where(self._resting, 0, actions))
        self._moves += 1
        return np.asarray(rewards, np.float64), ended, ~ended & (broken | (self._moves >= self.rules.limit))

    def frame(self, place: int) -> Array:
        """The last picture, twice as large."""
        return np.repeat(np.repeat(self._seen[place, -1], 2, 0), 2, 1)[:, :, None].repeat(3, 2)
