"""Answers of the client: one user's embedding, and a batch of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from portrait.serving.client.errors import MixedVersions

Source: TypeAlias = Literal["stored", "computed", "prior"]
Lane: TypeAlias = Literal["stable", "canary"]


@dataclass(frozen=True, eq=False)
class Embedding:
    """A user's vector and where it comes from."""

    user_id: str
    vector: NDArray[np.float32]  # [dimension]
    version: str
    fingerprint: str
    lane: Lane
    source: Source
    as_of: datetime  # UTC; the vector knows events before it
    age_seconds: float  # since the vector was computed
    stale: bool = False  # older than the consumer's max_age, or the online store has lost rows of its bucket


class Embeddings(Sequence[Embedding]):
    """Embeddings in the order of the users asked for."""

    def __init__(self, rows: Sequence[Embedding]) -> None:
        self._rows = list(rows)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Embedding: ...
    @overload
    def __getitem__(self, index: slice) -> "Embeddings": ...
    def __getitem__(self, index: int | slice) -> "Embedding | Embeddings":
        return Embeddings(self._rows[index]) if isinstance(index, slice) else self._rows[index]

    def __iter__(self) -> Iterator[Embedding]:
        return iter(self._rows)

    def __repr__(self) -> str:
        return f"Embeddings({len(self)} of {', '.join(self.versions) or 'no version'})"

    @property
    def user_ids(self) -> list[str]:
        """Users, in the order asked for."""
        return [row.user_id for row in self._rows]

    @property
    def versions(self) -> list[str]:
        """The distinct embedding versions, in order of appearance."""
        return list(dict.fromkeys(row.version for row in self._rows))

    @property
    def matrix(self) -> NDArray[np.float32]:
        """The vectors as float32[users, dimension]; raises MixedVersions when they are of several versions."""
        # Versions name spaces for people; fingerprints are what makes two vectors comparable.
        if len({row.fingerprint for row in self._rows}) > 1:
            raise MixedVersions(
                f"vectors of {' and '.join(self.versions)} live in different spaces: take them apart with .by_version()"
            )
        if not self._rows:
            return np.zeros((0, 0), np.float32)
        return np.stack([row.vector for row in self._rows])

    def by_version(self) -> dict[str, "Embeddings"]:
        """The embeddings of each version, in the order asked for."""
        return {version: Embeddings([row for row in self._rows if row.version == version]) for version in self.versions}
