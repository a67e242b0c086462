"""Dropping of a profile column: its values leave log, snapshots and online store, and no record may name it any more.

Every step can be repeated after a kill: the column stays known until the last file of the log is without it.
"""

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq

from portrait.feature_repo.declaration.views import PROFILE_VIEW
from portrait.feature_repo.history.snapshot import file_name, snapshots
from portrait.feature_repo.ingest.seal import seal
from portrait.feature_repo.log.committed import schema_of
from portrait.feature_repo.log.durable_files import sync
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.log.manifest import Segment, SegmentKind
from portrait.feature_repo.log.profiles import STORED_FIXED, further_columns
from portrait.feature_repo.log.rewriting import Rewriter, SegmentReplacement, commit_edit, rewriting
from portrait.feature_repo.log.segments import new_ingest_id
from portrait.feature_repo.schemas import EVENTS
from portrait.feature_repo.store.feature_repo import COLUMNS_SECONDS, FeatureRepo
from portrait.registry.access.audit import Action
from portrait.registry.database.tables import LIVE_STATES
from portrait.registry.errors import Conflict, InvalidInput
from portrait.registry.progress import Progress, silent
from portrait.registry.registry import Registry
from portrait.registry.serving_state.replicas import SHARDS
from portrait.registry.text import free_text

TABLE = "users"
ATTEMPTS = 20


@dataclass(frozen=True)
class ColumnDrop:
    """What held a dropped column."""

    column: str  # users.NAME
    segments: int  # of the log
    snapshots: int


def drop_column(
    repo: FeatureRepo, registry: Registry, column: str, reason: str = "", progress: Progress | None = None
) -> ColumnDrop:
    """Delete a further profile column, `users.NAME`, for the registry's actor.

    A file that brings the column later brings a new one, with a type of its own. Raises InvalidInput for a column that
    there is not or that every table has, Conflict while a version that may be read was trained with it.
    """
    report, log = progress or silent, repo.log
    name = _name_of(column, log)
    reason = free_text("reason", reason)
    with registry.audit.preparing(Action.COLUMN_DROP, f"column {column}"):
        _require_unread(registry, name)
    with registry.audit.change(Action.COLUMN_DROP, f"column {column}") as entry:
        entry.detail["reason"] = reason
    with rewriting(log.home) as rewriter:
        repo.online.delete_feature(repo.config, PROFILE_VIEW, name)
        segments = _strike_log(log, name, report)
        struck = _strike_snapshots(log, rewriter, name)
    repo.apply()
    if any(replica.role in SHARDS for replica in registry.replicas.list()):
        time.sleep(COLUMNS_SECONDS)  # for so long they know the columns as they were, and may write this one again
    repo.online.delete_feature(repo.config, PROFILE_VIEW, name)
    repo.online.purge(repo.config)
    return ColumnDrop(column, segments, struck)


def _name_of(column: str, log: EventLog) -> str:
    table, _, name = column.partition(".")
    if table == "events":
        raise InvalidInput(f"events have the columns {', '.join(EVENTS.names)} and no others: none can be dropped")
    if table == TABLE and name in STORED_FIXED:
        raise InvalidInput(f"{column} is a column of every users table, and cannot be dropped")
    known = further_columns(log.home, log.manifest().segments_of(SegmentKind.USERS))
    if table != TABLE or name not in known:
        there = ", ".join(f"{TABLE}.{one}" for one in known) or "none"
        raise InvalidInput(f"{column!r} is no column that can be dropped; there are: {there}")
    return name


def _require_unread(registry: Registry, name: str) -> None:
    readers = [
        version.id
        for version in registry.versions.list(LIVE_STATES)
        if name in {field["name"] for field in version.feature_schema.get("profile", ())}
    ]
    if readers:
        raise Conflict(
            f"{TABLE}.{name} is read by {', '.join(readers)}: train a version with `--exclude {name}`, promote it, and "
            f"`portrait retire {readers[0]}` first"
        )


def _strike_log(log: EventLog, name: str, report: Progress) -> int:
    """Write the segments with the column anew; returns how many there were."""
    struck = 0
    for _ in range(ATTEMPTS):
        seal(log)  # an accepted record may have the column too
        manifest = log.manifest()
        buckets = sorted(bucket for bucket in manifest.next_positions if bucket >= 0)
        moved = False
        for done, bucket in enumerate(buckets):
            report("writing profiles anew", done, len(buckets))
            holding = [s for s in manifest.segments_of(SegmentKind.USERS, (bucket,)) if name in _names(log, s)]
            replaced = [_without(log, segment, name) for segment in holding]
            if commit_edit(log, manifest, [bucket], replaced):
                struck += len(replaced)
            else:
                moved = True
        report("writing profiles anew", len(buckets), len(buckets))
        if not moved and not any(name in _names(log, s) for s in log.manifest().segments_of(SegmentKind.USERS)):
            return struck
    raise Conflict(f"users were ingested {ATTEMPTS} times in a row while {TABLE}.{name} was dropped: do it again")


def _names(log: EventLog, segment: Segment) -> list[str]:
    names: list[str] = schema_of(log.home / segment.path).names
    return names


def _without(log: EventLog, segment: Segment, name: str) -> SegmentReplacement:
    """The segment under another id, so that snapshots of it are other snapshots; the rows keep their positions."""
    id = f"{new_ingest_id(datetime.now(UTC))}-{segment.kind}-{segment.bucket:02d}"
    path = Path(segment.path).with_name(f"{id}.parquet")
    table = pq.read_table(log.home / segment.path, partitioning=None)
    pq.write_table(table.drop_columns([name]), log.home / path, compression="zstd")
    sync(log.home / path)
    sync((log.home / path).parent)
    return SegmentReplacement(segment, replace(segment, id=id, path=str(path)))


def _strike_snapshots(log: EventLog, rewriter: Rewriter, name: str) -> int:
    """Take the column out of the snapshots' profiles; returns how many snapshots had it."""
    struck = 0
    for snapshot in snapshots(log.home):
        paths = [snapshot.profile_path / file_name(bucket) for bucket in snapshot.buckets]
        holding = [path for path in paths if path.exists() and name in pq.read_schema(path).names]
        for path in holding:
            rewriter.replace(path, pq.read_table(path, partitioning=None).drop_columns([name]))
        struck += bool(holding)
    return struck
