"""What all tasks share whose examples belong to one class each: labels, the loss, scores, the answer in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from matinee.core.examples import Array, Examples
from matinee.core.meter import Meter
from matinee.core.scores import ClassificationMeter
from matinee.core.settings import setting
from matinee.core.task import Batch, Task

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from matinee.core.model import Model

RUNNERS_UP = 4


@dataclass(frozen=True, kw_only=True)
class Classification(Task):
    """One label for an example, out of the classes seen in training.

    The examples have a column "label" of class numbers, a batch has them as its targets (batch,), or probabilities
    (batch, classes) where examples are mixed; the network gives logits (batch, classes), and "constant" is the name of
    one whose only parameter is called "logits".

    classes: their names, in the order of their numbers. counts: training examples of each.
    """

    classes: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()

    network: str = "auto"
    loss_function: str = setting("cross-entropy", "what is made small", choices=("cross-entropy", "focal"))
    focal_gamma: float = setting(2.0, "how much focal loss leaves easy examples aside", low=0, high=10)
    label_smoothing: float | None = setting(None, "share of certainty taken from the true class", low=0, high=0.9)
    class_weights: str = setting("none", "balanced: mistakes on rare classes cost more", choices=("none", "balanced"))

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """Cross-entropy, or focal loss (Lin et al., 2017), with label smoothing and class weights."""
        from torch.nn.functional import cross_entropy

        logits, weights = outputs.float(), None
        if self.class_weights == "balanced":
            weights = torch.from_numpy(self.class_costs()).to(logits.device, non_blocking=True)
        smoothing = self.label_smoothing or 0.0
        if self.loss_function == "cross-entropy":
            return cross_entropy(logits, batch.targets, weights, label_smoothing=smoothing)
        each = cross_entropy(logits, batch.targets, weights, reduction="none", label_smoothing=smoothing)
        shares = logits.softmax(-1)
        if batch.targets.is_floating_point():
            truth = (shares * batch.targets).sum(-1)
        else:
            truth = shares.gather(-1, batch.targets[:, None])[:, 0]
        focal: Tensor = ((1 - truth) ** self.focal_gamma * each).mean()
        return focal

    def class_costs(self) -> Array:
        """How much a mistake on each class weighs, float32 (classes,)."""
        if self.class_weights != "balanced":
            return np.ones(len(self.classes), np.float32)
        counts = np.maximum(np.array(self.counts, np.float32), 1)
        costs: Array = counts.sum() / counts / len(counts)
        return costs

    def meter(self) -> Meter:
        """Accuracy first."""
        return ClassificationMeter(self.classes)

    def labels(self, examples: Examples) -> Array:
        """Class numbers."""
        return examples.column("label").astype(np.int64)

    def names(self) -> Sequence[str]:
        """Class names."""
        return self.classes

    def trivial(self, train: Examples) -> Model:
        """Always the majority class."""
        import torch

        from matinee.core.model import Model

        task = dataclasses.replace(self, network="constant")
        network = task.build()
        counts = np.bincount(self.labels(train), minlength=len(self.classes)) + 1e-3
        with torch.no_grad():
            network.get_parameter("logits").copy_(torch.from_numpy(np.log(counts / counts.sum())))
        return Model(task, network.eval())

    def decode(self, outputs: Any) -> list[dict[str, Any]]:
        """The likeliest class, its probability and the runners-up."""
        shares, order = outputs.float().softmax(-1).topk(min(1 + RUNNERS_UP, len(self.classes)))
        answers = []
        for row, places in zip(shares.tolist(), order.tolist(), strict=True):
            named = [{"label": self.classes[p], "probability": round(s, 6)} for s, p in zip(row, places, strict=True)]
            answers.append({**named[0], "others": named[1:]})
        return answers

    def answers_in_words(self, outputs: Any) -> list[str]:
        """The likeliest class and its probability, for a caption."""
        return [f"{a['label']} ({100 * a['probability']:.0f} %)" for a in self.decode(outputs)]
