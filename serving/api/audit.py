"""The audit."""

from typing import Annotated

from fastapi import APIRouter, Query

from portrait.registry.records.grants import Scope
from portrait.serving.api.guard import Guard
from portrait.serving.api.operations import Operations
from portrait.serving.api.requests import Moment
from portrait.serving.api.responses import AuditEventAnswer
from portrait.serving.bounded_threads import BoundedThreads
from portrait.serving.http.problems import documented

Since = Annotated[Moment | None, Query(description="Events from this time on.")]
After = Annotated[int, Query(ge=0, lt=2**31, description="Events beyond this id: the last of the page before.")]
Limit = Annotated[int, Query(ge=1, le=1000)]


def router(guard: Guard, operations: Operations, threads: BoundedThreads) -> APIRouter:
    """Routes for administrators."""
    routes = guard.router(Scope.ADMINISTER, "audit")

    @routes.get("/audit", responses=documented(400))
    async def audit(since: Since = None, after: After = 0, limit: Limit = 100) -> list[AuditEventAnswer]:
        """What was changed and what was refused, oldest first."""
        events = await threads.run(lambda: operations.audit(since, after, limit))
        return [AuditEventAnswer.model_validate(event) for event in events]

    return routes
