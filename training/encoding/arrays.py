"""Users as flat numpy arrays, the input of every representation model. Imports only numpy."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

UNKNOWN = -1  # code of an item, service, action or category that is not in a vocabulary
NO_TIME = np.iinfo(np.int64).min
DAY_US = 86_400_000_000


@dataclass(frozen=True)
class Events:
    """The events of n users before each user's as-of, user after user, oldest first.

    The arrays have one entry an event; codes refer to the vocabularies of the model, `distinct` tells
    items of this batch apart whether the model knows them or not.
    """

    user: Int64  # row of the user, ascending
    item: Int64
    service: Int64
    action: Int64
    distinct: Int64
    time: Int64  # microseconds since 1970, UTC
    weight: Float64


@dataclass(frozen=True)
class Picks:
    """Onboarding picks, user after user; only items that the model knows."""

    user: Int64
    item: Int64


@dataclass(frozen=True)
class UserArrays:
    """n users as of a time each; fields are keyed by column name."""

    as_of: Int64  # [n] microseconds since 1970, UTC
    events: Events
    onboarding: Picks
    created: Int64  # [n] microseconds; NO_TIME where unknown
    categories: dict[str, Int64]  # [n] codes
    numbers: dict[str, Float64]  # [n] NaN where unknown
    vectors: dict[str, Float32]  # [n, length], NaN rows where unknown

    def __len__(self) -> int:
        return len(self.as_of)
