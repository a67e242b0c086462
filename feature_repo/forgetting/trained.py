"""Versions that were trained with a user's data."""

import json
from datetime import datetime
from pathlib import Path

from sqlalchemy import select

from portrait.feature_repo.forgetting.places import User
from portrait.feature_repo.forgetting.tombstones import TrainedVersion
from portrait.feature_repo.history.snapshot import file_name, load_snapshot
from portrait.feature_repo.log.committed import rows_of
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.log.manifest import Manifest, SegmentKind
from portrait.feature_repo.log.rewriting import count_users
from portrait.feature_repo.log.tables import InboxRow
from portrait.feature_repo.schemas import EPOCH, from_microseconds
from portrait.registry.errors import NotFound
from portrait.registry.registry import Registry


def versions_trained_with(registry: Registry, log: EventLog, user: User) -> list[TrainedVersion]:
    """Versions that were trained with the user, and models that studies have trained with the user.

    Those whose training snapshot holds the user. Where the snapshot is gone: those trained on a time in which the log
    already named the user; of studies' models, whose time is not kept, all of them if the log names the user.
    """
    since = _oldest_time(log, user)
    versions = [
        TrainedVersion(version.id, version.state.value)
        for version in registry.versions.list()
        if _knows(log, version.snapshot, user, since is not None and since < version.data_to)
    ]
    models = [
        TrainedVersion(str(run.parent.relative_to(log.home)), "model of a study")
        for run in sorted(log.home.glob("studies/**/artifacts/*/run.json"))
        if _knows(log, _snapshot_of(run), user, since is not None)
    ]
    return [*versions, *models]


def _snapshot_of(run: Path) -> str:
    """The snapshot of a run; what a study has left out of it is named behind the id."""
    return "-".join(str(json.loads(run.read_text())["snapshot"]).split("-")[:2])


def _knows(log: EventLog, snapshot_id: str, user: User, otherwise: bool) -> bool:
    """Whether a snapshot holds the user; `otherwise` where it is gone."""
    try:
        snapshot = load_snapshot(log.home, snapshot_id)
    except NotFound:
        return otherwise
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
