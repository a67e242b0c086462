"""The manifest: which segments exist, where each bucket's next one starts, and the one commit that adds some.

A segment file without a committed row does not exist for any reader.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property

from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from feature_repo.log.tables import BucketRow, SegmentRow
from registry.database import Database

ITEMS_BUCKET = -1
FIRST_POSITION = 1


class Kind(StrEnum):
    """What a segment holds."""

    EVENTS = "events"
    USERS = "users"
    ITEMS = "items"


@dataclass(frozen=True)
class Segment:
    """An immutable Parquet file; its row i has position `first_position + i`. Not committed yet: position 0."""

    id: str
    kind: Kind
    bucket: int
    path: str  # relative to the home
    rows: int
    oldest: datetime | None = None
    newest: datetime | None = None
    first_position: int = 0

    @property
    def last_position(self) -> int:
        """Position of the last row."""
        return self.first_position + self.rows - 1


@dataclass(frozen=True)
class Manifest:
    """The committed log at one moment."""

    segments: tuple[Segment, ...]
    next_positions: Mapping[int, int]
    published: Mapping[int, int]
    committed_at: datetime | None

    def of(self, kind: Kind, buckets: Collection[int] | None = None) -> list[Segment]:
        """Segments of a kind, of all buckets or of some, in the order of their positions."""
        if buckets is None:
            return [segment for segment in self.segments if segment.kind == kind]
        return [segment for bucket in sorted(buckets) for segment in self._by_bucket.get((kind, bucket), ())]

    def next_position(self, bucket: int) -> int:
        """Where the bucket's next segment starts."""
        return self.next_positions.get(bucket, FIRST_POSITION)

    @cached_property
    def _by_bucket(self) -> dict[tuple[Kind, int], list[Segment]]:
        found: dict[tuple[Kind, int], list[Segment]] = defaultdict(list)
        for segment in self.segments:
            found[segment.kind, segment.bucket].append(segment)
        return dict(found)

    @property
    def watermark(self) -> datetime | None:
        """Time of the newest event, None without events."""
        return max((s.newest for s in self.of(Kind.EVENTS) if s.newest is not None), default=None)


def read_manifest(database: Database) -> Manifest:
    """The manifest as committed now."""
    with database.reading() as session:
        # Positions first: a commit that falls between the two reads is then noticed by `append`.
        buckets = session.execute(select(BucketRow.bucket, BucketRow.next_position, BucketRow.published)).all()
        rows = session.scalars(select(SegmentRow).order_by(SegmentRow.bucket, SegmentRow.first_position)).all()
        return Manifest(
            segments=tuple(map(_segment, rows)),
            next_positions={bucket: position for bucket, position, _ in buckets},
            published={bucket: published for bucket, _, published in buckets},
            committed_at=max((row.committed_at for row in rows), default=None),
        )


def append(database: Database, segments: Sequence[Segment], judged: Manifest, guarded: Collection[int]) -> set[int]:
    """Commit all segments in one transaction, or none.

    `judged` is the manifest against which duplicates were looked for; when one of the `guarded`
    buckets has moved since then nothing is written. Returns the buckets that moved: empty when committed.
    """
    if not segments:
        return set()
    with database.transaction() as session:
        buckets = sorted({*guarded, *(segment.bucket for segment in segments)})
        positions = _locked_positions(session, buckets)
        moved = {bucket for bucket in guarded if positions[bucket] != judged.next_position(bucket)}
        if not moved:
            _insert(session, segments, positions)
        return moved


def mark_published(database: Database, bucket: int, up_to: int) -> None:
    """Record that the bucket's positions up to `up_to` are online; never goes back."""
    with database.transaction() as session:
        session.execute(
            update(BucketRow).where(BucketRow.bucket == bucket, BucketRow.published < up_to).values(published=up_to)
        )


def _locked_positions(session: Session, buckets: Iterable[int]) -> dict[int, int]:
    # Sorted, so that two commits wait for each other instead of locking each other out.
    for bucket in buckets:
        session.execute(
            text("INSERT INTO buckets (bucket, next_position, published) VALUES (:b, :p, 0) ON CONFLICT DO NOTHING"),
            {"b": bucket, "p": FIRST_POSITION},
        )
    statement = select(BucketRow.bucket, BucketRow.next_position).where(BucketRow.bucket.in_(buckets))
    locked = session.execute(statement.order_by(BucketRow.bucket).with_for_update())
    return {row.bucket: row.next_position for row in locked}


def _insert(session: Session, segments: Sequence[Segment], positions: dict[int, int]) -> None:
    now = datetime.now(UTC)
    by_bucket: dict[int, list[Segment]] = defaultdict(list)
    for segment in segments:
        by_bucket[segment.bucket].append(segment)
    for bucket, appended in sorted(by_bucket.items()):
        position = positions[bucket]
        for segment in appended:
            session.add(_row(replace(segment, first_position=position), now))
            position += segment.rows
        session.execute(update(BucketRow).where(BucketRow.bucket == bucket).values(next_position=position))


def _row(segment: Segment, now: datetime) -> SegmentRow:
    return SegmentRow(
        id=segment.id,
        kind=segment.kind,
        bucket=segment.bucket,
        path=segment.path,
        rows=segment.rows,
        first_position=segment.first_position,
        oldest=segment.oldest,
        newest=segment.newest,
        committed_at=now,
    )


def _segment(row: SegmentRow) -> Segment:
    return Segment(
        id=row.id,
        kind=Kind(row.kind),
        bucket=row.bucket,
        path=row.path,
        rows=row.rows,
        oldest=row.oldest,
        newest=row.newest,
        first_position=row.first_position,
    )
