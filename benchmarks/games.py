"""The figures of game playing, made again: `python benchmarks/games.py [NAME...]`.

Each NAME is a row of the table below; without one, all but the hour of Pong. A row trains with the command that it
prints, in a folder of its own, and prints the scores of games whose seeds were never learned from, with their
intervals, the seconds of the whole command and of the training in it, and the machine with its load.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROWS: dict[str, tuple[str, ...]] = {
    "cartpole": ("CartPole-v1", "--epochs", "20"),
    "acrobot": ("Acrobot-v1", "--minutes", "2"),
    "lunarlander": ("LunarLander-v3", "--minutes", "5"),
    "pendulum": ("Pendulum-v1", "--minutes", "2"),
    "tic-tac-toe": ("tic-tac-toe", "--minutes", "2"),
    "connect-four": ("connect-four", "--minutes", "10"),
    "speed": ("CartPole-v1", "--epochs", "60", "--trials", "1", "--games", "1"),
    "pong": ("ALE/Pong-v5", "--minutes", "60"),
}
SEEDS = ("0",)


def main() -> None:
    """Run the rows that are named."""
    wanted = sys.argv[1:] or [name for name in ROWS if name != "pong"]
    unknown = [name for name in wanted if name not in ROWS]
    if unknown:
        sys.exit(f"no such row: {', '.join(unknown)}; there are {', '.join(ROWS)}")
    for name in wanted:
        for seed in SEEDS:
            print(json.dumps({"row": name, **row(ROWS[name], seed)}), flush=True)


def row(words: tuple[str, ...], seed: str) -> dict[str, Any]:
    """One training and its scores."""
    with tempfile.TemporaryDirectory() as room:
        command = ["train", *words, "--seed", seed, "--threads", "1"]
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
        "machine": f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
    }


if __name__ == "__main__":
    main()
