"""Batches of embeddings in columns: the reader returns them, and they become JSON or Arrow."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from portrait.serving.state.routing import Lane

# Plain strings, as orjson writes them three times as fast as members of an enum.
Source: TypeAlias = Literal["stored", "computed", "prior"]
STORED: Final = "stored"
COMPUTED: Final = "computed"
PRIOR: Final = "prior"


Row = TypeVar("Row")


class StoredEmbedding(NamedTuple):
    """The stored vector of one user, the answer of most requests; a batch of one costs several times as much."""

    user_id: str
    vector: NDArray[np.float32]  # [dimension]
    version: str
    fingerprint: str
    lane: Lane
    as_of: int  # microseconds since 1970, UTC
    age_seconds: float


@dataclass(frozen=True, eq=False)
class EmbeddingBatch:
    """Vectors of users at one version, in the order asked for."""

    user_ids: Sequence[str]
    vectors: NDArray[np.float32]  # [n, dimension]
    version: str
    fingerprint: str
    lane: Lane
    source: Sequence[Source]
    as_of: NDArray[np.int64]  # [n] microseconds since 1970, UTC; the vector knows events before it
    age_seconds: NDArray[np.float64]  # [n] since the vector was computed
    stale: NDArray[np.bool_]  # [n] older than the consumer's max_age, and could not be computed anew

    def __len__(self) -> int:
        return len(self.user_ids)

    @property
    def parts(self) -> tuple["EmbeddingBatch", ...]:
        """The batches of one version each: only this batch."""
        return (self,)

    def rows(self, of: Callable[["EmbeddingBatch"], Iterable[Row]]) -> Iterator[Row]:
        """The rows that `of` makes of a batch, one a user, in the order asked for."""
        return iter(of(self))


@dataclass(frozen=True, eq=False)
class SplitBatch:
    """Vectors of users of whom some read the canary: a batch of each version, and a mask of the canary's users."""

    stable: EmbeddingBatch
    canary: EmbeddingBatch
    in_canary: NDArray[np.bool_]  # [n], in the order asked for

    def __len__(self) -> int:
        return len(self.in_canary)

    @property
    def parts(self) -> tuple[EmbeddingBatch, ...]:
        """The batches of one version each, stable first."""
        return (self.stable, self.canary)

    @property
    def order(self) -> NDArray[np.intp]:
        """The row of each user, in the order asked for, in the concatenated parts, [n]."""
        places = np.empty(len(self), np.intp)
        places[~self.in_canary] = np.arange(len(self.stable))
        places[self.in_canary] = np.arange(len(self.stable), len(self))
        return places

    def rows(self, of: Callable[[EmbeddingBatch], Iterable[Row]]) -> Iterator[Row]:
        """The rows that `of` makes of each batch, one a user, in the order asked for."""
        lanes = (iter(of(self.stable)), iter(of(self.canary)))
        return (next(lanes[there]) for there in self.in_canary.tolist())


Answer: TypeAlias = EmbeddingBatch | SplitBatch
