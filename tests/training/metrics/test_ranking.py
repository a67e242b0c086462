"""Ranks and measures, against counting by hand."""

import math

import numpy as np
import pytest
from scipy.sparse import csr_array

from portrait.training.metrics import ranking
from portrait.training.metrics.ranking import NEGATIVES, K, full_ranks, ndcg, recall, sampled_ranks


def test_ranks_count_the_better_ones_that_are_not_hidden() -> None:
    scores = np.array([[5, 4, 3, 2], [1, 9, 8, 7]], np.float32)
    hidden = np.zeros((2, 4), bool)
    assert full_ranks(scores, np.array([2, 0]), hidden).tolist() == [2, 3]
    hidden[0, 0] = hidden[1, 1] = hidden[1, 2] = True
    assert full_ranks(scores, np.array([2, 0]), hidden).tolist() == [1, 1]


def test_a_constant_score_is_worth_no_more_than_chance() -> None:
    scores = np.zeros((1, 101), np.float32)
    assert full_ranks(scores, np.array([0]), np.zeros((1, 101), bool)).tolist() == [50]


def test_measures_at_ten() -> None:
    ranks = np.array([0, 1, 9, 10, 500])
    assert K == 10 and recall(ranks).tolist() == [1, 1, 1, 0, 0]
    assert ndcg(ranks) == pytest.approx([1, 1 / math.log2(3), 1 / math.log2(11), 0, 0])


def test_sampled_negatives_are_a_hundred_others_and_the_same_again() -> None:
    items, rows = 1_000, 400
    scores = np.random.default_rng(0).normal(size=(rows, items)).astype(np.float32)
    relevant, hidden = np.arange(rows), np.zeros((rows, items), bool)
    ranks = sampled_ranks(scores, relevant, hidden, seed=3)
    assert (ranks == sampled_ranks(scores, relevant, hidden, seed=3)).all()
    assert (ranks != sampled_ranks(scores, relevant, hidden, seed=4)).any()
    assert ranks.min() >= 0 and ranks.max() <= NEGATIVES
    assert recall(ranks).mean() == pytest.approx(10 / 101, abs=0.05)  # random scores
    assert recall(full_ranks(scores, relevant, hidden)).mean() == pytest.approx(10 / items, abs=0.02)


def test_hidden_items_are_never_drawn() -> None:
    scores = np.tile(np.arange(300, dtype=np.float32), (20, 1))
    hidden = np.tile(np.arange(300) >= 120, (20, 1))  # all better ones but nineteen
    relevant = np.full(20, 100)
    ranks = sampled_ranks(scores, relevant, hidden, seed=0)
    assert (ranks <= 19).all() and (ranks >= 19 - 20 + 1).all() and ranks.max() > 10


@pytest.mark.parametrize("rows", [1, 7, 60])
def test_ranks_are_the_same_however_hidden_items_are_held_and_many_are_looked_at(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(60, 300)).astype(np.float32).round(1)  # with ties
    relevant, hidden = rng.integers(300, size=60), rng.random((60, 300)) < 0.1
    full, sampled = full_ranks(scores, relevant, hidden), sampled_ranks(scores, relevant, hidden, seed=0)
    monkeypatch.setattr(ranking, "BLOCK", rows * 300)
    assert (full_ranks(scores, relevant, csr_array(hidden)) == full).all()
    assert (sampled_ranks(scores, relevant, csr_array(hidden), seed=0) == sampled).all()
    assert full_ranks(scores[:0], relevant[:0], csr_array(hidden[:0])).shape == (0,)
