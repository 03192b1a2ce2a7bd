"""Play games: any of Gymnasium's, Atari's from their pixels, and board games learned by self-play."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b, sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from matinee.core.errors import DataError, SettingsError
from matinee.core.examples import Array, Examples
from matinee.core.meter import Meter
from matinee.core.pieces import Code, Piece
from matinee.core.progress import Progress
from matinee.core.settings import setting
from matinee.core.task import Batch, Data, Origin, Task
from matinee.media import games
from matinee.media.playing import HELD_BACK
from matinee.media.worlds import Corridor, Rules, World
from matinee.nets.game_recipes import recipe_of, within_memory

if TYPE_CHECKING:
    from torch import Tensor, nn

    from matinee.core.model import Model
    from matinee.media.playing import Act, Underway
    from matinee.nets.players import Player, Shape

METHODS = ("auto", "ppo", "pqn", "search")
NETWORKS = ("auto", "constant", "linear", "mlp", "cnn", "board")
FARTHER = (2, 3)  # moves beyond those that are searched, in which wins are looked for: learning, and in scored games
AT_ONCE = 16  # games from pixels that are scored side by side


@dataclass(frozen=True, kw_only=True)
class GamePlaying(Rules, Task):
    """Learn to play by playing games side by side. The rules of the game are this task's facts.

    An example is a seed. A pass of the training is a stretch of as many moves as there are training examples, played
    by the network as it stands, and learned from several times; for scoring, each example is one whole game.
    """

    rivals: ClassVar[tuple[str, str]] = ("actions by lot", "linear policy")
    layout: ClassVar[str] = (
        "  CartPole-v1, ALE/Pong-v5, ...             the id of a game that Gymnasium knows\n"
        "  connect-four, tic-tac-toe                 a board game"
    )
    samples: ClassVar[Mapping[str, str]] = games.NAMES
    prefetch: ClassVar[bool] = False

    network: str = setting("auto", "network", choices=NETWORKS)
    method: str = setting(
        "auto", "ppo learns a policy, pqn what each action is worth, search from looking ahead in a board game",
        choices=METHODS,
    )  # fmt: skip
    environments: int = setting(
        0, "games that are played side by side (0: by the kind of game)", low=0, high=1024, reading=True
    )
    moves: int = setting(
        0, "moves of each of them between two times of learning (0: by the kind)", low=0, high=8192, reading=True
    )
    games: int = setting(
        0, "games that are scored in the end (0: 100, or 20 from pixels)", low=0, high=100_000, reading=True
    )
    trials: int = setting(
        0, "games that select the model (0: 32, 16 of boards, 8 from pixels)", low=0, high=10_000, reading=True
    )
    reuse: int = setting(0, "times each move is learned from (0: by the kind of game)", low=0, high=100)
    discount: float | None = setting(None, "what a reward one move later is worth", low=0, high=1)
    trace: float | None = setting(
        None, "lambda: how much of a return is what came, not what was guessed", low=0, high=1
    )
    clip_ratio: float = setting(0.2, "how far one pass may change the chance of an action", low=0.01, high=1)
    entropy: float | None = setting(None, "how much chance itself is worth", low=0, high=1)
    opponent: str = setting(
        "minimax-4", "in scored board games: random, or minimax-4 that looks 4 moves ahead", reading=True
    )
    lookahead: int = setting(2, "moves that the model itself looks ahead in a board game", low=0, high=4)
    play: str = setting(
        "best", "in scored games: the best action, or one drawn by its chance", choices=("best", "drawn")
    )

    # -- reading

    @classmethod
    def recognise(cls, source: str) -> str | None:
        """A board game's name or what is written like an id of Gymnasium's, unless a file is called so."""
        return "the name of a game" if games.looks_like_a_game(source) and not Path(source).exists() else None

    def read(self, source: str, progress: Progress) -> Data:
        """The rules of a game, and seeds: as many to learn from as a pass has moves, and others to score."""
        name, opponent = games.split(source)
        rules = games.rules_of(name)
        if self.game and self.game != rules.game:
            raise DataError(f"{source}: this was learned by playing {self.game}, and plays nothing else.")
        if self.game and (rules.shape, rules.choices, len(rules.low)) != (self.shape, self.choices, len(self.low)):
            raise DataError(f"{source}: the game has changed: its observations or actions are not those of then.")
        data = self._data(rules, source, games.depth_of(opponent or self.opponent) if rules.players > 1 else 0)
        # The seeds of the test are the test's, whoever the opponent is.
        return dataclasses.replace(data, origin=dataclasses.replace(data.origin, given=frozenset({"test"})))

    def toy(self, seed: int = 0) -> Data:
        """A corridor with a sign that tells the way."""
        small = dataclasses.replace(self, environments=16, moves=20, games=24, trials=16, split_seed=seed)
        return small._data(Corridor.rules, "made up")

    def _data(self, rules: Rules, source: str, opponent: int = 0) -> Data:
        kind = recipe_of(rules.pixels, rules.players)
        task = dataclasses.replace(
            self, environments=self.environments or kind.environments, moves=self.moves or kind.moves,
            games=self.games or kind.games, trials=self.trials or kind.trials, **vars(rules),
        )  # fmt: skip
        within_memory(task.environments, task.moves, math.prod(rules.shape) * (1 if rules.pixels else 4))
        scored = (task.trials * bool(self.valid_share), task.games * bool(self.test_share))
        ends = np.cumsum((0, task.environments * task.moves, *scored))
        seeds = HELD_BACK + (self.split_seed * 1_000_003 + np.arange(ends[-1], dtype=np.int64)) % HELD_BACK
        examples = Examples.of({"seed": seeds, "opponent": np.full(len(seeds), opponent, np.int64)})
        train, valid, test = (examples.take(np.arange(a, b)) for a, b in itertools.pairwise(ends))
        actions = f"{rules.choices} choices" if rules.choices else f"{len(rules.low)} numbers"
        told = {"observation": " x ".join(map(str, rules.shape)), "action": actions}
        digest = sha256(repr(rules).encode()).hexdigest()
        return Data(task, train, valid, test, Origin(source, {rules.game: digest}, facts=told))

    # -- the network and its training

    def choose(self, data: Data, minutes: float | None) -> GamePlaying:
        """The network by what it sees, and the settings by the kind of game."""
        kind = recipe_of(self.pixels, self.players, self.method)
        if self.method == "search" and not self.board:
            raise SettingsError(f"--method search: {self.game} is no board game. Leave it out, or give ppo.")
        if self.method == "pqn" and not self.choices:
            raise SettingsError(
                f"--method pqn: an action of {self.game} is no choice but a row of {len(self.low)}. Give ppo."
            )
        if self.method == "pqn" and self.play == "drawn":
            raise SettingsError("--play drawn: with --method pqn actions have a worth and no chance. Leave it out.")
        # What comes later counts more where games are long; pictures change too often to look so far ahead.
        patient = 0.999 if self.limit > 500 and not self.pixels else 0.99
        return dataclasses.replace(
            self,
            network=kind.network if self.network == "auto" else self.network,
            method=kind.method if self.method == "auto" else self.method,
            reuse=self.reuse or kind.reuse,
            discount=patient if self.discount is None else self.discount,
            entropy=kind.entropy if self.entropy is None else self.entropy,
            trace=kind.trace if self.trace is None else self.trace,
        )

    def advice(self, examples: int) -> dict[str, Any]:
        """By the kind of game."""
        kind = recipe_of(self.pixels, self.players, self.method)
        passes = kind.epochs if self.network != "linear" else kind.epochs // 10
        return {
            "epochs": passes, "batch_size": kind.batch_size, "optimiser": "adam", "weight_decay": 0.0,
            "learning_rate": kind.learning_rate, "schedule": "linear", "warmup": 0.0, "average": 0.0, "clip": kind.clip,
        }  # fmt: skip

    @property
    def _shape(self) -> Shape:
        from matinee.nets.players import Shape

        sizes = (self.shape, self.choices, len(self.low), self.pixels, self.environments, self.limit)
        return Shape(*sizes, self.board, self.method == "pqn")

    def build(self) -> nn.Module:
        """The network called `network`."""
        from matinee.nets.players import build

        if not self.game:
            raise SettingsError("there is no network without a game.")
        return build(self.network, self._shape)

    def prepare(self, network: nn.Module, examples: Examples) -> None:
        """The statistics of observations, from some moves by lot."""
        import torch

        from matinee.media.playing import glimpsed
        from matinee.nets.players import Player

        if not isinstance(network, Player) or network.normalise.still or not len(examples):
            return
        seen = glimpsed(self._open(min(self.environments, 16)), int(examples.column("seed")[0]))
        network.normalise.learn(torch.from_numpy(seen).to(network.normalise.mean.device))

    def collate(self, columns: Mapping[str, Tensor]) -> Batch:
        """How the games of these seeds begin, and targets as of a first action that changed nothing."""
        import torch

        seeds = columns["seed"].numpy()
        world, count = self._open(max(1, len(seeds))), len(seeds)
        if count:
            world.begin(np.arange(count), seeds)
        inputs = torch.from_numpy(world.look()[:count].copy())
        action = torch.zeros(count, dtype=torch.int64) if self.choices else torch.zeros(count, len(self.low))
        names = ("log_probability", "advantage", "return", "length")
        wish = torch.full((count, self.choices), 1 / max(1, self.choices))
        return Batch(inputs, {"action": action, "wish": wish, **{name: torch.zeros(count) for name in names}})

    def steps(self, examples: Examples, size: int) -> int:
        """Every move is learned from several times in one pass."""
        return max(1, self.reuse) * max(1, len(examples) // size)

    def batches(
        self, examples: Examples, network: nn.Module, size: int, order: Array | None, start: int = 0
    ) -> Iterator[Batch]:
        """With an order: play on, and learn from what happened. Without: one whole game for each example."""
        if order is None:
            yield from self._scored(examples, network, size)
            return
        import torch

        # All chance of a pass comes from its order, which the run's seed and the number of the pass decide.
        generator = np.random.default_rng(int.from_bytes(blake2b(order.tobytes(), digest_size=16).digest(), "big"))
        inputs, targets = self._learned(network, -(-len(order) // self.environments), generator)
        for _ in range(max(1, self.reuse)):
            mixed = torch.from_numpy(generator.permutation(len(inputs))).to(inputs.device)
            for place in range(max(1, len(order) // size)):
                chosen = mixed[place * size : (place + 1) * size]
                yield Batch(inputs[chosen], {name: values[chosen] for name, values in targets.items()})

    def _learned(
        self, network: nn.Module, moves: int, generator: np.random.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Some moves of every game under way -> observations and targets, all (moves * environments, ...)."""
        import torch

        from matinee.core import processes
        from matinee.nets.players import Player
        from matinee.nets.stretches import learned

        if not processes.current().alone:
            raise SettingsError("games are learned by one process: leave torchrun out.")
        if not isinstance(network, Player):
            raise SettingsError(f"--network {self.network}: there is nothing in it that could learn.")
        live = self._live(network)
        wishes: list[Array] | None = [] if self.method == "search" else None
        stretch = live.go_on(self._act(network, learning=True, wishes=wishes), moves, generator)
        network.memory.keep(live.seeds, live.lengths, live.actions)
        turn = -1.0 if self.players > 1 else 1.0
        with torch.no_grad():
            seen, targets = learned(network, vars(stretch), (self.discount or 0.0, self.trace or 0.0), turn)
        if wishes is not None:
            targets["wish"] = torch.from_numpy(np.concatenate(wishes)).to(seen.device).softmax(-1)
        return seen, targets

    def _live(self, network: Player) -> Underway:
        """The games under way, brought back from the network's memory where this process does not have them."""
        from matinee.media.playing import Underway

        seeds, lengths, actions = network.memory.told()
        live = network.live
        if not isinstance(live, Underway) or not live.same(seeds, lengths):
            live = network.live = Underway(self._open(self.environments), seeds, lengths, actions)
        return live

    def _act(self, network: nn.Module, *, learning: bool = False, wishes: list[Array] | None = None) -> Act:
        """How the network plays: by chance while it learns; in scored games as `play` says, looking ahead.

        wishes: where there is a list, one move is searched, and the logits found are put there.
        """
        import torch

        from matinee.media.lookahead import looked_ahead
        from matinee.nets.players import Constant, Player
        from matinee.nets.proximal import best, drawn, explored, ladder

        device, shares = next(network.parameters()).device, ladder(self.environments)
        if not isinstance(network, Player | Constant):
            raise TypeError("this network does not play")

        def act(observations: Array, noise: Array) -> Array:
            with torch.inference_mode():
                seen = torch.from_numpy(observations).to(device)
                if wishes is not None:
                    found = looked_ahead(self.game, network, seen, 1, FARTHER[0])[:, :-1]
                else:
                    found = network.policy(seen) if learning or not self.board else self.infer(network, seen)[:, :-1]
                policy: Array = found.cpu().numpy()
            if wishes is not None:
                wishes.append(policy)
            if learning and self.method == "pqn":
                return explored(policy, noise, shares)
            return drawn(policy, noise, self.choices) if learning or self.play != "best" else best(policy, self.choices)

        return act

    def _scored(self, examples: Examples, network: nn.Module, size: int) -> Iterator[Batch]:
        import torch

        from matinee.media.playing import play

        seeds, opponents = examples.column("seed"), examples.column("opponent")
        size = min(size, AT_ONCE) if self.pixels else size
        act = self._act(network)
        for first in range(0, len(seeds), size):
            part = slice(first, first + size)
            found = play(self._open(len(seeds[part]), opponents=opponents[part]), seeds[part], act)
            targets = {
                "return": torch.from_numpy(found.returns), "length": torch.from_numpy(found.lengths),
                "seed": torch.from_numpy(seeds[part]), "opponent": torch.from_numpy(opponents[part]),
                "actions": torch.from_numpy(found.actions),
            }  # fmt: skip
            yield Batch(torch.from_numpy(found.first), targets, torch.from_numpy(examples.rows[part]))

    def _open(self, count: int, *, opponents: Array | None = None, drawn: bool = False) -> World:
        return games.open_world(self.game, count, opponents=opponents, drawn=drawn)

    def infer(self, network: nn.Module, inputs: Tensor) -> Any:
        """The network's outputs, what is worth something in the units of the game's rewards.

        In a board game the logits say what the network thinks of positions some moves ahead.
        """
        from matinee.media.lookahead import looked_ahead
        from matinee.nets.players import Player

        if not isinstance(network, Player):
            return network(inputs)
        if not self._looks_ahead:
            return network.in_units(network(inputs))
        return looked_ahead(self.game, network, inputs, self.lookahead, FARTHER[1])

    @property
    def _looks_ahead(self) -> bool:
        return bool(self.board and self.lookahead)

    def forward(self, network: nn.Module, batch: Batch) -> Any:
        """The network's outputs."""
        return network(batch.inputs)

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """The clipped objective of proximal policy optimisation, or how far off the values or the policy are."""
        from matinee.nets.proximal import loss, loss_of_search, loss_of_values

        if self.method == "search":
            return loss_of_search(outputs, batch.targets, self.choices)
        if self.method == "pqn":
            return loss_of_values(outputs, batch.targets, self.choices)
        return loss(outputs, batch.targets, self.choices, self.clip_ratio, self.entropy or 0.0)

    # -- scores and answers

    def meter(self) -> Meter:
        """The mean return first."""
        from matinee.media.game_scores import GameMeter

        return GameMeter(self.players, self.threshold, self._shown)

    def _shown(self, seed: int, opponent: int, actions: Array) -> tuple[Sequence[Array], float]:
        from matinee.media.playing import film

        return film(self._open(1, opponents=np.array([opponent]), drawn=True), seed, actions)

    def trivial(self, train: Examples) -> Model:
        """Actions by lot."""
        from matinee.core.model import Model

        task = dataclasses.replace(self, network="constant", play="drawn")
        return Model(task, task.build().eval())

    def simplest(self) -> Task | None:
        """A policy that is linear in the observation."""
        return None if self.network in ("linear", "constant") else dataclasses.replace(self, network="linear")

    def concatenate(self, outputs: Sequence[Any]) -> Any:
        """Of targets, each name for itself."""
        import torch

        if outputs and isinstance(outputs[0], Mapping):
            return {name: torch.cat([part[name] for part in outputs]) for name in outputs[0]}
        return torch.cat(list(outputs))

    def logits(self, outputs: Any) -> Tensor:
        """(batch, choices), or the means of an action's numbers."""
        tensor: Tensor = outputs[:, : self.choices or len(self.low)]
        return tensor

    def encode(self, raws: Sequence[Any]) -> Tensor:
        """Observations as numbers, JSON text or files -> (batch, *shape)."""
        import torch

        from matinee.media.observations import observed

        rows = [observed(raw, self) for raw in raws]
        return torch.from_numpy(np.stack(rows) if rows else np.zeros((0, *self.shape), np.float32))

    def decode(self, outputs: Any) -> list[dict[str, Any]]:
        """The action to take, how likely each one is (or what it is worth), and what the position is worth."""
        from matinee.media.observations import answered

        return answered(outputs, self, likely=self.method != "pqn" or self._looks_ahead)

    def show(self, inputs: Tensor, outputs: Any) -> list[Piece]:
        """The answer in words."""
        return [Code(str(answer)) for answer in self.decode(outputs)]
