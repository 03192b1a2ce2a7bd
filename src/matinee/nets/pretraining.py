"""Learning from texts without labels: words are hidden, and the network guesses them (Devlin et al., 2019).

    task = HiddenWords(network="lstm", size="m", tokens=30_000)
    trunk = pretrained(task, examples, settings)       # name -> tensor: what `starting.put` lays under a classifier

`HiddenWords` is a task like any other for the loop. It is none that a user names: it reads no source of its own, but
the token ids that a task of texts has read already. Its network's parts are called as those of `SequenceNetwork`, so
that all but the head is a start for it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from matinee.core import cache, processes
from matinee.core.errors import DataError
from matinee.core.examples import Array, Examples, Ragged
from matinee.core.loop import fit
from matinee.core.meter import Meter, Rows
from matinee.core.moment import Moment
from matinee.core.progress import Progress
from matinee.core.settings import to_json
from matinee.core.storage import read_tensors, write_tensors
from matinee.core.task import Batch, Data, Task
from matinee.core.train_settings import TrainSettings
from matinee.nets.sequences import SequenceNetwork, SequenceShape, tokens_of

HIDDEN: Final = 1
"""The id that stands for a hidden word: that of words that are not known."""
FIRST: Final = 2
SHARE: Final = 0.15
KEPT: Final = 0.1
SWAPPED: Final = 0.1
"""Of the words to guess, those that stand as they are, and those in whose place another stands."""
GUESSED: Final = 8192
"""Only words among so many commonest are guessed: the others cost much and teach little."""
WINDOW: Final = 100
"""Tokens of a text that a step sees, as many as recurrent layers read in a row; where they begin is drawn."""
FILE: Final = "trunk.safetensors"


@dataclass(frozen=True, kw_only=True)
class HiddenWords(Task):
    """Which words were hidden. Examples have the column "ids"; a batch's targets are the ids, 0 where none is asked."""

    network: str = "lstm"
    size: str = "m"
    tokens: int = FIRST
    numbers: int = 0

    @classmethod
    def recognise(cls, source: str) -> str | None:
        """Nothing: it reads no source."""
        return None

    def read(self, source: str, progress: Progress) -> Data:
        """Raises DataError: the texts are read by the task that they are for."""
        raise DataError(f"{source}: hidden words are asked of texts that another task has read.")

    def toy(self, seed: int = 0) -> Data:
        """Sentences in which each word tells the next."""
        generator = np.random.default_rng(seed)
        rows = [(np.arange(10) * 3 + first) % 30 + FIRST for first in generator.integers(0, 30, 200)]
        examples = Examples.of({"ids": Ragged.of(rows)})
        task = dataclasses.replace(self, tokens=32, size="s")
        return Data(task, examples, examples.take(np.arange(0)), examples.take(np.arange(0)))

    def build(self) -> nn.Module:
        """The trunk of a classifier, with another head."""
        return GuessingNetwork(self.network, SequenceShape(2, self.tokens, self.size, 0.1, 0.0, self.numbers))

    def collate(self, columns: Mapping[str, Tensor]) -> Batch:
        """int32 token ids (batch, longest)."""
        return Batch(columns["ids"], columns["ids"])

    def augment(self, batch: Batch, moment: Moment) -> Batch:
        """A window of each text, with words hidden."""
        ids = tokens_of(batch.inputs)
        device = ids.device
        if ids.shape[1] > WINDOW:
            spare = ((ids > 0).sum(1) - WINDOW).clamp(min=0)
            drawn = moment.uniform("windows", len(ids), 1, device=device)[:, 0]
            begin = (drawn * (spare + 1)).long()
            ids = ids.gather(1, begin[:, None] + torch.arange(WINDOW, device=device))
        chance = moment.uniform("hidden", len(ids), ids.shape[1], device=device)
        asked = (ids >= FIRST) & (ids < FIRST + GUESSED) & (chance < SHARE)
        share = chance / SHARE
        others = moment.uniform("others", len(ids), ids.shape[1], device=device) * max(0, self.tokens - FIRST)
        shown = torch.where(share < KEPT, ids, torch.where(share < KEPT + SWAPPED, others.long() + FIRST, HIDDEN))
        return Batch(torch.where(asked, shown, ids), ids * asked, batch.rows)

    def lengths(self, examples: Examples) -> Array:
        """Tokens of a text that a step sees."""
        return np.minimum(examples.lengths("ids"), WINDOW)

    def forward(self, network: nn.Module, batch: Batch) -> Any:
        """Logits (asked, guessed) where a word is asked."""
        return network(batch.inputs, batch.targets > 0)

    def infer(self, network: nn.Module, inputs: Tensor) -> Any:
        """Logits (hidden, guessed) where a word is hidden."""
        return network(inputs, inputs == HIDDEN)

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """Cross-entropy of the hidden words, mean over all of the batch."""
        wanted = batch.targets[batch.targets > 0].long() - FIRST
        return cross_entropy(outputs.float(), wanted) if len(wanted) else outputs.sum()

    def meter(self) -> Meter:
        """None that needs looking at: the loss tells."""
        return _Seen()

    def encode(self, raws: Sequence[Any]) -> Tensor:
        """Raises DataError: the texts are read by the task that they are for."""
        raise DataError("hidden words are asked of texts that another task has read.")

    def decode(self, outputs: Any) -> list[dict[str, Any]]:
        """The likeliest id for each hidden word."""
        return [{"id": int(place) + FIRST} for place in outputs.argmax(-1)]


class _Seen(Meter):
    def collect(self, outputs: Any, batch: Batch) -> dict[str, Tensor]:
        return {"seen": torch.ones(len(batch))}

    def score(self, rows: Rows) -> dict[str, float]:
        return {"seen": float(len(rows["seen"]))}

    def names_of_scores(self) -> Sequence[str]:
        return ("seen",)


class GuessingNetwork(nn.Module):
    """The embedding and body of a `SequenceNetwork`; words are guessed by how near they lie in the embedding."""

    def __init__(self, body: str, shape: SequenceShape) -> None:
        super().__init__()
        trunk = SequenceNetwork(body, shape)
        self.embed, self.body, self.share = trunk.embed, trunk.body, shape.dropout
        numbers = self.embed.embedding_dim
        self.guessed = max(1, min(GUESSED, shape.tokens - FIRST))
        self.head = nn.ModuleDict({"dense": nn.Linear(self.body.units, numbers), "norm": nn.LayerNorm(numbers)})
        self.head.register_parameter("bias", nn.Parameter(torch.zeros(self.guessed)))

    def forward(self, inputs: Tensor, asked: Tensor) -> Tensor:
        """Logits (asked, guessed) of ids (batch, longest), at the places that `asked` (batch, longest) marks."""
        there = inputs > 0
        there[:, 0] |= ~there.any(1)
        states = self.body(self.embed(inputs.long()), there)[asked]
        near: Tensor = self.head["norm"](self.head["dense"](states))
        logits: Tensor = near @ self.embed.weight[FIRST : FIRST + self.guessed].T + self.head.get_parameter("bias")
        return logits


def advice(network: str, texts: int) -> dict[str, Any]:
    """Settings for this: some 100,000 texts seen in all, from 2 passes to 10."""
    return {
        "epochs": max(2, min(10, round(100_000 / max(1, texts)))),
        "batch_size": 64 if texts >= 1000 else 16,
        "learning_rate": 1e-3 if network == "transformer" else 2e-3,
        "optimiser": "adamw",
        "weight_decay": 0.01,
        "schedule": "cosine",
        "warmup": 0.1,
        "clip": 1.0,
    }


def passes(unlabelled: int, labelled: int) -> int:
    """Passes over the texts that are worth their time: none where there are hardly more than those with labels."""
    return int(advice("", unlabelled + labelled)["epochs"]) if unlabelled > max(100, labelled // 2) else 0


def pretrained(
    task: HiddenWords,
    examples: Examples,
    settings: TrainSettings,
    budget: float = math.inf,
    start: Tensor | None = None,
) -> dict[str, Tensor]:
    """The trunk that learned from these texts, by the names of its weights.

    settings: with nothing left to "auto". budget: seconds. start: an embedding (tokens, numbers) to begin with. What
    was learned is cached, so that a run that goes on, or the next fold, need not learn it again.
    """
    words = sha256(repr((to_json(settings), dataclasses.asdict(task), budget, torch.__version__)).encode())
    for part in (examples.ragged("ids").values, examples.ragged("ids").offsets, examples.rows):
        words.update(np.ascontiguousarray(part).tobytes())
    if start is not None:
        words.update(start.float().cpu().numpy().tobytes())
    key = words.hexdigest()[:40]
    alone = processes.current().alone  # several would have to agree on what each finds in its own cache
    folder = cache.find("pretrained", key) if alone else None
    if folder is not None:
        return read_tensors(folder / FILE)[0]
    torch.manual_seed(settings.seed)
    network = task.build()
    if start is not None:
        with torch.no_grad():
            network.get_parameter("embed.weight").copy_(start)
    nobody = examples.take(np.arange(0))
    fit(Data(task, examples, nobody, nobody), network, settings, budget=budget)
    trunk = {name: value.cpu() for name, value in network.state_dict().items() if not name.startswith(task.head)}
    if alone:
        cache.build("pretrained", key, lambda place: write_tensors(place / FILE, trunk, {}))
    return trunk
