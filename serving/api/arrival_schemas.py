"""What sending events, users and items takes and gives. Documentation only: feature_repo.ingest.records judges."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Text = Annotated[str, Field(min_length=1, max_length=1024)]
Id = Annotated[int | str, Field(description="Text of at most 1,024 bytes; a whole number is taken as text.")]
Time = Annotated[datetime, Field(description="RFC 3339; without a zone it is UTC.")]


class EventRecord(BaseModel):
    """An action of a user on an item."""

    model_config = ConfigDict(extra="forbid")

    user_id: Id
    item_id: Id
    event_time: Time
    service: Text | None = Field(default=None, description="The surface that emits the event; `default` if not given.")
    action: Text | None = Field(default=None, description="`view` if not given.")
    weight: float | None = Field(default=None, description="float32; 1.0 if not given.", ge=-3.4e38, le=3.4e38)
    event_id: Id | None = Field(
        default=None,
        description="The same id is accepted once; else it is made of the content, and of the ordinal among identical "
        "events of the request.",
    )


class UserRecord(BaseModel):
    """A sign-up or a profile change: what is not given keeps its value, null clears it."""

    model_config = ConfigDict(extra="allow")

    user_id: Id
    created_time: Time | None = Field(default=None, description="The time of sign-up.")
    onboarding_items: list[Id | None] | None = Field(default=None, description="Picked at sign-up.", max_length=1000)


class ItemRecord(BaseModel):
    """A new item or a change of one: what is not given keeps its value, null clears it."""

    model_config = ConfigDict(extra="allow")

    item_id: Id
    service: Text | None = Field(default=None, description="`default` if not given.")
    text: str | None = Field(default=None, description="At most 65,536 bytes.", max_length=65536)
    tags: list[Id | None] | None = Field(default=None, max_length=1000)


class RejectionAnswer(BaseModel):
    """A record that was not accepted."""

    index: int = Field(description="Its place in the request, from 0.")
    reason: str


class ReceiptAnswer(BaseModel):
    """What became of the records; the accepted ones are durable."""

    accepted: int
    known: int = Field(description="Events that had been accepted before.")
    rejected: list[RejectionAnswer]
