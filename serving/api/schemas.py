"""What a client may send and what it gets: separate from what is stored."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from serving.batch import Lane, Source

UserId = Annotated[str, Field(min_length=1)]


class EmbeddingsRequest(BaseModel):
    """Body of a batch read."""

    model_config = ConfigDict(extra="forbid", strict=True)

    users: list[UserId] = Field(description="User ids; the answer keeps their order.")
    strict: bool = Field(default=False, description="404 for users of whom nothing is known, instead of the prior.")


class EmbeddingAnswer(BaseModel):
    """A user's vector. Documentation only: answers are written without going through it."""

    user_id: str
    vector: list[float] = Field(description="float32; the digits read back bit for bit")
    version: str = Field(examples=["autoencoder-3"])
    fingerprint: str
    lane: Lane
    source: Source
    as_of: datetime = Field(description="The vector knows events before this time.")
    age_seconds: float = Field(description="Seconds since the vector was computed.")


class EmbeddingsAnswer(BaseModel):
    """Answer of a batch read, in the order of the users."""

    embeddings: list[EmbeddingAnswer]


class _Stored(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class AssignmentAnswer(_Stored):
    """Which version a consumer reads now."""

    stable: str
    canary: str | None
    canary_share: float | None
    revision: int
    changed_at: datetime


class ConsumerAnswer(_Stored):
    """A downstream model that reads embeddings."""

    name: str
    owner: str
    task: str
    created_at: datetime
    assignment: AssignmentAnswer | None = None


class VerdictAnswer(_Stored):
    """What one gate said."""

    gate: str
    outcome: str
    reason: str
    remedy: str


class PromotionAnswer(_Stored):
    """A change of a consumer's assignment."""

    consumer: str
    revision: int
    kind: str
    from_version: str | None
    to_version: str
    actor: str
    reason: str
    forced: bool
    gates: list[VerdictAnswer]
    promoted_at: datetime


class VersionAnswer(_Stored):
    """An embedding version."""

    id: str
    family: str
    number: int
    fingerprint: str
    dimension: int
    state: str
    parent: str | None
    run: str
    snapshot: str
    data_from: datetime | None
    data_to: datetime
    metrics: dict[str, float]
    created_at: datetime


class Health(BaseModel):
    """The process answers."""

    status: str


class Readiness(BaseModel):
    """The process can answer for embeddings."""

    status: str
    generation: int
    stale_seconds: float
