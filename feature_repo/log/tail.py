"""The tail of the log: the rows of some buckets after a position each, from inbox and segments, in order."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import or_, select, text
from sqlalchemy.orm import Session

from portrait.feature_repo.log.forgotten import Forgotten
from portrait.feature_repo.log.inbox import select_inbox
from portrait.feature_repo.log.manifest import ITEMS_BUCKET, SegmentKind
from portrait.feature_repo.log.tables import BucketRow, SegmentRow
from portrait.feature_repo.schemas import EVENTS, microseconds, plain_times
from portrait.registry.database.database import Database
from portrait.registry.errors import Unavailable

FEW_ROWS = 2_000
"""Most rows of segments that are read one by one; a bucket with more rows is folded anew, which is faster."""


class LogRow(NamedTuple):
    """An event or a profile change; `content` is a payload as `Arriving` has it, parsed."""

    bucket: int
    position: int
    kind: SegmentKind
    user_id: str
    content: Any
    accepted_at: int  # microseconds since 1970


@dataclass(frozen=True)
class Tail:
    """Rows by bucket and position, and the position up to which each bucket is known with them."""

    rows: list[LogRow]
    up_to: dict[int, int]
    large: dict[int, int]  # ends of buckets that have too many rows in segments: none of their rows are here
    backlog: dict[int, int]  # number of positions of each bucket beyond those asked for, zeros left out
    items: int  # position of the catalogue at the same moment: the rows may be about items up to here


LOG_END = text(f"SELECT sum(next_position) FROM {BucketRow.__tablename__}")


def log_end(database: Database) -> int:
    """A number that grows with every row of the log; costs a third of an empty `read_tail`."""
    with database.connecting() as connection:
        return int(connection.execute(LOG_END).scalar() or 0)


def read_tail(
    database: Database, home: Path, after: Mapping[int, int], most: int, forgotten: Forgotten | None = None
) -> Tail:
    """At most `most` rows after these positions; buckets have their turn in the order of `after`.

    With `forgotten`, rows of users who are forgotten at that moment are left out: a forgetting only has to wait until
    every reader has begun a new read.
    """
    with database.reading() as session:
        ends = _ends(session)
        backlog = {b: ends[b] - position for b, position in after.items() if ends.get(b, 0) > position}
        items = ends.get(ITEMS_BUCKET, 0)
        up_to = {bucket: after[bucket] + rows for bucket, rows in _portions(backlog, most).items()}
        if not up_to:
            return Tail([], {}, {}, backlog, items)
        # As text, all of it numbers: building the same of columns takes several times the query, which is a hot one.
        asked = (f"bucket = {b:d} AND position > {after[b]:d} AND position <= {up_to[b]:d}" for b in up_to)
        found = select_inbox(session, text(" OR ".join(f"({one})" for one in asked)), most)
        came = Counter(record.bucket for record in found)
        gaps = [bucket for bucket, end in up_to.items() if came[bucket] < end - after[bucket]]
        segments = _segments(session, gaps, after, up_to)
        gone = forgotten.among(session, {record.user_id or "" for record in found}) if forgotten else set()
    large = {
        bucket: ends[bucket]
        for bucket, held in segments.items()
        if sum(min(s.rows, s.last_position - after[bucket]) for s in held) > FEW_ROWS
    }
    rows = [
        LogRow(r.bucket, r.position, r.kind, r.user_id or "", orjson.loads(r.payload), r.accepted_at)
        for r in found
        if r.bucket not in large and r.user_id not in gone
    ]
    sealed = [
        row
        for bucket, held in segments.items()
        if bucket not in large
        for segment in held
        for row in _rows(home, segment, after[bucket], up_to[bucket])
    ]
    if sealed and forgotten:
        with database.reading() as session:
            gone = forgotten.among(session, {row.user_id for row in sealed})
    rows += [row for row in sealed if row.user_id not in gone]
    rows.sort(key=lambda row: (row.bucket, row.position))
    return Tail(rows, {b: end for b, end in up_to.items() if b not in large}, large, backlog, items)


def _ends(session: Session) -> dict[int, int]:
    return {b: position - 1 for b, position in session.execute(select(BucketRow.bucket, BucketRow.next_position))}


def _portions(backlog: Mapping[int, int], most: int) -> dict[int, int]:
    """Number of positions to look at in each bucket, in their order, up to `most` together."""
    portions: dict[int, int] = {}
    for bucket, waiting in backlog.items():
        if most <= 0:
            break
        portions[bucket] = min(waiting, most)
        most -= waiting
    return portions


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
    try:
        table = pq.read_table(home / segment.path, partitioning=None)
    except FileNotFoundError as error:
        raise Unavailable(f"{segment.path} is being written anew, as somebody is forgotten: try again") from error
    if segment.positioned:
        positions = table["position"].to_pylist()
        table = table.drop_columns(["position"])
    else:
        positions = list(range(segment.first_position, segment.first_position + table.num_rows))
    kind = SegmentKind(segment.kind)
    contents = _contents(kind, table)
    users = table["user_id"].to_pylist()
    accepted_at = microseconds(segment.committed_at)
    return [
        LogRow(segment.bucket, position, kind, user, content, accepted_at)
        for position, user, content in zip(positions, users, contents, strict=True)
        if after < position <= up_to
    ]


def _contents(kind: SegmentKind, table: pa.Table) -> list[Any]:
    table = plain_times(table)
    if kind == SegmentKind.EVENTS:
        return [list(row) for row in zip(*(table[name].to_pylist() for name in EVENTS.names), strict=True)]
    return list(table.to_pylist())
