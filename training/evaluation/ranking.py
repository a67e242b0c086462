"""Ranking measures with one relevant item a row: recall and nDCG at k, over all items or among sampled negatives."""

import numpy as np
import numpy.typing as npt

from training.arrays import Bool, Float32, Float64, Int64

K = 10
NEGATIVES = 100


def full_ranks(scores: Float32, relevant: Int64, hidden: Bool) -> Int64:
    """Int64 [n] how many items are ranked before the relevant one, among all that are not hidden.

    `scores` float32 [n, items], `relevant` int64 [n] a column each, `hidden` bool [n, items] what the user has had
    already. Ties count by half, rounded up: a constant score is no good guess.
    """
    own = np.take_along_axis(scores, relevant[:, None], axis=1)
    others = ~hidden
    np.put_along_axis(others, relevant[:, None], False, axis=1)
    before = ((scores > own) & others).sum(axis=1)
    ties = ((scores == own) & others).sum(axis=1)
    ranks: Int64 = before + (ties + 1) // 2
    return ranks


def sampled_ranks(scores: Float32, relevant: Int64, hidden: Bool, seed: int) -> Int64:
    """The same among the relevant item and 100 others, drawn evenly from those not hidden; the seed decides which."""
    draws = np.random.default_rng(seed).random(scores.shape)
    draws[hidden] = 2.0
    np.put_along_axis(draws, relevant[:, None], 2.0, axis=1)
    drawn = np.argpartition(draws, min(NEGATIVES, scores.shape[1] - 1) - 1, axis=1)[:, :NEGATIVES]
    left_out = np.ones(scores.shape, dtype=bool)
    np.put_along_axis(left_out, drawn, False, axis=1)
    return full_ranks(scores, relevant, left_out | hidden)


def recall(ranks: Int64, k: int = K) -> Float64:
    """[n] 1 where the relevant item is among the first k."""
    return (ranks < k).astype(np.float64)


def ndcg(ranks: Int64, k: int = K) -> Float64:
    """[n] 1 / log2(2 + rank) among the first k, else 0; the ideal is 1."""
    gains: npt.NDArray[np.float64] = np.where(ranks < k, 1 / np.log2(2 + ranks), 0.0)
    return gains
