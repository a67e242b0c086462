"""Routes of consumers' heads."""

from fastapi import APIRouter

from portrait.registry.consumers.heads import NewHead
from portrait.registry.records.grants import Scope
from portrait.registry.registry import Registry
from portrait.serving.api.guard import Actor, Guard
from portrait.serving.api.requests import TrainedHead
from portrait.serving.api.responses import HeadAnswer
from portrait.serving.bounded_threads import BoundedThreads
from portrait.serving.http.problems import problem_responses

TAG = "heads"


def reading(guard: Guard, registry: Registry, threads: BoundedThreads) -> APIRouter:
    """Routes that read heads, for any key."""
    routes = guard.router(None, TAG)

    @routes.get("/consumers/{consumer}/heads", responses=problem_responses(400, 404))
    async def heads(consumer: str) -> list[HeadAnswer]:
        """Heads of a consumer, oldest first."""
        return [HeadAnswer.model_validate(head) for head in await threads.run(lambda: registry.heads.list(consumer))]

    return routes


def changing(guard: Guard, registry: Registry, threads: BoundedThreads) -> APIRouter:
    """Routes that register heads, for keys that may promote the consumer."""
    routes = guard.router(Scope.PROMOTE, TAG)

    @routes.post("/consumers/{consumer}/heads", status_code=201, responses=problem_responses(400, 404, 409, 413, 422))
    async def register_head(consumer: str, body: TrainedHead, actor: Actor) -> HeadAnswer:
        """Register a head that was trained on a version's vectors; another fingerprint is refused."""
        head = NewHead(consumer=consumer, **dict(body))
        return HeadAnswer.model_validate(await threads.run(lambda: registry.acting(actor).heads.register(head)))

    return routes
