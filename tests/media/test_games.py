"""Games as worlds: determinism, rules of boards, opponents, and what is told of games that cannot be played."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from matinee.core.errors import DataError
from matinee.core.pieces import Film, Text
from matinee.media import games, gymnasium_games
from matinee.media.boards import Against, Boards
from matinee.media.game_scores import GameMeter
from matinee.media.lookahead import searched
from matinee.media.minimax import NEVER, WIN, decided, looking_ahead
from matinee.media.observations import observed
from matinee.media.playing import Underway, film, play, to_world
from matinee.media.worlds import Corridor, Rules


def by_lot(count: int) -> Any:
    return lambda seen, noise: (noise * count).astype(np.int64)


def board(text: str) -> np.ndarray:
    """One board of rows of x (own), o (the other's) and dots."""
    cells = np.array([list(row) for row in text.split()])
    return np.stack((cells == "x", cells == "o")).astype(np.float32)[None]


def test_a_whole_game_follows_from_its_seed_wherever_it_is_played() -> None:
    seeds = np.array([5, 6, 7])
    whole = play(Corridor(3), seeds, lambda seen, noise: (seen[:, 2] > 0).astype(np.int64))
    alone = [play(Corridor(1), seeds[i : i + 1], lambda s, n: (s[:, 2] > 0).astype(np.int64)) for i in range(3)]
    assert whole.returns.tolist() == [game.returns[0] for game in alone]
    assert (whole.first == np.concatenate([game.first for game in alone])).all()


@pytest.mark.parametrize("name", ["corridor", "tic-tac-toe", "connect-four"])
def test_games_under_way_are_brought_back_from_seeds_and_actions(name: str) -> None:
    world = games.open_world(name, 6)

    def legal(seen: np.ndarray, noise: np.ndarray) -> np.ndarray:
        if not world.rules.board:
            return (noise * 2).astype(np.int64)
        free = seen.sum(1) == 0
        free = free[:, 0] if world.rules.board == "columns" else free.reshape(len(seen), -1)
        return np.array([np.flatnonzero(row)[int(u * row.sum())] for row, u in zip(free, noise, strict=True)])

    none = np.zeros(6, np.int64)
    live = Underway(world, none - 1, none.copy(), np.zeros((6, world.rules.limit), np.uint8))
    live.go_on(legal, 33, np.random.default_rng(0))
    again = Underway(games.open_world(name, 6), live.seeds.copy(), live.lengths.copy(), live.actions.copy())
    assert again.same(live.seeds, live.lengths) and (again.world.look() == live.world.look()).all()
    one, other = (games_.go_on(legal, 20, np.random.default_rng(1)) for games_ in (live, again))
    assert (one.observations == other.observations).all() and (one.rewards == other.rewards).all()


def test_a_game_that_is_broken_off_tells_what_was_seen_last() -> None:
    none = np.zeros(2, np.int64)
    live = Underway(Corridor(2), none - 1, none.copy(), np.zeros((2, Corridor.LIMIT), np.uint8))
    turns = iter(range(1000))
    stretch = live.go_on(lambda seen, noise: np.full(2, next(turns) % 2), 60, np.random.default_rng(3))
    assert len(stretch.broken) and len(stretch.unfinished) == len(stretch.broken)
    assert not stretch.ended[stretch.broken[:, 0], stretch.broken[:, 1]].any()
    assert stretch.over[stretch.broken[:, 0], stretch.broken[:, 1]].all()


def test_numbers_of_a_policy_are_kept_within_the_bounds_of_the_game() -> None:
    rules = Rules("x", (1,), low=(-2.0, -1e30), high=(4.0, 1e30))
    moved = to_world(np.array([[0.0, 7.0], [-9.0, -7.0], [1.0, 0.0]]), rules)
    assert moved.tolist() == [[1.0, 7.0], [-2.0, -7.0], [4.0, 0.0]]


def test_four_in_a_row_wins_in_every_direction() -> None:
    for moves in ([0, 1, 0, 1, 0, 1, 0], [0, 0, 1, 1, 2, 2, 3], [0, 1, 1, 2, 2, 3, 2, 3, 3, 6, 3]):
        world = Boards("connect-four", 1, openings=0)
        told = [world.move(np.array([move])) for move in moves]
        assert [bool(ended[0]) for _, ended, _ in told] == [False] * (len(moves) - 1) + [True]
        assert told[-1][0][0] == 1.0


def test_a_full_board_is_a_draw_and_a_forbidden_move_loses() -> None:
    world = Boards("tic-tac-toe", 1, openings=0)
    told = [world.move(np.array([cell])) for cell in (0, 1, 2, 4, 3, 5, 7, 6, 8)]
    assert told[-1][1][0] and told[-1][0][0] == 0.0 and not any(ended[0] for _, ended, _ in told[:-1])
    world = Boards("tic-tac-toe", 1, openings=0)
    world.move(np.array([4]))
    rewards, ended, _ = world.move(np.array([4]))
    assert ended[0] and rewards[0] == -1.0


def test_bits_and_boards_agree_on_who_has_won() -> None:
    generator, world = np.random.default_rng(0), Boards("connect-four", 200, openings=0)
    open_ = np.ones(200, bool)
    for _ in range(30):
        seen = world.look()
        scores = looking_ahead("connect-four", seen, 1)
        assert ((scores == NEVER) == ~world.allowed(np.arange(200)))[open_].all()
        free = world.allowed(np.arange(200)) | ~open_[:, None]
        actions = np.array([generator.choice(np.flatnonzero(row)) for row in free])
        rewards, ended, _ = world.move(actions)
        assert ((scores[np.arange(200), actions] >= WIN) == (rewards == 1))[open_].all()
        open_ &= ~ended
        world.stones[~open_] = 0


def test_minimax_takes_a_win_and_stops_one() -> None:
    three = board("....... ....... ....... ....... ooo.... xxx....")
    assert looking_ahead("connect-four", three, 1)[0].argmax() == 3
    threat = board("....... ....... ....... ....... x...... ooo.x.x")
    assert looking_ahead("connect-four", threat, 2)[0].argmax() == 3
    assert decided("connect-four", three, 1)[0] == 1
    two_ends = board("....... ....... ....... ....... ....... .ooo.x.")
    assert decided("connect-four", two_ends, 2)[0] == -1


def test_two_perfect_players_of_tic_tac_toe_draw() -> None:
    world = Against("tic-tac-toe", np.full(20, 9))

    def perfect(seen: np.ndarray, noise: np.ndarray) -> np.ndarray:
        return looking_ahead("tic-tac-toe", seen, 9).argmax(1)

    assert (play(world, np.arange(20), perfect).returns == 0).all()


def test_looking_ahead_finds_what_the_network_does_not_know() -> None:
    def blind(seen: np.ndarray) -> np.ndarray:
        return np.zeros(len(seen))

    scores = searched("tic-tac-toe", board("xx. oo. ..."), 2, 0, blind)
    assert scores[0].argmax() == 2 and scores[0, 0] == -2.0
    assert searched("tic-tac-toe", board("x.. oo. x.."), 2, 0, blind)[0].argmax() == 5


def test_forced_wins_beyond_the_network_s_sight_are_found() -> None:
    def blind(seen: np.ndarray) -> np.ndarray:
        return np.zeros(len(seen))

    seen = board("....... ....... ....... ....... ....... .xx..oo")
    assert searched("connect-four", seen, 1, 2, blind)[0].max() == pytest.approx(0.99)
    assert searched("connect-four", seen, 1, 0, blind)[0].max() == 0


def test_an_opponent_is_random_or_looks_ahead() -> None:
    assert [games.depth_of(words) for words in ("random", "minimax-3")] == [0, 3]
    for words in ("minimax", "minimax-0", "minimax-99", "stockfish", "minimax-²"):
        with pytest.raises(DataError, match="opponents are random and minimax-1"):
            games.depth_of(words)


def test_a_film_ends_with_the_last_move() -> None:
    frames, brought = film(Against("connect-four", np.array([0])), 2, np.array([0, 1, 2]), most=2)
    assert (
        brought == 0
        and len(frames) == 3
        and all(frame.shape == (144, 168, 3) and frame.dtype == np.uint8 for frame in frames)
    )


def test_chance_of_a_game_is_its_own_however_many_are_played() -> None:
    def drawn(seen: np.ndarray, noise: np.ndarray) -> np.ndarray:
        return (noise > 0.5).astype(np.int64)

    seeds = np.arange(70, 75)
    together, alone = play(Corridor(5), seeds, drawn), play(Corridor(1), seeds[3:4], drawn)
    length = int(together.lengths[3])
    assert length == alone.lengths[0] and (together.actions[3, :length] == alone.actions[0]).all()


def test_another_game_than_the_one_that_was_played_is_not_shown_as_it() -> None:
    meter = GameMeter(1, (), lambda seed, opponent, actions: ([np.zeros((4, 4, 3), np.uint8)], 3.0))
    for brought, kind in ((3.0, Film), (4.0, Text)):
        meter._kept_games = {"best": (brought, 7, 0, np.zeros(5, np.int64))}
        (piece,) = meter.pieces({"return": np.zeros(0), "length": np.zeros(0)})
        assert isinstance(piece, kind) and "seed 7" in piece.words


def test_where_all_games_brought_the_same_one_is_enough() -> None:
    meter = GameMeter(1, (), lambda seed, opponent, actions: ([np.zeros((4, 4, 3), np.uint8)], 3.0))
    meter._kept_games = {"best": (3.0, 7, 0, np.zeros(5, np.int64)), "worst": (3.0, 7, 0, np.zeros(5, np.int64))}
    assert len(meter.pieces({"return": np.zeros(0), "length": np.zeros(0)})) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("xx. ... ...", "as many stones"),
        ("xxx oo. ..o", "over"),
        ("xx. ooo x..", "over"),
        ("xxo oox xox", "as many stones"),
    ],
)
def test_a_position_that_cannot_be_is_told(text: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        observed(board(text)[0].tolist(), games.rules_of("tic-tac-toe"))


def test_stones_lie_on_the_ground_and_are_whole() -> None:
    rules, ground = games.rules_of("connect-four"), board("....... ....... ....... ....... ....... ...o...")[0]
    assert observed(ground.tolist(), rules)[1, 5, 3] == 1
    for wrong, words in ((ground[:, ::-1], "the ground"), (ground * 0.5, "one"), (ground * 0 + 1, "both")):
        with pytest.raises(DataError, match=words):
            observed(wrong.tolist(), rules)


@pytest.mark.parametrize("raw", ["[1, 2", "nowhere.json", [1, 2], "[NaN, 1, 1]", '["a", 1, 2]', None, b"\xff", {}])
def test_what_is_no_observation_is_told(raw: Any) -> None:
    with pytest.raises(DataError):
        observed(raw, Corridor.rules)


def test_observations_come_as_numbers_text_and_files(tmp_path: Any) -> None:
    np.save(tmp_path / "a.npy", np.array([0.5, 1.0, 0.5]))
    (tmp_path / "a.json").write_text("[0.5, 1.0, 0.5]")
    raws = [[0.5, 1, 0.5], "[0.5, 1, 0.5]", tmp_path / "a.npy", str(tmp_path / "a.json")]
    assert all(observed(raw, Corridor.rules).tolist() == [0.5, 1.0, 0.5] for raw in raws)


# -- Gymnasium


@pytest.fixture
def registered() -> Iterator[Any]:
    """Registers environments for a test."""
    gymnasium, made = pytest.importorskip("gymnasium"), []

    def register(name: str, kind: type) -> str:
        gymnasium.register(name, entry_point=kind)
        made.append(name)
        return name

    yield register
    for name in made:
        del gymnasium.registry[name]


def kind_of_game(observation: Any, action: Any, fails: str = "") -> type:
    gymnasium = pytest.importorskip("gymnasium")

    class Game(gymnasium.Env):  # type: ignore[name-defined,misc]
        observation_space, action_space = observation, action
        closed = 0

        def reset(self, *, seed: Any = None, options: Any = None) -> Any:
            super().reset(seed=seed)
            if fails == "reset":
                raise RuntimeError("the disk\nis gone")
            return self._seen(), {}

        def step(self, choice: Any) -> Any:
            if fails == "step":
                raise ValueError("no such move")
            return self._seen(), float("nan") if fails == "reward" else 1.0, False, False, {}

        def _seen(self) -> Any:
            self.observation_space.seed(int(self.np_random.integers(1000)))
            seen = self.observation_space.sample()
            return seen * np.nan if fails == "sight" else seen

        def close(self) -> None:
            Game.closed += 1

    return Game


def test_the_closest_name_is_told() -> None:
    pytest.importorskip("gymnasium")
    for wrong, right in (
        ("CartPool-v1", "CartPole-v1"),
        ("cartpole-v1", "CartPole-v1"),
        ("ALE/Pomg-v5", "ALE/Pong-v5"),
    ):
        with pytest.raises(DataError, match=right):
            games.rules_of(wrong)


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(DataError, match=r"pip install 'matinee\[games\]'"):
        games.rules_of("CartPole-v1")


def test_spaces_of_many_kinds_are_laid_out_as_vectors(registered: Any) -> None:
    spaces = pytest.importorskip("gymnasium").spaces
    inside = spaces.Dict({"a": spaces.Discrete(3), "b": spaces.Box(-1, 1, (2, 2)), "c": spaces.MultiBinary(2)})
    name = registered("Mixed-v0", kind_of_game(inside, spaces.Box(-2, 2, (2,))))
    rules = games.rules_of(name)
    assert rules.shape == (9,) and rules.low == (-2.0, -2.0) and not rules.choices
    played = games.open_world(name, 2)
    played.begin(np.arange(2), np.array([1, 2]))
    assert played.look().shape == (2, 9) and played.move(np.zeros((2, 2), np.float32))[0].tolist() == [1.0, 1.0]


def test_actions_that_do_not_count_from_nothing_are_named(registered: Any) -> None:
    spaces = pytest.importorskip("gymnasium").spaces
    name = registered("Counted-v0", kind_of_game(spaces.Box(-1, 1, (2,)), spaces.Discrete(3, start=5)))
    assert games.rules_of(name).actions == ("5", "6", "7")


def test_pictures_become_four_small_grey_ones(registered: Any) -> None:
    spaces = pytest.importorskip("gymnasium").spaces
    seen = spaces.Box(0, 255, (60, 50, 3), np.uint8)
    name = registered("Pictures-v0", kind_of_game(seen, spaces.Discrete(3)))
    world = games.open_world(name, 1)
    world.begin(np.zeros(1, np.int64), np.array([1]))
    assert world.rules.pixels and world.look().shape == (1, 4, 84, 84) and world.look().dtype == np.uint8
    before = world.look()[0, 1:].copy()
    world.move(np.zeros(1, np.int64))
    assert (world.look()[0, :3] == before).all()


def test_spaces_that_cannot_be_learned_are_told(registered: Any) -> None:
    spaces = pytest.importorskip("gymnasium").spaces
    box, two = spaces.Box(-1, 1, (2,)), spaces.Discrete(2)
    cases = {
        "Sequence-v0": (spaces.Sequence(box), two, "observations"),
        "Many-v0": (box, spaces.MultiDiscrete([2, 2]), "actions"),
        "Endless-v0": (box, spaces.Discrete(1000), "actions"),
    }
    for name, (seen, done, words) in cases.items():
        with pytest.raises(DataError, match=f"{name}: its {words}.*upported are"):
            games.rules_of(registered(name, kind_of_game(seen, done)))


@pytest.mark.parametrize("fails", ["reset", "step", "reward", "sight"])
def test_a_game_that_fails_is_blamed_in_one_line(fails: str, registered: Any) -> None:
    spaces = pytest.importorskip("gymnasium").spaces
    name = registered("Broken-v0", kind_of_game(spaces.Box(-1, 1, (2,)), spaces.Discrete(2), fails))
    world = games.open_world(name, 2)
    with pytest.raises(DataError, match="Broken-v0: the game failed") as caught:
        world.begin(np.arange(2), np.array([1, 2]))
        world.move(np.zeros(2, np.int64))
    assert "\n" not in str(caught.value)


def test_a_world_that_is_forgotten_is_closed(registered: Any) -> None:
    spaces = pytest.importorskip("gymnasium").spaces
    kind: Any = kind_of_game(spaces.Box(-1, 1, (2,)), spaces.Discrete(2))
    world = games.open_world(registered("Closing-v0", kind), 3)
    before = kind.closed
    del world
    assert kind.closed == before + 3


def test_wrappers_that_are_part_of_a_game_stay(registered: Any) -> None:
    gymnasium = pytest.importorskip("gymnasium")
    spaces, wrappers = gymnasium.spaces, pytest.importorskip("gymnasium.wrappers")
    kind = kind_of_game(spaces.Box(-1, 1, (2,)), spaces.Discrete(2))
    made: Any = lambda: wrappers.TransformReward(wrappers.TimeLimit(kind(), 5), lambda reward: 10 * reward)  # noqa: E731
    world = games.open_world(registered("Wrapped-v0", made), 1)
    world.begin(np.zeros(1, np.int64), np.array([1]))
    told = [world.move(np.zeros(1, np.int64)) for _ in range(5)]
    assert [float(rewards[0]) for rewards, _, _ in told] == [10.0] * 5
    assert [bool(broken[0]) for _, _, broken in told] == [False] * 4 + [True]


def test_a_game_without_an_end_is_broken_off(registered: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    spaces = pytest.importorskip("gymnasium").spaces
    monkeypatch.setattr(gymnasium_games, "LIMIT", 30)
    name = registered("Endless-v0", kind_of_game(spaces.Box(-1, 1, (2,)), spaces.Discrete(2)))
    told = play(games.open_world(name, 2), np.array([1, 2]), by_lot(2))
    assert told.lengths.tolist() == [30, 30] and told.returns.tolist() == [30.0, 30.0]


@pytest.mark.parametrize(
    ("name", "way"), [("CartPole-v1", [0.05, 0.1, 1.0, 0.5]), ("Acrobot-v1", [0.0, 0.0, 0.0, 0.0, 1.0, 0.0])]
)
def test_our_own_are_gymnasium_s_to_the_last_bit(name: str, way: list[float]) -> None:
    pytest.importorskip("gymnasium")
    rules, count, generator = games.rules_of(name), 11, np.random.default_rng(0)
    ours, theirs = games.open_world(name, count), gymnasium_games.GymnasiumWorld(rules, count)
    begun, finished = np.arange(count), 0
    for _ in range(520):
        if len(begun):
            seeds = generator.integers(0, 2**31 - 1, len(begun))
            ours.begin(begun, seeds)
            theirs.begin(begun, seeds)
        seen = theirs.look()
        assert (ours.look() == seen).all()
        good = np.where(seen @ np.array(way, np.float32) > 0, rules.choices - 1, 0)
        actions = np.where(generator.random(count) < 0.1, 0, good)
        told = [world.move(actions) for world in (ours, theirs)]
        assert all((one == other).all() for one, other in zip(*told, strict=True))
        begun = np.flatnonzero(told[0][1] | told[0][2])
        finished += len(begun)
    assert finished > 5


def test_a_game_of_atari_that_follows_another_is_that_of_its_seed() -> None:
    pytest.importorskip("ale_py")
    world, fresh = games.open_world("ALE/Pong-v5", 2), games.open_world("ALE/Pong-v5", 1)
    world.begin(np.arange(2), np.array([1, 2]))
    generator, ended = np.random.default_rng(0), np.zeros(2, bool)
    while not ended.any():
        _, ended, broken = world.move(generator.integers(0, 6, 2))
        assert not broken.any()
    place, other = int(ended.argmax()), int(ended.argmin())
    before = world.look()[other].copy()
    world.begin(np.array([place]), np.array([77]))
    fresh.begin(np.zeros(1, np.int64), np.array([77]))
    assert (world.look()[other] == before).all()
    for action in (0, 2, 3, 3, 2, 5):
        assert (world.look()[place] == fresh.look()[0]).all()
        one, alone = (told.move(np.full(told.count, action))[0] for told in (world, fresh))
        assert one[place] == alone[0]


def test_atari_is_seen_as_four_pictures_and_its_actions_have_names() -> None:
    pytest.importorskip("ale_py")
    rules = games.rules_of("ALE/Pong-v5")
    assert rules.shape == (4, 84, 84) and rules.choices == 6 and "right" in rules.actions and rules.pixels
