"""An answer in columns: what the reader returns and what becomes JSON or Arrow."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

# Plain strings, as orjson writes them three times as fast as members of an enum.
Source: TypeAlias = Literal["stored", "computed", "prior"]
STORED: Final = "stored"
COMPUTED: Final = "computed"
PRIOR: Final = "prior"

Lane: TypeAlias = Literal["stable"]
STABLE: Final = "stable"


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
