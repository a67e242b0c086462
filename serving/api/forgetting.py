"""The route that forgets a user."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field
from starlette.convertors import Convertor, register_url_convertor

from portrait.registry.records.grants import Scope
from portrait.serving.api.guard import Actor, Guard
from portrait.serving.bounded_threads import BoundedThreads
from portrait.serving.http.problems import problem_responses
from portrait.serving.operations.operations import Operations


class AnyText(Convertor[str]):
    """A path parameter that may hold slashes, as `path` does, and line ends, which `path` does not match."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("text", AnyText())

User = Annotated[str, Path(description="User id.", min_length=1)]


class TrainedVersionAnswer(BaseModel):
    """A version that has learned from the user."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    state: str = Field(description="Its state when the user began to be forgotten.")


class ForgettingAnswer(BaseModel):
    """The data that was found of the user, and the places that Portrait cannot reach."""

    model_config = ConfigDict(from_attributes=True)

    subject: str = Field(description="The user's name in the audit: a keyed hash.")
    asked_at: datetime
    finished_at: datetime
    found: dict[str, int] = Field(description="By place, before anything was deleted.")
    trained: list[TrainedVersionAnswer] = Field(description="Versions trained with data of the user.")
    under_way: int = Field(description="Work of others that may hold the user until it ends.")
    not_purged: list[str] = Field(description="Files that could not be written anew: ask again later.")
    out_of_reach: list[str]


def router(guard: Guard, operations: Operations, threads: BoundedThreads) -> APIRouter:
    """The route `DELETE /v1/users/{user}`, for administrators."""
    routes = guard.router(Scope.ADMINISTER, "users")

    @routes.delete("/users/{user:text}", responses=problem_responses(400, 409))
    async def forget(user: User, actor: Actor) -> ForgettingAnswer:
        """Delete all data of a user and refuse later records; another call finishes an interrupted one."""
        return ForgettingAnswer.model_validate(await threads.run(lambda: operations.forget(actor, user)))

    return routes
