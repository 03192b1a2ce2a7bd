"""Games of Gymnasium: any registered id with one observation and one action space that a network can take.

Vectors of numbers, choices and mappings of them are laid out as one vector; pictures become four grey ones of 84 x 84.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import math
import os
import re
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from matinee.core.errors import DataError
from matinee.media.worlds import Rules, World

Array = np.ndarray[Any, Any]

PATTERN = re.compile(r"([A-Za-z][\w-]*/)?[A-Za-z][\w.-]*-v\d+")
LIMIT = 10_000  # moves, for games whose registration names none
LONGEST = 27_000  # moves in memory: half an hour of a video game
STACK, SIDE = 4, 84  # pictures together, and their height and width
SMALL = 36  # smaller arrays of bytes are tables, not pictures


def looks_like_one(name: str) -> bool:
    """Whether this is written like the id of a game: `CartPole-v1`, `ALE/Pong-v5`."""
    return bool(PATTERN.fullmatch(name))


def _gymnasium() -> Any:
    try:
        import gymnasium
    except ImportError:
        raise DataError("games need a package that is not installed: pip install 'matinee[games]'.") from None
    return gymnasium


def _specification(name: str) -> Any:
    gymnasium = _gymnasium()
    if name.startswith("ALE/") or name not in gymnasium.registry:
        try:
            import ale_py
        except ImportError:
            if name.startswith("ALE/"):
                raise DataError(
                    f"{name} needs a package that is not installed: pip install 'matinee[games]'."
                ) from None
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                gymnasium.register_envs(ale_py)
    if name not in gymnasium.registry:
        known = list(gymnasium.registry)
        folded = {other.lower(): other for other in known}
        near = difflib.get_close_matches(name.lower(), list(folded), 1, 0.5)
        said = f"The closest is {folded[near[0]]}." if near else f"There are {', '.join(known[:8])} and more."
        raise DataError(f"{name}: Gymnasium knows no game of this name. {said}")
    return gymnasium.registry[name]


@contextlib.contextmanager
def _blamed(name: str, doing: str) -> Iterator[None]:
    """Whatever a game raises, it is the game that is named."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001  a game is anybody's code and may raise anything
        words = " ".join(str(error).split())[:200]
        raise DataError(f"{name}: the game failed while {doing} ({type(error).__name__}: {words}).") from None


def rules_of(name: str) -> Rules:
    """What there is to know of a game. Raises DataError for one that is not there or cannot be played here."""
    specification = _specification(name)
    threshold = () if specification.reward_threshold is None else (float(specification.reward_threshold),)
    if _is_atari(specification):
        from matinee.media.atari import rules_of_atari

        return rules_of_atari(name, specification)
    game = _made(name, None)
    try:
        shape, pixels = _observed(name, game.observation_space)
        limit = min(specification.max_episode_steps or LIMIT, LONGEST)
        return Rules(name, shape, **_played(name, game.action_space), limit=limit, threshold=threshold, pixels=pixels)
    finally:
        _close([game])


def _is_atari(specification: Any) -> bool:
    return str(specification.entry_point).startswith("ale_py")


def _observed(name: str, space: Any) -> tuple[tuple[int, ...], bool]:
    """Shape of an observation as the network gets it, and whether it is pictures."""
    spaces = _gymnasium().spaces
    if _is_picture(space):
        return (STACK, SIDE, SIDE), True
    try:
        flat = spaces.flatten_space(space)
    except (NotImplementedError, ValueError):
        flat = None
    if not isinstance(flat, spaces.Box) or not flat.shape or not 0 < math.prod(flat.shape) <= 100_000:
        raise DataError(
            f"{name}: its observations ({_short(space)}) cannot be learned from. Supported are Box, Discrete, "
            "MultiDiscrete, MultiBinary, and Dict and Tuple of them."
        )
    return tuple(flat.shape), False


def _short(space: Any) -> str:
    return str(space)[:80]


def _is_picture(space: Any) -> bool:
    return (
        isinstance(space, _gymnasium().spaces.Box)
        and space.dtype == np.uint8
        and (len(space.shape) == 2 or (len(space.shape) == 3 and space.shape[2] in (1, 3)))
        and min(space.shape[:2]) >= SMALL
    )


def _played(name: str, space: Any) -> dict[str, Any]:
    spaces = _gymnasium().spaces
    if isinstance(space, spaces.Discrete) and 2 <= space.n <= 256:
        # An answer is counted from 0; what the game itself calls it stands beside it where that is another number.
        named = tuple(str(space.start + place) for place in range(space.n)) if space.start else ()
        return {"choices": int(space.n), "actions": named}
    if isinstance(space, spaces.Box) and len(space.shape) == 1 and np.issubdtype(space.dtype, np.floating):
        bound = 1e30  # infinities are no JSON; nothing is bound by this
        low, high = (np.clip(np.asarray(end, np.float64), -bound, bound).tolist() for end in (space.low, space.high))
        return {"low": tuple(low), "high": tuple(high)}
    raise DataError(
        f"{name}: its actions ({_short(space)}) are not supported. Supported are Discrete with 2 to 256 choices, and "
        "Box with one row of numbers."
    )


def _made(name: str, render: str | None) -> Any:
    specification = _specification(name)
    with _blamed(name, "it was made"):
        drawn = {} if render is None else {"render_mode": render}  # not every game knows the word
        # The order of calls and the limit are kept here: two calls less for every move.
        bare = dataclasses.replace(specification, order_enforce=False, max_episode_steps=None, disable_env_checker=True)
        return _gymnasium().make(bare, **drawn)


def open_game(name: str, count: int, *, drawn: bool = False) -> World:
    """A world of this game with so many places; one that is drawn can show frames."""
    specification = _specification(name)
    if _is_atari(specification):
        from matinee.media.atari import Atari

        return Atari(rules_of(name), specification, count)
    if name == "CartPole-v1" and not drawn:
        from matinee.media.cart_pole import CartPole

        return CartPole(rules_of(name), count)
    if name == "Acrobot-v1" and not drawn:
        from matinee.media.acrobot import Acrobot

        return Acrobot(rules_of(name), count)
    return GymnasiumWorld(rules_of(name), count, drawn)


def _close(environments: list[Any]) -> None:
    for environment in environments:
        with contextlib.suppress(Exception):  # nobody waits for it any more, and a game may raise anything
            environment.close()


class GymnasiumWorld:
    """Environments side by side, one after the other on one thread. They are closed when the world is forgotten."""

    def __init__(self, rules: Rules, count: int, drawn: bool = False) -> None:
        self.rules, self.count = rules, count
        if drawn:  # into arrays: no window is wanted, and there may be no screen
            os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
        self._games: list[Any] = []
        self.close = weakref.finalize(self, _close, self._games)
        for _ in range(count):
            self._games.append(_made(rules.game, "rgb_array" if drawn else None))
        self._encode = _encoder(rules, self._games[0].observation_space)
        self._seen = np.zeros((count, *rules.shape), np.uint8 if rules.pixels else np.float32)
        self._moves, self._resting = np.zeros(count, np.int64), np.ones(count, bool)
        self._start = int(getattr(self._games[0].action_space, "start", 0))

    def begin(self, places: Array, seeds: Array) -> None:
        """Reset with the seeds."""
        with _blamed(self.rules.game, "a game began"):
            for place, seed in zip(places.tolist(), seeds.tolist(), strict=True):
                seen, _ = self._games[place].reset(seed=seed)
                self._take(place, seen, True)
        self._see()
        self._moves[places] = 0
        self._resting[places] = False

    def rest(self, places: Array) -> None:
        """They are not moved."""
        self._resting[places] = True

    def look(self) -> Array:
        """(count, *shape)."""
        return self._seen

    def move(self, actions: Array) -> tuple[Array, Array, Array]:
        """One step of each environment that does not rest."""
        rewards = np.zeros(self.count)
        ended, broken = np.zeros(self.count, bool), np.zeros(self.count, bool)
        told = (actions + self._start).tolist() if self.rules.choices else actions
        with _blamed(self.rules.game, "a move was made"):
            for place in np.flatnonzero(~self._resting).tolist():
                seen, reward, ended[place], broken[place], _ = self._games[place].step(told[place])
                rewards[place] = reward
                self._take(place, seen, False)
        if not np.isfinite(rewards).all():
            raise DataError(f"{self.rules.game}: the game failed: it gave a reward that is not a number.")
        self._see()
        self._moves += 1
        return rewards, ended, ~ended & (broken | (self._moves >= self.rules.limit))

    def _see(self) -> None:
        if not self.rules.pixels and not np.isfinite(self._seen).all():
            raise DataError(f"{self.rules.game}: the game failed: it showed something that is not a number.")

    def _take(self, place: int, seen: Any, fresh: bool) -> None:
        value = self._encode(seen)
        if not self.rules.pixels:
            self._seen[place] = value
        elif fresh:
            self._seen[place] = value[None]
        else:
            self._seen[place, :-1] = self._seen[place, 1:]
            self._seen[place, -1] = value

    def frame(self, place: int) -> Array:
        """As the environment draws itself; a grey card where it does not."""
        with _blamed(self.rules.game, "it was drawn"):
            drawn = self._games[place].render()
        if isinstance(drawn, list):
            drawn = drawn[-1] if drawn else None
        picture = np.asarray(drawn) if drawn is not None else np.full((60, 80, 3), 200, np.uint8)
        return picture if picture.ndim == 3 and picture.shape[2] == 3 else np.full((60, 80, 3), 200, np.uint8)


def encode_one(rules: Rules, raw: Any) -> Array:
    """A picture, or an observation laid out as one vector -> as the network takes it.

    Raises DataError where it does not fit.
    """
    try:
        value = np.asarray(raw, np.float32)
    except (TypeError, ValueError):
        raise DataError(f"this is no observation of {rules.game}: expected numbers.") from None
    if rules.pixels and value.ndim in (2, 3) and value.shape != rules.shape and min(value.shape[:2]) >= SMALL:
        return np.repeat(grey(value)[None], rules.shape[0], 0).astype(np.float32)
    if value.size != math.prod(rules.shape) or not np.isfinite(value).all():
        wanted = " x ".join(map(str, rules.shape))
        raise DataError(
            f"this is no observation of {rules.game}: expected {wanted} finite numbers (a mapping or a choice as "
            f"the one vector that gymnasium.spaces.flatten makes of it), found {value.size:,}."
        )
    return value.reshape(rules.shape)


def _encoder(rules: Rules, space: Any) -> Callable[[Any], Array]:
    spaces = _gymnasium().spaces
    if rules.pixels:
        return grey
    if isinstance(space, spaces.Box):
        return lambda seen: np.asarray(seen, np.float32).reshape(rules.shape)
    return lambda seen: np.asarray(spaces.flatten(space, seen), np.float32).reshape(rules.shape)


def grey(picture: Array) -> Array:
    """(height, width[, 1 or 3]) -> uint8 (84, 84)."""
    from PIL import Image

    array = np.asarray(picture).clip(0, 255).astype(np.uint8)
    image = Image.fromarray(array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array).convert("L")
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX))
