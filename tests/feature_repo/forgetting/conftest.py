"""Fixtures of instances that hold a user in every possible place."""

import json
import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from portrait.feature_repo.history.snapshot_cut import cut_snapshot
from portrait.feature_repo.ingest.ingest import ingest
from portrait.feature_repo.log.inbox import ArrivingRecord, InboxOutcome
from portrait.feature_repo.log.manifest import SegmentKind
from portrait.feature_repo.log.partition import bucket_of
from portrait.feature_repo.log.refresh_requests import ask
from portrait.infra.jobs.versions import train_version
from portrait.infra.portrait import Portrait
from portrait.infra.settings import Settings
from portrait.training.backfill.backfill import backfill
from tests.forks import FORKS
from tests.instances import TINY, copy_of, embedded, with_generated_users

VERSIONS = ("autoencoder-1", "autoencoder-2")
FEWER = 60  # users on servers, where no home can be copied
NOW = datetime(2024, 12, 31, tzinfo=UTC)


def event_of(user: str, id: str) -> ArrivingRecord:
    """An event as it arrives by HTTP."""
    payload = [user, "music-0001", 1_700_000_000_000_000, "music", "play", 1.0, id]
    return ArrivingRecord(SegmentKind.EVENTS, bucket_of(user), json.dumps(payload), user, id)


def events_file(path: Path, *users: str) -> Path:
    """A file with one event of each user."""
    rows = [{"user_id": user, "item_id": "music-0001", "event_time": NOW} for user in users]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def ingest_and_die(settings: Settings, events: Path) -> None:
    """Be killed when all is written and nothing is committed."""

    def die(step: str, done: int, total: int, note: str = "") -> None:
        if step == "write events" and done == total:
            os.kill(os.getpid(), signal.SIGKILL)

    ingest(Portrait(settings).log, events, progress=die)


def spread(portrait: Portrait, user: str, other: str, folder: Path) -> None:
    """Have the user in files of every kind; in some of them somebody else too."""
    settings, bucket = portrait.settings, bucket_of(user)
    bad = f"user_id,item_id,event_time\n{user},,2024-01-01\n{other},{user},never\n{other},,2024-01-01\n{user};x\n"
    (folder / "bad.csv").write_text(bad)
    assert ingest(portrait.log, folder / "bad.csv").events.rejected_rows == 4
    process = FORKS.Process(target=ingest_and_die, args=(settings, events_file(folder / "late.parquet", user)))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL

    labels = settings.home / "labels" / "set.parquet"
    labels.parent.mkdir()
    pq.write_table(pa.table({"user_id": [other, user], "label": [1, 2]}), labels)
    snapshot = cut_snapshot(portrait.log)
    for version in VERSIONS:
        backfill(portrait.repo, version, settings)
    team = settings.home / "snapshots" / "team" / f"{snapshot.id}-0123456789ab" / f"bucket={bucket:02d}.parquet"
    team.parent.mkdir(parents=True)
    pq.write_table(pa.table({"user_id": [user], "listening__minutes": [7.0]}), team)
    orphan = settings.home / "log" / f"bucket={bucket:02d}" / "nobody-knows-whose.parquet"
    pq.write_table(pa.table({"user_id": [other, user]}), orphan)


def arrive(portrait: Portrait, *users: str) -> None:
    """Have an event, a profile change and a request of each user where they wait."""
    for user in users:
        change = ArrivingRecord(
            SegmentKind.USERS, bucket_of(user), json.dumps({"user_id": user, "country": "PT"}), user
        )
        assert portrait.log.inbox.accept([event_of(user, f"e-{user}"), change]) == [InboxOutcome.ACCEPTED] * 2
    ask(portrait.log, users)


def with_everything(portrait: Portrait) -> list[str]:
    """Users with events and a profile, by bucket: generated ones may lack either."""
    snapshot = cut_snapshot(portrait.log)
    tables = (snapshot.read(bucket, ["user_id", "event_times", "created_time"]) for bucket in snapshot.buckets)
    rows = [row for table in tables for row in table.to_pylist()]
    return [row["user_id"] for row in rows if row["event_times"] and row["created_time"]]


@pytest.fixture(params=["embedded", "servers"])
def peopled(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Portrait]:
    """An instance with two backfilled versions: SQLite everywhere, or Postgres and Redis."""
    if request.param == "embedded":
        opened = copy_of(request.getfixturevalue("backfilled_home"), tmp_path / "home")
    else:
        postgres = request.getfixturevalue("postgres_url")
        stores = {"registry_url": postgres, "feast_registry_url": postgres}
        settings = embedded(tmp_path / "home", **stores, online_store_url=request.getfixturevalue("redis_url"))
        opened = with_generated_users(settings, tmp_path / "generated", FEWER)
        train_version(opened, "autoencoder", overrides=TINY)
    with opened as portrait:
        train_version(portrait, "autoencoder", overrides=(*TINY, "seed=1"))
        yield portrait
