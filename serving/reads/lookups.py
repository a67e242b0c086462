"""Look-ups in the online store, and the rows of an answer that have to be computed."""

import time
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from portrait.registry.records.records import EmbeddingVersion
from portrait.serving.state.routing import Part


class StoredVectors(Protocol):
    """Columns of stored vectors, one row a user; a row without a vector (`found` false) has undefined values."""

    @property
    def found(self) -> NDArray[np.bool_]:
        """Which users have a vector, [n]."""
        ...

    @property
    def vectors(self) -> NDArray[np.float32]:
        """The vectors, float32[n, dimension]."""
        ...

    @property
    def as_of(self) -> NDArray[np.int64]:
        """The as-of time of each vector in microseconds since 1970, [n]."""
        ...

    @property
    def computed_at(self) -> NDArray[np.int64]:
        """The time at which each vector was computed, in microseconds since 1970, [n]."""
        ...


class StoredVector(Protocol):
    """The stored vector of one user."""

    @property
    def vector(self) -> NDArray[np.float32]:
        """The vector, float32[dimension]."""
        ...

    @property
    def as_of(self) -> int:
        """The as-of time in microseconds since 1970."""
        ...

    @property
    def computed_at(self) -> int:
        """The time at which it was computed, in microseconds since 1970."""
        ...


class OnlineReads(Protocol):
    """What the reader needs of portrait.feature_repo.store.feature_repo.FeatureRepo."""

    def read_vectors(self, version: EmbeddingVersion, user_ids: Sequence[str]) -> StoredVectors:
        """Stored vectors of a version, in the order of the users; raises Unavailable."""
        ...

    def read_vector(self, version: EmbeddingVersion, user_id: str) -> StoredVector | None:
        """The stored vector of one user; raises Unavailable."""
        ...

    def read_inputs(self, user_ids: Sequence[str]) -> pa.Table:
        """History, profile and team features of the users, in their order, blank where nothing is known."""
        ...


class AsyncReads(Protocol):
    """The same look-ups for an event loop, of a store that can be awaited without threads."""

    async def read_vectors_async(self, version: EmbeddingVersion, user_ids: Sequence[str]) -> StoredVectors:
        """Stored vectors of a version, in the order of the users; raises Unavailable."""
        ...

    async def read_vector_async(self, version: EmbeddingVersion, user_id: str) -> StoredVector | None:
        """The stored vector of one user; raises Unavailable."""
        ...


class Lookup(NamedTuple):
    """A part of a request after the store has answered."""

    part: Part
    rows: StoredVectors
    expired: NDArray[np.bool_] | None  # [n] older than the consumer's max_age; None where it has none

    @classmethod
    def of(cls, part: Part, rows: StoredVectors) -> "Lookup":
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
