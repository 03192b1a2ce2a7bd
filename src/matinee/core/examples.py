"""Examples: named columns, in memory or memory-mapped. A batch is one gather per column.

Rows of a column have one shape, or, in a `Ragged` one, lengths of their own: those are padded with zeros to the longest
of their batch. Zero is therefore no token, item or event of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from matinee.core.on_disk import beyond_memory

if TYPE_CHECKING:
    import torch

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Ragged:
    """A column whose rows differ in length: `values` (total, ...), and `offsets` (rows + 1,), where each begins."""

    values: Array
    offsets: Array

    @staticmethod
    def of(rows: Sequence[Array], dtype: Any = np.int32) -> Ragged:
        """The column of these rows, each (length, ...)."""
        offsets = np.concatenate(([0], np.cumsum([len(row) for row in rows], dtype=np.int64)))
        nothing = np.empty((0, *np.shape(rows[0])[1:]) if len(rows) else 0, dtype)
        return Ragged(np.concatenate([nothing, *(np.asarray(row, dtype) for row in rows)]), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> Array:
        """One row, (length, ...)."""
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    def lengths(self, rows: Array) -> Array:
        """How long these rows are, int64 (rows,)."""
        found: Array = self.offsets[rows + 1] - self.offsets[rows]
        return found

    def padded(self, rows: Array) -> Array:
        """These rows (rows, the longest, ...), zeros behind the shorter ones; at least one wide."""
        lengths = self.lengths(rows)
        longest = max(1, int(lengths.max(initial=0)))
        ends = np.cumsum(lengths)
        within = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)
        whole = np.zeros((len(rows) * longest, *self.values.shape[1:]), self.values.dtype)
        whole[np.repeat(np.arange(len(rows)) * longest, lengths) + within] = self.values[
            np.repeat(self.offsets[rows], lengths) + within
        ]
        return whole.reshape(len(rows), longest, *self.values.shape[1:])


Column = Array | Ragged


@dataclass(frozen=True)
class Examples:
    """Rows of columns: arrays (rows, ...) or `Ragged` ones; `rows` says which rows these examples are, in order.

    Taking a part shares the columns: nothing is copied until a batch is gathered.
    """

    columns: Mapping[str, Column]
    rows: Array

    @staticmethod
    def of(columns: Mapping[str, Column]) -> Examples:
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

    def array(self, name: str) -> Array:
        """All rows of a column whose rows have one shape, these examples or not."""
        column = self.columns[name]
        if isinstance(column, Ragged):
            raise TypeError(f"the rows of column {name!r} differ in length")
        return column

    def ragged(self, name: str) -> Ragged:
        """All rows of a column whose rows differ in length."""
        column = self.columns[name]
        if not isinstance(column, Ragged):
            raise TypeError(f"the rows of column {name!r} are all of one shape")
        return column

    def column(self, name: str) -> Array:
        """One column of these examples, copied into memory: for narrow ones such as labels."""
        return np.asarray(self.array(name))[self.rows]

    def lengths(self, name: str) -> Array:
        """How long each of these examples is in a ragged column, int64 (examples,)."""
        return self.ragged(name).lengths(self.rows)

    def gather(self, positions: Array, following: Array | None = None) -> dict[str, torch.Tensor]:
        """The columns at these positions as fresh tensors, one copy each.

        following: positions that will be gathered next. Where a column is larger than memory, the disk is at them
        while these are used.
        """
        import torch

        rows, batch = self.rows[positions], {}
        for name, column in self.columns.items():
            if isinstance(column, Ragged):
                batch[name] = torch.from_numpy(column.padded(rows))
                continue
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


def near(columns: Mapping[str, torch.Tensor], device: torch.device) -> Mapping[str, torch.Tensor]:
    """Gathered columns where a GPU can collate them: as stored they are fewer bytes to move, and nobody waits."""
    if device.type != "cuda":
        return columns
    return {name: column.pin_memory().to(device, non_blocking=True) for name, column in columns.items()}
