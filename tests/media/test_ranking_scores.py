"""Rankings: every score against a plain computation, with ties, and people of whom nothing is asked."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from matinee.core.task import Batch
from matinee.media.ranking_scores import RankingMeter, RatingMeter, first_of

PEOPLE, ITEMS, HELD = 40, 30, 14


def asked(levels: int) -> tuple[torch.Tensor, torch.Tensor, list[set[int]]]:
    """Scores of few levels, so that many tie; seen items at -inf; what was held back, some people without any."""
    generator = np.random.default_rng(levels)
    scores = torch.from_numpy(generator.integers(0, levels, (PEOPLE, ITEMS)).astype(np.float32))
    targets, wanted = torch.zeros(PEOPLE, HELD, 2), []
    for person in range(PEOPLE):
        items = generator.permutation(ITEMS)
        scores[person, items[:8]] = -torch.inf
        held = items[8 : 8 + generator.integers(0, HELD)]
        targets[person, : len(held), 0] = torch.from_numpy(held + 1).float()
        wanted.append(set(held.tolist()))
    return scores, targets, wanted


@pytest.mark.parametrize("levels", [1, 4, 1000])
def test_every_score_against_a_plain_computation(levels: int) -> None:
    scores, targets, wanted = asked(levels)
    counts = np.arange(1, ITEMS + 1)[::-1]
    meter = RankingMeter(ITEMS, counts.tolist())
    for rows in torch.arange(PEOPLE).split(7):
        meter.update({"scores": scores[rows]}, Batch(torch.zeros(len(rows)), targets[rows]))
    plain: dict[str, list[float]] = {name: [] for name in ("ndcg_10", "recall_10", "recall_20", "hit_10", "mrr")}
    shown: list[int] = []
    for row, held in zip(scores.tolist(), wanted, strict=True):
        if not held:
            continue
        order = sorted(range(ITEMS), key=lambda item: (-row[item], item))
        ranks = [rank for rank, item in enumerate(order, 1) if item in held]
        gain = sum(1 / math.log2(rank + 1) for rank in ranks if rank <= 10)
        plain["ndcg_10"].append(gain / sum(1 / math.log2(rank + 1) for rank in range(1, min(10, len(held)) + 1)))
        plain["recall_10"].append(sum(rank <= 10 for rank in ranks) / len(held))
        plain["recall_20"].append(sum(rank <= 20 for rank in ranks) / len(held))
        plain["hit_10"].append(ranks[0] <= 10)
        plain["mrr"].append(1 / ranks[0])
        shown += order[:10]
    told = meter.score(meter.rows())
    for name, values in plain.items():
        assert told[name] == pytest.approx(np.mean(values), abs=1e-6), name
    assert told["coverage"] == pytest.approx(len(set(shown)) / ITEMS)
    assert told["novelty"] == pytest.approx(np.mean([-math.log2(counts[item] / counts.sum()) for item in shown]))


def test_items_seen_are_never_counted_as_shown() -> None:
    scores = torch.full((1, 12), -torch.inf)
    scores[0, :3] = 1.0
    meter = RankingMeter(12, [1] * 12)
    meter.update({"scores": scores}, Batch(torch.zeros(1), torch.tensor([[[2.0, 4.0]]])))
    assert meter.score(meter.rows())["coverage"] == pytest.approx(3 / 12)


def test_of_equal_scores_the_first_stands_first() -> None:
    scores = torch.tensor([[1.0, 2, 2, 2, 1, 2], [0, 0, 0, 0, 0, 0], [6, 5, 4, 3, 2, 1]])
    assert first_of(scores, 3).tolist() == [[1, 2, 3], [0, 1, 2], [0, 1, 2]]
    assert first_of(scores, 9).tolist()[0] == [1, 2, 3, 5, 0, 4]


def test_errors_are_over_all_ratings_not_over_people() -> None:
    meter = RatingMeter()
    targets = torch.tensor([[[1.0, 5.0], [2.0, 1.0], [0.0, 0.0]], [[3.0, 2.0], [2.0, torch.nan], [0.0, 0.0]]])
    meter.update({"ratings": torch.tensor([[4.0, 1, 1], [1, 1, 4]])}, Batch(torch.zeros(2), targets))
    told = meter.score(meter.rows())
    assert told["rmse"] == pytest.approx(math.sqrt((1 + 0 + 4) / 3)) and told["mae"] == pytest.approx(1.0)
