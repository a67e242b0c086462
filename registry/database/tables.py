"""Tables of the registry. Times are UTC; what people name has its name as id."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    String,
    UniqueConstraint,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from portrait.registry.errors import InvalidInput


class Base(DeclarativeBase):
    """Declarative base of all tables, of every floor: one Alembic history covers them."""


class UtcDateTime(TypeDecorator[datetime]):
    """A UTC time stamp with microseconds; refuses naive datetimes, returns aware ones on every database."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """The time in UTC; raises InvalidInput for one without a zone."""
        if value is not None and value.tzinfo is None:
            raise InvalidInput(f"{value!r} has no time zone: give it one, UTC for instance")
        return value.astimezone(UTC) if value is not None else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """The time with its zone, UTC: SQLite returns it without one."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class VersionState(StrEnum):
    """States in the life of an embedding version."""

    REGISTERED = "registered"
    BACKFILLING = "backfilling"
    READY = "ready"
    RETIRING = "retiring"
    RETIRED = "retired"
    FAILED = "failed"


LIVE_STATES = (VersionState.REGISTERED, VersionState.BACKFILLING, VersionState.READY)
"""States in which a version has a Feast view (registered ones too: the view must exist before the first vector)."""


GONE_STATES = (VersionState.RETIRING, VersionState.RETIRED)
"""States in which nothing may read a version any more."""


class PromotionKind(StrEnum):
    """Kinds of changes in the promotion history."""

    PROMOTE = "promote"
    ROLLBACK = "rollback"
    CANARY = "canary"  # begun, or its share changed
    FINISH = "finish"  # the canary became stable
    ABORT = "abort"  # the canary ended, stable stayed


class Instance(Base):
    """The one row of a registry: its instance id, and the generation that serving polls."""

    __tablename__ = "instance"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    generation: Mapped[int] = mapped_column(BigInteger, default=0)
    projected: Mapped[int] = mapped_column(BigInteger, default=0)  # generation that Feast's registry shows


class EmbeddingVersionRow(Base):
    """An immutable trained representation model and its space.

    `kept` is false once the version is retiring. The rows that pin a version refer to (id, kept) with kept true, so
    the database itself refuses to retire a version that somebody reads.
    """

    __tablename__ = "embedding_versions"
    __table_args__ = (
        UniqueConstraint("family", "number"),
        UniqueConstraint("id", "kept", name="version_is_kept"),
        CheckConstraint("kept = (state NOT IN ('retiring', 'retired'))", name="kept_follows_state"),
    )
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
    kept: Mapped[bool] = mapped_column(default=True)


class BackfillRow(Base):
    """One pass over all users of a snapshot at one version; a resumed pass skips `buckets_done`."""

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
    data_stamp: Mapped[str | None] = mapped_column(String(128), default=None)  # which data it was measured on


class EvidenceRow(Base):
    """Facts that the upper floors measured on a version, for the gates; append-only, the newest row counts."""

    __tablename__ = "evidence"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    version: Mapped[str] = mapped_column(ForeignKey("embedding_versions.id"), index=True)
    kind: Mapped[str] = mapped_column(String(16))
    facts: Mapped[dict[str, Any]] = mapped_column(JSON)
    measured_at: Mapped[datetime] = mapped_column(UtcDateTime)
    measured_by: Mapped[str] = mapped_column(String(128))


class ConsumerRow(Base):
    """A downstream model that reads embeddings."""

    __tablename__ = "consumers"
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    owner: Mapped[str] = mapped_column(String(128))
    task: Mapped[str] = mapped_column(String(256))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    gates: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)  # settings that are not the defaults
    wants_head: Mapped[bool] = mapped_column(default=False)
    max_age_seconds: Mapped[float | None] = mapped_column(Float, default=None)  # of the vectors it reads


class HeadRow(Base):
    """A light downstream model of a consumer, trained on the vectors of one version; append-only."""

    __tablename__ = "heads"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    consumer: Mapped[str] = mapped_column(ForeignKey("consumers.name"))
    version: Mapped[str] = mapped_column(ForeignKey("embedding_versions.id"))
    fingerprint: Mapped[str] = mapped_column(String(64))
    task: Mapped[str] = mapped_column(String(128))
    data_stamp: Mapped[str] = mapped_column(String(128))
    as_of: Mapped[datetime] = mapped_column(UtcDateTime)
    metrics: Mapped[dict[str, float]] = mapped_column(JSON)
    location: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    created_by: Mapped[str] = mapped_column(String(128))
    __table_args__ = (Index("heads_by_consumer", "consumer", "version"),)


class AssignmentRow(Base):
    """The version that a consumer reads now. `revision` grows by one with every change, for optimistic locking."""

    __tablename__ = "assignments"
    __table_args__ = (
        CheckConstraint("canary_share > 0 AND canary_share < 1", name="canary_share_is_a_share"),
        CheckConstraint("kept", name="assigned_versions_are_kept"),
        ForeignKeyConstraint(
            ["stable", "kept"], ["embedding_versions.id", "embedding_versions.kept"], name="stable_is_kept"
        ),
        ForeignKeyConstraint(
            ["canary", "kept"], ["embedding_versions.id", "embedding_versions.kept"], name="canary_is_kept"
        ),
    )
    consumer: Mapped[str] = mapped_column(ForeignKey("consumers.name"), primary_key=True)
    stable: Mapped[str] = mapped_column(ForeignKey("embedding_versions.id"), index=True)
    canary: Mapped[str | None] = mapped_column(ForeignKey("embedding_versions.id"), index=True, default=None)
    canary_share: Mapped[float | None] = mapped_column(Float, default=None)
    revision: Mapped[int]
    changed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    kept: Mapped[bool] = mapped_column(default=True)  # always true, see EmbeddingVersionRow


class RollbackWindowRow(Base):
    """A version that a consumer has left and may go back to; it pins the version until the window ends."""

    __tablename__ = "rollback_windows"
    __table_args__ = (
        CheckConstraint("kept", name="versions_to_go_back_to_are_kept"),
        ForeignKeyConstraint(
            ["version", "kept"], ["embedding_versions.id", "embedding_versions.kept"], name="left_version_is_kept"
        ),
    )
    consumer: Mapped[str] = mapped_column(ForeignKey("consumers.name"), primary_key=True)
    version: Mapped[str] = mapped_column(String(64), primary_key=True)
    until: Mapped[datetime] = mapped_column(UtcDateTime)
    kept: Mapped[bool] = mapped_column(default=True)  # always true, see EmbeddingVersionRow


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
    canary: Mapped[str | None] = mapped_column(ForeignKey("embedding_versions.id"), default=None)  # after the change
    canary_share: Mapped[float | None] = mapped_column(Float, default=None)  # after the change


class ReplicaRow(Base):
    """A gateway or a refresh shard, and the newest generation that it follows; a retirement waits for these rows."""

    __tablename__ = "replicas"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    host: Mapped[str] = mapped_column(String(255))
    generation: Mapped[int] = mapped_column(BigInteger)
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    seen_at: Mapped[datetime] = mapped_column(UtcDateTime)
    role: Mapped[str] = mapped_column(String(8), default="gateway")  # gateway | shard
    facts: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)  # what it has counted, for /metrics and status


class ApiKeyRow(Base):
    """A key of the HTTP API: its digest and what it may do. The key itself is stored nowhere."""

    __tablename__ = "api_keys"
    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    grants: Mapped[list[str]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    created_by: Mapped[str] = mapped_column(String(128))
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)


class AuditEventRow(Base):
    """A change, or a refused attempt at one; append-only."""

    __tablename__ = "audit_events"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    actor: Mapped[str] = mapped_column(String(128))
    action: Mapped[str] = mapped_column(String(32))
    subject: Mapped[str] = mapped_column(String(160), index=True)
    outcome: Mapped[str] = mapped_column(String(16))
    detail: Mapped[dict[str, Any]] = mapped_column(JSON)
