"""Segments of the committed log written anew without some of their rows."""

import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from portrait.feature_repo.log.durable_files import sync
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.log.manifest import Segment, SegmentKind
from portrait.feature_repo.log.rewriting import SegmentReplacement

POSITION = "position"

Mask = Callable[[pa.Table], pa.ChunkedArray]
"""Which rows of a segment stay; the table has their positions."""


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
