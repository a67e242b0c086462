"""Counters of a shard: rows, time by stage, and delays from acceptance to a readable vector, by version."""

import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from portrait.feature_repo.log.tail import LogRow

DELAY_BUCKETS = (0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds in seconds; one more bucket has no bound."""


class RefreshCounts:
    """Counters since the shard's process started."""

    def __init__(self) -> None:
        self.backlog: dict[int, int] = {}  # rows by bucket that were not applied when last looked
        self._rows = self._users = self._batches = 0
        self._seconds: dict[str, float] = defaultdict(float)
        self._delays: dict[str, list[int]] = {}
        self._delay_sums: dict[str, float] = defaultdict(float)

    def spent(self, stage: str, since: float) -> float:
        """Add the time since `since` (of time.perf_counter) to a stage; returns the time now."""
        now = time.perf_counter()
        self._seconds[stage] += now - since
        return now

    def applied(self, rows: Sequence[LogRow], users: int) -> None:
        """Count one micro-batch of rows and users."""
        self._rows += len(rows)
        self._users += users
        self._batches += 1

    def readable(self, version: str, rows: Sequence[LogRow]) -> None:
        """Count the delays of rows whose vectors at a version can be read from now on."""
        if not rows:
            return
        now = time.time()
        histogram = self._delays.setdefault(version, [0] * (len(DELAY_BUCKETS) + 1))
        for row in rows:
            delay = max(now - row.accepted_at * 1e-6, 0.0)
            histogram[bisect_left(DELAY_BUCKETS, delay)] += 1
            self._delay_sums[version] += delay

    def facts(self) -> dict[str, Any]:
        """All counters as plain JSON values, for `replicas.facts`."""
        return {
            "rows": self._rows,
            "users": self._users,
            "batches": self._batches,
            "backlog": {str(bucket): waiting for bucket, waiting in self.backlog.items()},
            "seconds": {stage: round(seconds, 6) for stage, seconds in self._seconds.items()},
            "delay_bounds": list(DELAY_BUCKETS),
            "delays": {
                version: {"counts": list(counts), "sum": self._delay_sums[version]}
                for version, counts in self._delays.items()
            },
        }
