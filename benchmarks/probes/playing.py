"""How many moves a second Matinee plays and learns from: `python playing.py GAME [MOVES] [SETTING=VALUE...]`.

The same sizes as rivals/stable_baselines.py, which are those that vectors of numbers get by themselves: 16 games side
by side, 128 moves each, learned from 10 times in batches of 256, one thread. What is timed is `fit`, without
validation, after a first stretch that pays for memory.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time

import torch

import matinee
from matinee.core.loop import fit
from matinee.core.progress import Progress
from matinee.core.train_settings import TrainSettings


def main() -> None:
    """Print one line of JSON."""
    game, wanted = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 40960
    given = dict(word.split("=", 1) for word in sys.argv[3:])
    data = matinee.read(game, progress=Progress(quiet=True), valid_share=0, games=1, **given)
    task = data.task.choose(data, None)
    data = dataclasses.replace(data, task=task)
    passes = -(-wanted // len(data.train))

    def played(epochs: int) -> tuple[float, float]:
        asked = TrainSettings(device="cpu", precision="float32", epochs=epochs, threads=1)
        torch.manual_seed(0)
        network = task.build()
        task.prepare(network, data.train)
        began, worked = time.perf_counter(), time.process_time()
        fit(data, network, asked.advised(task.advice(len(data.train))))
        return time.perf_counter() - began, time.process_time() - worked

    played(1)
    seconds, worked = played(passes)
    moves = passes * len(data.train)
    told = {"moves_a_second": moves / seconds, "moves_a_processor_second": moves / worked, "moves": moves}
    print(json.dumps({**told, "torch": torch.__version__}))


if __name__ == "__main__":
    main()
