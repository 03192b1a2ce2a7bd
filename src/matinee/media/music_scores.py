"""Scores of a model of music: how surprised it was by each frame of pieces that it had not heard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from matinee.core.meter import Array, Meter, Rows

if TYPE_CHECKING:
    import torch

    from matinee.core.task import Batch

STRUCK, HELD = 2, 3


class MusicMeter(Meter):
    """For outputs (cells, nats): pieces (batch, frames, 88), and how surprising each frame was (batch, frames).

    Both averagings that are published: over all frames (Boulanger-Lewandowski et al., 2012; Bai et al., 2018), and over
    pieces, each by its own frames (Krishnan et al., 2017). `next_frame_nll` leaves out the first frame of each piece,
    which nothing comes before, as the code of Bai et al. does.
    """

    lower_is_better: ClassVar[frozenset[str]] = frozenset({"frame_nll", "piece_nll", "next_frame_nll", "note_nll"})
    plain: ClassVar[frozenset[str]] = lower_is_better
    meanings: ClassVar[Mapping[str, str]] = {
        "frame_nll": "how surprised the model was by each frame given all before it, in nats; mean over all frames",
        "piece_nll": "the same, first the mean of each piece, then of the pieces, short or long",
        "next_frame_nll": "the mean over all frames but the first of each piece",
        "note_nll": "the same surprise, by the notes that sounded instead of by the frames",
    }

    def collect(self, outputs: Any, batch: Batch) -> dict[str, torch.Tensor]:
        """Nats of each piece and of its first frame, its frames and its notes."""
        cells, nats = outputs
        nats = nats.float()
        return {
            "nats": nats.sum(1),
            "first": nats[:, 0],
            "frames": (cells[:, :, 0] > 0).sum(1),
            "notes": ((cells == STRUCK) | (cells == HELD)).sum((1, 2)),
        }

    def score(self, rows: Rows) -> dict[str, float]:
        """As `meanings` says; nan where there is nothing to divide by."""
        nats, first, frames, notes = (rows[name].astype(np.float64) for name in ("nats", "first", "frames", "notes"))
        return {
            "frame_nll": _share(nats.sum(), frames.sum()),
            "piece_nll": float((nats / np.maximum(frames, 1)).mean()) if len(nats) else float("nan"),
            "next_frame_nll": _share(nats.sum() - first.sum(), frames.sum() - len(frames)),
            "note_nll": _share(nats.sum(), notes.sum()),
        }

    def names_of_scores(self) -> Sequence[str]:
        """The mean over all frames first."""
        return ("frame_nll", "piece_nll", "next_frame_nll", "note_nll")

    def worth_seeing(self, rows: Rows) -> dict[str, Array]:
        """The pieces that surprised it most, and least."""
        order = np.argsort(-rows["nats"] / np.maximum(rows["frames"], 1), kind="stable")
        half = min(4, (len(order) + 1) // 2)
        return {"What surprised it most": order[:half], "What surprised it least": order[::-1][: min(half, len(order))]}

    def remark(self, rows: Rows, position: int) -> str:
        """Nats a frame."""
        frames = int(rows["frames"][position])
        return f"{rows['nats'][position] / max(1, frames):.2f} nats a frame, {frames:,} frames"


def _share(whole: float, count: float) -> float:
    return float(whole / count) if count > 0 else float("nan")
