"""Versions that were trained with a user's data."""

import json
from datetime import datetime

from sqlalchemy import select

from portrait.feature_repo.forgetting.places import User
from portrait.feature_repo.history.snapshot import file_name, load_snapshot
from portrait.feature_repo.log.committed import rows_of
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.log.manifest import Manifest, SegmentKind
from portrait.feature_repo.log.rewriting import count_users
from portrait.feature_repo.log.tables import InboxRow
from portrait.feature_repo.schemas import EPOCH, from_microseconds
from portrait.registry.errors import NotFound
from portrait.registry.records.records import EmbeddingVersion
from portrait.registry.registry import Registry


def versions_trained_with(registry: Registry, log: EventLog, user: User) -> list[EmbeddingVersion]:
    """Versions that were trained with the user.

    Those whose training snapshot holds the user. Where the snapshot is gone: those trained on a time in which the log
    already named the user.
    """
    since = _oldest_time(log, user)
    return [version for version in registry.versions.list() if _knows(log, version, user, since)]


def _knows(log: EventLog, version: EmbeddingVersion, user: User, since: datetime | None) -> bool:
    try:
        snapshot = load_snapshot(log.home, version.snapshot)
    except NotFound:
        return since is not None and since < version.data_to
    if user.bucket not in snapshot.buckets:
        return False
    return count_users(snapshot.history_path / file_name(user.bucket), [user.id]) > 0


def _oldest_time(log: EventLog, user: User) -> datetime | None:
    """Time of the user's oldest event or of the sign-up; a profile without a sign-up counts as oldest of all."""
    seen = [
        moment
        for moment in (log.read(lambda m: _oldest_in_segments(log, m, user)), _oldest_in_inbox(log, user))
        if moment
    ]
    return min(seen, default=None)


def _oldest_in_segments(log: EventLog, manifest: Manifest, user: User) -> datetime | None:
    events = rows_of(
        log.home,
        manifest.segments_of(SegmentKind.EVENTS, (user.bucket,)),
        {"user_id": "VARCHAR", "event_time": "TIMESTAMPTZ"},
    )
    users = rows_of(
        log.home,
        manifest.segments_of(SegmentKind.USERS, (user.bucket,)),
        {"user_id": "VARCHAR", "created_time": "TIMESTAMPTZ"},
    )
    query = f"""
        SELECT epoch_us(min(moment)) FROM (
            SELECT user_id, event_time AS moment FROM {events} UNION ALL
            SELECT user_id, coalesce(created_time, TIMESTAMPTZ '1970-01-01 00:00:00+00') FROM {users})
        WHERE user_id = ?"""
    with log.duck() as duck:
        [(moment,)] = duck.execute(query, [user.id]).fetchall()
    return None if moment is None else from_microseconds(moment)


def _oldest_in_inbox(log: EventLog, user: User) -> datetime | None:
    rows = select(InboxRow.payload).where(InboxRow.bucket == user.bucket, InboxRow.user_id == user.id)
    with log.database.reading() as session:
        times = [_moment(json.loads(payload)) for payload in session.scalars(rows)]
    return min(times, default=None)


def _moment(payload: list[object] | dict[str, object]) -> datetime:
    time = payload[2] if isinstance(payload, list) else payload.get("created_time")
    return from_microseconds(time) if isinstance(time, int) else EPOCH
