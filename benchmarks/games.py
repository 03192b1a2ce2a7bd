"""The figures of game playing, made again: `python benchmarks/games.py [--seed N] [NAME...]`.

Each NAME is a row of the table below; without one, all but the hour of Pong. A row trains with the command that it
prints, in a folder of its own, and prints the scores of games whose seeds were never learned from, with their
intervals, the seconds of the whole command and of the training in it, and the machine with its load. --seed is that of
the training and of the games that are scored; settings were chosen with other seeds than 0.

The row "rate" holds moves a second, played and learned from, against stable-baselines3's PPO (`make .venv-rivals`
installs it): the same games, sizes and networks, in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import Bench, Line, in_turn

ROWS: dict[str, tuple[str, ...]] = {
    "cartpole": ("CartPole-v1", "--epochs", "30", "--valid-share", "0"),
    "acrobot": ("Acrobot-v1", "--method", "pqn", "--minutes", "2", "--trials", "256"),
    "lunarlander": ("LunarLander-v3", "--minutes", "5"),
    "pendulum": ("Pendulum-v1", "--minutes", "2"),
    "tic-tac-toe": ("tic-tac-toe", "--minutes", "2"),
    "connect-four": ("connect-four", "--minutes", "10"),
    "cartpole-pqn": ("CartPole-v1", "--method", "pqn", "--epochs", "50"),
    "lunarlander-pqn": ("LunarLander-v3", "--method", "pqn", "--minutes", "5"),
    "pong": ("ALE/Pong-v5", "--minutes", "60"),
}
RATE = {"CartPole-v1": 81920, "Acrobot-v1": 40960, "LunarLander-v3": 20480}  # moves that are timed
ROUNDS = 3


def main() -> None:
    """Run the rows that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="NAME", help=", ".join((*ROWS, "rate")))
    parser.add_argument("--seed", default="0")
    asked = parser.parse_args()
    unknown = [name for name in asked.rows if name not in (*ROWS, "rate")]
    if unknown:
        parser.error(f"no such row: {', '.join(unknown)}; there are {', '.join((*ROWS, 'rate'))}")
    for name in asked.rows or [*(name for name in ROWS if name != "pong"), "rate"]:
        for told in rates() if name == "rate" else [row(ROWS[name], asked.seed)]:
            print(json.dumps({"row": name, **told, "machine": machine()}), flush=True)


def machine() -> str:
    """How many cores, and how busy they are."""
    return f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"


def rates() -> list[dict[str, Any]]:
    """Moves a second of environment and learning together, ours and theirs, in turn."""
    with tempfile.TemporaryDirectory() as room:
        bench, found = Bench(None, Path(room)), []
        for game, moves in RATE.items():
            ours, theirs = in_turn(
                ROUNDS,
                lambda game=game, moves=moves: bench.probe("playing", game, moves),
                lambda game=game, moves=moves: bench.rival("stable_baselines", game, "--moves", moves),
            )
            for unit in ("moves_a_second", "moves_a_processor_second"):
                line = Line(game, unit, [o[unit] for o in ours], "stable-baselines3", [t[unit] for t in theirs])
                found.append(line.to_json())
    return found


def row(words: tuple[str, ...], seed: str) -> dict[str, Any]:
    """One training and its scores."""
    with tempfile.TemporaryDirectory() as room:
        alone = () if words[0].startswith("ALE/") else ("--threads", "1")  # pictures are worth two
        command = ["train", *words, "--seed", seed, "--split-seed", seed, *alone]
        began = time.perf_counter()
        whole = [sys.executable, "-m", "matinee", *command, "--out", str(Path(room, "run")), "--quiet"]
        done = subprocess.run(whole, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - began
        if done.returncode:
            sys.exit(f"{' '.join(command)}: {done.stderr.strip()[-500:]}")
        told = json.loads(Path(room, "run", "result.json").read_text("utf-8"))
        settings = json.loads(Path(room, "run", "settings.json").read_text("utf-8"))
    fields = settings["fields"]
    moves = told["epochs"] * fields["environments"] * fields["moves"]
    return {
        "command": "matinee " + " ".join(command),
        "scores": {k: [round(v[part], 3) for part in ("value", "low", "high")] for k, v in told["scores"].items()},
        "baselines": {k: round(v["return"], 3) for k, v in told["baselines"].items()},
        "games": told["examples"],
        "moves": moves,
        "moves_a_second": round(moves / told["train_seconds"]),
        "train_seconds": round(told["train_seconds"], 1),
        "seconds": round(seconds, 1),
    }


if __name__ == "__main__":
    main()
