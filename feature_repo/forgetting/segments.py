"""Segments of the committed log as a place: those that hold the user are replaced by copies without the user."""

import secrets
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from portrait.feature_repo.forgetting.places import User
from portrait.feature_repo.log.durable_files import sync
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.log.manifest import Manifest, Segment, SegmentKind, lock_buckets, segment_row
from portrait.feature_repo.log.rewriting import count_users
from portrait.feature_repo.log.tables import SegmentRow
from portrait.registry.errors import Conflict

ATTEMPTS = 20
POSITION = "position"


@dataclass(frozen=True)
class SegmentReplacement:
    """A segment and its replacement; None when it held only the user."""

    old: Segment
    new: Segment | None


class Segments:
    """The user's rows in segments of one kind."""

    def __init__(self, log: EventLog, kind: SegmentKind, name: str) -> None:
        self._log = log
        self._kind = kind
        self.name = name

    def count(self, user: User) -> int:
        return self._log.read(
            lambda manifest: sum(
                count_users(self._path(segment), [user.id])
                for segment in manifest.segments_of(self._kind, (user.bucket,))
            )
        )

    def delete(self, user: User) -> None:
        """Write new files, swap them for the old ones in one transaction, and remove the old ones.

        The rows of others keep their positions, and a segment its id: a snapshot of them is still the same snapshot.
        """
        for _ in range(ATTEMPTS):
            manifest = self._log.manifest()
            replaced = [
                made for s in manifest.segments_of(self._kind, (user.bucket,)) if (made := self._without(s, user))
            ]
            if not replaced:
                return
            if self._swap(manifest, user.bucket, replaced):
                for made in replaced:
                    self._path(made.old).unlink(missing_ok=True)
                return
            for made in replaced:
                if made.new is not None:
                    self._path(made.new).unlink(missing_ok=True)
        raise Conflict(f"the log was written to {ATTEMPTS} times in a row while somebody was forgotten: do it again")

    def _path(self, segment: Segment) -> Path:
        return self._log.home / segment.path

    def _without(self, segment: Segment, user: User) -> SegmentReplacement | None:
        """The segment without the user's rows; None when it has none."""
        table = pq.read_table(self._path(segment), partitioning=None)
        others = pc.not_equal(table["user_id"], user.id)
        if pc.all(others).as_py():
            return None
        if not segment.positioned:
            positions = np.arange(segment.first_position, segment.first_position + table.num_rows)
            table = table.append_column(pa.field(POSITION, pa.int64()), pa.array(positions, pa.int64()))
        kept = table.filter(others)
        if not kept.num_rows:
            return SegmentReplacement(segment, None)
        path = Path(segment.path).with_name(f"{segment.id}-{secrets.token_hex(4)}.parquet")
        pq.write_table(kept, self._log.home / path, compression="zstd")
        sync(self._log.home / path)
        sync((self._log.home / path).parent)
        return SegmentReplacement(segment, _positioned_segment(segment, kept, str(path)))

    def _swap(self, manifest: Manifest, bucket: int, replaced: list[SegmentReplacement]) -> bool:
        """Swap the segments; False when the bucket has other segments than those of the manifest."""
        with self._log.database.transaction() as session:
            locked = lock_buckets(session, [bucket])
            if manifest.moved({bucket: locked[bucket].commits}, (bucket,)):
                return False
            for made in replaced:
                row = session.get_one(SegmentRow, made.old.id)
                session.delete(row)
                session.flush()  # the new one has the same id
                if made.new is not None:
                    session.add(segment_row(made.new, row.committed_at))
            locked[bucket].commits += 1
            return True


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
