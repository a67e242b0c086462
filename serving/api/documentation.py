"""The OpenAPI document: FastAPI's own, with the hot routes that FastAPI does not know and our problems in it.

The hot routes are declared a second time here, as FastAPI would; nothing calls these functions. A test sends what the
document allows to the real routes, so that both agree.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, ConfigDict, Field
from starlette.routing import BaseRoute

from portrait.feature_repo.log.manifest import SegmentKind
from portrait.registry.records.grants import Scope
from portrait.serving.api.arrivals import MOST, path_of
from portrait.serving.api.embeddings import PATH
from portrait.serving.api.guard import SCHEME, refusals, security
from portrait.serving.api.schemas import EmbeddingAnswer, EmbeddingsAnswer, EmbeddingsRequest, RejectionAnswer, UserId
from portrait.serving.http import problems
from portrait.serving.reads import answers

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
    """A sign-up or a profile change: a field that is left out keeps its value, null clears it."""

    model_config = ConfigDict(extra="allow")

    user_id: Id
    created_time: Time | None = Field(default=None, description="The time of sign-up.")
    onboarding_items: list[Id | None] | None = Field(default=None, description="Picked at sign-up.", max_length=1000)


class ItemRecord(BaseModel):
    """A new item or a change of one: a field that is left out keeps its value, null clears it."""

    model_config = ConfigDict(extra="allow")

    item_id: Id
    service: Text | None = Field(default=None, description="`default` if not given.")
    text: str | None = Field(default=None, description="At most 65,536 bytes.", max_length=65536)
    tags: list[Id | None] | None = Field(default=None, max_length=1000)


class ReceiptAnswer(BaseModel):
    """The outcome of the records; the accepted ones are durable."""

    accepted: int
    known: int = Field(description="Events that had been accepted before.")
    clamped: int = Field(
        description="Accepted events whose times lay too far in the future: they have the time of their receipt."
    )
    rejected: list[RejectionAnswer]


Consumer = Annotated[str, Path(description="Name of the downstream model.")]
Strict = Annotated[bool, Query(description="404 for users of whom nothing is known, instead of the prior.")]


def _embedding_responses(model: type, *further: int) -> dict[int | str, dict[str, Any]]:
    arrow = {"schema": {"type": "string", "format": "binary"}}
    success = {"model": model, "description": "JSON, or Arrow by Accept.", "content": {answers.ARROW: arrow}}
    return {200: success, **refusals(), **problems.problem_responses(400, 404, 409, *further)}


hot = APIRouter(prefix=PATH, tags=["embeddings"], default_response_class=Response)
NEEDS = {"security": security(Scope.READ)}


@hot.get("/{user}", responses=_embedding_responses(EmbeddingAnswer), openapi_extra=NEEDS)
async def embedding(
    consumer: Consumer, user: Annotated[str, Path(description="User id; escape / as %2F.")], strict: Strict = False
) -> None:
    """One user's embedding."""


@hot.get("", responses=_embedding_responses(EmbeddingsAnswer, 413), openapi_extra=NEEDS)
async def embeddings_by_query(
    consumer: Consumer, user: Annotated[list[UserId], Query(min_length=1)], strict: Strict = False
) -> None:
    """Embeddings of a few users, named as `?user=a&user=b`."""


@hot.post("", responses=_embedding_responses(EmbeddingsAnswer, 413, 422), openapi_extra=NEEDS)
async def embeddings(consumer: Consumer, body: EmbeddingsRequest) -> None:
    """Embeddings of a batch of users, as JSON or as an Arrow stream by Accept.

    An id that nobody can have (null, no text, no valid Unicode) is rejected alone: its row is null.
    """


DIRECT = {"security": security(Scope.EVENTS)}
incoming = APIRouter(tags=["events"], default_response_class=Response)
RECEIPT: dict[int | str, dict[str, Any]] = {
    202: {"model": ReceiptAnswer, "description": "What was accepted is durable; the others have their reasons."},
    **refusals(),
    **problems.problem_responses(413, 422),
}
Events = EventRecord | Annotated[list[EventRecord], Field(min_length=1, max_length=MOST)]
Users = UserRecord | Annotated[list[UserRecord], Field(min_length=1, max_length=MOST)]
Items = ItemRecord | Annotated[list[ItemRecord], Field(min_length=1, max_length=MOST)]


@incoming.post(path_of(SegmentKind.EVENTS), status_code=202, responses=RECEIPT, openapi_extra=DIRECT)
async def post_events(body: Events) -> None:
    """Send events: one, or an array of them."""


@incoming.post(path_of(SegmentKind.USERS), status_code=202, responses=RECEIPT, openapi_extra=DIRECT)
async def post_users(body: Users) -> None:
    """Send sign-ups and profile changes; further fields are the columns that users files have brought."""


@incoming.post(path_of(SegmentKind.ITEMS), status_code=202, responses=RECEIPT, openapi_extra=DIRECT)
async def post_items(body: Items) -> None:
    """Send new items and changes; further fields are the `vector_<modality>` columns that items files have brought."""


KEY = {
    "type": "http",
    "scheme": "bearer",
    "description": "An API key with the scope named here; while there is no key at all, loopback needs none.",
}


def document(title: str, version: str, description: str, routes: Sequence[BaseRoute], max_batch: int) -> dict[str, Any]:
    """The OpenAPI document of the app."""
    made = get_openapi(
        title=title, version=version, description=description, routes=[*hot.routes, *incoming.routes, *routes]
    )
    schemas = made["components"]["schemas"]
    schemas["Problem"] = problems.SCHEMA
    made["components"]["securitySchemes"] = {SCHEME: KEY}
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["EmbeddingsRequest"]["properties"]["users"]["maxItems"] = max_batch
    (users,) = (one for one in made["paths"][PATH]["get"]["parameters"] if one["name"] == "user")
    users["schema"]["maxItems"] = max_batch
    for path in made["paths"].values():
        for operation in path.values():
            _use_problem_responses(operation["responses"])
    return made


def _use_problem_responses(responses: dict[str, Any]) -> None:
    """Replace the 422 that FastAPI documents wherever there are parameters by our 400 problem."""
    if "HTTPValidationError" in str(responses.get("422")):
        del responses["422"]
        responses.update({str(status): answer for status, answer in problems.problem_responses(400).items()})
