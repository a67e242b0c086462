"""An answer in columns: what the reader returns and what becomes JSON or Arrow."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray


class Source(StrEnum):
    """Where a vector comes from."""

    STORED = "stored"
    COMPUTED = "computed"
    PRIOR = "prior"


class Lane(StrEnum):
    """Which side of an assignment answered."""

    STABLE = "stable"


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

    def __len__(self) -> int:
        return len(self.user_ids)
