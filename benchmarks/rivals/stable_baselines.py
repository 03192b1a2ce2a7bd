"""How many moves a second stable-baselines3's PPO plays and learns from.

    python stable_baselines.py GAME [--moves 40960] [--environments 16] [--steps 128] [--reuse 10] [--batch 256]

Its own vector of environments (DummyVecEnv with monitors, as make_vec_env makes it) and its MlpPolicy, two layers of 64
for the policy and two for the value; one thread. What is timed is `learn`, after a first stretch that pays for memory.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings

import torch


def main() -> None:
    """Print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("game")
    sizes = {"moves": 40960, "environments": 16, "steps": 128, "reuse": 10, "batch": 256}
    for name, size in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=size)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    import stable_baselines3
    from stable_baselines3.common.env_util import make_vec_env

    games = make_vec_env(asked.game, n_envs=asked.environments, seed=0)
    learner = stable_baselines3.PPO(
        "MlpPolicy", games, n_steps=asked.steps, batch_size=asked.batch, n_epochs=asked.reuse, learning_rate=1e-3,
        seed=0, device="cpu",
    )  # fmt: skip
    learner.learn(asked.environments * asked.steps)
    before, began, worked = learner.num_timesteps, time.perf_counter(), time.process_time()
    learner.learn(asked.moves, reset_num_timesteps=False)
    moves = learner.num_timesteps - before
    seconds, worked = time.perf_counter() - began, time.process_time() - worked
    told = {"moves_a_second": moves / seconds, "moves_a_processor_second": moves / worked, "moves": moves}
    print(json.dumps({**told, "version": stable_baselines3.__version__, "torch": torch.__version__}))


if __name__ == "__main__":
    main()
