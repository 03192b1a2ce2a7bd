"""Acrobot-v1, many at once: the same arithmetic as Gymnasium's, as arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from matinee.media.worlds import Rules

Array = np.ndarray[Any, Any]

SECONDS, GRAVITY = 0.2, 9.8
FASTEST = np.array([[4 * math.pi], [9 * math.pi]])  # radians a second, of the first and the second joint


class Acrobot:
    """Two links that are swung up by the joint between them (Sutton, 1996). Masses, lengths and inertias are 1."""

    def __init__(self, rules: Rules, count: int) -> None:
        self.rules, self.count = rules, count
        self._state, self._moves = np.zeros((4, count)), np.zeros(count, np.int64)
        self._seen = np.zeros((count, 6), np.float32)

    def begin(self, places: Array, seeds: Array) -> None:
        """Hanging nearly still, by lot."""
        for place, seed in zip(places.tolist(), seeds.tolist(), strict=True):
            start = np.random.default_rng(seed).uniform(-0.1, 0.1, 4).astype(np.float32)
            self._state[:, place] = start
            # Of the first state alone, Gymnasium takes the cosines in single precision.
            self._seen[place] = _seen(start[:, None])[0]
        self._moves[places] = 0

    def rest(self, places: Array) -> None:
        """They hang still."""
        self._state[:, places] = 0.0

    def look(self) -> Array:
        """(count, 6) float32: cosine and sine of both angles, and their speeds."""
        return self._seen

    def move(self, actions: Array) -> tuple[Array, Array, Array]:
        """0.2 s with a torque of -1, 0 or 1 on each: one step of Runge and Kutta."""
        torque, start, half = actions - 1.0, self._state, SECONDS / 2.0
        first = _slope(start, torque)
        second = _slope(start + half * first, torque)
        third = _slope(start + half * second, torque)
        fourth = _slope(start + SECONDS * third, torque)
        state = start + SECONDS / 6.0 * (first + 2 * second + 2 * third + fourth)
        angles = state[:2]
        while (over := angles > math.pi).any():
            angles = np.where(over, angles - 2 * math.pi, angles)
        while (under := angles < -math.pi).any():
            angles = np.where(under, angles + 2 * math.pi, angles)
        self._state = np.concatenate((angles, state[2:].clip(-FASTEST, FASTEST)))
        self._seen = _seen(self._state)
        self._moves += 1
        ended = -np.cos(angles[0]) - np.cos(angles[1] + angles[0]) > 1.0
        return np.where(ended, 0.0, -1.0), ended, ~ended & (self._moves >= self.rules.limit)

    def frame(self, place: int) -> Array:
        """Nothing: Gymnasium draws it better."""
        return np.full((60, 80, 3), 200, np.uint8)


def _seen(state: Array) -> Array:
    cosines, sines = np.cos(state[:2]), np.sin(state[:2])
    both = np.stack((cosines[0], sines[0], cosines[1], sines[1], state[2], state[3]), 1)
    return both.astype(np.float32)


def _slope(state: Array, torque: Array) -> Array:
    """What changes in a second, as the book has it (Sutton and Barto, 1998)."""
    first, second, speed, other = state
    cosine, sine = np.cos(second), np.sin(second)
    d1 = 0.25 + (1.25 + 2 * 0.5 * cosine) + 1.0 + 1.0
    d2 = (0.25 + 0.5 * cosine) + 1.0
    phi2 = 0.5 * GRAVITY * np.cos(first + second - math.pi / 2.0)
    phi1 = (
        -0.5 * _squared(other) * sine
        - 2 * 0.5 * other * speed * sine
        + (0.5 + 1.0) * GRAVITY * np.cos(first - math.pi / 2)
        + phi2
    )
    bent = (torque + d2 / d1 * phi1 - 0.5 * _squared(speed) * sine - phi2) / (0.25 + 1.0 - _squared(d2) / d1)
    return np.stack((speed, other, -(d2 * bent + phi1) / d1, bent))


def _squared(values: Array) -> Array:
    """As Gymnasium has it: a power of single numbers, which in a few of 10,000 cases differs in its last bit."""
    powers: Array = np.float_power(values, 2)
    return powers
