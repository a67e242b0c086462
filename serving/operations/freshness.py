"""Freshness of vectors: the backlog of the refresh and its delays, for /metrics and `portrait status`."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from sqlalchemy import func, select

from portrait.feature_repo.log.tables import BucketRow, InboxRow, LeaseRow
from portrait.registry.database.database import Database
from portrait.registry.records.records import Replica
from portrait.registry.registry import Registry


@dataclass(frozen=True)
class Delays:
    """A histogram of the delays from the acceptance of a row to a readable vector that knows it."""

    bounds: tuple[float, ...]  # upper bounds in seconds; the last count has none
    counts: tuple[int, ...]
    sum: float  # seconds

    def quantile(self, share: float) -> float | None:
        """Seconds within which this share of rows was readable, interpolated within a bucket; None without rows."""
        total = sum(self.counts)
        if not total:
            return None
        wanted, before, lower = share * total, 0, 0.0
        for upper, up_to in zip((*self.bounds, self.bounds[-1]), accumulate(self.counts), strict=True):
            if up_to >= wanted:
                inside = (wanted - before) / max(up_to - before, 1)
                return lower + inside * (upper - lower)
            before, lower = up_to, upper
        return lower


@dataclass(frozen=True)
class Freshness:
    """The state of the refresh at one moment."""

    shards: tuple[Replica, ...]  # heard of lately
    held: int  # buckets that a shard works on
    backlog: dict[int, int]  # rows by bucket that are accepted and not yet readable, zeros left out
    oldest_seconds: float  # since the oldest of them was accepted; 0 without any
    in_broker: int  # entries that the broker holds and the inbox does not yet
    delays: dict[str, Delays]  # by version, since the shards have started
    sources: dict[str, int]  # vectors answered by source, since the gateways have started
    failing: dict[str, str]  # versions that cannot be refreshed, and why

    @property
    def waiting(self) -> int:
        """Rows that are accepted and not yet readable."""
        return sum(self.backlog.values())


def read_freshness(registry: Registry) -> Freshness:
    """The freshness by the registry's database and the reports of its replicas; raises Unavailable."""
    replicas = registry.replicas.list()
    shards = tuple(replica for replica in replicas if replica.role == "shard")
    gateways = [replica for replica in replicas if replica.role == "gateway"]
    backlog, held, oldest = _backlog(registry.database)
    sources: Counter[str] = Counter()
    for gateway in gateways:
        sources.update(gateway.facts.get("sources", {}))
    return Freshness(
        shards=shards,
        held=held,
        backlog=backlog,
        oldest_seconds=oldest,
        in_broker=sum(shard.facts.get("in_broker", 0) for shard in shards),
        delays=_delays(shard.facts for shard in shards),
        sources=dict(sorted(sources.items())),
        failing={version: why for shard in shards for version, why in shard.facts.get("failing", {}).items()},
    )


def _backlog(database: Database) -> tuple[dict[int, int], int, float]:
    with database.reading() as session:
        done = func.coalesce(LeaseRow.applied, BucketRow.published)
        buckets = select(BucketRow.bucket, BucketRow.next_position - 1 - done, done)
        rows = session.execute(
            buckets.outerjoin(LeaseRow, LeaseRow.bucket == BucketRow.bucket).where(BucketRow.bucket >= 0)
        ).all()
        waiting = {bucket: (rows_left, applied) for bucket, rows_left, applied in rows if rows_left > 0}
        oldest = _oldest(session, {bucket: applied for bucket, (_, applied) in waiting.items()})
        held = session.scalar(select(func.count()).where(LeaseRow.owner.is_not(None))) or 0
    seconds = max(time.time() - oldest * 1e-6, 0.0) if oldest else 0.0
    return {bucket: rows_left for bucket, (rows_left, _) in waiting.items()}, held, seconds


def _oldest(session: Any, applied: dict[int, int]) -> int | None:
    """When the oldest waiting row of the inbox was accepted, in microseconds; rows in segments do not count."""
    firsts = [
        session.scalar(
            select(func.min(InboxRow.accepted_at)).where(InboxRow.bucket == bucket, InboxRow.position > position)
        )
        for bucket, position in applied.items()
    ]
    return min((first for first in firsts if first is not None), default=None)


def _delays(facts: Iterable[dict[str, Any]]) -> dict[str, Delays]:
    merged: dict[str, Delays] = {}
    for of_shard in facts:
        for version, told in of_shard.get("delays", {}).items():
            one = Delays(tuple(of_shard["delay_bounds"]), tuple(told["counts"]), told["sum"])
            merged[version] = _merge_delays(merged[version], one) if version in merged else one
    return dict(sorted(merged.items()))


def _merge_delays(one: Delays, other: Delays) -> Delays:
    if one.bounds != other.bounds:  # shards of two releases at once: take one of the two alone
        return other
    return Delays(one.bounds, _sums(one.counts, other.counts), one.sum + other.sum)


def _sums(one: Sequence[int], other: Sequence[int]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(one, other, strict=True))
