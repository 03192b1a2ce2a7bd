"""Scores of recommendations: full rankings of all items for each person, and errors of predicted ratings."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from matinee.core.meter import Array, Meter, Rows
from matinee.core.pieces import Bars, Piece, Text

if TYPE_CHECKING:
    import torch

    from matinee.core.task import Batch

AT = 10
WIDER = 20


class RankingMeter(Meter):
    """For scores of all items (batch, items), -inf for those seen, and targets (batch, k, 2): numbers, ratings.

    All items not seen are ranked, none is sampled; of equal scores the item with the lower number stands first.
    Examples of which nothing is held back are not scored. NDCG is against the ideal of min(10, items held back).
    """

    plain: ClassVar[frozenset[str]] = frozenset({"ndcg_10", "mrr", "novelty"})
    meanings: ClassVar[Mapping[str, str]] = {
        "ndcg_10": "hits among the first ten, early ones count more; 1: all that could be there, in front",
        "recall_10": "of what was held back of a person, the share among the first ten",
        "recall_20": "of what was held back of a person, the share among the first twenty",
        "hit_10": "share of people with at least one hit among the first ten",
        "mrr": "mean of one over the rank of the first hit",
        "coverage": "share of all items that are recommended to anybody",
        "novelty": "bits of surprise in an item recommended: the more, the less popular",
    }

    def __init__(self, items: int, counts: Sequence[int]) -> None:
        super().__init__()
        self.items, self.counts = items, np.asarray(counts, np.float64)

    def collect(self, outputs: Any, batch: Batch) -> dict[str, torch.Tensor]:
        """NDCG, recall, hits, reciprocal rank of each person, and the first ten items."""
        import torch

        scores, target = outputs["scores"].float(), batch.targets[..., 0].long()
        there = target > 0
        count = there.sum(1)
        gains = 1 / torch.log2(torch.arange(WIDER, device=scores.device) + 2.0)
        top = first_of(scores, WIDER)
        wanted = scores.new_zeros(len(scores), scores.shape[1] + 1).scatter_(1, target, 1.0)[:, 1:]
        hits = wanted.gather(1, top)
        asked = torch.where(count > 0, 1.0, torch.nan)
        ideal = gains[:AT].cumsum(0)[count.clamp(1, AT) - 1]
        first = top[:, :AT]
        theirs = scores.gather(1, (target - 1).clamp(min=0)).masked_fill(~there, -torch.inf)
        best = theirs.amax(1, keepdim=True)
        place = (target - 1).masked_fill((theirs < best) | ~there, scores.shape[1]).amin(1, keepdim=True)
        before = torch.arange(scores.shape[1], device=scores.device) < place
        rank = 1 + ((scores > best) | ((scores == best) & before)).sum(1)
        listed = torch.full((len(scores), AT), -1, device=scores.device)
        listed[:, : first.shape[1]] = first.masked_fill(scores.gather(1, first).isneginf(), -1)
        return {
            "ndcg": (hits[:, :AT] * gains[: first.shape[1]]).sum(1) / ideal * asked,
            "recall": hits[:, :AT].sum(1) / count.clamp(min=1) * asked,
            "wider": hits.sum(1) / count.clamp(min=1) * asked,
            "hit": (hits[:, :AT].sum(1) > 0) * asked,
            "mrr": asked / rank,
            "top": listed,
        }

    def score(self, rows: Rows) -> dict[str, float]:
        """Means over the people of whom something was held back."""
        names = {"ndcg_10": "ndcg", "recall_10": "recall", "recall_20": "wider", "hit_10": "hit", "mrr": "mrr"}
        asked = ~np.isnan(rows["ndcg"])
        if not asked.any():
            return dict.fromkeys(self.names_of_scores(), math.nan)
        told = {name: float(rows[kept][asked].mean(dtype=np.float64)) for name, kept in names.items()}
        top = rows["top"][asked].astype(np.int64)
        shown = np.bincount(top[top >= 0], minlength=self.items)
        rarity = -np.log2(np.maximum(self.counts, 1) / max(1.0, self.counts.sum()))
        told["coverage"] = float((shown > 0).mean())
        told["novelty"] = float((shown * rarity).sum() / max(1, shown.sum()))
        return told

    def names_of_scores(self) -> Sequence[str]:
        """NDCG first."""
        return ("ndcg_10", "recall_10", "recall_20", "hit_10", "mrr", "coverage", "novelty")

    def pieces(self, rows: Rows) -> Sequence[Piece]:
        """How well people are served."""
        asked = rows["ndcg"][~np.isnan(rows["ndcg"])]
        note = Text("All items that a person did not choose before are ranked; none is sampled.")
        edges = np.linspace(0, 1, 6)
        counts = np.histogram(asked, edges)[0] / max(1, len(asked))
        names = [f"{low:.1f} to {high:.1f}" for low, high in itertools.pairwise(edges)]
        return note, Bars(names, counts.tolist(), caption="Share of people by their NDCG@10", percent=True)

    def worth_seeing(self, rows: Rows) -> dict[str, Array]:
        """Some people as they come, and those who are served worst."""
        asked = np.flatnonzero(~np.isnan(rows["ndcg"]))
        spread = asked[np.linspace(0, len(asked) - 1, min(8, len(asked))).astype(int)] if len(asked) else asked
        worst = asked[np.argsort(rows["ndcg"][asked], kind="stable")][:4]
        return {"Recommendations for some people": spread, "People who are served worst": worst}

    def remark(self, rows: Rows, position: int) -> str:
        """The person's NDCG."""
        return f"NDCG@10 {rows['ndcg'][position]:.3f}"


def first_of(scores: torch.Tensor, count: int) -> torch.Tensor:
    """The places of the highest scores (batch, items), from the highest on, int64 (batch, count or items).

    Of equal scores the lower place comes first, as in a stable sort. `topk` keeps no order of theirs: a network that
    scores many items alike would else rank by luck.
    """
    count = min(count, scores.shape[1])
    values, top = scores.topk(count, 1)
    top, order = top.sort(1)
    top = top.gather(1, values.gather(1, order).sort(dim=1, descending=True, stable=True).indices)
    torn = (scores >= values[:, -1:]).sum(1) > count  # others score as the last one does
    if torn.any():
        top[torn] = scores[torn].sort(dim=1, descending=True, stable=True).indices[:, :count]
    return top


class RatingMeter(Meter):
    """For predicted "ratings" (batch, items) and targets (batch, k, 2): numbers of items from 1 on, ratings."""

    lower_is_better: ClassVar[frozenset[str]] = frozenset({"rmse", "mae"})
    meanings: ClassVar[Mapping[str, str]] = {
        "rmse": "root of the mean squared error of a rating; 0 is best",
        "mae": "how far a predicted rating is off, on average",
    }

    def collect(self, outputs: Any, batch: Batch) -> dict[str, torch.Tensor]:
        """Sums of squared and absolute errors of each person, and how many ratings they are of."""
        import torch

        target, wanted = batch.targets[..., 0].long(), batch.targets[..., 1]
        there = (target > 0) & ~wanted.isnan()
        said = outputs["ratings"].float().gather(1, (target - 1).clamp(min=0))
        error = torch.where(there, said - torch.nan_to_num(wanted), 0.0)
        return {"squared": (error**2).sum(1), "absolute": error.abs().sum(1), "count": there.sum(1).float()}

    def score(self, rows: Rows) -> dict[str, float]:
        """Root mean squared and mean absolute error over all ratings."""
        count = rows["count"].sum(dtype=np.float64)
        if not count:
            return {"rmse": math.nan, "mae": math.nan}
        squared = rows["squared"].sum(dtype=np.float64)
        absolute = rows["absolute"].sum(dtype=np.float64)
        return {"rmse": math.sqrt(squared / count), "mae": float(absolute / count)}

    def names_of_scores(self) -> Sequence[str]:
        """RMSE first."""
        return ("rmse", "mae")

    def worth_seeing(self, rows: Rows) -> dict[str, Array]:
        """Some people as they come."""
        asked = np.flatnonzero(rows["count"] > 0)
        spread = asked[np.linspace(0, len(asked) - 1, min(8, len(asked))).astype(int)] if len(asked) else asked
        return {"Recommendations for some people": spread}

    def remark(self, rows: Rows, position: int) -> str:
        """How far off the ratings of this person are."""
        return f"off by {rows['absolute'][position] / max(1, rows['count'][position]):.2f} on average"
