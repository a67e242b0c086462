"""The audit."""

from typing import Annotated

from fastapi import APIRouter, Query

from registry.grants import Scope
from serving.api.guard import Guard
from serving.api.operations import Operations
from serving.api.requests import Moment
from serving.api.responses import AuditEventAnswer
from serving.problems import documented
from serving.threads import BoundedThreads

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
