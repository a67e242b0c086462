"""Replicas: those that serve, how far each has followed, and those that are gone."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pytest
from sqlalchemy import select, update

from portrait.registry.database.tables import ReplicaRow
from portrait.registry.errors import InvalidInput
from portrait.registry.registry import Registry
from portrait.registry.serving_state.serving_state import read_generation


def test_a_replica_is_known_from_its_first_sign_on(registry: Registry) -> None:
    registry.replicas.seen("gateway-1", "host-a", 7)
    (first,) = registry.replicas.list()
    assert (first.id, first.host, first.generation) == ("gateway-1", "host-a", 7)
    assert first.started_at == first.seen_at
    assert abs(first.seen_at - datetime.now(UTC)) < timedelta(minutes=1)
    registry.replicas.seen("gateway-1", "host-a", 9)
    (later,) = registry.replicas.list()
    assert (later.generation, later.started_at) == (9, first.started_at)
    assert later.seen_at > first.seen_at


def test_those_behind_serve_an_earlier_generation(registry: Registry) -> None:
    for id, generation in (("c", 5), ("a", 4), ("b", 6)):
        registry.replicas.seen(id, "host", generation)
    assert [replica.id for replica in registry.replicas.list()] == ["a", "b", "c"]
    assert [replica.id for replica in registry.replicas.behind(6)] == ["a", "c"]
    assert registry.replicas.behind(4) == []


def test_a_silent_replica_counts_as_gone_and_is_forgotten_after_a_day(registry: Registry) -> None:
    for id, silent in (("minute", timedelta(minutes=1)), ("week", timedelta(days=7))):
        registry.replicas.seen(id, "host", 1)
        _last_seen(registry, id, silent)
    assert registry.replicas.list() == registry.replicas.behind(2) == []
    assert [replica.id for replica in registry.replicas.list(timedelta(hours=1))] == ["minute"]
    registry.replicas.seen("new", "host", 2)
    assert _ids(registry) == ["minute", "new"]
    registry.replicas.seen("minute", "host", 2)
    assert [replica.id for replica in registry.replicas.list()] == ["minute", "new"]


def test_a_sign_of_a_known_replica_forgets_nobody(registry: Registry) -> None:
    registry.replicas.seen("old", "host", 1)
    registry.replicas.seen("known", "host", 1)
    _last_seen(registry, "old", timedelta(days=7))
    registry.replicas.seen("known", "host", 1)
    assert _ids(registry) == ["known", "old"]


def test_a_replica_that_stops_says_so(registry: Registry) -> None:
    registry.replicas.seen("gateway-1", "host", 1)
    registry.replicas.gone("gateway-1")
    registry.replicas.gone("gateway-1")
    assert registry.replicas.list() == []


def test_signs_change_nothing_that_is_served_or_audited(registry: Registry) -> None:
    before = read_generation(registry.database)
    registry.replicas.seen("gateway-1", "host", before)
    registry.replicas.gone("gateway-1")
    assert read_generation(registry.database) == before
    assert registry.audit.list() == []


def test_signs_at_once_are_all_kept(registry: Registry) -> None:
    start = Barrier(8)

    def signs(worker: int) -> None:
        start.wait()
        for generation in range(5):
            registry.replicas.seen("shared", "host", generation)
            registry.replicas.seen(f"own-{worker}", "host", generation)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(signs, range(8)))
    assert [replica.id for replica in registry.replicas.list()] == [*(f"own-{n}" for n in range(8)), "shared"]
    assert registry.replicas.behind(4) == []


def test_what_cannot_be_kept_is_refused(registry: Registry) -> None:
    for id, host in (("", "host"), ("i" * 65, "host"), ("a\x00b", "host"), ("id", "")):
        with pytest.raises(InvalidInput, match="of the replica"):
            registry.replicas.seen(id, host, 1)


def _last_seen(registry: Registry, id: str, ago: timedelta) -> None:
    with registry.database.transaction() as session:
        session.execute(update(ReplicaRow).where(ReplicaRow.id == id).values(seen_at=datetime.now(UTC) - ago))


def _ids(registry: Registry) -> list[str]:
    with registry.database.reading() as session:
        return list(session.scalars(select(ReplicaRow.id).order_by(ReplicaRow.id)))
