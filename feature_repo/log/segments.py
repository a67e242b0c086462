"""Segment files: a sorted stream of rows, written as one Parquet file a bucket."""

import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from portrait.feature_repo.log.durable_files import sync
from portrait.feature_repo.log.manifest import ITEMS_BUCKET, Segment, SegmentKind

FOLDERS = {SegmentKind.EVENTS: "log", SegmentKind.USERS: "profiles", SegmentKind.ITEMS: "catalogue"}
BATCH_ROWS = 64 * 1024


def new_ingest_id(now: datetime) -> str:
    """A unique name for one ingest, which sorts by time."""
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(6)}"


@dataclass
class _OpenSegment:
    segment: Segment
    file: Path
    writer: pq.ParquetWriter
    rows: int = 0
    oldest: datetime | None = None
    newest: datetime | None = None


def write_segments(
    home: Path, kind: SegmentKind, ingest: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]
) -> list[Segment]:
    """Write one file a bucket; returns the segments to commit.

    The batches have the schema's columns and `bucket` (int), sorted by bucket and, within it, in the order of the file.
    One batch is in memory at a time. The files are synced to disk when this returns.
    """
    written: list[Segment] = []
    current: _OpenSegment | None = None
    try:
        for bucket, rows in _by_bucket(batches):
            if current is None or current.segment.bucket != bucket:
                if current is not None:
                    written.append(_close_segment(current))
                current = _open_segment(home, kind, ingest, bucket, schema)
            _write(current, rows.select(schema.names).cast(schema))
        if current is not None:
            written.append(_close_segment(current))
            current = None
    finally:
        if current is not None:  # only after an error: nobody will ever commit this file
            current.writer.close()
    return written


def _by_bucket(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[int, pa.Table]]:
    for batch in batches:
        table = pa.Table.from_batches([batch])
        buckets = table["bucket"].to_numpy()
        starts = np.flatnonzero(np.diff(buckets, prepend=buckets[:1] - 1)) if len(buckets) else np.empty(0, np.int64)
        for start, end in zip(starts, [*starts[1:], len(buckets)], strict=True):
            yield int(buckets[start]), table.slice(start, end - start)


def _open_segment(home: Path, kind: SegmentKind, ingest: str, bucket: int, schema: pa.Schema) -> _OpenSegment:
    inside = FOLDERS[kind] if bucket == ITEMS_BUCKET else f"{FOLDERS[kind]}/bucket={bucket:02d}"
    suffix = "" if bucket == ITEMS_BUCKET else f"-{bucket:02d}"
    segment_id = f"{ingest}-{kind}{suffix}"
    segment = Segment(id=segment_id, kind=kind, bucket=bucket, path=f"{inside}/{segment_id}.parquet", rows=0)
    file = home / segment.path
    file.parent.mkdir(parents=True, exist_ok=True)
    return _OpenSegment(segment, file, pq.ParquetWriter(file, schema, compression="zstd"))


def _write(open_segment: _OpenSegment, rows: pa.Table) -> None:
    open_segment.writer.write_table(rows)
    open_segment.rows += rows.num_rows
    if open_segment.segment.kind != SegmentKind.EVENTS:
        return
    times = pc.min_max(rows["event_time"]).as_py()
    open_segment.oldest = min(filter(None, (open_segment.oldest, times["min"])))
    open_segment.newest = max(filter(None, (open_segment.newest, times["max"])))


def _close_segment(done: _OpenSegment) -> Segment:
    done.writer.close()
    sync(done.file)
    return Segment(
        id=done.segment.id,
        kind=done.segment.kind,
        bucket=done.segment.bucket,
        path=done.segment.path,
        rows=done.rows,
        oldest=done.oldest,
        newest=done.newest,
    )
