"""The comparison of two instances that should know the same of some users, and events for them."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from portrait.feature_repo.history.point_in_time import ASKED, read_users_at
from portrait.feature_repo.history.snapshot_cut import cut_snapshot
from portrait.feature_repo.log.inbox import ArrivingRecord
from portrait.feature_repo.log.manifest import SegmentKind
from portrait.feature_repo.log.partition import bucket_of
from portrait.feature_repo.schemas import ORDER, TIME, microseconds
from portrait.infra.portrait import Portrait
from portrait.training.backfill.backfill import backfill
from tests.training.stored import offline, online, users_of

VERSION = "autoencoder-1"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
PLACES = {name for name, _ in ORDER}
"""Columns that say where a row lies and when it was computed."""

Row = tuple[str, str, str, str | None]
"""user_id, item_id, day, event_id"""


def file_of(path: Path, rows: Sequence[Row]) -> Path:
    """An events file; the service is what the item's name begins with."""
    users, items, days, ids = zip(*rows, strict=True)
    times = [datetime.fromisoformat(day).replace(tzinfo=UTC) for day in days]
    services = [item.partition("-")[0] for item in items]
    columns = {"user_id": users, "item_id": items, "event_time": times, "service": services}
    pq.write_table(pa.table(columns | {"event_id": pa.array(ids, pa.string())}), path)
    return path


def record_of(row: Row) -> ArrivingRecord:
    """The same event as it comes over HTTP."""
    user, item, day, id = row
    time = microseconds(datetime.fromisoformat(day).replace(tzinfo=UTC))
    payload = [user, item, time, item.partition("-")[0], "view", 1.0, id]
    return ArrivingRecord(SegmentKind.EVENTS, bucket_of(user), json.dumps(payload, separators=(",", ":")), user, id)


def require_the_same(one: Portrait, other: Portrait, *users: str) -> None:
    """Online inputs, inputs of the past, snapshots, and vectors of a backfill, online and at rest, are the same."""
    assert _plain(one.repo.read_inputs(users)) == _plain(other.repo.read_inputs(users))
    for user in users:
        assert _past(one, user) == _past(other, user)
    assert users_of(one) == users_of(other)
    vectors = []
    for portrait in (one, other):
        snapshot = cut_snapshot(portrait.log)
        made = backfill(portrait.repo, VERSION, portrait.settings)
        assert made.snapshot == snapshot.id
        found = (online(portrait, VERSION), offline(portrait, snapshot.id, VERSION))
        vectors.append([(stored.users, stored.vectors, stored.as_of) for stored in found])
    assert vectors[0] == vectors[1]


def _past(portrait: Portrait, user: str) -> list[dict[str, object]]:
    """The user's inputs each day of the events, and now."""
    days = [datetime(2024, 3, 1, tzinfo=UTC) + timedelta(days=days) for days in range(7)]
    asked = pa.table({"user_id": [user] * 8, "as_of": pa.array([*days, NOW], TIME)}, schema=ASKED)
    return [row for table in read_users_at(portrait.log, bucket_of(user), asked) for row in _plain(table)]


def _plain(inputs: pa.Table) -> list[dict[str, object]]:
    rows = inputs.drop_columns([name for name in inputs.column_names if name in PLACES]).to_pylist()
    return [dict(row) for row in rows]
