"""Whose windows have moved though nothing happened: what a batch for the inactive has to re-embed (GUR)."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

DAY = 86_400_000_000
"""Microseconds of a day."""


def windows_moved(users: pa.Table, since: np.ndarray, as_of: int, window_days: Sequence[int]) -> np.ndarray:
    """Bool [n]: whether an event of the user's history entered or left a window between `since` and `as_of`.

    `since` int64 [n] and `as_of` are microseconds. An event at t is inside the window of w days as of T when
    T - w days <= t < T, so it has entered between S and T when S <= t < T, and left when S <= t + w days < T.
    """
    times = users.column("event_times").combine_chunks()
    counts = np.diff(times.offsets.to_numpy())
    owner = np.repeat(np.arange(len(users)), counts)
    moments = times.flatten().to_numpy()
    moved = np.zeros(len(users), dtype=bool)
    for days in (0, *window_days):
        passed = moments + days * DAY
        moved[owner[(since[owner] <= passed) & (passed < as_of)]] = True
    return moved
