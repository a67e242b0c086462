"""Means with their bootstrap interval over users: all rows of a user come and go together."""

import numpy as np

from training.arrays import Float64, Int64
from training.heads.measures import RESAMPLES, Interval

BLOCK = 50  # resamples whose weights are held at once


def mean_interval(values: Float64, owner: Int64, seed: int = 0) -> Interval:
    """The mean of values [n], with its 95% interval; `owner` int64 [n] says whose each is."""
    _, owner = np.unique(owner, return_inverse=True)
    sums, counts = np.bincount(owner, values), np.bincount(owner).astype(np.float64)
    users = len(sums)
    rng = np.random.default_rng(seed)
    means = []
    for _ in range(0, RESAMPLES, BLOCK):
        drawn = rng.integers(users, size=(BLOCK, users))
        means.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    return Interval.of(float(values.mean()), np.concatenate(means))


def auc_by_user(scores: Float64, truth: np.ndarray, owner: Int64) -> tuple[Float64, Int64]:
    """Area under the curve within each user that has both truths, ties by half, and whose each is.

    The mean of it is the GAUC of Zhou et al. (KDD'18): how well items are told apart for one user, whatever a model's
    scores say of another.
    """
    order = np.lexsort((scores, owner))
    scores, truth, owner = scores[order], truth[order].astype(bool), owner[order]
    starts = np.flatnonzero((np.diff(scores, prepend=np.nan) != 0) | (np.diff(owner, prepend=-1) != 0))
    own = np.add.reduceat(truth.astype(np.float64), starts)
    others = np.add.reduceat((~truth).astype(np.float64), starts)
    user = owner[starts]
    people, first = np.unique(user, return_index=True)
    before = np.cumsum(others) - others
    below = before - np.repeat(before[first], np.diff(np.append(first, len(user))))  # others of the same user below
    areas = np.add.reduceat(own * (below + others / 2), first)
    pairs = np.add.reduceat(own, first) * np.add.reduceat(others, first)
    told = pairs > 0
    return areas[told] / pairs[told], people[told]
