"""Freshness: the backlog and the delays, and how both are shown."""

from datetime import UTC, datetime

import pytest
from fastapi.testclient import TestClient

from portrait.feature_repo.log.tables import BucketRow, InboxRow, LeaseRow
from portrait.registry.registry import Registry
from portrait.serving.operations.freshness import Delays, read_freshness
from tests.serving.twins import Twins

NOW = datetime(2024, 5, 1, tzinfo=UTC)
BOUNDS = (0.1, 0.2, 1.0)


@pytest.mark.parametrize(
    ("counts", "share", "seconds"),
    [((10, 0, 0, 0), 0.5, 0.05), ((5, 5, 0, 0), 0.75, 0.15), ((0, 0, 0, 4), 0.5, 1.0), ((1, 0, 1, 0), 0.99, 0.984)],
)
def test_quantiles_are_interpolated(counts: tuple[int, ...], share: float, seconds: float) -> None:
    assert Delays(BOUNDS, counts, 1.0).quantile(share) == pytest.approx(seconds)


def test_no_quantile_of_nothing() -> None:
    assert Delays(BOUNDS, (0, 0, 0, 0), 0.0).quantile(0.5) is None


def test_backlog_and_what_the_replicas_have_counted(database_url: str) -> None:
    registry = Registry.open(database_url)
    with registry.database.transaction() as session:
        session.add(BucketRow(bucket=1, next_position=11, published=10, commits=0))
        session.add(BucketRow(bucket=2, next_position=11, published=4, commits=0))  # nobody has ever worked on it
        session.add(BucketRow(bucket=3, next_position=9, published=0, commits=0))
        session.add(BucketRow(bucket=-1, next_position=50, published=0, commits=0))  # items: nobody's users
        held = {"epoch": 1, "expires_at": NOW, "applied_lazily": 0}
        session.add(LeaseRow(bucket=1, owner="a", applied=10, **held))
        session.add(LeaseRow(bucket=3, owner=None, applied=5, **held))
        row = {"kind": "events", "payload": "[]", "event_id": None, "user_id": "u"}
        session.add(InboxRow(bucket=3, position=5, accepted_at=1, **row))  # applied, not sealed yet
        session.add(InboxRow(bucket=3, position=6, accepted_at=1_000_000, **row))
    facts = {"delay_bounds": [0.1, 1.0], "in_broker": 4, "failing": {"autoencoder-2": "no artifact"}}
    one = {"autoencoder-1": {"counts": [1, 2, 0], "sum": 1.0}}
    other = {"autoencoder-1": {"counts": [1, 0, 1], "sum": 2.5}, "autoencoder-2": {"counts": [1, 0, 0], "sum": 0.1}}
    registry.replicas.seen("s1", "web", 1, "shard", facts | {"delays": one})
    registry.replicas.seen("s2", "web", 1, "shard", {"delay_bounds": [0.1, 1.0], "delays": other})
    for name, counted in (("g1", {"stored": 5}), ("g2", {"stored": 1, "prior": 2})):
        registry.replicas.seen(name, "web", 1, facts={"sources": counted})

    found = read_freshness(registry)
    assert (found.backlog, found.waiting, found.held, len(found.shards)) == ({2: 6, 3: 3}, 9, 1, 2)
    assert found.oldest_seconds == pytest.approx(datetime.now(UTC).timestamp() - 1, abs=60)
    assert found.delays["autoencoder-1"] == Delays((0.1, 1.0), (2, 2, 1), 3.5)
    assert sum(found.delays["autoencoder-2"].counts) == 1
    assert found.sources == {"prior": 2, "stored": 6}
    assert (found.in_broker, found.failing) == (4, {"autoencoder-2": "no artifact"})
    registry.close()


def test_prometheus_sees_it(http: TestClient, parts: Twins) -> None:
    delays = {"autoencoder-1": {"counts": [3, 1, 0], "sum": 0.75}}
    parts.registry.replicas.seen("s1", "web", 1, "shard", {"delay_bounds": [0.1, 1.0], "delays": delays})
    with parts.registry.database.transaction() as session:
        session.add(BucketRow(bucket=5, next_position=8, published=0, commits=0))
        leases = {"owner": "s1", "epoch": 1, "expires_at": NOW, "applied": 0, "applied_lazily": 0}
        session.add_all(LeaseRow(bucket=bucket, **leases) for bucket in range(64))
    text = http.get("/metrics").text
    assert 'portrait_event_to_readable_seconds_bucket{le="0.1",version="autoencoder-1"} 3.0' in text
    assert 'portrait_event_to_readable_seconds_bucket{le="+Inf",version="autoencoder-1"} 4.0' in text
    assert 'portrait_event_to_readable_seconds_sum{version="autoencoder-1"} 0.75' in text
    assert 'portrait_refresh_backlog{bucket="5"} 7.0' in text
    assert "portrait_refresh_buckets_held 64.0" in text
