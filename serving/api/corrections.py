"""Routes that delete or correct one event, and merge two users."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field

from portrait.registry.records.grants import Scope
from portrait.serving.api.forgetting import ForgettingAnswer
from portrait.serving.api.guard import Actor, Guard
from portrait.serving.api.requests import EventCorrection, NewMerge
from portrait.serving.bounded_threads import BoundedThreads
from portrait.serving.http.problems import problem_responses
from portrait.serving.operations.operations import Operations

Event = Annotated[str, Path(description="The event_id, as the log has it.", min_length=1)]
User = Annotated[str, Query(description="Id of the user whose event it is.", min_length=1)]


class DeletedEventAnswer(BaseModel):
    """An event that was deleted."""

    subject: str = Field(description="The event's name in the audit: a keyed hash.")


class EventAnswer(BaseModel):
    """An event as it is now."""

    user_id: str
    item_id: str
    event_time: datetime
    service: str
    action: str
    weight: float
    event_id: str


def router(guard: Guard, operations: Operations, threads: BoundedThreads) -> APIRouter:
    """The routes `DELETE` and `PATCH /v1/events/{event}` and `POST /v1/merges`, for administrators."""
    routes = guard.router(Scope.ADMINISTER, "events")

    @routes.delete("/events/{event:text}", responses=problem_responses(400, 404, 409))
    async def delete_event(event: Event, user: User, actor: Actor) -> DeletedEventAnswer:
        """Delete an event of a user and refuse it from now on; another call finishes an interrupted one."""
        subject = await threads.run(lambda: operations.delete_event(actor, user, event))
        return DeletedEventAnswer(subject=subject)

    @routes.patch("/events/{event:text}", responses=problem_responses(400, 404, 409, 413, 422))
    async def correct_event(event: Event, user: User, correction: EventCorrection, actor: Actor) -> EventAnswer:
        """Change fields of an event, which keeps its id; another call finishes an interrupted one."""
        changes = correction.model_dump(exclude_none=True)
        now = await threads.run(lambda: operations.correct_event(actor, user, event, changes))
        return EventAnswer.model_validate(now)

    @routes.post("/merges", status_code=201, responses=problem_responses(400, 409, 413, 422))
    async def merge(body: NewMerge, actor: Actor) -> ForgettingAnswer:
        """Make events and profile of one user those of another, and forget the first; another call goes on."""
        done = await threads.run(lambda: operations.merge(actor, body.anonymous, body.known))
        return ForgettingAnswer.model_validate(done)

    return routes
