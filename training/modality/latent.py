"""The `latent` modality: items that the same kinds of users touch, however far apart in time, get near vectors.

Latent semantic analysis with users as documents of items (Deerwester et al., JASIS'90): inverse-frequency weighted,
rows of length 1, truncated SVD. `collaborative` learns from neighbours in time, this from whole histories.
"""

import numpy as np
from scipy import sparse

from portrait.training.encoding.arrays import UNKNOWN, Float32, Int64
from portrait.training.modality import Modality
from portrait.training.modality.collaborative import unit

NAME = "latent"
MOST_EVENTS = 20_000_000
"""Most (user, item) pairs in memory: buckets divide users at random, so the first ones are a fair sample."""


class Histories:
    """The items that users had, added bucket by bucket."""

    def __init__(self, items: int) -> None:
        self.items = items
        self._parts: list[sparse.csr_array] = []
        self._held = 0

    def add(self, user: Int64, item: Int64, users: int) -> None:
        """Add the events of users numbered from 0 to `users` - 1."""
        if self._held >= MOST_EVENTS:
            return
        known = (item != UNKNOWN) & (item < self.items)
        once = np.unique(user[known] * self.items + item[known])
        places = once // self.items, once % self.items
        part = sparse.csr_array((np.ones(len(once), np.float32), places), shape=(users, self.items))
        self._parts.append(part)
        self._held += len(once)

    def matrix(self) -> sparse.csr_array:
        """[users, items] 1 where a user had the item."""
        return sparse.csr_array(sparse.vstack(self._parts)) if self._parts else sparse.csr_array((0, self.items))


def latent_modality(histories: Histories, dimension: int, seed: int, items: int) -> Modality | None:
    """Unit vectors of the items; None where hardly any item shares a user with another."""
    from sklearn.feature_extraction.text import TfidfTransformer  # seconds that no process which only encodes waits for
    from sklearn.utils.extmath import randomized_svd

    had = histories.matrix()
    had = had[np.diff(had.indptr) >= 2]  # a user with a single item shows nothing of what goes together
    seen = np.flatnonzero(np.asarray(had.sum(axis=0)).ravel())
    rank = min(dimension, len(seen) - 1, had.shape[0] - 1)
    if rank < 2:
        return None
    weighted = TfidfTransformer().fit_transform(had[:, seen])  # rows of length 1
    right: Float32 = randomized_svd(weighted, rank, n_iter=5, random_state=seed)[2].T
    vectors = np.full((items, rank), np.nan, dtype=np.float32)
    vectors[seen] = unit(right)
    return Modality(NAME, vectors)
