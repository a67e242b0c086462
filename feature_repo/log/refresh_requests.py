"""Refresh requests: users whose vector was computed on read, and has to be stored by the refresh."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.log.partition import bucket_of
from portrait.feature_repo.log.tables import RefreshRequestRow

LONGEST = 1024
"""Bytes of an id."""

ROWS_AT_ONCE = 1_000
"""Rows in one statement; SQLite takes no more than 32,766 parameters."""


def ask(log: EventLog, users: Sequence[str]) -> None:
    """Ask for stored vectors of the users; existing requests stay as they are, forgotten users are left out.

    So are users with ids that the table cannot hold (logs from before such ids were rejected have some): one of them
    must not cost the others.
    Raises Unavailable.
    """
    database = log.database
    insert = sqlite.insert if database.is_sqlite else postgresql.insert
    now = datetime.now(UTC)
    users = [user for user in users if _is_storable(user)]
    # In one order, so that two gateways that ask for the same users never wait for each other.
    rows = [{"user_id": user, "bucket": bucket_of(user), "asked_at": now} for user in sorted(set(users))]
    with database.transaction() as session:
        for start in range(0, len(rows), ROWS_AT_ONCE):
            session.execute(
                insert(RefreshRequestRow).values(rows[start : start + ROWS_AT_ONCE]).on_conflict_do_nothing()
            )
    # Only now: a forgetting deletes the rows that are there, and one that began since is seen here.
    if forgotten := log.forgotten_among(users):
        with database.transaction() as session:
            drop(session, forgotten)


def _is_storable(user: str) -> bool:
    """Whether Postgres takes the id as a key."""
    encoded = user.encode(errors="ignore")  # without surrogates, which are no characters
    return "\0" not in user and len(encoded) <= LONGEST and encoded.decode() == user


def buckets(session: Session) -> list[int]:
    """The buckets with requests."""
    return list(session.scalars(select(RefreshRequestRow.bucket).distinct()))


def take(session: Session, bucket: int, limit: int) -> list[str]:
    """Users of a bucket with requests, the longest waiting first; the requests stay until `drop`."""
    waiting = select(RefreshRequestRow.user_id).where(RefreshRequestRow.bucket == bucket)
    return list(session.scalars(waiting.order_by(RefreshRequestRow.asked_at, RefreshRequestRow.user_id).limit(limit)))


def drop(session: Session, users: Collection[str]) -> None:
    """End the requests of users, who have their vectors now or are forgotten."""
    ids = list(users)
    for start in range(0, len(ids), ROWS_AT_ONCE):
        chunk = ids[start : start + ROWS_AT_ONCE]
        session.execute(delete(RefreshRequestRow).where(RefreshRequestRow.user_id.in_(chunk)))
