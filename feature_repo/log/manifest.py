"""The manifest of the log: its segments, each bucket's next position, and the commit that adds segments.

A segment file without a committed row does not exist for any reader.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property

from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from portrait.feature_repo.log.forgotten import Tombstones
from portrait.feature_repo.log.tables import BucketRow, ForgottenRow, SegmentRow
from portrait.registry.database.database import Database

ITEMS_BUCKET = -1
FIRST_POSITION = 1


class SegmentKind(StrEnum):
    """The kind of rows in a segment."""

    EVENTS = "events"
    USERS = "users"
    ITEMS = "items"


@dataclass(frozen=True)
class Segment:
    """An immutable Parquet file; its row i has position `first_position + i`. Before its commit the position is 0.

    In a `positioned` segment each row brings its own position, in a column of that name, and keeps it.
    """

    id: str
    kind: SegmentKind
    bucket: int
    path: str  # relative to the home
    rows: int
    oldest: datetime | None = None
    newest: datetime | None = None
    first_position: int = 0
    last_position: int = 0
    positioned: bool = False
    committed_at: datetime | None = None  # when readers could first see its rows

    def placed(self, first_position: int) -> "Segment":
        """The segment with its range of positions."""
        return replace(self, first_position=first_position, last_position=first_position + self.rows - 1)


@dataclass(frozen=True)
class Manifest:
    """The committed log at one moment."""

    segments: tuple[Segment, ...]
    next_positions: Mapping[int, int]
    published: Mapping[int, int]
    commits: Mapping[int, int]
    committed_at: datetime | None

    def segments_of(self, kind: SegmentKind, buckets: Collection[int] | None = None) -> list[Segment]:
        """The segments of a kind, in all buckets or in some, in the order of their positions."""
        if buckets is None:
            return [segment for segment in self.segments if segment.kind == kind]
        return [segment for bucket in sorted(buckets) for segment in self._by_bucket.get((kind, bucket), ())]

    def ends_of(self, buckets: Collection[int]) -> dict[int, int]:
        """The last position of the segments of each bucket, 0 without any."""
        both = (SegmentKind.EVENTS, SegmentKind.USERS)
        return {
            bucket: max((s.last_position for kind in both for s in self._by_bucket.get((kind, bucket), ())), default=0)
            for bucket in buckets
        }

    def moved(self, commits: Mapping[int, int], buckets: Collection[int]) -> set[int]:
        """The buckets that have got further segments since, given their commits now."""
        return {bucket for bucket in buckets if commits.get(bucket, 0) != self.commits.get(bucket, 0)}

    @cached_property
    def _by_bucket(self) -> dict[tuple[SegmentKind, int], list[Segment]]:
        found: dict[tuple[SegmentKind, int], list[Segment]] = defaultdict(list)
        for segment in self.segments:
            found[segment.kind, segment.bucket].append(segment)
        return dict(found)

    def began_at(self, kind: SegmentKind | None = None) -> datetime | None:
        """When the first segment, of a kind or of any, was committed; None when there is none."""
        segments = self.segments if kind is None else self.segments_of(kind)
        return min((s.committed_at for s in segments if s.committed_at is not None), default=None)

    @property
    def watermark(self) -> datetime | None:
        """Time of the newest event, None without events."""
        return max((s.newest for s in self.segments_of(SegmentKind.EVENTS) if s.newest is not None), default=None)


def read_manifest(database: Database) -> Manifest:
    with database.reading() as session:
        return manifest_of(session)


def manifest_of(session: Session) -> Manifest:
    """The manifest that a session sees."""
    # Buckets first: a commit that falls between the two reads is then noticed by `commit_segments`.
    buckets = session.scalars(select(BucketRow)).all()
    rows = session.scalars(select(SegmentRow).order_by(SegmentRow.bucket, SegmentRow.first_position)).all()
    return Manifest(
        segments=tuple(map(_segment, rows)),
        next_positions={row.bucket: row.next_position for row in buckets},
        published={row.bucket: row.published for row in buckets},
        commits={row.bucket: row.commits for row in buckets},
        committed_at=max((row.committed_at for row in rows), default=None),
    )


class TombstonesChanged(Exception):
    """The set of forgotten users changed since the judging, which has to be done again."""


def commit_segments(
    database: Database,
    segments: Sequence[Segment],
    judged: Manifest,
    guarded: Collection[int],
    forgotten: Tombstones | None = None,
) -> set[int]:
    """Commit all segments in one transaction, or none.

    `judged` is the manifest against which duplicates were looked for; when one of the `guarded` buckets has got
    segments since then nothing is written. Returns the buckets that moved: empty when committed. Rows of the inbox
    do not count: they are judged when they are sealed. `forgotten` are the users whose rows were left out: raises
    TombstonesChanged, with nothing written, when other users are forgotten by now.
    """
    with database.transaction() as session:
        buckets = sorted({*guarded, *(segment.bucket for segment in segments)})
        locked = lock_buckets(session, buckets) if segments else {}
        # Read behind the locks: a forgetting waits for them, or its tombstone is seen here.
        if forgotten is not None and frozenset(session.scalars(select(ForgottenRow.digest))) != forgotten.digests:
            raise TombstonesChanged
        if not segments:
            return set()
        moved = judged.moved({bucket: row.commits for bucket, row in locked.items()}, guarded)
        if not moved:
            _insert(session, segments, locked)
        return moved


def mark_published(database: Database, up_to: Mapping[int, int]) -> None:
    """Record that the positions of buckets up to these are online; a lower one changes nothing."""
    with database.transaction() as session:
        for bucket, position in sorted(up_to.items()):
            behind = (BucketRow.bucket == bucket) & (BucketRow.published < position)
            session.execute(update(BucketRow).where(behind).values(published=position))


def lock_buckets(session: Session, buckets: Iterable[int]) -> dict[int, BucketRow]:
    """The rows of the buckets, made where they are missing, and locked until the transaction ends."""
    # Sorted, so that two commits wait for each other instead of locking each other out.
    buckets = sorted(buckets)
    select_locked = select(BucketRow).where(BucketRow.bucket.in_(buckets)).order_by(BucketRow.bucket).with_for_update()
    locked = {row.bucket: row for row in session.scalars(select_locked)}
    missing = [bucket for bucket in buckets if bucket not in locked]
    if missing:
        insert = text(
            "INSERT INTO buckets (bucket, next_position, published, commits, lost) VALUES (:b, :p, 0, 0, false) "
            "ON CONFLICT DO NOTHING"
        )
        session.execute(insert, [{"b": bucket, "p": FIRST_POSITION} for bucket in missing])
        locked = {row.bucket: row for row in session.scalars(select_locked)}
    return locked


def _insert(session: Session, segments: Sequence[Segment], locked: Mapping[int, BucketRow]) -> None:
    now = datetime.now(UTC)
    for segment in segments:
        bucket = locked[segment.bucket]
        session.add(segment_row(segment.placed(bucket.next_position), now))
        bucket.next_position += segment.rows
        bucket.commits += 1


def segment_row(segment: Segment, now: datetime) -> SegmentRow:
    """The database row of a segment that is committed at `now`."""
    return SegmentRow(**asdict(segment) | {"kind": segment.kind.value, "committed_at": now})


def _segment(row: SegmentRow) -> Segment:
    return Segment(
        id=row.id,
        kind=SegmentKind(row.kind),
        bucket=row.bucket,
        path=row.path,
        rows=row.rows,
        oldest=row.oldest,
        newest=row.newest,
        first_position=row.first_position,
        last_position=row.last_position,
        positioned=row.positioned,
        committed_at=row.committed_at,
    )
