"""The `collaborative` modality: items that the same users touch near one another get near vectors.

Positive PMI of co-occurrence within a window, factored by a truncated SVD (GUR's playlist encoder in spirit;
Levy & Goldberg, NeurIPS'14, for why this is word2vec).
"""

import numpy as np
import numpy.typing as npt
from scipy import sparse

from portrait.training.encoding.arrays import UNKNOWN, Float32, Int64
from portrait.training.modality import Modality

NAME = "collaborative"
MERGE_FROM = 4_000_000  # pairs

Counted = tuple[npt.NDArray[np.signedinteger], npt.NDArray[np.signedinteger], Float32]
"""Pairs of items, and how often they were seen together."""


class Cooccurrence:
    """Counts of item pairs, added up bucket by bucket."""

    def __init__(self, items: int, window: int) -> None:
        self.items = items
        self.window = window
        self._counted: list[Counted] = []
        self._merged = 0  # pairs in the first entry, which is the sum of all before

    def add(self, user: Int64, item: Int64) -> None:
        """Count the pairs at most `window` known events of a user apart; events by user and time."""
        known = (item != UNKNOWN) & (item < self.items)
        user, item = user[known], item[known]
        pairs = [self._pairs(user, item, gap) for gap in range(1, min(self.window, len(item) - 1) + 1)]
        if pairs:
            left, right = (np.concatenate(side) for side in zip(*pairs, strict=True))
            self._counted.append(self._sum([(left, right, np.ones(len(left), dtype=np.float32))]))
        # Merged when as much has come as is there already: the work stays in proportion to the pairs.
        if sum(len(counts) for *_, counts in self._counted[1:]) > max(self._merged, MERGE_FROM):
            self._counted = [self._sum(self._counted)]
            self._merged = len(self._counted[0][2])

    def counts(self) -> sparse.csr_array:
        """[items, items] counts of how often two items were seen together, in either order."""
        both = [*self._counted, *((right, left, counts) for left, right, counts in self._counted)]
        left, right, counts = self._sum(both)
        return sparse.csr_array((counts, (left, right)), shape=(self.items, self.items))

    def _sum(self, parts: list[Counted]) -> Counted:
        """The pairs of all parts, each once with its summed count."""
        if not parts:
            return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
        left, right, counts = (np.concatenate(column) for column in zip(*parts, strict=True))
        summed = sparse.coo_array((counts, (left, right)), shape=(self.items, self.items)).tocsr().tocoo()
        return summed.coords[0], summed.coords[1], summed.data

    def _pairs(self, user: Int64, item: Int64, gap: int) -> tuple[Int64, Int64]:
        left, right = item[:-gap], item[gap:]
        together = (user[:-gap] == user[gap:]) & (left != right)
        return left[together], right[together]


def collaborative_modality(cooccurrence: Cooccurrence, dimension: int, seed: int, items: int) -> Modality | None:
    """Unit vectors of the items that co-occur with something; None where hardly any do."""
    from sklearn.utils.extmath import randomized_svd  # a second that no process which only encodes should wait for

    scores = _positive_pmi(cooccurrence.counts())
    seen = np.flatnonzero(np.diff(scores.indptr))
    rank = min(dimension, len(seen) - 1)
    if rank < 2:
        return None
    left, singular, _ = randomized_svd(scores[seen][:, seen], rank, n_iter=5, random_state=seed)
    vectors = np.full((items, rank), np.nan, dtype=np.float32)
    vectors[seen] = unit(left * np.sqrt(singular))
    return Modality(NAME, vectors)


def unit(vectors: Float32) -> Float32:
    """Rows of length 1; rows of zeros stay zeros."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(norms > 0, norms, 1)).astype(np.float32)


def _positive_pmi(counts: sparse.csr_array) -> sparse.csr_array:
    """max(0, log(p(i, j) / p(i) p(j))), with p(j) smoothed by the power .75 so that rare items do not dominate."""
    totals = np.asarray(counts.sum(axis=1)).ravel().astype(np.float64)
    smoothed = totals**0.75
    row = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    expected = totals[row] * smoothed[counts.indices] / max(smoothed.sum(), 1.0)
    scores = np.log(np.maximum(counts.data / np.maximum(expected, 1e-12), 1.0)).astype(np.float32)
    result = sparse.csr_array((scores, counts.indices, counts.indptr), shape=counts.shape)
    result.eliminate_zeros()
    return result
