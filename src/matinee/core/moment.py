"""When in a training a batch is varied, and where all chance in that comes from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_ODD = 0x2545F4914F6CDD1D  # Marsaglia's xorshift multiplier
_BLOCK = 4  # numbers that one count of the Philox generator yields


@dataclass(frozen=True)
class Moment:
    """A step of the training, as far as varying its batch is concerned.

    seed: of this step; run: of the whole training. epoch: passes that are done. share: of the schedule that is behind,
    0 to 1. first: the place of the batch's first example in the whole batch of the step, of which this process may have
    only a part.
    """

    seed: int = 0
    epoch: int = 0
    share: float = 0.0
    first: int = 0
    run: int = 0

    def uniform(self, purpose: str, count: int, *shape: int, device: torch.device | None = None) -> Tensor:
        """Numbers from 0 up to 1, float32 (count, *shape): the same for the same place in the whole batch.

        Every purpose has numbers of its own. They belong to places and not to processes, so that a batch is varied
        alike on one processor and spread over many. Counter-based (Philox; Salmon et al., 2011): a process skips to
        its part at no cost.
        """
        import torch

        each = math.prod(shape)
        blocks = -(-each // _BLOCK)
        drawn = np.random.Generator(self._source(purpose, self.first * blocks)).random((count, blocks * _BLOCK))
        # In float32 the largest ones would be rounded up to 1.
        numbers = torch.from_numpy(np.minimum(drawn[:, :each], 1 - 2.0**-24).astype(np.float32).reshape(count, *shape))
        return numbers if device is None else numbers.to(device, non_blocking=True)

    def numpy(self, purpose: str) -> np.random.Generator:
        """Chance for what concerns the batch as a whole, as this process has it."""
        return np.random.Generator(self._source(purpose, self.first))

    def alternately(self, rows: Tensor) -> Tensor:
        """True for half of the rows, bool (count,), and for the other half in the next epoch.

        Mirroring pictures by turns spares the same picture in a row (Keller Jordan, 2024, arXiv 2404.00498).
        """
        mixed = (rows + 1 + self.run) * _ODD
        return ((mixed ^ (mixed >> 29)) * _ODD >> 40) + self.epoch & 1 == 1

    def _source(self, purpose: str, skip: int) -> np.random.Philox:
        return np.random.Philox(key=[self.seed, crc32(purpose.encode())], counter=[skip, 0, 0, 0])
