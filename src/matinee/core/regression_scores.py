"""Scores of answers that are numbers: R2, root mean squared and mean absolute error, and how often ranges hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from matinee.core.meter import Array, Meter, Rows
from matinee.core.pieces import Lines, Piece, Table

if TYPE_CHECKING:
    import torch

    from matinee.core.task import Batch

PARTS = 10  # of the table of errors by answer


class RegressionMeter(Meter):
    """For outputs (batch, 1 or 2), a number and how far off most answers are at most (0: not known); targets (batch,).

    what: the name of the number.
    """

    lower_is_better: ClassVar[frozenset[str]] = frozenset({"rmse", "mae"})
    plain: ClassVar[frozenset[str]] = frozenset({"r2"})
    meanings: ClassVar[Mapping[str, str]] = {
        "r2": "share of the differences between examples that is explained: 1 is best, 0 as good as the mean",
        "rmse": "root of the mean squared error, in units of the target; 0 is best",
        "mae": "mean absolute error, in units of the target; 0 is best",
    }

    def __init__(self, what: str = "target") -> None:
        super().__init__()
        self.what = what

    def collect(self, outputs: Any, batch: Batch) -> dict[str, torch.Tensor]:
        """Truth, answer, and the width of its range."""
        outputs = outputs.float()
        margin = outputs[:, 1] if outputs.shape[1] > 1 else outputs.new_zeros(len(outputs))
        return {"truth": batch.targets.float(), "answer": outputs[:, 0], "margin": margin}

    def score(self, rows: Rows) -> dict[str, float]:
        """R2 is 1 where all answers are right and 0 where the mean would be as good."""
        truth, answer = rows["truth"].astype(np.float64), rows["answer"].astype(np.float64)
        if not len(truth):
            return dict.fromkeys(self.names_of_scores(), float("nan"))
        errors = answer - truth
        spread = float(((truth - truth.mean()) ** 2).sum())
        return {
            "r2": 1 - float((errors**2).sum()) / spread if spread > 0 else float("nan"),
            "rmse": float(np.sqrt((errors**2).mean())),
            "mae": float(np.abs(errors).mean()),
        }

    def names_of_scores(self) -> Sequence[str]:
        """R2 first: it can be read without knowing the units."""
        return ("r2", "rmse", "mae")

    def detail(self, rows: Rows) -> dict[str, Any]:
        """Quantiles of the errors, the mean error, and how often the truth was in the range that was told."""
        errors = rows["answer"].astype(np.float64) - rows["truth"]
        if not len(errors):
            return {}
        told = {
            "mean_error": float(errors.mean()),
            "error_quantiles": {f"{q} %": float(np.percentile(errors, q)) for q in (5, 25, 50, 75, 95)},
        }
        if rows["margin"].any():
            told["in_range"] = float((np.abs(errors) <= rows["margin"]).mean())
        return told

    def pieces(self, rows: Rows) -> Sequence[Piece]:
        """Truth against answer, and the errors where the answers are low, middling and high."""
        truth, answer = rows["truth"].astype(np.float64), rows["answer"].astype(np.float64)
        if len(truth) < 2:
            return ()
        parts = [
            part for part in np.array_split(np.argsort(answer, kind="stable"), min(PARTS, len(truth))) if len(part)
        ]
        points = [(float(answer[part].mean()), float(truth[part].mean())) for part in parts]
        plot = Lines(
            {"this model": points}, f"{self.what}: answer", "mean of the truth",
            "A tenth of the examples each. On the diagonal, answers are right on average; above it, too low.",
            diagonal=True,
        )  # fmt: skip
        table = Table(
            ("answers from", "to", "examples", "mean error", "mean absolute error"),
            [
                (
                    float(answer[part].min()), float(answer[part].max()), len(part),
                    float((answer - truth)[part].mean()), float(np.abs(answer - truth)[part].mean()),
                )
                for part in parts
            ],
            "The error is the answer less the truth.",
        )  # fmt: skip
        told = self.detail(rows)
        words = [(f"{name} of the errors are below", value) for name, value in told["error_quantiles"].items()]
        if "in_range" in told:
            words.append(("share of the truths within the range told (9 of 10 are aimed at)", told["in_range"]))
        return plot, table, Table(("errors", ""), words)

    def worth_seeing(self, rows: Rows) -> dict[str, Array]:
        """The largest errors."""
        return {"The largest errors": np.argsort(-np.abs(rows["answer"] - rows["truth"]), kind="stable")}

    def remark(self, rows: Rows, position: int) -> str:
        """The answer and the truth."""
        return f"said {rows['answer'][position]:.6g}, is {rows['truth'][position]:.6g}"
