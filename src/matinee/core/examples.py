"""Examples: named columns, in memory or memory-mapped. A batch is one gather per column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from matinee.core.on_disk import beyond_memory

if TYPE_CHECKING:
    import torch

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Examples:
    """Rows of columns. Each column is an array (rows, ...); `rows` says which rows these examples are, in order.

    Taking a part shares the columns: nothing is copied until a batch is gathered.
    """

    columns: Mapping[str, Array]
    rows: Array

    @staticmethod
    def of(columns: Mapping[str, Array]) -> Examples:
        """All rows of the columns."""
        return Examples(columns, np.arange(len(next(iter(columns.values()))), dtype=np.int64))

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, positions: Array) -> Examples:
        """The examples at these positions."""
        return Examples(self.columns, self.rows[positions])

    def at(self, rows: Array) -> Examples:
        """The examples at other rows of the same columns."""
        return Examples(self.columns, rows)

    def column(self, name: str) -> Array:
        """One column of these examples, copied into memory: for narrow ones such as labels."""
        return np.asarray(self.columns[name])[self.rows]

    def gather(self, positions: Array, following: Array | None = None) -> dict[str, torch.Tensor]:
        """The columns at these positions as fresh tensors, one copy each.

        following: positions that will be gathered next. Where a column is larger than memory, the disk is at them
        while these are used.
        """
        import torch

        rows, batch = self.rows[positions], {}
        for name, column in self.columns.items():
            values = np.empty((len(rows), *column.shape[1:]), column.dtype)
            if far := beyond_memory(column):
                far.announce(rows)
                if following is not None:
                    far.announce(self.rows[following])
                far.read(rows, values)
            else:
                # "clip" lets numpy write straight into `values`; the rows are known to be in range.
                np.take(column, rows, axis=0, out=values, mode="clip")
            batch[name] = torch.from_numpy(values)
        return batch
