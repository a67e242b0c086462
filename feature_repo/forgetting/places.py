"""Places that hold a user's data: inbox, leftovers, online views, broker, rejects, user files and snapshots.

A place counts what it holds of a user, and deletes it. The committed log is a place too: see segments.py.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sqlalchemy import ColumnElement, delete, func, select, text

from portrait.feature_repo.broker.broker import BEGINNING, Broker
from portrait.feature_repo.broker.records import kind_and_fields, user_of_record
from portrait.feature_repo.history.snapshot import FOLDER, file_name, recount_users, save_snapshot, snapshots
from portrait.feature_repo.ingest.record_fields import UnfitRecord
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.log.manifest import lock_buckets
from portrait.feature_repo.log.partition import BUCKETS, bucket_of
from portrait.feature_repo.log.rewriting import Rewriter, count_users
from portrait.feature_repo.log.staging import scratch_files, sweep, uncommitted_files
from portrait.feature_repo.log.tables import InboxRow, RefreshRequestRow
from portrait.feature_repo.store.feature_repo import FeatureRepo
from portrait.feature_repo.store.measured_instance import measured_projects
from portrait.registry.database.database import Database
from portrait.registry.errors import InvalidInput


@dataclass(frozen=True)
class User:
    """A user to be forgotten; its printed form does not show the id."""

    id: str = field(repr=False)

    def __post_init__(self) -> None:
        if not self.id.strip():
            raise InvalidInput("the id of a user to be forgotten is blank: give the id that events and vectors have")

    @property
    def bucket(self) -> int:
        """The bucket of the user's log."""
        return bucket_of(self.id)


class Place(Protocol):
    """A place that holds users' data. Nothing that it logs or raises may name the user."""

    @property
    def name(self) -> str:
        """The name of the place in reports."""
        ...

    def count(self, user: User) -> int:
        """How much of the user is there now: rows, entries, files or views, depending on the place."""
        ...

    def delete(self, user: User) -> None:
        """Delete everything of the user there; killed at any point and called again, it ends in the same state."""
        ...


class InboxRows:
    """The user's rows of the inbox, and the requests to refresh the user's vectors."""

    name = "inbox and refresh requests"

    def __init__(self, database: Database) -> None:
        self._database = database

    def count(self, user: User) -> int:
        with self._database.reading() as session:
            count = (select(func.count()).select_from(row).where(of(user)) for row, of in _TABLES)
            return sum(session.scalar(statement) or 0 for statement in count)

    def delete(self, user: User) -> None:
        """Delete the rows behind the bucket's lock.

        A writer that took the lock before the tombstone was there has committed by then, and a later one sees the
        tombstone: from here on nothing of the user gets into the log. A sealer that runs meanwhile sees that the bucket
        has moved.
        """
        with self._database.transaction() as session:
            bucket = lock_buckets(session, [user.bucket])[user.bucket]
            if self._database.is_sqlite:
                session.execute(text("PRAGMA secure_delete = ON"))
            for row, of in _TABLES:
                session.execute(delete(row).where(of(user)))
            bucket.commits += 1


_TABLES: Iterable[tuple[type[InboxRow] | type[RefreshRequestRow], Callable[[User], ColumnElement[bool]]]] = (
    (InboxRow, lambda user: (InboxRow.bucket == user.bucket) & (InboxRow.user_id == user.id)),
    (RefreshRequestRow, lambda user: RefreshRequestRow.user_id == user.id),
)


class Leftovers:
    """Segment files that no row of the manifest names and that hold the user, and the files of dead processes.

    Of these, half-written files cannot be read: each counts as one that may hold the user.
    """

    name = "files of killed processes"

    def __init__(self, log: EventLog) -> None:
        self._log = log

    def count(self, user: User) -> int:
        """Number of such segment files, and of half-written files."""
        return len(self._holding(user)) + len(scratch_files(self._log.home))

    def delete(self, user: User) -> None:
        """Remove the files of dead processes, and uncommitted files with the user in them: nobody may commit them."""
        sweep(self._log.home, self._log.manifest)
        for path in self._holding(user):
            path.unlink(missing_ok=True)

    def _holding(self, user: User) -> list[Path]:
        return [
            path for path in uncommitted_files(self._log.home, self._log.manifest, user.bucket) if _holds(path, user)
        ]


def _holds(path: Path, user: User) -> bool:
    try:
        return count_users(path, [user.id]) > 0
    except (OSError, pa.ArrowInvalid):  # still being written, or left by a dead process, whose files are removed anyway
        return False


class OnlineRows:
    """The user's row in every view, also in those that a killed measurement has left on the server."""

    name = "online views"

    def __init__(self, repo: FeatureRepo) -> None:
        self._online = repo.online
        self._configs = [repo.config, *measured_projects(repo.config, repo.online)]

    def count(self, user: User) -> int:
        """Number of views that hold something of the user."""
        return sum(len(self._online.views_of(config, user.id)) for config in self._configs)

    def delete(self, user: User) -> None:
        for config in self._configs:
            self._online.delete_users(config, [user.id])


AT_ONCE = 1_000


class StreamEntries:
    """Entries of all streams: a program that writes to a broker directly may have chosen another bucket than ours."""

    name = "broker"

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def count(self, user: User) -> int:
        found, positions = 0, dict.fromkeys(range(BUCKETS), BEGINNING)
        while entries := self._broker.read(positions, AT_ONCE, 0):
            found += sum(_is_about(user, entry.record) for entry in entries)
            positions |= {entry.bucket: entry.id for entry in entries}
        return found

    def delete(self, user: User) -> None:
        """Delete the entries about the user; the intake refuses later ones."""
        for bucket in range(BUCKETS):
            self._broker.delete(bucket, lambda record: _is_about(user, record))


def _is_about(user: User, record: bytes) -> bool:
    try:
        kind_and_fields(record)
    except UnfitRecord:
        return user.id.encode() in record  # no record, but its text may name the user
    return user_of_record(record) == user.id


class RejectsFiles:
    """Rows of rejects files that contain the user as a separate word, in any column."""

    name = "rejects"

    def __init__(self, home: Path, rewriter: Rewriter) -> None:
        self._home = home
        self._rewriter = rewriter

    def count(self, user: User) -> int:
        return sum(int(pc.sum(named).as_py() or 0) for _, _, named in self._files(user))

    def delete(self, user: User) -> None:
        """Rewrite the files without these rows, and remove files that have no other rows."""
        for path, table, named in self._files(user):
            if pc.all(named).as_py():
                path.unlink(missing_ok=True)
            elif pc.any(named).as_py():
                self._rewriter.replace(path, table.filter(pc.invert(named)))

    def _files(self, user: User) -> Iterator[tuple[Path, pa.Table, pa.ChunkedArray]]:
        word = rf"(^|\W){re.escape(user.id)}($|\W)"  # RE2 knows no look-around
        for path in sorted((self._home / "rejects").glob("*.parquet")):
            table = pq.read_table(path, partitioning=None)
            named = pa.chunked_array([pa.repeat(False, table.num_rows)])
            for column in table.columns:
                if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
                    named = pc.or_(named, pc.fill_null(pc.match_substring_regex(column, word), False))
            yield path, table, named


class UserFiles:
    """Parquet files of a home with a column `user_id`; `{bucket}` in a pattern stands for the user's own file."""

    def __init__(self, home: Path, rewriter: Rewriter, name: str, pattern: str) -> None:
        self._home = home
        self._rewriter = rewriter
        self._pattern = pattern
        self.name = name

    def count(self, user: User) -> int:
        rows = 0
        for path in self._files(user):
            with suppress(FileNotFoundError):  # its version is being retired
                rows += count_users(path, [user.id])
        return rows

    def delete(self, user: User) -> None:
        """Rewrite the files that hold the user."""
        for path in self._files(user):
            with suppress(FileNotFoundError):
                self._rewriter.strike(path, [user.id])

    def _files(self, user: User) -> Iterator[Path]:
        return self._home.glob(self._pattern.format(bucket=file_name(user.bucket)))


class SnapshotFiles(UserFiles):
    """The user's rows in all snapshots, also those being cut, and the number of users of each snapshot."""

    def __init__(self, home: Path, rewriter: Rewriter) -> None:
        super().__init__(home, rewriter, "snapshots", FOLDER + "/*/*/{bucket}")

    def delete(self, user: User) -> None:
        """Rewrite the files, then count the users anew; killed in between, the next call corrects the count."""
        super().delete(user)
        for snapshot in snapshots(self._home):
            if user.bucket in snapshot.buckets:
                corrected = recount_users(snapshot)
                if corrected is not snapshot:
                    save_snapshot(corrected)
