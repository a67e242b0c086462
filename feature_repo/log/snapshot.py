"""Cutting snapshots: every bucket into a hidden folder, shown by one rename a folder and the JSON file last."""

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from feature_repo.log.cut_bucket import BucketCut, BucketTask, cut_in_process
from feature_repo.log.event_log import EventLog, default_as_of
from feature_repo.log.fold import FoldInput
from feature_repo.log.manifest import Kind, Manifest
from feature_repo.log.on_ray import cut_on_ray
from feature_repo.log.profiles import schema_at
from feature_repo.progress import Progress, silent
from feature_repo.log.segments import sync
from feature_repo.log.stored_snapshot import (
    FOLDER,
    HISTORY_FOLDER,
    PROFILE_FOLDER,
    Snapshot,
    load_snapshot,
    save,
    snapshots,
)
from registry.errors import InvalidInput, NotFound

__all__ = ["Snapshot", "cut", "load_snapshot", "snapshots"]


def cut(log: EventLog, as_of: datetime | None = None, progress: Progress | None = None) -> Snapshot:
    """History and profile of every user as of a time, by default the log's watermark + 1 µs.

    The same log, time and history length give the same snapshot: one that exists is returned. Logs of
    `ray_from_events` events or more are cut through Ray. Raises InvalidInput for an empty log or a
    naive time.
    """
    manifest = log.manifest()
    moment = as_of or default_as_of(manifest)
    if moment.tzinfo is None:
        raise InvalidInput(f"as-of {moment.isoformat()} has no time zone: add one, as in {moment.isoformat()}+00:00")
    if not manifest.of(Kind.EVENTS) and not manifest.of(Kind.USERS):
        raise InvalidInput("the log knows no users: run `portrait ingest --events FILE` first")
    moment = moment.astimezone(UTC)
    snapshot_id = _id(manifest, moment, log.settings.history_length)
    try:
        return load_snapshot(log.home, snapshot_id)
    except NotFound:
        return _cut(log, manifest, moment, snapshot_id, progress or silent)


def _cut(log: EventLog, manifest: Manifest, as_of: datetime, snapshot_id: str, progress: Progress) -> Snapshot:
    computed_at = datetime.now(UTC)
    with _hidden_folder(log.home) as hidden:
        tasks = _tasks(log, manifest, as_of, computed_at, hidden)
        events = sum(segment.rows for segment in manifest.of(Kind.EVENTS))
        run = cut_on_ray if events >= log.settings.ray_from_events else cut_in_process
        done: list[BucketCut] = []
        progress("cut snapshot", 0, len(tasks))
        for bucket in run(tasks):
            done.append(bucket)
            progress("cut snapshot", len(done), len(tasks))
        for folder in (HISTORY_FOLDER, PROFILE_FOLDER):
            _show(hidden / folder, log.home / FOLDER / folder / snapshot_id)
    snapshot = Snapshot(
        home=log.home,
        id=snapshot_id,
        as_of=as_of,
        history_length=log.settings.history_length,
        users=sum(bucket.users for bucket in done),
        events=sum(bucket.events for bucket in done),
        data_from=min((bucket.oldest for bucket in done if bucket.oldest), default=None),
        buckets={bucket.bucket: bucket.users for bucket in sorted(done, key=lambda bucket: bucket.bucket)},
        created_at=computed_at,
    )
    save(snapshot)
    return snapshot


def _id(manifest: Manifest, as_of: datetime, history_length: int) -> str:
    segments = sorted(s.id for s in manifest.segments if s.kind != Kind.ITEMS)
    content = "\n".join([as_of.isoformat(timespec="microseconds"), str(history_length), *segments])
    return f"{as_of:%Y%m%dT%H%M%S}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"


def _tasks(log: EventLog, manifest: Manifest, as_of: datetime, computed_at: datetime, into: Path) -> list[BucketTask]:
    schema = schema_at(log.home, manifest)
    tasks = []
    for bucket in sorted({s.bucket for s in manifest.segments if s.kind != Kind.ITEMS}):
        given = FoldInput(
            home=log.home,
            events=manifest.of(Kind.EVENTS, (bucket,)),
            users=manifest.of(Kind.USERS, (bucket,)),
            profile_schema=schema,
            history_length=log.settings.history_length,
            as_of=as_of,
            computed_at=computed_at,
            signed_up_before=as_of,
        )
        tasks.append(BucketTask(bucket, given, into, log.settings.ingest_memory))
    return tasks


@contextmanager
def _hidden_folder(home: Path) -> Iterator[Path]:
    parent = home / FOLDER
    parent.mkdir(parents=True, exist_ok=True)
    hidden = Path(tempfile.mkdtemp(prefix=".cut-", dir=parent))
    try:
        for folder in (HISTORY_FOLDER, PROFILE_FOLDER):
            (hidden / folder).mkdir()
        yield hidden
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def _show(hidden: Path, final: Path) -> None:
    final.parent.mkdir(parents=True, exist_ok=True)
    sync(hidden)
    # A folder of that name is whole and holds the same: a cut beside this one, or one killed after its rename.
    if not final.exists():
        hidden.rename(final)
    sync(final.parent)
