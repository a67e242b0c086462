"""An edit of the committed log: segments without some of their rows, and rows at the end, in one transaction."""

import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sqlalchemy.orm import Session

from portrait.feature_repo.log.durable_files import sync
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.log.manifest import Manifest, Segment, SegmentKind, lock_buckets, segment_row
from portrait.feature_repo.log.tables import SegmentRow

POSITION = "position"

Mask = Callable[[pa.Table], pa.ChunkedArray]
"""Which rows of a segment stay; the table has their positions."""


@dataclass(frozen=True)
class SegmentReplacement:
    """A segment and its replacement; None when nothing of it is left."""

    old: Segment
    new: Segment | None


def positioned_rows(log: EventLog, segment: Segment) -> pa.Table:
    """The rows of a segment, with their positions."""
    table = pq.read_table(log.home / segment.path, partitioning=None)
    if segment.positioned:
        return table
    positions = np.arange(segment.first_position, segment.first_position + table.num_rows)
    return table.append_column(pa.field(POSITION, pa.int64()), pa.array(positions, pa.int64()))


def keep_rows(log: EventLog, segment: Segment, stay: Mask, id: str | None = None) -> SegmentReplacement | None:
    """Write the segment anew with those rows that stay, at their positions; None when all stay.

    It keeps its id, so that snapshots of it are still the same, or gets another one.
    """
    table = positioned_rows(log, segment)
    staying = stay(table)
    if pc.all(staying).as_py():
        return None
    kept = table.filter(staying)
    if not kept.num_rows:
        return SegmentReplacement(segment, None)
    name = f"{segment.id}-{secrets.token_hex(4)}" if id is None else id
    path = Path(segment.path).with_name(f"{name}.parquet")
    pq.write_table(kept, log.home / path, compression="zstd")
    sync(log.home / path)
    sync((log.home / path).parent)
    return SegmentReplacement(segment, _positioned_segment(replace(segment, id=id or segment.id), kept, str(path)))


def commit_edit(
    log: EventLog,
    manifest: Manifest,
    buckets: Collection[int],
    replaced: Sequence[SegmentReplacement],
    added: Sequence[Segment] = (),
    ready: Callable[[Session], bool] = lambda _session: True,
) -> bool:
    """Swap segments, and put others at the end of their buckets' logs, all at once; then remove the old files.

    `added` segments say since when readers could see their rows. False, with nothing changed and the new files removed,
    when one of the buckets has other segments than those of the manifest, or `ready` says so behind the locks.
    """
    with log.database.transaction() as session:
        locked = lock_buckets(session, buckets)
        done = not manifest.moved({b: locked[b].commits for b in buckets}, buckets) and ready(session)
        if done:
            for made in replaced:
                row = session.get_one(SegmentRow, made.old.id)
                session.delete(row)
                session.flush()  # the new one may have the same id
                if made.new is not None:
                    session.add(segment_row(made.new, row.committed_at))
            for segment in added:
                bucket = locked[segment.bucket]
                assert segment.committed_at is not None
                session.add(segment_row(segment.placed(bucket.next_position), segment.committed_at))
                bucket.next_position += segment.rows
            for bucket in locked.values():
                bucket.commits += 1
    news = [made.new for made in replaced if made.new is not None]
    for gone in (made.old for made in replaced) if done else (*news, *added):
        (log.home / gone.path).unlink(missing_ok=True)
    return done


def _positioned_segment(segment: Segment, rows: pa.Table, path: str) -> Segment:
    positions = pc.min_max(rows[POSITION]).as_py()
    times = pc.min_max(rows["event_time"]).as_py() if segment.kind is SegmentKind.EVENTS else {"min": None, "max": None}
    return replace(
        segment,
        path=path,
        rows=rows.num_rows,
        oldest=times["min"],
        newest=times["max"],
        first_position=positions["min"],
        last_position=positions["max"],
        positioned=True,
    )
