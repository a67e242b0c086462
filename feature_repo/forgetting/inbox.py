"""What has been accepted and is in no segment yet, and the vectors that were asked for."""

from collections.abc import Callable, Iterable

from sqlalchemy import ColumnElement, delete, func, select, text

from portrait.feature_repo.forgetting.places import User
from portrait.feature_repo.log.manifest import locked_buckets
from portrait.feature_repo.log.tables import InboxRow, RefreshRequestRow
from portrait.registry.database.database import Database


class InboxRows:
    """The user's rows of the inbox, and requests to refresh the user's vectors."""

    name = "inbox and refresh requests"

    def __init__(self, database: Database) -> None:
        self._database = database

    def count(self, user: User) -> int:
        """Rows of both tables."""
        with self._database.reading() as session:
            count = (select(func.count()).select_from(row).where(of(user)) for row, of in _TABLES)
            return sum(session.scalar(statement) or 0 for statement in count)

    def delete(self, user: User) -> None:
        """Delete them behind the bucket's lock.

        Whoever took the lock before the tombstone was there has committed by then, and whoever takes it later sees the
        tombstone: from here on nothing of the user gets into the log. Who seals meanwhile sees that the bucket moved.
        """
        with self._database.transaction() as session:
            bucket = locked_buckets(session, [user.bucket])[user.bucket]
            if self._database.is_sqlite:
                session.execute(text("PRAGMA secure_delete = ON"))
            for row, of in _TABLES:
                session.execute(delete(row).where(of(user)))
            bucket.commits += 1


_TABLES: Iterable[tuple[type[InboxRow] | type[RefreshRequestRow], Callable[[User], ColumnElement[bool]]]] = (
    (InboxRow, lambda user: (InboxRow.bucket == user.bucket) & (InboxRow.user_id == user.id)),
    (RefreshRequestRow, lambda user: RefreshRequestRow.user_id == user.id),
)
