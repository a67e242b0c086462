"""Tables of the event log: its manifest. A segment exists only once its row has committed."""

from datetime import datetime

from sqlalchemy import BigInteger, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from registry.tables import Base, UtcDateTime


class BucketRow(Base):
    """The log of one bucket: where its next segment starts, and how far its raw features are online."""

    __tablename__ = "buckets"
    bucket: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    next_position: Mapped[int] = mapped_column(BigInteger, default=1)
    published: Mapped[int] = mapped_column(BigInteger, default=0)  # positions up to here are in the online store


class SegmentRow(Base):
    """An immutable Parquet file of events, users or items.

    Row i of the file has position `first_position + i`. Items have no bucket (-1).
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
