"""Rewriting of Parquet files without some users' rows or a column: each file whole, by one process at a time."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from filelock import FileLock, Timeout
from sqlalchemy.orm import Session

from portrait.feature_repo.log.durable_files import put_in_place
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.log.manifest import Manifest, Segment, lock_buckets, segment_row
from portrait.feature_repo.log.staging import working_folder
from portrait.feature_repo.log.tables import SegmentRow
from portrait.registry.errors import Conflict

LOCK_FILE = "rewriting.lock"
PATIENCE_SECONDS = 30.0
"""How long one rewriting process waits for another."""


@dataclass(frozen=True)
class Rewriter:
    """The one process that may rewrite files; new files that others write beside them stay."""

    working: Path

    def strike(self, path: Path, user_ids: Collection[str]) -> int:
        """Remove the rows of these users from a file with a column `user_id`; returns how many there were."""
        struck = _user_mask(path, user_ids)
        rows = _count(struck)
        if rows:
            self.replace(path, pq.read_table(path, partitioning=None).filter(pc.invert(struck)))
        return rows

    def replace(self, path: Path, table: pa.Table) -> None:
        """Replace a file by a table, with row groups as large as before."""
        with pq.ParquetFile(path) as file:
            groups = [file.metadata.row_group(number).num_rows for number in range(file.metadata.num_row_groups)]
        scratch = self.working / path.name
        pq.write_table(table, scratch, compression="zstd", row_group_size=max(groups, default=None))
        put_in_place(scratch, path)


@contextmanager
def rewriting(home: Path) -> Iterator[Rewriter]:
    """Rewrite files of a home, when nobody else does; raises Conflict when somebody goes on for too long."""
    try:
        lock = FileLock(home / LOCK_FILE, PATIENCE_SECONDS).acquire()
    except Timeout:
        raise Conflict(
            "another process is rewriting files of this home, to forget a user or to drop a column: ask again when "
            "it is done"
        ) from None
    with lock, working_folder(home, "rewriting") as working:
        yield Rewriter(working)


def strike_forgotten(log: EventLog, files: Iterable[Path]) -> None:
    """Remove the rows of users who are forgotten by now from files with a column `user_id`.

    To be called by a process that has just made the files: the rows of users who are forgotten later are removed by the
    forgetting itself.
    """
    if not log.tombstones():
        return
    for path in files:
        if forgotten := log.forgotten_among(_user_ids(path).drop_null().to_pylist()):
            with rewriting(log.home) as rewriter:
                rewriter.strike(path, forgotten)


@dataclass(frozen=True)
class SegmentReplacement:
    """A segment and its replacement; None when nothing of it is left."""

    old: Segment
    new: Segment | None


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


def count_users(path: Path, user_ids: Collection[str]) -> int:
    """Number of rows of these users in a file with a column `user_id`."""
    return _count(_user_mask(path, user_ids))


def _user_ids(path: Path) -> pa.ChunkedArray:
    return pq.read_table(path, columns=["user_id"], partitioning=None)["user_id"].cast(pa.string())


def _user_mask(path: Path, user_ids: Collection[str]) -> pa.ChunkedArray:
    return pc.is_in(_user_ids(path), value_set=pa.array(sorted(user_ids), pa.string()))


def _count(rows: pa.ChunkedArray) -> int:
    return int(pc.sum(rows).as_py() or 0)
