"""Bodies of embedding reads and of the health checks."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from portrait.serving.reads.embedding_batch import Source
from portrait.serving.state.assignment_poller import Origin
from portrait.serving.state.routing import Lane

UserId = Annotated[str, Field(min_length=1)]


class EmbeddingsRequest(BaseModel):
    """Body of a batch read."""

    model_config = ConfigDict(extra="forbid", strict=True)

    users: list[UserId] = Field(description="User ids; the answer keeps their order. Whole numbers are taken as text.")
    strict: bool = Field(default=False, description="404 for users of whom nothing is known, instead of the prior.")


class EmbeddingAnswer(BaseModel):
    """A user's vector. For documentation only: answers are written without it."""

    user_id: str
    vector: list[float] = Field(description="float32; the digits read back bit for bit")
    version: str = Field(examples=["autoencoder-3"])
    fingerprint: str
    lane: Lane
    source: Source
    as_of: datetime = Field(description="The vector knows events before this time.")
    age_seconds: float = Field(description="Seconds since the vector was computed.")
    stale: bool = Field(
        description="Older than the consumer's max_age and could not be computed anew, or rows of the user may be lost."
    )


class RejectionAnswer(BaseModel):
    """A part of a request that was not accepted."""

    index: int = Field(description="Its place in the request, from 0.")
    reason: str


class EmbeddingsAnswer(BaseModel):
    """Answer of a batch read, in the order of the users."""

    embeddings: list[EmbeddingAnswer | None] = Field(description="null in the place of an id that is rejected")
    rejected: list[RejectionAnswer] = Field(default=[], description="Ids that nobody can have; left out without any.")


class Health(BaseModel):
    """The process answers."""

    status: str


class Readiness(BaseModel):
    """The process can answer for embeddings; degraded: see the fields."""

    status: Literal["ready", "degraded"]
    registry: Literal["answers", "away"]
    generation: int
    stale_seconds: float = Field(description="Seconds since the registry last confirmed the assignments.")
    source: Origin = Field(description="disk while the registry has not answered since the process started")
    unreadable: list[str] = Field(description="Assigned versions whose vectors the online store does not give.")
    online_store: str | None = Field(description="What the online store has lost, or why it does not match; else null.")
