"""Routes of API keys and of the audit."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from portrait.registry.records.grants import Grant, Scope
from portrait.registry.registry import Registry
from portrait.serving.api.guard import Actor, Guard
from portrait.serving.api.requests import Moment, NewKey
from portrait.serving.api.responses import AuditEventAnswer, KeyAnswer, NewKeyAnswer
from portrait.serving.bounded_threads import BoundedThreads
from portrait.serving.http.problems import problem_responses


def router(guard: Guard, registry: Registry, threads: BoundedThreads) -> APIRouter:
    """Routes of API keys, for administrators."""
    routes = guard.router(Scope.ADMINISTER, "keys")

    @routes.get("/keys")
    async def keys() -> list[KeyAnswer]:
        """All API keys, the revoked ones too."""
        return [KeyAnswer.model_validate(key) for key in await threads.run(registry.keys.list)]

    @routes.post("/keys", status_code=201, responses=problem_responses(400, 404, 413, 422))
    async def add_key(body: NewKey, actor: Actor, response: Response) -> NewKeyAnswer:
        """Make a key. Only this answer contains it."""
        grants = [Grant.parse(text) for text in body.grants]
        made, key = await threads.run(lambda: registry.acting(actor).keys.add(body.name, grants))
        response.headers["Cache-Control"] = "no-store"
        answer = NewKeyAnswer.model_validate(made)
        answer.key = key
        return answer

    @routes.delete("/keys/{id}", responses=problem_responses(400, 404))
    async def revoke_key(id: str, actor: Actor) -> KeyAnswer:
        """Revoke a key, for good; every gateway follows within a second."""
        return KeyAnswer.model_validate(await threads.run(lambda: registry.acting(actor).keys.revoke(id)))

    return routes


Since = Annotated[Moment | None, Query(description="Events from this time on.")]
After = Annotated[int, Query(ge=0, lt=2**31, description="Events beyond this id: the last of the page before.")]
Limit = Annotated[int, Query(ge=1, le=1000)]


def audit_router(guard: Guard, registry: Registry, threads: BoundedThreads) -> APIRouter:
    """The route of the audit, for administrators."""
    routes = guard.router(Scope.ADMINISTER, "audit")

    @routes.get("/audit", responses=problem_responses(400))
    async def audit(since: Since = None, after: After = 0, limit: Limit = 100) -> list[AuditEventAnswer]:
        """Changes and refused attempts, oldest first."""
        events = await threads.run(lambda: registry.audit.list(since, after, limit))
        return [AuditEventAnswer.model_validate(event) for event in events]

    return routes
