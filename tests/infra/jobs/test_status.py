"""Counts of `portrait status`."""

import json
from datetime import UTC, datetime

from portrait.feature_repo.log.inbox import ArrivingRecord
from portrait.feature_repo.log.manifest import SegmentKind
from portrait.feature_repo.log.partition import bucket_of
from portrait.feature_repo.schemas import microseconds
from portrait.infra.jobs.status import read_status, wait_for_gateways
from portrait.infra.portrait import Portrait
from portrait.registry.serving_state.serving_state import read_generation
from portrait.training.backfill.backfill import backfill
from tests.instances import USERS
from tests.registry.factories import good_evidence

AUTUMN = datetime(2024, 9, 1, tzinfo=UTC)


def test_a_version_fills_up_and_finds_readers(registered: Portrait) -> None:
    [empty] = read_status(registered).versions
    assert (empty.version, empty.state, empty.users_online, empty.users_known) == (
        "autoencoder-1",
        "registered",
        0,
        USERS,
    )
    assert (empty.as_of, empty.online_bytes, empty.consumers) == (None, 0, [])

    backfill(registered.repo, "autoencoder-1", registered.settings, AUTUMN)
    for consumer in ("searcher", "ranker"):
        registered.registry.consumers.add(consumer, "web", "rank the home page")
        good_evidence(registered.registry, registered.registry.versions.get("autoencoder-1"))
        registered.registry.promotions.promote(consumer, "autoencoder-1", "first")
    [full] = read_status(registered).versions
    assert (full.state, full.users_online, full.as_of) == ("ready", USERS, AUTUMN)
    assert full.online_bytes == USERS * 16 * 4
    files = (registered.settings.home / "embeddings").rglob("*.parquet")
    assert full.offline_bytes == sum(file.stat().st_size for file in files) > full.online_bytes
    assert full.consumers == ["ranker", "searcher"]
    assert full.kept_by == ["ranker reads it", "searcher reads it"]


def test_a_failed_version_is_shown_as_long_as_it_holds_data(registered: Portrait) -> None:
    registered.registry.versions.fail("autoencoder-1", "wrong data")
    [failed] = read_status(registered).versions
    assert (failed.state, failed.kept_by) == ("failed", [])
    registered.operations.retire("ann", "autoencoder-1")
    assert read_status(registered).versions == []


def test_what_can_be_told_is_told_while_the_online_store_is_away(registered: Portrait) -> None:
    known = read_status(registered)
    away = "redis://:secret@127.0.0.1:1/0"
    with Portrait.open(registered.settings.model_copy(update={"online_store_url": away})) as portrait:
        status = read_status(portrait)
    [version] = status.versions
    assert (version.version, version.users_online, version.online_bytes) == ("autoencoder-1", None, None)
    assert version.users_known == USERS and version.offline_bytes == known.versions[0].offline_bytes
    assert (status.log, status.generation) == (known.log, known.generation)
    [line] = status.away
    assert "redis://:***@127.0.0.1:1/0 does not answer" in line
    assert known.away == []


def test_the_log_in_one_line(registered: Portrait) -> None:
    status = read_status(registered)
    assert status.home == str(registered.settings.home)
    assert status.log.users == USERS and status.log.events > 10 * USERS
    assert status.log.newest_event is not None and status.log.newest_event.year == 2024


def test_shards_are_no_gateways(registered: Portrait) -> None:
    registry = registered.registry
    now = read_generation(registry.database)
    registry.replicas.seen("shard-1", "here", now, "shard")
    assert wait_for_gateways(registry, 0) == ""
    registry.replicas.seen("gateway-1", "here", now)
    registry.replicas.seen("shard-2", "here", now - 1, "shard")  # it is not the gateway that is behind
    assert wait_for_gateways(registry, 0) == "served by 1 of 1 gateways"
    registry.replicas.seen("gateway-2", "there", now - 1)
    assert wait_for_gateways(registry, 0) == "1 of 2 gateways serve it; not yet: gateway-2 on there"
    told: list[tuple[str, int, int]] = []
    registry.replicas.wait(now, 0.01, ["shard"], lambda step, done, total, note="": told.append((step, done, total)))
    assert set(told) == {("shards", 1, 2)}


def test_the_newest_event_may_be_in_the_inbox(registered: Portrait) -> None:
    before = read_status(registered).log
    new = datetime(2025, 3, 4, 5, 6, 7, 89, tzinfo=UTC)
    payload = ["ann", "music-0001", microseconds(new), "music", "play", 1.0, "e1"]
    event = ArrivingRecord(SegmentKind.EVENTS, bucket_of("ann"), json.dumps(payload), "ann", "e1")
    change = ArrivingRecord(SegmentKind.USERS, bucket_of("ann"), json.dumps({"user_id": "ann"}), "ann")
    registered.log.inbox.accept([event, change])
    after = read_status(registered).log
    assert before.newest_event is not None and before.newest_event < new
    assert (after.newest_event, after.in_inbox, after.events) == (new, 2, before.events)
