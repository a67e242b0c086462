"""Tables of the event log: buckets, the online store, segments, inbox, leases, refresh requests, forgotten users."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from portrait.registry.database.tables import Base, UtcDateTime


class BucketRow(Base):
    """The log of one bucket: its next position, and the position up to which its raw features are online."""

    __tablename__ = "buckets"
    bucket: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    next_position: Mapped[int] = mapped_column(BigInteger, default=1)
    published: Mapped[int] = mapped_column(BigInteger, default=0)  # positions up to here are in the online store
    commits: Mapped[int] = mapped_column(BigInteger, default=0)  # of segments; each voids a judging of duplicates
    lost: Mapped[bool] = mapped_column(default=False)  # the online store lost rows that are not all back yet


class OnlineStoreRow(Base):
    """The one row about the online store: the mark that it carries, see StoreMark."""

    __tablename__ = "online_store"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    store: Mapped[str] = mapped_column(String(32))
    beat: Mapped[int] = mapped_column(BigInteger)


class SegmentRow(Base):
    """An immutable Parquet file of events, users or items; it exists only once this row has committed.

    Row i of the file has position `first_position + i`, or, where the file is `positioned`, the one that its column
    `position` says: rows that came one by one may have gaps between them. Items have no bucket (-1).
    """

    __tablename__ = "segments"
    __table_args__ = (Index("segments_by_bucket", "kind", "bucket", "first_position"),)
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(String(8))  # events | users | items
    bucket: Mapped[int]
    path: Mapped[str]  # relative to the home
    rows: Mapped[int] = mapped_column(BigInteger)
    first_position: Mapped[int] = mapped_column(BigInteger)
    oldest: Mapped[datetime | None] = mapped_column(UtcDateTime)  # event times of its rows (events only)
    newest: Mapped[datetime | None] = mapped_column(UtcDateTime)
    committed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    last_position: Mapped[int] = mapped_column(BigInteger)
    positioned: Mapped[bool] = mapped_column(default=False)


class InboxRow(Base):
    """An accepted event, profile change or item that is in no segment yet; committed here, it is never lost."""

    __tablename__ = "inbox"
    bucket: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    position: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(String(8))  # events | users | items
    event_id: Mapped[str | None] = mapped_column(Text, unique=True)  # of events only
    user_id: Mapped[str | None] = mapped_column(Text)  # of events and users
    payload: Mapped[str] = mapped_column(Text)  # JSON; the same content always gives the same text
    accepted_at: Mapped[int] = mapped_column(BigInteger)  # microseconds since 1970


class LeaseRow(Base):
    """The holder of a bucket and its progress. Each new holder raises the epoch, and an old epoch can write nothing."""

    __tablename__ = "leases"
    bucket: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    owner: Mapped[str | None] = mapped_column(String(64))
    epoch: Mapped[int] = mapped_column(BigInteger, default=0)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    applied: Mapped[int] = mapped_column(BigInteger, default=0)  # positions up to here are online at eager versions
    applied_lazily: Mapped[int] = mapped_column(BigInteger, default=0)  # and at the versions refreshed in batches
    stream_id: Mapped[str | None] = mapped_column(String(64))  # the broker's entries up to here are in the inbox


class RefreshRequestRow(Base):
    """A user whose vector was computed on read, and has to be stored by the refresh."""

    __tablename__ = "refresh_requests"
    user_id: Mapped[str] = mapped_column(Text, primary_key=True)
    bucket: Mapped[int] = mapped_column(index=True)
    asked_at: Mapped[datetime] = mapped_column(UtcDateTime)


class ForgottenRow(Base):
    """A forgotten user or deleted event, by a keyed hash of the id (HMAC-SHA256): nothing of it is accepted."""

    __tablename__ = "forgotten"
    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    asked_at: Mapped[datetime] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)  # None: still going on
    report: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)  # the findings before the deletion
