"""Rewriting of Parquet files without some users' rows: each file whole, by one process at a time."""

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from portrait.feature_repo.log.durable_files import put_in_place
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.log.staging import working_folder
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
            "another process is rewriting files of this home, to forget somebody: ask again when it is done"
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


def count_users(path: Path, user_ids: Collection[str]) -> int:
    """Number of rows of these users in a file with a column `user_id`."""
    return _count(_user_mask(path, user_ids))


def _user_ids(path: Path) -> pa.ChunkedArray:
    return pq.read_table(path, columns=["user_id"], partitioning=None)["user_id"].cast(pa.string())


def _user_mask(path: Path, user_ids: Collection[str]) -> pa.ChunkedArray:
    return pc.is_in(_user_ids(path), value_set=pa.array(sorted(user_ids), pa.string()))


def _count(rows: pa.ChunkedArray) -> int:
    return int(pc.sum(rows).as_py() or 0)
