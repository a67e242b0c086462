"""Routes of embedding versions: all of them, one, the difference of two, and retirement."""

from fastapi import APIRouter

from portrait.registry.records.grants import Scope
from portrait.serving.api.guard import Actor, Guard
from portrait.serving.api.requests import Retirement
from portrait.serving.api.responses import DiffAnswer, VersionAnswer
from portrait.serving.bounded_threads import BoundedThreads
from portrait.serving.http.problems import problem_responses
from portrait.serving.operations.operations import Operations

TAG = "versions"


def reading(guard: Guard, operations: Operations, threads: BoundedThreads) -> APIRouter:
    """Routes that read versions, for any key."""
    known = operations.registry.versions
    routes = guard.router(None, TAG)

    @routes.get("/versions")
    async def versions() -> list[VersionAnswer]:
        """All embedding versions, whatever their state."""
        return [VersionAnswer.model_validate(version) for version in await threads.run(known.list)]

    @routes.get("/versions/{version}", responses=problem_responses(400, 404))
    async def version(version: str) -> VersionAnswer:
        """One embedding version."""
        return VersionAnswer.model_validate(await threads.run(lambda: known.get(version)))

    @routes.get("/versions/{version}/diff/{other}", responses=problem_responses(400, 404, 409))
    async def diff(version: str, other: str) -> DiffAnswer:
        """The difference of two versions, over a sample of the users."""
        return DiffAnswer.model_validate(await threads.run(lambda: operations.diff(version, other)))

    return routes


def changing(guard: Guard, operations: Operations, threads: BoundedThreads) -> APIRouter:
    """The route that retires a version, for administrators."""
    routes = guard.router(Scope.ADMINISTER, TAG)

    @routes.post("/versions/{version}/retire", responses=problem_responses(400, 404, 409, 413, 422))
    async def retire(version: str, body: Retirement, actor: Actor) -> VersionAnswer:
        """Retire a version that nothing pins; it is `retiring` until its vectors are gone. Another call goes on."""
        retired = await threads.run(lambda: operations.retire(actor, version, body.reason))
        return VersionAnswer.model_validate(retired)

    return routes
