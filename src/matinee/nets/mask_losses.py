"""What is made small where every pixel has a class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, max_pool2d

NOTHING = 255  # the number of a pixel that counts as nothing


@dataclass(frozen=True)
class PixelLoss:
    """Cross-entropy of pixels, a mean over the batch.

    costs: how much a pixel of each class weighs. smoothing: share of certainty taken from the true class. edge: how
    much more a pixel counts that touches one of another class, as a multiple.

    Each place of the logits' grid is compared with the pixel in its middle: logits of all pixels would be four times
    as many to read and write.
    """

    costs: Sequence[float]
    smoothing: float = 0.0
    edge: float = 0.0

    def __call__(self, logits: Tensor, masks: Tensor) -> Tensor:
        """logits (N, classes, h, w); masks uint8 (N, H, W), 255 for nothing."""
        logits = logits.float()
        truth = thinned(masks, logits.shape[2], logits.shape[3]).long()
        costs = None if set(self.costs) == {1.0} else torch.tensor(self.costs, device=logits.device)
        each = cross_entropy(
            logits, truth, costs, ignore_index=NOTHING, reduction="none", label_smoothing=self.smoothing
        )
        if self.edge:
            numbers = truth.float()
            edges = max_pool2d(numbers, 3, 1, 1) != -max_pool2d(-numbers, 3, 1, 1)
            each = each * (1 + self.edge * edges)
        # Over all pixels, those that count as nothing too: a mean over others would weigh pictures by what is in them,
        # and a batch that is divided among processes otherwise than a whole one.
        return each.mean()


def thinned(masks: Tensor, height: int, width: int) -> Tensor:
    """The pixels (N, height, width) in the middles of the places of a coarser grid."""
    if masks.shape[1:] == (height, width):
        return masks
    rows, columns = (
        ((torch.arange(wanted, device=masks.device) + 0.5) * (there / wanted)).long()
        for wanted, there in ((height, masks.shape[1]), (width, masks.shape[2]))
    )
    return masks[:, rows[:, None], columns]
