"""The making of a pinned training set, bucket by bucket; it appears as one file when all of it is done."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from portrait.feature_repo.ingest.ingest_report import Rejects, write_rejects
from portrait.feature_repo.ingest.labels import NEEDED, LabelCounts, Labels, grid_of
from portrait.feature_repo.ingest.seal import sealed_manifest
from portrait.feature_repo.ingest.source import open_source
from portrait.feature_repo.log.duck import connect, enough_memory
from portrait.feature_repo.log.durable_files import replacement
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.log.manifest import Manifest, SegmentKind
from portrait.feature_repo.log.rewriting import strike_forgotten
from portrait.feature_repo.log.staging import sweep, working_folder
from portrait.feature_repo.schemas import from_microseconds
from portrait.feature_repo.store.feature_repo import FeatureRepo
from portrait.registry.database.tables import LIVE_STATES
from portrait.registry.errors import Conflict, InvalidInput, first_line
from portrait.registry.progress import Progress, silent
from portrait.registry.records.records import EmbeddingVersion
from portrait.training.encoding.arrays import Int64
from portrait.training.pinned.bucket import ROW_GROUP, BucketDone, BucketLabeller, Work
from portrait.training.pinned.stamp import Stamp
from portrait.training.runs.parallel_jobs import on_ray
from portrait.training.settings import TrainingSettings

DAY = "1d"
"""The default grid."""

GROUP_ROWS = 200_000
"""Rows of labels and of the log that are held at once, where buckets are smaller."""

LABELS, VECTORS = "labels", "vectors"
"""Folders of a file a bucket, in the working folder."""


@dataclass(frozen=True)
class Request:
    """The training set to make."""

    consumer: str
    version: EmbeddingVersion
    labels: Path
    out: Path
    grid: str = DAY
    after_training: bool = False  # leave labels from before the version's training as-of out


@dataclass(frozen=True)
class Made:
    """Counts of a finished training set and of its labels file."""

    stamp: Stamp
    out: Path
    rows: int
    read: int
    rejected: dict[str, int]  # reason -> rows
    rejects: Path | None
    early: int  # labels as of a time before the version's training as-of
    early_dropped: bool
    before_log: int  # as of a time before the log began: profiles and items count as they were first recorded
    unknown: int  # of users whom neither log nor users table names
    priors: int  # with the prior: those, and users about whom nothing was known yet
    first_as_of: datetime
    last_as_of: datetime


def make(repo: FeatureRepo, request: Request, settings: TrainingSettings, progress: Progress | None = None) -> Made:
    """Write the training set to `request.out`, whole or not at all.

    Sets of `ray_from_users` labels or more go through a Ray Data pool. Raises InvalidInput for a labels file that
    cannot be used or has no good row, Conflict for a version that is not live.
    """
    progress, version, grid = progress or silent, request.version, grid_of(request.grid)
    if version.state not in LIVE_STATES:
        raise Conflict(f"version {version.id} is {version.state}: make training sets of a live version")
    if not request.out.parent.is_dir():
        raise InvalidInput(f"there is no folder {request.out.parent} to write {request.out.name} into")
    if request.out.is_dir():
        raise InvalidInput(f"{request.out} is a folder: name the file in it that shall be written")
    if request.out.exists() and request.labels.exists() and request.out.samefile(request.labels):
        raise InvalidInput(f"{request.out} is the labels file: write the training set beside it")
    sweep(settings.home, repo.log.manifest)
    with working_folder(settings.home, "dataset") as working:
        staged = _stage(repo.log, request, grid, working, progress)
        work = Work(settings, version.id, working / LABELS, working / VECTORS, staged.times)
        done: list[BucketDone] = []
        for one in _all_buckets(work, staged, repo.log.manifest()):
            done.append(one)
            progress(f"training set at {version.id}", sum(each.rows for each in done), staged.counts.kept)
        stamp = Stamp(version.id, version.fingerprint, request.consumer, request.grid, staged.stamp)
        rows = _show(repo.log, work, stamp, request.out)
    return Made(
        stamp=stamp,
        out=request.out,
        rows=rows,
        read=staged.counts.read,
        rejected=staged.rejects.counts,
        rejects=staged.rejects.path,
        early=staged.counts.early,
        early_dropped=request.after_training,
        before_log=staged.before_log,
        unknown=sum(one.unknown for one in done),
        priors=sum(one.priors for one in done),
        first_as_of=from_microseconds(int(staged.times[0])),
        last_as_of=from_microseconds(int(staged.times[-1])),
    )


@dataclass(frozen=True)
class _Staged:
    """The labels, cut into files of buckets."""

    counts: LabelCounts
    rejects: Rejects
    stamp: str
    before_log: int
    times: Int64
    buckets: dict[int, int]  # bucket -> rows


def _stage(log: EventLog, request: Request, grid: int, working: Path, progress: Progress) -> _Staged:
    progress("read labels", 0, 1)
    began = sealed_manifest(log).began_at()
    for name in (LABELS, VECTORS):
        (working / name).mkdir()
    memory = log.settings.ingest_memory
    with (
        enough_memory(memory),
        connect(memory, working / "spill", database=working / "stage.duckdb") as duck,
    ):
        source = open_source(duck, request.labels, "labels", NEEDED).prepared(duck, working)
        try:
            labels = Labels(duck, source, grid, request.version.data_to, datetime.now(UTC))
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error as error:
            raise InvalidInput(f"{source.shown} cannot be read to its end: {first_line(error)}") from error
        labels.refuse_forgotten(log.tombstones())
        rejects = write_rejects(duck, log.home, working, source, labels.rejected)
        counts = labels.keep(request.version.data_to, request.after_training)
        if not counts.kept:
            why = ", ".join(f"{reason}: {rows}" for reason, rows in rejects.counts.items())
            early = f"{counts.dropped} from before {request.version.data_to:%Y-%m-%d}" if counts.dropped else ""
            raise InvalidInput(f"{source.shown} has no row that can be used ({'; '.join(filter(None, (why, early)))})")
        staged = _Staged(
            counts=counts,
            rejects=rejects,
            stamp=labels.stamp(),
            before_log=labels.as_of_at_most(began) if began else 0,
            times=np.array(labels.times(), dtype=np.int64),
            buckets=labels.write(working / LABELS),
        )
    (working / "stage.duckdb").unlink(missing_ok=True)  # what it held lies in the buckets' files
    progress("read labels", 1, 1)
    return staged


def _all_buckets(work: Work, staged: _Staged, manifest: Manifest) -> Iterator[BucketDone]:
    """Counts of each bucket, or of small ones that were done at once, as they finish."""
    settings = work.settings
    if staged.counts.kept < settings.ray_from_users:  # starting a pool costs more than so few rows
        with closing(BucketLabeller(work)) as labeller:
            yield from (labeller.do(*group) for group in _groups(staged, manifest))
        return
    for row in on_ray(BucketLabeller, work, list(staged.buckets), settings):
        yield BucketDone(int(row["rows"]), int(row["unknown"]), int(row["priors"]))


def _groups(staged: _Staged, manifest: Manifest) -> Iterator[list[int]]:
    """Buckets that are done at once: reading has a fixed cost, memory an end."""
    group: list[int] = []
    held = 0
    for bucket, rows in staged.buckets.items():
        size = rows + sum(
            segment.rows
            for kind in (SegmentKind.EVENTS, SegmentKind.USERS)
            for segment in manifest.segments_of(kind, (bucket,))
        )
        if group and held + size > GROUP_ROWS:
            yield group
            group, held = [], 0
        group.append(bucket)
        held += size
    yield group


def _show(log: EventLog, work: Work, stamp: Stamp, out: Path) -> int:
    """Join the buckets' files into one that appears whole, without users forgotten meanwhile; returns its rows."""
    forgotten = log.tombstones()
    files = sorted(work.into.glob("*.parquet"))
    schema = pq.read_schema(files[0]).with_metadata(stamp.metadata())
    rows = 0
    with replacement(out) as scratch, pq.ParquetWriter(scratch, schema, compression="zstd") as writer:
        for file in files:
            table = pq.read_table(file, partitioning=None)
            gone = forgotten.among(table["user_id"].unique().to_pylist())
            if gone:
                table = table.filter(pc.invert(pc.is_in(table["user_id"], value_set=pa.array(sorted(gone)))))
            writer.write_table(table.cast(schema), row_group_size=ROW_GROUP)
            rows += table.num_rows
    if log.tombstones() != forgotten:
        strike_forgotten(log, [out])
    return rows
