"""Records that the registry returns: frozen copies of rows, safe to keep and to share between threads."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple, TypeAlias

from portrait.registry.database.tables import (
    ApiKeyRow,
    AssignmentRow,
    BackfillRow,
    ConsumerRow,
    EmbeddingVersionRow,
    EvaluationRow,
    HeadRow,
    PromotionKind,
    PromotionRow,
    ReplicaRow,
    VersionState,
)
from portrait.registry.records.gate_settings import GateSettings
from portrait.registry.records.grants import Grant, known_grants
from portrait.registry.records.verdicts import Verdict

Role: TypeAlias = Literal["gateway", "shard"]


@dataclass(frozen=True)
class EmbeddingVersion:
    """An immutable trained representation model with its space, and its present state."""

    id: str
    family: str
    number: int
    fingerprint: str
    dimension: int
    state: VersionState
    failure: str | None
    run: str
    artifact: str  # directory, relative to the home
    parent: str | None
    snapshot: str
    data_from: datetime | None
    data_to: datetime
    feature_schema: dict[str, Any]
    config: dict[str, Any]
    metrics: dict[str, float]
    code_revision: str
    created_at: datetime
    last_as_of: datetime | None  # greatest as-of of its finished backfills
    begun_as_of: datetime | None = None  # and of those that have begun

    @property
    def as_of_floor(self) -> datetime:
        """The as-of time before which no user is encoded any more: the greatest of the backfills that have begun."""
        return self.begun_as_of or self.last_as_of or self.data_to

    @property
    def team_fields(self) -> tuple[str, ...]:
        """The fields of teams' views that its model reads."""
        return tuple(field["name"] for field in self.feature_schema.get("team", ()))

    @classmethod
    def from_row(cls, row: EmbeddingVersionRow, as_ofs: "AsOfs") -> "EmbeddingVersion":
        return cls(
            id=row.id,
            family=row.family,
            number=row.number,
            fingerprint=row.fingerprint,
            dimension=row.dimension,
            state=VersionState(row.state),
            failure=row.failure,
            run=row.run,
            artifact=row.artifact,
            parent=row.parent,
            snapshot=row.snapshot,
            data_from=row.data_from,
            data_to=row.data_to,
            feature_schema=row.feature_schema,
            config=row.config,
            metrics=row.metrics,
            code_revision=row.code_revision,
            created_at=row.created_at,
            last_as_of=as_ofs.finished,
            begun_as_of=as_ofs.begun,
        )


class AsOfs(NamedTuple):
    """The greatest as-of times of a version's backfills."""

    begun: datetime | None = None
    finished: datetime | None = None


@dataclass(frozen=True)
class Backfill:
    """One pass over all users of a snapshot at one version."""

    id: int
    version: str
    snapshot: str
    as_of: datetime
    buckets_done: dict[int, int]  # bucket -> users
    users_expected: int
    started_at: datetime
    finished_at: datetime | None

    @property
    def users_done(self) -> int:
        """Users in the buckets that are done."""
        return sum(self.buckets_done.values())

    @property
    def finished(self) -> bool:
        """Whether all users have been embedded."""
        return self.finished_at is not None

    @classmethod
    def from_row(cls, row: BackfillRow) -> "Backfill":
        return cls(
            id=row.id,
            version=row.version,
            snapshot=row.snapshot,
            as_of=row.as_of,
            buckets_done={int(bucket): users for bucket, users in row.buckets_done.items()},
            users_expected=row.users_expected,
            started_at=row.started_at,
            finished_at=row.finished_at,
        )


@dataclass(frozen=True)
class Evaluation:
    """A metric of a version on a task."""

    id: int
    version: str
    fingerprint: str
    task: str
    metric: str
    value: float
    as_of: datetime
    created_at: datetime
    data_stamp: str | None = None  # the data that it was measured on; without one it compares with nothing

    @classmethod
    def from_row(cls, row: EvaluationRow) -> "Evaluation":
        measured = (row.task, row.metric, row.value, row.as_of, row.created_at, row.data_stamp)
        return cls(row.id, row.version, row.fingerprint, *measured)


@dataclass(frozen=True)
class Head:
    """A light downstream model of a consumer, trained on the vectors of one version."""

    id: int
    consumer: str
    version: str
    fingerprint: str
    task: str
    data_stamp: str  # which data the metrics were measured on
    as_of: datetime
    metrics: dict[str, float]
    location: str  # where it lives
    created_at: datetime
    created_by: str

    @classmethod
    def from_row(cls, row: HeadRow) -> "Head":
        trained_on = (row.id, row.consumer, row.version, row.fingerprint)
        measured = (row.task, row.data_stamp, row.as_of, row.metrics)
        return cls(*trained_on, *measured, row.location, row.created_at, row.created_by)


@dataclass(frozen=True)
class Consumer:
    """A downstream model that reads embeddings."""

    name: str
    owner: str
    task: str
    created_at: datetime
    gates: GateSettings = field(default_factory=GateSettings)
    wants_head: bool = False  # whether a version must have a head of this consumer before it is promoted
    max_age_seconds: float | None = None  # a stored vector older than this is computed anew on read

    @classmethod
    def from_row(cls, row: ConsumerRow) -> "Consumer":
        gates = GateSettings.from_json(row.gates)
        return cls(row.name, row.owner, row.task, row.created_at, gates, row.wants_head, row.max_age_seconds)


@dataclass(frozen=True)
class Assignment:
    """The version that a consumer reads now; `revision` grows by one with every change."""

    consumer: str
    stable: str
    canary: str | None
    canary_share: float | None
    revision: int
    changed_at: datetime

    @classmethod
    def from_row(cls, row: AssignmentRow) -> "Assignment":
        return cls(row.consumer, row.stable, row.canary, row.canary_share, row.revision, row.changed_at)


@dataclass(frozen=True)
class Promotion:
    """One change of a consumer's assignment; it has read `to_version` and `canary` since then."""

    consumer: str
    revision: int
    kind: PromotionKind
    from_version: str | None
    to_version: str
    actor: str
    reason: str
    forced: bool
    gates: tuple[Verdict, ...]
    promoted_at: datetime
    canary: str | None = None
    canary_share: float | None = None

    @classmethod
    def from_row(cls, row: PromotionRow) -> "Promotion":
        return cls(
            consumer=row.consumer,
            revision=row.revision,
            kind=PromotionKind(row.kind),
            from_version=row.from_version,
            to_version=row.to_version,
            actor=row.actor,
            reason=row.reason,
            forced=row.forced,
            gates=tuple(Verdict.from_json(verdict) for verdict in row.gates),
            promoted_at=row.promoted_at,
            canary=row.canary,
            canary_share=row.canary_share,
        )


@dataclass(frozen=True)
class Pin:
    """A reason that keeps a version alive: a consumer reads it, or may roll back to it."""

    version: str
    consumer: str
    why: Literal["stable", "canary", "rollback"]
    until: datetime | None = None  # of a rollback window


@dataclass(frozen=True)
class Replica:
    """A gateway or a refresh shard, and the newest generation that it follows."""

    id: str
    host: str
    generation: int
    started_at: datetime
    seen_at: datetime
    role: Role = "gateway"
    facts: dict[str, Any] = field(default_factory=dict)  # what it has counted so far

    @classmethod
    def from_row(cls, row: ReplicaRow) -> "Replica":
        role: Role = "shard" if row.role == "shard" else "gateway"
        return cls(row.id, row.host, row.generation, row.started_at, row.seen_at, role, row.facts)


@dataclass(frozen=True)
class ApiKey:
    """A key of the HTTP API: its grants, and the digest by which it is recognised."""

    id: str
    name: str
    sha256: str = field(repr=False)
    grants: tuple[Grant, ...]
    created_at: datetime
    created_by: str
    revoked_at: datetime | None = None

    @classmethod
    def from_row(cls, row: ApiKeyRow) -> "ApiKey":
        return cls(
            row.id, row.name, row.sha256, known_grants(row.grants), row.created_at, row.created_by, row.revoked_at
        )
