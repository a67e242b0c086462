"""The latency of reads: one client, one user a request, all kinds in turns so that a busy machine hits all alike."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

ROUNDS = 5


@dataclass(frozen=True)
class Latency:
    """Latency of requests made one after the other."""

    p50_ms: float
    p99_ms: float
    per_second: float
    requests: int

    @classmethod
    def from_seconds(cls, seconds: Sequence[float]) -> "Latency":
        p50, p99 = np.percentile(np.asarray(seconds), (50, 99)) * 1e3
        return cls(float(p50), float(p99), len(seconds) / sum(seconds), len(seconds))


def latencies(reads: Mapping[str, Callable[[str], object]], users: Sequence[str], requests: int) -> dict[str, Latency]:
    """The latency of every kind of read, for users drawn at random; the first requests of each are not counted."""
    drawn = np.random.default_rng(0).choice(np.asarray(users, dtype=object), requests).tolist()
    taken: dict[str, list[float]] = {name: [] for name in reads}
    for read in reads.values():
        for user in drawn[: max(requests // 10, 1)]:
            read(user)
    for part in np.array_split(np.arange(requests), min(ROUNDS, requests)):
        for name, read in reads.items():
            for place in part.tolist():
                started = time.perf_counter()
                read(drawn[place])
                taken[name].append(time.perf_counter() - started)
    return {name: Latency.from_seconds(seconds) for name, seconds in taken.items()}
