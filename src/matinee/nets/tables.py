"""Networks for rows of tables: linear, fully connected, and an ensemble of those with embedded numbers.

All of them take (batch, inputs) as `Intake` does and answer, in evaluation mode,

    number        (batch, 2)            the number, in units of the target, and how far off 9 of 10 answers are at most
    two classes   (batch, 3)            two logits, and the log-odds from which on the second class is the answer
    more classes  (batch, classes)      logits

`members` gives what each member of the ensemble says, (batch, members, 1 or classes): the loss sees them one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from matinee.nets.table_intake import BINS, Intake, Pieces
from matinee.nets.table_kernel import LANDMARKS, Kernel

SIZES: Final = {"s": 64, "m": 128, "l": 256}
"""Units of each of the two hidden layers."""
MEMBERS: Final = 16
EMBEDDED: Final = 8
"""Numbers that each number is embedded as."""


@dataclass(frozen=True)
class TableShape:
    """What goes in and comes out. levels: see `Intake`. classes: 0 where the target is a number."""

    levels: tuple[int, ...]
    classes: int

    @property
    def outputs(self) -> int:
        """What a head tells: a number, the log-odds of the second class, or a logit for each class."""
        return self.classes if self.classes > 2 else 1


class Head(nn.Module):
    """(batch, members, features) -> (batch, members, outputs), and what makes answers of it."""

    level: Tensor
    spread: Tensor
    sharpness: Tensor
    threshold: Tensor
    margin: Tensor
    penalty: Tensor

    def __init__(self, features: int, shape: TableShape, members: int = 1) -> None:
        super().__init__()
        self.classes = shape.classes
        self.weight = nn.Parameter(torch.empty(members, features, shape.outputs))
        self.bias = nn.Parameter(torch.zeros(members, shape.outputs))
        bound = max(1, features) ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)
        self.register_buffer("level", torch.zeros(()))  # mean of the target
        self.register_buffer("spread", torch.ones(()))  # its deviation
        self.register_buffer("sharpness", torch.ones(()))
        self.register_buffer("threshold", torch.zeros(()))
        self.register_buffer("margin", torch.zeros(()))
        self.register_buffer("penalty", torch.zeros(()))  # L2, where the linear network chose it

    def forward(self, features: Tensor) -> Tensor:
        """(batch, members, 1 or classes): a number in its units, or logits."""
        told = torch.einsum("bmf,mfo->bmo", features, self.weight) + self.bias
        if not self.classes:
            return told * self.spread + self.level
        return torch.cat([-told / 2, told / 2], -1) if self.classes == 2 else told

    def together(self, members: Tensor) -> Tensor:
        """What the members say as one answer: the mean of numbers or of probabilities."""
        if not self.classes:
            number = members.mean(1)
            return torch.cat([number, self.margin.expand_as(number)], -1)
        logits = members.log_softmax(-1).logsumexp(1) if members.shape[1] > 1 else members[:, 0]
        logits = logits * self.sharpness
        return torch.cat([logits, self.threshold.expand(len(logits), 1)], -1) if self.classes == 2 else logits


class TableNetwork(nn.Module):
    """Intake, trunk and head."""

    def __init__(self, trunk: nn.Module, head: Head, intake: Intake) -> None:
        super().__init__()
        self.intake = intake
        self.trunk = trunk
        self.head = head

    def members(self, inputs: Tensor) -> Tensor:
        """(batch, members, 1 or classes): what each member says."""
        # These networks are small and their inputs differ in size: rounding to 8 bits would save nothing and cost much.
        with torch.autocast(inputs.device.type, enabled=False):
            told: Tensor = self.head(self.trunk(self.intake, inputs.float()))
        return told

    def forward(self, inputs: Tensor) -> Tensor:
        """The answers, as the top of this file says."""
        with torch.autocast(inputs.device.type, enabled=False):
            return self.head.together(self.members(inputs))

    def look(self, inputs: Tensor) -> None:
        """Statistics of the training rows (rows, inputs)."""
        self.intake.look(inputs)
        if isinstance(self.trunk, Modern):
            self.trunk.pieces.look(self.intake.standardised(inputs)[0])


class Plain(nn.Module):
    """The features themselves."""

    def forward(self, intake: Intake, inputs: Tensor) -> Tensor:
        """(batch, 1, features)."""
        features: Tensor = intake(inputs)
        return features[:, None]


class Constant(nn.Module):
    """No feature at all: the head's bias is the answer."""

    def forward(self, intake: Intake, inputs: Tensor) -> Tensor:
        """(batch, 1, 0)."""
        return torch.zeros(len(inputs), 1, 0, device=inputs.device)


class Layers(nn.Module):
    """Two hidden layers with ReLU and dropout."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
        )

    def forward(self, intake: Intake, inputs: Tensor) -> Tensor:
        """(batch, 1, hidden). Outliers are drawn in smoothly (Holzmueller et al., 2024)."""
        numbers, missing = intake.standardised(inputs)
        numbers = numbers / (1 + (numbers / 3) ** 2).sqrt()
        features: Tensor = self.layers(torch.cat([numbers, missing, intake.categorical(inputs)], 1))
        return features[:, None]


class Shared(nn.Module):
    """A linear layer that the members of an ensemble share but for scales of their own (Wen et al., 2020).

    (batch, members, width) -> (batch, members, hidden).
    """

    def __init__(self, width: int, hidden: int, members: int, *, first: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, hidden))
        bound = width**-0.5
        nn.init.uniform_(self.weight, -bound, bound)
        # What sets the members apart at the start: signs of the inputs (Gorishniy et al., 2025).
        signs = torch.randint(0, 2, (members, width)).float() * 2 - 1 if first else torch.ones(members, width)
        self.before = nn.Parameter(signs)
        self.after = nn.Parameter(torch.ones(members, hidden))
        self.bias = nn.Parameter(torch.empty(members, hidden).uniform_(-bound, bound))

    def forward(self, features: Tensor) -> Tensor:
        """(batch, members, hidden)."""
        return (features * self.before) @ self.weight * self.after + self.bias


class Modern(nn.Module):
    """TabM with piecewise linear embeddings of numbers (Gorishniy et al., 2022 and 2025).

    Each number is embedded by a linear layer and ReLU of its own over its piecewise linear encoding; many members,
    which share most weights, learn from the embeddings and the categories.
    """

    def __init__(self, intake: Intake, hidden: int, members: int, dropout: float) -> None:
        super().__init__()
        numbers = len(intake.numbers)
        self.pieces = Pieces(numbers)
        self.embedding = nn.Parameter(torch.empty(numbers, BINS + 1, EMBEDDED))
        nn.init.uniform_(self.embedding, -(BINS**-0.5), BINS**-0.5)
        self.embedding_bias = nn.Parameter(torch.zeros(numbers, EMBEDDED))
        width = numbers * EMBEDDED + intake.width - numbers
        self.layers = nn.ModuleList(
            [Shared(width, hidden, members, first=True), Shared(hidden, hidden, members, first=False)]
        )
        self.dropout = dropout
        self.member_count = members

    def forward(self, intake: Intake, inputs: Tensor) -> Tensor:
        """(batch, members, hidden)."""
        numbers, missing = intake.standardised(inputs)
        drawn = numbers / (1 + (numbers / 3) ** 2).sqrt()
        encoded = torch.cat([self.pieces(numbers), drawn[:, :, None]], -1)
        embedded = (torch.einsum("bnp,npe->bne", encoded, self.embedding) + self.embedding_bias).relu().flatten(1)
        features = torch.cat([embedded, missing, intake.categorical(inputs)], 1)
        told = features[:, None].expand(-1, self.member_count, -1)
        for layer in self.layers:
            told = functional.dropout(layer(told).relu(), self.dropout, self.training)
        return told


def build(name: str, shape: TableShape, *, size: str = "m", dropout: float = 0.1) -> TableNetwork:
    """The network of that name: "constant", "linear", "kernel", "mlp" or "tabular"."""
    intake = Intake(shape.levels)
    if name == "constant":
        return TableNetwork(Constant(), Head(0, shape), intake)
    if name == "linear":
        return TableNetwork(Plain(), Head(intake.width, shape), intake)
    if name == "kernel":
        return TableNetwork(Kernel(intake.width), Head(LANDMARKS, shape), intake)
    hidden = SIZES[size]
    if name == "mlp":
        return TableNetwork(Layers(intake.width, hidden, dropout), Head(hidden, shape), intake)
    return TableNetwork(Modern(intake, hidden, MEMBERS, dropout), Head(hidden, shape, MEMBERS), intake)


def names_of_features(names: Sequence[str], levels: Sequence[Sequence[str]]) -> list[str]:
    """What each feature of `Intake` is called. levels: the categories of each input, empty where it is a number."""
    numbers = [name for name, words in zip(names, levels, strict=True) if not words]
    places = [
        f"{name} = {word}" for name, words in zip(names, levels, strict=True) if words for word in ("(unknown)", *words)
    ]
    return [*numbers, *(f"{name} missing" for name in numbers), *places]
