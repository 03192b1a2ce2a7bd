"""What all tasks share whose networks write their answers piece by piece: settings, the search, the loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from matinee.core.errors import SettingsError
from matinee.core.examples import Examples
from matinee.core.settings import setting
from matinee.core.task import Batch, Task

if TYPE_CHECKING:
    from torch import Tensor, nn

    from matinee.nets.teaching import Answers
    from matinee.nets.writers import WriterShape


RECURRENT = {"recurrent": ("rnn", "lstm", "gru")}


@dataclass(frozen=True, kw_only=True)
class Writes(Task):
    """A text for an example, written in pieces. A batch has their numbers as inputs and as targets["target"]."""

    head: ClassVar[str] = "tables."  # what depends on the vocabulary

    asked: ClassVar[str] = '"A TEXT" FILE...'

    mean_length: float = 1.0
    validated: bool = False

    width: int | None = setting(None, "numbers that a piece or sentence is known by", low=16, high=2048)
    layers: int | None = setting(None, "layers that read, and as many that write", low=1, high=24)
    dropout: float | None = setting(None, "share of numbers set to zero while learning", low=0, high=0.9)
    label_smoothing: float = setting(0.1, "share of certainty taken from the true piece", low=0, high=0.9)
    beams: int = setting(5, "answers kept side by side while one is written (1: greedy)", low=1, high=64)
    length_penalty: float = setting(1.0, "how far longer answers are spared (0: not)", low=0, high=4)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mean_length) and self.mean_length > 0):
            raise SettingsError("the mean length of a target must be above 0.")

    def _written_by(self, source: int, target: int, shared: bool) -> WriterShape:
        """The shape of a network that writes, for vocabularies of those sizes."""
        from matinee.nets.writers import WriterShape

        return WriterShape(source, target, shared, self.width or 256, self.layers or 3, self.dropout or 0.0)

    def _answered(self, network: nn.Module, inputs: Tensor, limits: Tensor, look: bool = False) -> Answers:
        """What the search finds, of at most `limits` pieces each. look: and where the network looked."""
        from matinee.nets.teaching import answer

        return answer(network, inputs, limits, self.beams, self.length_penalty, look)

    def prepare(self, network: nn.Module, examples: Examples) -> None:
        """While it learns it is scored on the likeliest pieces alone, where it will be scored at all."""
        from matinee.nets.teaching import settle

        settle(network, not self.validated)

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """Cross-entropy with label smoothing, for an example of usual length."""
        from matinee.nets.teaching import surprise

        return surprise(outputs, batch.targets["target"], self.mean_length, self.label_smoothing)

    def calibrated_on(self) -> int:
        """One: nothing is looked at."""
        return 1

    def calibrate(self, network: nn.Module, outputs: Any, targets: Any) -> None:
        """It has learned: from here on it answers with beams."""
        from matinee.nets.teaching import settle

        settle(network, True)

    def merge(self, outputs: Sequence[Any]) -> Any:
        """Of several networks, the one that is surest of its answer."""
        from matinee.nets.teaching import best_of

        return best_of(list(outputs))

    def concatenate(self, outputs: Sequence[Any]) -> Any:
        """One after the other, each as wide as the widest."""
        from matinee.nets.padding import joined

        return joined(outputs)
