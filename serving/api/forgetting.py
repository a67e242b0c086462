"""Forgetting users."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field
from starlette.convertors import Convertor, register_url_convertor

from portrait.registry.records.grants import Scope
from portrait.serving.api.guard import Actor, Guard
from portrait.serving.bounded_threads import BoundedThreads
from portrait.serving.http.problems import documented
from portrait.serving.operations.operations import Operations


class AnyText(Convertor[str]):
    """A path parameter that may hold slashes, as `path`, and line ends, which that does not match."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        """As it is."""
        return value

    def to_string(self, value: str) -> str:
        """As it is."""
        return value


register_url_convertor("text", AnyText())

User = Annotated[str, Path(description="User id.", min_length=1)]


class TrainedVersionAnswer(BaseModel):
    """A version that has learned from the user."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    state: str = Field(description="Its state when the user began to be forgotten.")


class ForgettingAnswer(BaseModel):
    """What there was of the user, and what is left where Portrait cannot reach."""

    model_config = ConfigDict(from_attributes=True)

    subject: str = Field(description="How the audit calls the user: by a keyed hash.")
    asked_at: datetime
    finished_at: datetime
    found: dict[str, int] = Field(description="By place, before anything was deleted.")
    trained: list[TrainedVersionAnswer] = Field(description="Versions trained with data of the user.")
    under_way: int = Field(description="Work of others that may hold the user until it ends.")
    not_purged: list[str] = Field(description="Files that could not be written anew: ask again later.")
    out_of_reach: list[str]


def router(guard: Guard, operations: Operations, threads: BoundedThreads) -> APIRouter:
    """Routes for administrators."""
    routes = guard.router(Scope.ADMINISTER, "users")

    @routes.delete("/users/{user:text}", responses=documented(400, 409))
    async def forget(user: User, actor: Actor) -> ForgettingAnswer:
        """Delete everything about a user, and refuse what comes later; asking again finishes what was cut short."""
        return ForgettingAnswer.model_validate(await threads.run(lambda: operations.forget(actor, user)))

    return routes
