"""Look-ups in the online store, and the rows of an answer that have to be computed."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from portrait.registry.records.records import EmbeddingVersion
from portrait.serving.state.routing import RequestPart

if TYPE_CHECKING:  # Feast takes seconds to import
    from portrait.feature_repo.online.codec import VectorRow, VectorRows


class OnlineReads(Protocol):
    """What the reader asks of the online store: by way of Feast's repo, or of a store that is only measured."""

    def read_vectors(self, version: EmbeddingVersion, user_ids: Sequence[str]) -> "VectorRows":
        """Stored vectors of a version, in the order of the users; raises Unavailable."""
        ...

    def read_vector(self, version: EmbeddingVersion, user_id: str) -> "VectorRow | None":
        """The stored vector of one user; raises Unavailable."""
        ...

    def read_inputs(self, user_ids: Sequence[str]) -> pa.Table:
        """History, profile and team features of the users, in their order, blank where nothing is known."""
        ...


class Lookup(NamedTuple):
    """A part of a request after the store has answered."""

    part: RequestPart
    rows: "VectorRows"
    expired: NDArray[np.bool_] | None  # [n] older than the consumer's max_age; None where it has none

    @classmethod
    def from_rows(cls, part: RequestPart, rows: "VectorRows") -> "Lookup":
        """The look-up of a part, with the rows older than the consumer's max_age marked as expired."""
        if part.max_age is None:
            return cls(part, rows, None)
        return cls(part, rows, rows.found & (time.time() - rows.computed_at * 1e-6 > part.max_age))

    @property
    def all_stored(self) -> bool:
        """Whether every user has a stored vector, however old."""
        return bool(np.count_nonzero(self.rows.found) == len(self.rows.found))

    @property
    def complete(self) -> bool:
        """Whether every user has a stored vector that is young enough."""
        return self.all_stored and (self.expired is None or not self.expired.any())

    @property
    def wanting(self) -> NDArray[np.intp]:
        """The rows to compute: without a vector, or with one that is too old."""
        missing = ~self.rows.found
        return np.flatnonzero(missing if self.expired is None else missing | self.expired)
