"""The tail of the log: what came to some buckets after a position each, from inbox and segments, in order."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from feature_repo.log.inbox import select_inbox
from feature_repo.log.manifest import Kind
from feature_repo.log.tables import BucketRow, InboxRow, SegmentRow
from feature_repo.schemas import EVENTS, microseconds
from registry.database import Database

FEW_ROWS = 2_000
"""Rows of segments that are taken one by one; a bucket with more of them is better folded anew."""


class LogRow(NamedTuple):
    """An event or a profile change; `content` is a payload as `Arriving` has it, parsed."""

    bucket: int
    position: int
    kind: Kind
    user_id: str
    content: Any
    accepted_at: int  # microseconds since 1970


@dataclass(frozen=True)
class Tail:
    """Rows by bucket and position, the position that each bucket is known up to with them, and who is left out."""

    rows: list[LogRow]
    up_to: dict[int, int]
    large: dict[int, int]  # buckets with so many rows in segments that none of theirs are here, and where they end
    backlog: dict[int, int]  # positions of each bucket that are beyond those asked for, zeros left out


def read_tail(database: Database, home: Path, after: Mapping[int, int], most: int) -> Tail:
    """About `most` rows after these positions; buckets stand in for their turn in the order of `after`."""
    with database.reading() as session:
        ends = _ends(session, after)
        backlog = {bucket: ends[bucket] - position for bucket, position in after.items() if ends[bucket] > position}
        chosen = _chosen(backlog, most)
        if not chosen:
            return Tail([], {}, {}, backlog)
        asked = or_(*((InboxRow.bucket == b) & (InboxRow.position > after[b]) for b in chosen))
        found = select_inbox(session, asked, most)
        up_to = {bucket: ends[bucket] for bucket in chosen}
        if len(found) == most:  # the last bucket may have more rows, and later ones were not looked at
            last = found[-1]
            up_to = {b: end for b, end in up_to.items() if b < last.bucket} | {last.bucket: last.position}
        came: dict[int, int] = defaultdict(int)
        for record in found:
            came[record.bucket] += 1
        gaps = [bucket for bucket, end in up_to.items() if came[bucket] < end - after[bucket]]
        segments = _segments(session, gaps, after, up_to)
    rows = [
        LogRow(r.bucket, r.position, r.kind, r.user_id or "", orjson.loads(r.payload), r.accepted_at) for r in found
    ]
    large = {b: up_to[b] for b, held in segments.items() if sum(s.rows for s in held) > FEW_ROWS}
    for bucket, held in segments.items():
        if bucket not in large:
            rows += [row for s in held for row in _rows(home, s, after[bucket], up_to[bucket])]
    rows = [row for row in rows if row.bucket not in large and row.position <= up_to[row.bucket]]
    rows.sort(key=lambda row: (row.bucket, row.position))
    return Tail(rows, {b: end for b, end in up_to.items() if b not in large}, large, backlog)


def _ends(session: Session, buckets: Mapping[int, int]) -> dict[int, int]:
    statement = select(BucketRow.bucket, BucketRow.next_position).where(BucketRow.bucket.in_(list(buckets)))
    found = {bucket: position - 1 for bucket, position in session.execute(statement)}
    return {bucket: found.get(bucket, 0) for bucket in buckets}


def _chosen(backlog: Mapping[int, int], most: int) -> list[int]:
    chosen, rows = [], 0
    for bucket, waiting in backlog.items():
        if rows >= most:
            break
        chosen.append(bucket)
        rows += waiting
    return chosen


def _segments(
    session: Session, buckets: Sequence[int], after: Mapping[int, int], up_to: Mapping[int, int]
) -> dict[int, list[SegmentRow]]:
    if not buckets:
        return {}
    beyond = or_(
        *((SegmentRow.bucket == b) & (SegmentRow.last_position > after[b]) & (SegmentRow.first_position <= up_to[b])
          for b in buckets)
    )  # fmt: skip
    held: dict[int, list[SegmentRow]] = defaultdict(list)
    for segment in session.scalars(select(SegmentRow).where(beyond)):
        held[segment.bucket].append(segment)
    return dict(held)


def _rows(home: Path, segment: SegmentRow, after: int, up_to: int) -> list[LogRow]:
    table = pq.read_table(home / segment.path, partitioning=None)
    if segment.positioned:
        positions = table["position"].to_pylist()
        table = table.drop_columns(["position"])
    else:
        positions = list(range(segment.first_position, segment.first_position + table.num_rows))
    kind = Kind(segment.kind)
    contents = _contents(kind, table)
    users = table["user_id"].to_pylist()
    accepted_at = microseconds(segment.committed_at)
    return [
        LogRow(segment.bucket, position, kind, user, content, accepted_at)
        for position, user, content in zip(positions, users, contents, strict=True)
        if after < position <= up_to
    ]


def _contents(kind: Kind, table: pa.Table) -> list[Any]:
    for place, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            table = table.set_column(place, field.name, pc.cast(table.column(place), pa.int64()))
    if kind == Kind.EVENTS:
        return [list(row) for row in zip(*(table[name].to_pylist() for name in EVENTS.names), strict=True)]
    return list(table.to_pylist())
