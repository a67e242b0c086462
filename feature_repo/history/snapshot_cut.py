"""Cutting of snapshots, in this process or as tasks on Ray.

Every bucket is written into a hidden folder. One rename a folder shows it, and the JSON file comes last.
"""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from portrait.feature_repo.history.fold import FoldInput, fold
from portrait.feature_repo.history.snapshot import (
    FOLDER,
    HISTORY_FOLDER,
    PROFILE_FOLDER,
    Snapshot,
    file_name,
    load_snapshot,
    recount_users,
    save_snapshot,
    snapshots,
)
from portrait.feature_repo.ingest.seal import sealed_manifest
from portrait.feature_repo.log.duck import THREADS, connect, enough_memory
from portrait.feature_repo.log.durable_files import sync
from portrait.feature_repo.log.event_log import EventLog, default_as_of
from portrait.feature_repo.log.manifest import Manifest, SegmentKind
from portrait.feature_repo.log.partition import bucket_of
from portrait.feature_repo.log.profiles import profile_schema_at
from portrait.feature_repo.log.rewriting import strike_forgotten
from portrait.feature_repo.log.staging import spill_folder, sweep, working_folder
from portrait.feature_repo.ray_cluster import ensure_ray
from portrait.feature_repo.settings import FeatureSettings
from portrait.registry.errors import InvalidInput, NotFound
from portrait.registry.progress import Progress, silent

ROW_GROUP = 4096
"""Users a row group: a history of 256 events in three services is large, and readers take row groups whole."""


@dataclass(frozen=True)
class CutTask:
    """The task of writing some buckets of a snapshot below the folder `into`."""

    buckets: tuple[int, ...]
    given: FoldInput
    into: Path
    memory: str
    threads: int = THREADS


@dataclass(frozen=True)
class CutResult:
    """The counts of the written buckets."""

    users: dict[int, int]  # by bucket
    events: int
    oldest: datetime | None


def cut_buckets(task: CutTask) -> CutResult:
    """Fold the buckets and write their files."""
    with (
        enough_memory(task.memory),
        spill_folder(task.given.home) as spill,
        connect(task.memory, spill, task.threads) as duck,
    ):
        folded = fold(duck, task.given)
    for folder, table in ((HISTORY_FOLDER, folded.histories), (PROFILE_FOLDER, folded.profiles)):
        for bucket, rows in _by_bucket(table, task.buckets):
            path = task.into / folder / file_name(bucket)
            pq.write_table(rows, path, compression="zstd", row_group_size=ROW_GROUP)
            sync(path)
    users = {bucket: rows.num_rows for bucket, rows in _by_bucket(folded.histories.select(["user_id"]), task.buckets)}
    return CutResult(users, folded.events, folded.oldest)


def cut_in_process(tasks: Iterable[CutTask]) -> Iterator[CutResult]:
    """One task after the other: for logs so small that Ray's start costs more than it saves."""
    return map(cut_buckets, tasks)


def _by_bucket(table: pa.Table, buckets: tuple[int, ...]) -> Iterator[tuple[int, pa.Table]]:
    if len(buckets) == 1:
        yield buckets[0], table
        return
    of_row = np.fromiter(map(bucket_of, table["user_id"].to_pylist()), np.int64, table.num_rows)
    for bucket in buckets:
        yield bucket, table.filter(pa.array(of_row == bucket))


CPUS_A_TASK = 1


def cut_on_ray(tasks: Iterable[CutTask], settings: FeatureSettings) -> Iterator[CutResult]:
    """Run each task as a remote one, on the cluster in force or on one started here.

    Every task has one thread and waits for one CPU; it holds nothing while it waits, so it cannot
    block others. Results come as they are ready.
    """
    import ray  # takes a second: small logs never need it

    ensure_ray(settings)
    remote = ray.remote(num_cpus=CPUS_A_TASK, max_retries=2)(cut_buckets)
    waiting = [remote.remote(replace(task, threads=1)) for task in tasks]
    while waiting:
        ready, waiting = ray.wait(waiting, num_returns=1)
        yield from ray.get(ready)


GROUP_ROWS = 200_000

__all__ = ["Snapshot", "cut_snapshot", "load_snapshot", "snapshots"]


def cut_snapshot(log: EventLog, as_of: datetime | None = None, progress: Progress | None = None) -> Snapshot:
    """History and profile of every user as of a time, by default the log's watermark + 1 µs.

    The same log, time and history length give the same snapshot: one that exists is returned. Logs of
    `ray_from_events` events or more are cut through Ray. Raises InvalidInput for an empty log, a naive time or one that
    lies in the future.
    """
    return log.read(
        lambda manifest: _find_or_cut(log, manifest, as_of, progress or silent), lambda: sealed_manifest(log)
    )


def _find_or_cut(log: EventLog, manifest: Manifest, as_of: datetime | None, progress: Progress) -> Snapshot:
    moment = as_of or default_as_of(manifest)
    if moment.tzinfo is None:
        raise InvalidInput(f"as-of {moment.isoformat()} has no time zone: add one, as in {moment.isoformat()}+00:00")
    if not manifest.segments_of(SegmentKind.EVENTS) and not manifest.segments_of(SegmentKind.USERS):
        raise InvalidInput("the log knows no users: run `portrait ingest --events FILE` first")
    moment, newest, now = moment.astimezone(UTC), default_as_of(manifest), datetime.now(UTC)
    if moment > max(newest, now):
        raise InvalidInput(
            f"as-of {moment:%Y-%m-%d %H:%M:%S} lies in the future (it is {now:%Y-%m-%d %H:%M:%S}): nobody knows what "
            f"will count then. Leave it out to take all events, up to {newest:%Y-%m-%d %H:%M:%S}"
        )
    snapshot_id = _snapshot_id(manifest, moment, log.settings.history_length)
    try:
        return load_snapshot(log.home, snapshot_id)
    except NotFound:
        return _write_snapshot(log, manifest, moment, snapshot_id, progress)


def _write_snapshot(
    log: EventLog, manifest: Manifest, as_of: datetime, snapshot_id: str, progress: Progress
) -> Snapshot:
    sweep(log.home, log.manifest)  # what a cut has left that was killed, or met a full disk
    computed_at = datetime.now(UTC)
    with _hidden_folder(log.home) as hidden:
        events = sum(segment.rows for segment in manifest.segments_of(SegmentKind.EVENTS))
        on_ray = events >= log.settings.ray_from_events
        groups = [(bucket,) for bucket in _buckets(manifest)] if on_ray else _groups(manifest)
        tasks = [_task(log, manifest, buckets, as_of, computed_at, hidden) for buckets in groups]
        done: list[CutResult] = []
        progress("cut snapshot", 0, len(tasks))
        for written in cut_on_ray(tasks, log.settings) if on_ray else cut_in_process(tasks):
            done.append(written)
            progress("cut snapshot", len(done), len(tasks))
        for folder in (HISTORY_FOLDER, PROFILE_FOLDER):
            _show(hidden / folder, log.home / FOLDER / folder / snapshot_id)
    users = {bucket: count for written in done for bucket, count in written.users.items()}
    snapshot = Snapshot(
        home=log.home,
        id=snapshot_id,
        as_of=as_of,
        history_length=log.settings.history_length,
        users=sum(users.values()),
        events=sum(written.events for written in done),
        data_from=min((written.oldest for written in done if written.oldest), default=None),
        buckets=dict(sorted(users.items())),
        created_at=computed_at,
    )
    save_snapshot(_without_forgotten(log, snapshot))
    # Again, for users forgotten in between. From here on a forgetting finds the snapshot and rewrites it.
    kept = _without_forgotten(log, snapshot)
    save_snapshot(kept)
    return kept


def _without_forgotten(log: EventLog, snapshot: Snapshot) -> Snapshot:
    """The snapshot without the users who were forgotten since the manifest was read or a killed cut had begun."""
    folders = (snapshot.history_path, snapshot.profile_path)
    strike_forgotten(log, (folder / file_name(bucket) for folder in folders for bucket in snapshot.buckets))
    return recount_users(snapshot)


def _snapshot_id(manifest: Manifest, as_of: datetime, history_length: int) -> str:
    segments = sorted(s.id for s in manifest.segments if s.kind != SegmentKind.ITEMS)
    content = "\n".join([as_of.isoformat(timespec="microseconds"), str(history_length), *segments])
    return f"{as_of:%Y%m%dT%H%M%S}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"


def _buckets(manifest: Manifest) -> list[int]:
    return sorted({segment.bucket for segment in manifest.segments if segment.kind != SegmentKind.ITEMS})


def _groups(manifest: Manifest) -> list[tuple[int, ...]]:
    """Buckets that are folded together: a query has a fixed cost, so a small log is one group."""
    groups: list[tuple[int, ...]] = []
    held = 0
    for bucket in _buckets(manifest):
        rows = sum(
            s.rows for kind in (SegmentKind.EVENTS, SegmentKind.USERS) for s in manifest.segments_of(kind, (bucket,))
        )
        if groups and held + rows <= GROUP_ROWS:
            groups[-1] += (bucket,)
            held += rows
        else:
            groups.append((bucket,))
            held = rows
    return groups


def _task(
    log: EventLog, manifest: Manifest, buckets: tuple[int, ...], as_of: datetime, computed_at: datetime, into: Path
) -> CutTask:
    given = FoldInput(
        home=log.home,
        events=manifest.segments_of(SegmentKind.EVENTS, buckets),
        users=manifest.segments_of(SegmentKind.USERS, buckets),
        profile_schema=profile_schema_at(log.home, manifest),
        history_length=log.settings.history_length,
        as_of=as_of,
        computed_at=computed_at,
        signed_up_before=as_of,
    )
    return CutTask(buckets, given, into, log.settings.ingest_memory)


@contextmanager
def _hidden_folder(home: Path) -> Iterator[Path]:
    with working_folder(home, "cut") as hidden:
        for folder in (HISTORY_FOLDER, PROFILE_FOLDER):
            (hidden / folder).mkdir()
        yield hidden


def _show(hidden: Path, final: Path) -> None:
    final.parent.mkdir(parents=True, exist_ok=True)
    sync(hidden)
    # A folder of that name is whole and holds the same: a cut beside this one, or one killed after its rename.
    if not final.exists():
        hidden.rename(final)
    sync(final.parent)
