"""Playing games: whole ones from seeds, and stretches of games that go on from pass to pass of a training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from matinee.media.worlds import Rules, World

Array = np.ndarray[Any, Any]
HELD_BACK = 2**30  # seeds from here on are those of games that are scored
AT_ONCE = 128  # moves for which noise is drawn together
UNBOUND = 1e29  # a bound this far out is none
Act = Callable[[Array, Array], Array]
"""Observations (count, *shape) and noise for each place -> actions (count,) or (count, numbers)."""


@dataclass(frozen=True)
class Games:
    """Whole games: what each brought (count,), how many moves it took, how it began, and all actions (count, moves)."""

    returns: Array
    lengths: Array
    first: Array
    actions: Array


@dataclass(frozen=True)
class Stretch:
    """Some moves at every place, all (moves, count, ...). last: what was seen in the end, (count, ...).

    broken: (move, place) of games broken off at their limit, with what was seen then in `unfinished`.
    """

    observations: Array
    actions: Array
    rewards: Array
    ended: Array
    over: Array
    last: Array
    broken: Array
    unfinished: Array


def noise(rules: Rules, generator: np.random.Generator, *shape: int) -> Array:
    """What actions are drawn with: uniform for choices, normal for vectors."""
    if rules.choices:
        return generator.random(shape)
    return generator.standard_normal((*shape, len(rules.low)))


def to_world(actions: Array, rules: Rules) -> Array:
    """A policy's numbers from -1 to 1 as those between the bounds of the game; others are cut off. Choices stay."""
    if rules.choices:
        return actions
    low, high = np.array(rules.low), np.array(rules.high)
    known = (low > -UNBOUND) & (high < UNBOUND)
    middle, half = np.where(known, (low + high) / 2, 0.0), np.where(known, (high - low) / 2, 1.0)
    moved: Array = (middle + half * np.where(known, actions.clip(-1, 1), actions)).astype(np.float32)
    return moved


def play(world: World, seeds: Array, act: Act) -> Games:
    """One game for each seed, (count,) of them, to its end. The noise of each comes from its own seed."""
    count, places, rules = world.count, np.arange(world.count), world.rules
    world.begin(places, seeds)
    first, going = world.look().copy(), np.ones(count, bool)
    returns, lengths = np.zeros(count), np.zeros(count, np.int64)
    played: list[Array] = []
    generators = [np.random.default_rng((seed, 1)) for seed in seeds.tolist()]  # a game uses its seed itself
    while going.any():
        if (move := len(played) % AT_ONCE) == 0:
            drawn = np.stack([noise(rules, generator, AT_ONCE) for generator in generators], 1)
        actions = act(world.look(), drawn[move])
        rewards, ended, broken = world.move(to_world(actions, rules))
        played.append(actions)
        returns += np.where(going, rewards, 0.0)
        lengths += going
        stopped = going & (ended | broken)
        going &= ~stopped
        if stopped.any():
            world.rest(np.flatnonzero(stopped))
    return Games(returns, lengths, first, np.stack(played, 1))


class Underway:
    """Games that go on from pass to pass. They can be brought back from their seeds and the actions since."""

    def __init__(self, world: World, seeds: Array, lengths: Array, actions: Array) -> None:
        """seeds, lengths: (count,); actions: (count, limit, ...). Places whose seed is -1 have no game yet."""
        self.world, self.seeds, self.lengths, self.actions = world, seeds, lengths, actions
        # All games begin so late that they arrive together: nobody waits in the middle of a game.
        longest = int(lengths.max(initial=0))
        world.rest(np.arange(world.count))
        for move in range(longest + 1):
            starting = np.flatnonzero((lengths == longest - move) & (seeds >= 0))
            if len(starting):
                world.begin(starting, seeds[starting])
            if move < longest:
                at = np.maximum(0, move - (longest - lengths))
                world.move(to_world(self._kind(actions[np.arange(world.count), at]), world.rules))

    def _kind(self, actions: Array) -> Array:
        return actions.astype(np.int64) if self.world.rules.choices else actions

    def same(self, seeds: Array, lengths: Array) -> bool:
        """Whether these are the games that those numbers tell of."""
        return bool((self.seeds == seeds).all() and (self.lengths == lengths).all())

    def go_on(self, act: Act, moves: int, generator: np.random.Generator) -> Stretch:
        """So many moves at every place; ended games are followed by new ones, whose seeds the generator draws."""
        world, rules, count = self.world, self.world.rules, self.world.count
        self._begin(np.flatnonzero(self.seeds < 0), generator)
        size = () if rules.choices else (len(rules.low),)
        seen = np.empty((moves, count, *rules.shape), np.uint8 if rules.pixels else np.float32)
        actions = np.empty((moves, count, *size), np.int64 if rules.choices else np.float32)
        rewards, ended, over = np.empty((moves, count)), np.empty((moves, count), bool), np.empty((moves, count), bool)
        drawn, broken, unfinished = noise(rules, generator, moves, count), [], []
        places = np.arange(count)
        for move in range(moves):
            seen[move] = world.look()
            actions[move] = act(seen[move], drawn[move])
            self.actions[places, self.lengths] = actions[move]
            self.lengths += 1
            rewards[move], ended[move], cut = world.move(to_world(actions[move], rules))
            over[move] = ended[move] | cut
            if over[move].any():
                cut &= ~ended[move]
                for place in np.flatnonzero(cut):
                    broken.append((move, place))
                    unfinished.append(world.look()[place].copy())
                self._begin(np.flatnonzero(over[move]), generator)
        none = np.empty((0, *rules.shape), seen.dtype)
        return Stretch(
            seen, actions, rewards, ended, over, world.look().copy(),
            np.array(broken, np.int64).reshape(-1, 2), np.stack(unfinished) if unfinished else none,
        )  # fmt: skip

    def _begin(self, places: Array, generator: np.random.Generator) -> None:
        if len(places):
            self.seeds[places] = generator.integers(0, HELD_BACK, len(places))
            self.lengths[places] = 0
            self.world.begin(places, self.seeds[places])


def glimpsed(world: World, seed: int, moves: int = 40) -> Array:
    """What is seen in some moves by lot, (moves * count, *shape)."""
    rules, count = world.rules, world.count

    def by_lot(observations: Array, noise: Array) -> Array:
        return (noise * rules.choices).astype(np.int64) if rules.choices else noise.astype(np.float32)

    none, size = np.zeros(count, np.int64), () if rules.choices else (len(rules.low),)
    underway = Underway(world, none - 1, none, np.zeros((count, rules.limit, *size), np.float32))
    seen = underway.go_on(by_lot, moves, np.random.default_rng(seed)).observations
    return seen.reshape(-1, *rules.shape)


def film(world: World, seed: int, actions: Array, most: int = 120) -> tuple[list[Array], float]:
    """Pictures (height, width, 3) of a game that was played so, and what it brought.

    They are thinned to at most so many; the last one is there.
    """
    world.begin(np.zeros(1, np.int64), np.array([seed]))
    step, brought = max(1, -(-len(actions) // most)), 0.0
    frames = [world.frame(0)]
    for move, action in enumerate(actions, start=1):
        rewards, ended, broken = world.move(to_world(action[None], world.rules))
        brought, over = brought + float(rewards[0]), bool(ended[0] or broken[0])
        if move % step == 0 or move == len(actions) or over:
            frames.append(world.frame(0))
        if over:
            break
    return frames, brought
