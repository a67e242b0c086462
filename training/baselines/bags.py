"""Bags of items: users as sparse rows over the training users' items, the input of collaborative filtering."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy import sparse

from portrait.registry.errors import InvalidInput
from portrait.registry.progress import silent
from portrait.training.encoding.arrays import UNKNOWN, Int64, UserArrays
from portrait.training.encoding.user_batch import Batcher, Vocabularies
from portrait.training.encoding.vocabulary import Vocabulary
from portrait.training.runs.survey import survey
from portrait.training.runs.training_inputs import TrainingInputs

FEWEST = 2  # users, and items


@dataclass(frozen=True)
class Bags:
    """Reads users over a fixed vocabulary of items, the most used first."""

    items: Vocabulary
    users_per_item: Int64
    batcher: Batcher

    @classmethod
    def over(cls, inputs: TrainingInputs) -> Self:
        """The items that users of `inputs` have events with; raises InvalidInput when there are hardly any."""
        plain = replace(inputs, schema=replace(inputs.schema, profile=(), team=()), exclude=())
        found, counts = survey(plain, silent)
        used = int((counts > 0).sum())  # they come first
        if inputs.users < FEWEST or used < FEWEST:
            before = f"before {inputs.as_of:%Y-%m-%d}"
            raise InvalidInput(f"{inputs.users} users with {used} items {before}: a baseline needs {FEWEST} of both")
        items = Vocabulary(found.items.values[:used])
        known = Vocabularies(items, found.services, found.actions)
        return cls(items, counts[:used], Batcher(plain.schema, known, onboarding=True))

    def arrays(self, users: pa.Table, as_of: int | Int64) -> UserArrays:
        """The users as flat arrays, events before `as_of` alone."""
        return self.batcher.arrays(users, as_of)

    def counts(self, users: pa.Table, as_of: int | Int64) -> sparse.csr_array:
        """float32 [n, items] how often each user had each item before `as_of`."""
        return self.weighed(self.arrays(users, as_of), None)

    def had(self, users: pa.Table, as_of: int | Int64) -> sparse.csr_array:
        """float32 [n, items] 1 where the user had the item before `as_of`."""
        bags = self.counts(users, as_of)
        bags.data[:] = 1
        return bags

    def weighed(self, users: UserArrays, weights: npt.NDArray[np.floating] | None) -> sparse.csr_array:
        """float32 [n, items] sums of a weight [events] by user and item; without weights, counts."""
        events = users.events
        known = events.item != UNKNOWN
        data = np.ones(int(known.sum()), np.float32) if weights is None else weights[known].astype(np.float32)
        shape = (len(users), len(self.items))
        return sparse.csr_array(sparse.coo_array((data, (events.user[known], events.item[known])), shape=shape))

    def training(self, inputs: TrainingInputs, binary: bool = True) -> sparse.csr_array:
        """The bags of all users of `inputs`, in their order."""
        read = self.had if binary else self.counts
        return sparse.csr_array(sparse.vstack([read(table, inputs.as_of_us) for table in inputs.tables()]))
