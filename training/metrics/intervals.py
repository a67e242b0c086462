"""AUC within each user."""

import numpy as np

from portrait.training.encoding.arrays import Float64, Int64


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
