"""CartPole-v1, many at once: the same arithmetic as Gymnasium's, to the last bit, as arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from matinee.media.worlds import Rules

Array = np.ndarray[Any, Any]

GRAVITY, CART, POLE, HALF = 9.8, 1.0, 0.1, 0.5  # m/s2, kg, kg, m
FORCE, SECONDS = 10.0, 0.02
FAR, TILT = 2.4, 12 * 2 * math.pi / 360  # m, radians


class CartPole:
    """A pole on a cart that is pushed to the left or right (Barto, Sutton and Anderson, 1983)."""

    def __init__(self, rules: Rules, count: int) -> None:
        self.rules, self.count = rules, count
        self._state, self._moves = np.zeros((4, count)), np.zeros(count, np.int64)

    def begin(self, places: Array, seeds: Array) -> None:
        """A state near rest, by lot."""
        for place, seed in zip(places.tolist(), seeds.tolist(), strict=True):
            self._state[:, place] = np.random.default_rng(seed).uniform(-0.05, 0.05, 4)
        self._moves[places] = 0

    def rest(self, places: Array) -> None:
        """They stand still, which is quick to move on from."""
        self._state[:, places] = 0.0

    def look(self) -> Array:
        """(count, 4) float32: place, speed, angle, angular speed."""
        return np.ascontiguousarray(self._state.T, np.float32)

    def move(self, actions: Array) -> tuple[Array, Array, Array]:
        """One push of 0.02 s on each."""
        place, speed, angle, turning = self._state
        force = np.where(actions == 1, FORCE, -FORCE)
        cosine, sine = np.cos(angle), np.sin(angle)
        pushed = (force + POLE * HALF * np.square(turning) * sine) / (POLE + CART)
        bent = (GRAVITY * sine - cosine * pushed) / (HALF * (4.0 / 3.0 - POLE * np.square(cosine) / (POLE + CART)))
        sped = pushed - POLE * HALF * bent * cosine / (POLE + CART)
        self._state = np.stack(
            (place + SECONDS * speed, speed + SECONDS * sped, angle + SECONDS * turning, turning + SECONDS * bent)
        )
        self._moves += 1
        ended = (np.abs(self._state[0]) > FAR) | (np.abs(self._state[2]) > TILT)
        return np.ones(self.count), ended, ~ended & (self._moves >= self.rules.limit)

    def frame(self, place: int) -> Array:
        """Nothing: Gymnasium draws it better."""
        return np.full((60, 80, 3), 200, np.uint8)
