"""Counts of `portrait status`."""

from datetime import UTC, datetime

from portrait.infra.jobs.status import read_status
from portrait.infra.portrait import Portrait
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


def test_the_log_in_one_line(registered: Portrait) -> None:
    status = read_status(registered)
    assert status.home == str(registered.settings.home)
    assert status.log.users == USERS and status.log.events > 10 * USERS
    assert status.log.newest_event is not None and status.log.newest_event.year == 2024
