"""Tables of the registry. Times are UTC; ids of people-named things are their names."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, BigInteger, CheckConstraint, DateTime, Float, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from registry.errors import InvalidInput


class Base(DeclarativeBase):
    """Declarative base of all tables, of every floor: one Alembic history covers them."""


class UtcDateTime(TypeDecorator[datetime]):
    """A UTC time stamp with microseconds; refuses naive datetimes, returns aware ones on every database."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Aware to UTC."""
        if value is not None and value.tzinfo is None:
            raise InvalidInput(f"{value!r} has no time zone: give it one, UTC for instance")
        return value.astimezone(UTC) if value is not None else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """SQLite returns naive UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class VersionState(StrEnum):
    """Life of an embedding version."""

    REGISTERED = "registered"
    BACKFILLING = "backfilling"
    READY = "ready"
    RETIRING = "retiring"
    RETIRED = "retired"
    FAILED = "failed"


LIVE_STATES = (VersionState.REGISTERED, VersionState.BACKFILLING, VersionState.READY)
"""States in which a version has a Feast view (registered ones too: the view must exist before the first vector)."""


class PromotionKind(StrEnum):
    """What a row of the promotion history did."""

    PROMOTE = "promote"
    ROLLBACK = "rollback"


class Instance(Base):
    """One row: who this registry is, and the generation that serving polls."""

    __tablename__ = "instance"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    generation: Mapped[int] = mapped_column(BigInteger, default=0)


class EmbeddingVersionRow(Base):
    """An immutable trained representation model and its space."""

    __tablename__ = "embedding_versions"
    __table_args__ = (UniqueConstraint("family", "number"),)
    id: Mapped[str] = mapped_column(String(64), primary_key=True)  # autoencoder-3
    family: Mapped[str] = mapped_column(String(32))
    number: Mapped[int]
    fingerprint: Mapped[str] = mapped_column(String(64), index=True)
    dimension: Mapped[int]
    state: Mapped[str] = mapped_column(String(16), default=VersionState.REGISTERED)
    failure: Mapped[str | None] = mapped_column(default=None)
    run: Mapped[str] = mapped_column(String(128), unique=True)  # training run; makes registering idempotent
    artifact: Mapped[str]  # directory, relative to the home
    parent: Mapped[str | None] = mapped_column(ForeignKey("embedding_versions.id"), default=None)
    snapshot: Mapped[str] = mapped_column(String(128))
    data_from: Mapped[datetime | None] = mapped_column(UtcDateTime)  # oldest training event
    data_to: Mapped[datetime] = mapped_column(UtcDateTime)  # as-of of the training snapshot, exclusive
    feature_schema: Mapped[dict[str, Any]] = mapped_column(JSON)
    config: Mapped[dict[str, Any]] = mapped_column(JSON)
    metrics: Mapped[dict[str, float]] = mapped_column(JSON)
    code_revision: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class BackfillRow(Base):
    """One pass over all users of a snapshot at one version; `buckets_done` is what a resumed pass skips."""

    __tablename__ = "backfills"
    __table_args__ = (UniqueConstraint("version", "snapshot"),)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    version: Mapped[str] = mapped_column(ForeignKey("embedding_versions.id"), index=True)
    snapshot: Mapped[str] = mapped_column(String(128))
    as_of: Mapped[datetime] = mapped_column(UtcDateTime)
    buckets_done: Mapped[dict[str, int]] = mapped_column(JSON)  # bucket -> users
    users_expected: Mapped[int]
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)


class EvaluationRow(Base):
    """A metric of a version on a task; append-only."""

    __tablename__ = "evaluations"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    version: Mapped[str] = mapped_column(ForeignKey("embedding_versions.id"), index=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    task: Mapped[str] = mapped_column(String(128))
    metric: Mapped[str] = mapped_column(String(64))
    value: Mapped[float] = mapped_column(Float)
    as_of: Mapped[datetime] = mapped_column(UtcDateTime)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class ConsumerRow(Base):
    """A downstream model that reads embeddings."""

    __tablename__ = "consumers"
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    owner: Mapped[str] = mapped_column(String(128))
    task: Mapped[str] = mapped_column(String(256))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class AssignmentRow(Base):
    """Which version a consumer reads now. `revision` grows by one with every change: optimistic locking."""

    __tablename__ = "assignments"
    __table_args__ = (CheckConstraint("canary_share > 0 AND canary_share < 1", name="canary_share_is_a_share"),)
    consumer: Mapped[str] = mapped_column(ForeignKey("consumers.name"), primary_key=True)
    stable: Mapped[str] = mapped_column(ForeignKey("embedding_versions.id"), index=True)
    canary: Mapped[str | None] = mapped_column(ForeignKey("embedding_versions.id"), index=True, default=None)
    canary_share: Mapped[float | None] = mapped_column(Float, default=None)
    revision: Mapped[int]
    changed_at: Mapped[datetime] = mapped_column(UtcDateTime)


class PromotionRow(Base):
    """History of a consumer's assignment; append-only, one row a revision."""

    __tablename__ = "promotions"
    __table_args__ = (
        UniqueConstraint("consumer", "revision"),
        Index("promotions_by_time", "consumer", "promoted_at"),
    )
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    consumer: Mapped[str] = mapped_column(ForeignKey("consumers.name"))
    revision: Mapped[int]
    kind: Mapped[str] = mapped_column(String(16))
    from_version: Mapped[str | None] = mapped_column(ForeignKey("embedding_versions.id"))
    to_version: Mapped[str] = mapped_column(ForeignKey("embedding_versions.id"))
    actor: Mapped[str] = mapped_column(String(128))
    reason: Mapped[str]
    forced: Mapped[bool] = mapped_column(default=False)
    gates: Mapped[list[dict[str, Any]]] = mapped_column(JSON)  # verdict of each gate
    promoted_at: Mapped[datetime] = mapped_column(UtcDateTime)
