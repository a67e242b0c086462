"""Bodies of answers, made from the registry's records."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from portrait.registry.records.gate_settings import GateSettings


class _RecordAnswer(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class AssignmentAnswer(_RecordAnswer):
    """The version that a consumer reads now."""

    stable: str
    canary: str | None
    canary_share: float | None
    revision: int
    changed_at: datetime


class ConsumerAnswer(_RecordAnswer):
    """A downstream model that reads embeddings."""

    name: str
    owner: str
    task: str
    gates: GateSettings
    wants_head: bool
    max_age_seconds: float | None = Field(description="A stored vector older than this is computed anew on read.")
    created_at: datetime


class AssignedConsumerAnswer(ConsumerAnswer):
    """A consumer with its assignment."""

    assignment: AssignmentAnswer | None = None


class VerdictAnswer(_RecordAnswer):
    """The verdict of one gate."""

    gate: str
    outcome: str = Field(description="accept, wait or reject")
    reason: str
    remedy: str = Field(description="What to do about it; empty when accepted.")
    forceable: bool


class PromotionAnswer(_RecordAnswer):
    """A change of a consumer's assignment; it has read `to_version` and the canary since then."""

    consumer: str
    revision: int
    kind: str = Field(description="promote, rollback, canary, finish or abort")
    from_version: str | None
    to_version: str
    canary: str | None
    canary_share: float | None
    actor: str
    reason: str
    forced: bool
    gates: list[VerdictAnswer]
    promoted_at: datetime


class DryRunAnswer(_RecordAnswer):
    """The verdicts that a promotion would get; nothing was changed."""

    passes: bool
    gates: list[VerdictAnswer]


class HeadAnswer(_RecordAnswer):
    """A head of a consumer, trained on one version."""

    id: int
    consumer: str
    version: str
    fingerprint: str
    task: str
    data_stamp: str
    as_of: datetime
    metrics: dict[str, float]
    location: str
    created_at: datetime
    created_by: str


class VersionAnswer(_RecordAnswer):
    """An embedding version and where it comes from."""

    id: str
    family: str
    number: int
    fingerprint: str
    dimension: int
    state: str
    failure: str | None
    parent: str | None
    run: str
    snapshot: str
    data_from: datetime | None
    data_to: datetime
    feature_schema: dict[str, Any]
    config: dict[str, Any]
    metrics: dict[str, float]
    code_revision: str
    created_at: datetime
    last_as_of: datetime | None


class DiffSideAnswer(_RecordAnswer):
    """One of two versions that are compared."""

    version: str
    fingerprint: str
    dimension: int
    coverage: float = Field(description="Share of the sampled users with a stored vector.")
    metrics: dict[str, float] = Field(description="Of its own training.")
    mean_norm: float | None


class MeasuredAnswer(_RecordAnswer):
    """A metric of both versions on the same task and data; null where one was not measured."""

    task: str
    metric: str
    data_stamp: str | None
    a: float | None
    b: float | None


class DiffAnswer(_RecordAnswer):
    """Two versions side by side; what needs users in common is null where there are too few of them."""

    a: DiffSideAnswer
    b: DiffSideAnswer
    measured: list[MeasuredAnswer]
    users_known: int
    users_sampled: int
    users_compared: int = Field(description="Of the sampled, those with a vector of their own at both.")
    neighbours: int = Field(description="How many nearest users the overlap looks at.")
    neighbour_overlap: float | None = Field(description="Mean share of a user's nearest that are the same in both.")
    cosine_raw: float | None = Field(description="Mean over users; null too when the dimensions differ.")
    cosine_rotated: float | None = Field(description="After the best rotation, on users whom it was not fitted on.")
    norm_drift: float | None = Field(description="Mean relative change of a user's norm.")


Texts = Annotated[list[str], BeforeValidator(lambda grants: [str(grant) for grant in grants])]


class KeyAnswer(_RecordAnswer):
    """An API key, without the key itself."""

    id: str
    name: str
    grants: Texts
    created_at: datetime
    created_by: str
    revoked_at: datetime | None


class NewKeyAnswer(KeyAnswer):
    """An API key just made."""

    key: str = Field(default="", description="The key: keep it now, it is never shown again.")


class AuditEventAnswer(_RecordAnswer):
    """A change, or a refused attempt at one."""

    id: int
    at: datetime
    actor: str
    action: str
    subject: str
    outcome: str
    detail: dict[str, Any]
