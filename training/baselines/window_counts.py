"""Recency, frequency and weight in windows: what marketing has counted of customers since the 1960s ("RFM"; Hughes,
1994), for gradient boosting. No item is looked at.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from portrait.training.baselines.bags import Bags
from portrait.training.baselines.baseline import Suits, as_float32
from portrait.training.blocks.context import Rings, activity, recency
from portrait.training.encoding.arrays import DAY_US, NO_TIME, Float32, Float64, Int64, UserArrays
from portrait.training.runs.training_inputs import TrainingInputs

WINDOWS_DAYS = (7, 30, 90, 180)
WINDOW_COUNTS = (
    *(
        f"{what}_{within}"
        for what in ("events", "days", "items", "weight")
        for within in (*map(str, WINDOWS_DAYS), "all")
    ),
    *("since_last", "since_first", "since_sign_up"),
)
"""Names of the 23 numbers."""

LONG_AGO = float(np.log1p(7300))  # of nobody's last event: twenty years


@dataclass(frozen=True)
class WindowCounts:
    """Logarithms [n, 23] of events, active days, distinct items and weight in 7, 30, 90, 180 days and in all; days
    since the last and the first event; days since sign-up, NaN where that is unknown.
    """

    bags: Bags

    def matrix(self, users: pa.Table, as_of: int | Int64) -> Float32:
        """float32 [n, 23]; recency is NaN for users without events."""
        return window_counts(self.bags.arrays(users, as_of))


class Rfm:
    """Window counts."""

    name = "rfm"
    suits = Suits.BOOSTING

    def fit(self, inputs: TrainingInputs, seed: int) -> WindowCounts:
        return WindowCounts(Bags.over(inputs))


@dataclass(frozen=True)
class RecencyAlone:
    """[n, 1] the logarithm of days since the last event; of those without one, an age beyond all windows."""

    bags: Bags

    def matrix(self, users: pa.Table, as_of: int | Int64) -> Float32:
        arrays = self.bags.arrays(users, as_of)
        newest = _ages(arrays, _rings(arrays))[:, :1]
        return as_float32(np.where(np.isnan(newest), LONG_AGO, newest))


class Recency:
    """Days since the last event, the simplest predictor of churn."""

    name = "recency"
    suits = Suits.LINEAR

    def fit(self, inputs: TrainingInputs, seed: int) -> RecencyAlone:
        return RecencyAlone(Bags.over(inputs))


def window_counts(users: UserArrays) -> Float32:
    """float32 [n, 23] numbers of users, in the order of `WINDOW_COUNTS`."""
    rings = _rings(users)
    member = np.where(users.created == NO_TIME, np.nan, (users.as_of - users.created) / DAY_US)
    return as_float32(np.column_stack([activity(users, rings), _ages(users, rings), np.log1p(member)]))


def _rings(users: UserArrays) -> Rings:
    return Rings(users, np.array(WINDOWS_DAYS, dtype=np.int64) * DAY_US)


def _ages(users: UserArrays, rings: Rings) -> Float64:
    """[n, 2] logarithms of the days since the last and the first event; NaN without events."""
    found: Float64 = np.where(rings.active[:, None], recency(users, rings), np.nan)
    return found
