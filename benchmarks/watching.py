"""Observation of a running stream: numbers over time, the backlog, and the shards' counts."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from sqlalchemy import select

from portrait.feature_repo.log.tables import BucketRow, LeaseRow
from portrait.registry.database.database import Database
from portrait.registry.registry import Registry

EVERY = 0.25


@dataclass
class Series:
    """A number over time, seconds since the start."""

    at: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def slope(self, since: float) -> float:
        """Change a second, of the line through what was seen from a time on; 0 with fewer than two of them."""
        times, values = np.array(self.at), np.array(self.values)
        later = times >= since
        if later.sum() < 2:
            return 0.0
        return float(np.polyfit(times[later], values[later], 1)[0])

    def mean(self, start: float, end: float) -> float:
        """Mean within a time; NaN where nothing was seen."""
        seen = [value for at, value in zip(self.at, self.values, strict=True) if start <= at < end]
        return float(np.mean(seen)) if seen else float("nan")


def waiting(database: Database) -> int:
    """Rows of the log that no shard has noted as applied; shards note it every second."""
    with database.reading() as session:
        ends = dict(session.execute(select(BucketRow.bucket, BucketRow.next_position)).all())
        applied = dict(session.execute(select(LeaseRow.bucket, LeaseRow.applied)).all())
    return sum(ends.get(bucket, 1) - 1 - position for bucket, position in applied.items())


@contextmanager
def backlog(database: Database) -> Iterator[Series]:
    """`waiting` over time, as long as the block runs."""
    with sampled(lambda: float(waiting(database)), EVERY) as series:
        yield series


@contextmanager
def sampled(look: Callable[[], float], every: float) -> Iterator[Series]:
    """What a function says over time, as long as the block runs."""
    series, ended, start = Series(), threading.Event(), time.perf_counter()

    def watch() -> None:
        while not ended.wait(every):
            series.values.append(look())
            series.at.append(time.perf_counter() - start)

    thread = threading.Thread(target=watch, name="watching")
    thread.start()
    try:
        yield series
    finally:
        ended.set()
        thread.join()


def stages(registry: Registry) -> dict[str, float]:
    """What the shards have counted: seconds by stage, and their rows under `rows`."""
    total: dict[str, float] = {}
    for replica in registry.replicas.list():
        if replica.role == "shard":
            for stage, seconds in replica.facts.get("seconds", {}).items():
                total[stage] = total.get(stage, 0.0) + seconds
            total["rows"] = total.get("rows", 0.0) + replica.facts.get("rows", 0)
    return total


def difference(after: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    """How much each number has grown; processes that came in between count whole."""
    return {name: max(value - before.get(name, 0.0), 0.0) for name, value in after.items()}
