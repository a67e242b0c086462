"""Metrics of ranking: recall and nDCG at k with one relevant item a row, and the area under the curve by user."""

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from portrait.training.encoding.arrays import Bool, Float32, Float64, Int64

K = 10
NEGATIVES = 100
BLOCK = 4_000_000  # scores that are looked at at once; bounds memory
Hidden: TypeAlias = Bool | csr_array


def full_ranks(scores: Float32, relevant: Int64, hidden: Hidden) -> Int64:
    """Int64 [n] how many items are ranked before the relevant one, among all that are not hidden.

    `scores` float32 [n, items], `relevant` int64 [n] a column each, `hidden` bool [n, items] what the user has had
    already. Ties count by half, rounded up: a constant score is no good guess.
    """
    return np.concatenate([_ranks(scores[rows], relevant[rows], _marks(hidden, rows)) for rows in _blocks(scores)])


def _blocks(scores: Float32) -> Iterator[slice]:
    size = max(BLOCK // max(scores.shape[1], 1), 1)
    return (slice(start, start + size) for start in range(0, max(len(scores), 1), size))


def _marks(hidden: Hidden, rows: slice) -> Bool:
    block = hidden[rows]
    marks: Bool = block.toarray() if isinstance(block, csr_array) else block
    return marks


def _ranks(scores: Float32, relevant: Int64, hidden: Bool) -> Int64:
    own = np.take_along_axis(scores, relevant[:, None], axis=1)
    others = ~hidden
    np.put_along_axis(others, relevant[:, None], False, axis=1)
    before = ((scores > own) & others).sum(axis=1)
    ties = ((scores == own) & others).sum(axis=1)
    ranks: Int64 = before + (ties + 1) // 2
    return ranks


def sampled_ranks(scores: Float32, relevant: Int64, hidden: Hidden, seed: int) -> Int64:
    """Ranks as of `full_ranks`, but among the relevant item and 100 others, drawn by the seed from those not hidden."""
    rng = np.random.default_rng(seed)
    blocks = [_ranks_in_sample(scores[rows], relevant[rows], _marks(hidden, rows), rng) for rows in _blocks(scores)]
    return np.concatenate(blocks)


def _ranks_in_sample(scores: Float32, relevant: Int64, hidden: Bool, rng: np.random.Generator) -> Int64:
    draws = rng.random(scores.shape)
    draws[hidden] = 2.0
    np.put_along_axis(draws, relevant[:, None], 2.0, axis=1)
    drawn = np.argpartition(draws, min(NEGATIVES, scores.shape[1] - 1) - 1, axis=1)[:, :NEGATIVES]
    left_out = np.ones(scores.shape, dtype=bool)
    np.put_along_axis(left_out, drawn, False, axis=1)
    return _ranks(scores, relevant, left_out | hidden)


def recall(ranks: Int64, k: int = K) -> Float64:
    """[n] 1 where the relevant item is among the first k."""
    return (ranks < k).astype(np.float64)


def ndcg(ranks: Int64, k: int = K) -> Float64:
    """[n] 1 / log2(2 + rank) among the first k, else 0; the ideal is 1."""
    gains: npt.NDArray[np.float64] = np.where(ranks < k, 1 / np.log2(2 + ranks), 0.0)
    return gains


def auc_by_user(scores: Float64, truth: np.ndarray, owner: Int64) -> tuple[Float64, Int64]:
    """(areas under the ROC curve, users): one for each user that has both truths; ties count by half.

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
