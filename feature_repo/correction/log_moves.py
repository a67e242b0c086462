"""Moves of a user's rows within the log: some leave their segments, some come in at the end, in one transaction."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy.orm import Session

from portrait.feature_repo.forgetting.log_edit import POSITION, keep_rows, positioned_rows
from portrait.feature_repo.forgetting.places import User
from portrait.feature_repo.ingest.seal import seal
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.log.manifest import Manifest, Segment, SegmentKind
from portrait.feature_repo.log.rewriting import SegmentReplacement, commit_edit
from portrait.feature_repo.log.segments import new_ingest_id, write_segments
from portrait.feature_repo.log.staging import working_folder
from portrait.registry.errors import Conflict

ATTEMPTS = 20
LOGGED = (SegmentKind.EVENTS, SegmentKind.USERS)


@dataclass(frozen=True)
class OwnRow:
    """A row of a user, as a table of one row, and the segment that it lies in."""

    segment: Segment
    row: pa.Table

    @property
    def position(self) -> int:
        """Its place in the bucket's log."""
        return int(self.row[POSITION][0].as_py())

    def holding(self, row: pa.Table) -> "OwnRow":
        """Another row in this one's stead, seen since the same time."""
        return OwnRow(self.segment, row.append_column(POSITION, self.row[POSITION]))


@dataclass(frozen=True)
class OwnRows:
    """All rows of a user in the segments of the log."""

    rows: Sequence[OwnRow]

    @classmethod
    def read(cls, log: EventLog, manifest: Manifest, user: User) -> "OwnRows":
        """The rows that the manifest's segments have; the caller keeps others from rewriting these."""
        found = []
        for segment in (segment for kind in LOGGED for segment in manifest.segments_of(kind, (user.bucket,))):
            table = positioned_rows(log, segment)
            mine = table.filter(pc.equal(table["user_id"], user.id))
            found += [OwnRow(segment, mine.slice(at, 1)) for at in range(mine.num_rows)]
        return cls(found)

    def of(self, kind: SegmentKind) -> list[OwnRow]:
        """The rows of a kind, oldest position first."""
        return sorted((one for one in self.rows if one.segment.kind is kind), key=lambda one: one.position)

    def events(self, event_id: str) -> list[OwnRow]:
        """The row of an event; none where the user has no such event."""
        return [one for one in self.of(SegmentKind.EVENTS) if one.row["event_id"][0].as_py() == event_id]

    def newest_except(self, gone: Collection[OwnRow]) -> list[OwnRow]:
        """The newest of the other events, or of the profile's rows where there is none; empty without either."""
        left = {one.position for one in gone}
        for kind in LOGGED:
            if others := [one for one in self.of(kind) if one.position not in left]:
                return others[-1:]
        return []


@dataclass(frozen=True)
class Move:
    """Rows that leave their segments, and rows that come in at the end of their owner's bucket, in this order."""

    leaving: Sequence[OwnRow]
    coming: Sequence[OwnRow]


Plan = Callable[[Callable[[User], OwnRows]], Move]
"""What finds the move to be made, given how the rows of a user are read."""


def carry_out(log: EventLog, user: User, plan: Plan, ready: Callable[[Session], bool], to: User | None = None) -> None:
    """Make the move that `plan` finds; leaving rows are the user's, coming ones too, or those of `to`.

    The inbox is sealed before; `ready` says behind the buckets' locks whether nothing that matters is in it. A coming
    row counts as seen by readers since the same time as before. Segments that rows leave get other ids, so that a
    snapshot of the log is another one from now on. Raises Conflict when the log is written to without end.
    """
    buckets = sorted({user.bucket, (to or user).bucket})
    for _ in range(ATTEMPTS):
        seal(log, buckets)
        manifest = log.manifest()
        move = plan(partial(OwnRows.read, log, manifest))
        ingest = new_ingest_id(datetime.now(UTC))
        with working_folder(log.home, ingest):  # killed in here, the files of this name are swept
            left: dict[str, set[int]] = {}
            for one in move.leaving:
                left.setdefault(one.segment.id, set()).add(one.position)
            replaced = [
                made
                for number, segment in enumerate(s for s in manifest.segments if s.id in left)
                if (made := _strike(log, segment, left[segment.id], f"{ingest}-{number}"))
            ]
            added = _write_coming(log, ingest, move.coming, (to or user).bucket)
            if commit_edit(log, manifest, buckets, replaced, added, ready):
                return
    raise Conflict(f"the log was written to {ATTEMPTS} times in a row while it was corrected: do it again")


def _strike(log: EventLog, segment: Segment, positions: Collection[int], ingest: str) -> SegmentReplacement | None:
    leaving = pa.array(sorted(positions), pa.int64())
    id = f"{ingest}-{segment.kind}-{segment.bucket:02d}"
    return keep_rows(log, segment, lambda rows: pc.invert(pc.is_in(rows[POSITION], value_set=leaving)), id)


def _write_coming(log: EventLog, ingest: str, coming: Sequence[OwnRow], bucket: int) -> list[Segment]:
    """Segments of the coming rows: one for each that they lay in, for its columns and its time."""
    written: list[Segment] = []
    by_segment: dict[str, list[OwnRow]] = {}
    for one in coming:
        by_segment.setdefault(one.segment.id, []).append(one)
    for number, rows in enumerate(by_segment.values()):
        table = pa.concat_tables([one.row for one in rows]).drop_columns([POSITION])
        table = table.append_column("bucket", pa.array([bucket] * len(rows), pa.int64())).combine_chunks()
        schema = table.schema.remove(table.schema.get_field_index("bucket"))
        origin = rows[0].segment
        [made] = write_segments(log.home, origin.kind, f"{ingest}-at-{number}", schema, table.to_batches())
        written.append(replace(made, committed_at=origin.committed_at))
    return written
