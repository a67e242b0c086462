"""Reading the registry: consumers and what they read, their history, versions."""

from collections.abc import Sequence
from typing import Protocol

from fastapi import APIRouter

from registry.assignments import ServingState
from registry.records import EmbeddingVersion, Promotion
from serving.api.schemas import AssignmentAnswer, ConsumerAnswer, PromotionAnswer, VersionAnswer
from serving.assignments import Assignments, known_consumer
from serving.pools import PooledReader
from serving.problems import documented


class RegistryReads(Protocol):
    """Queries of the registry that are too rare to be kept in memory."""

    def history(self, consumer: str) -> Sequence[Promotion]:
        """Promotions of a consumer, oldest first."""
        ...

    def versions(self) -> Sequence[EmbeddingVersion]:
        """Every version, whatever its state."""
        ...

    def version(self, version: str) -> EmbeddingVersion:
        """One version; raises NotFound."""
        ...


def router(assignments: Assignments, registry: RegistryReads, pool: PooledReader) -> APIRouter:
    """Routes under /v1/consumers and /v1/versions, as far as they only read."""
    routes = APIRouter(prefix="/v1")

    @routes.get("/consumers", tags=["consumers"], responses=documented(503))
    async def consumers() -> list[ConsumerAnswer]:
        """Every consumer with its assignment."""
        state = assignments.state
        return [_consumer(state, name) for name in sorted(state.consumers)]

    @routes.get("/consumers/{consumer}", tags=["consumers"], responses=documented(404, 503))
    async def consumer(consumer: str) -> ConsumerAnswer:
        """One consumer with its assignment."""
        return _consumer(assignments.state, consumer)

    @routes.get("/consumers/{consumer}/history", tags=["consumers"], responses=documented(404, 503))
    async def history(consumer: str) -> list[PromotionAnswer]:
        """Promotions and rollbacks of a consumer, oldest first."""
        name = known_consumer(assignments.state, consumer).name
        promotions = await pool.in_thread(lambda: registry.history(name))
        return [PromotionAnswer.model_validate(promotion) for promotion in promotions]

    @routes.get("/versions", tags=["versions"], responses=documented(503))
    async def versions() -> list[VersionAnswer]:
        """Every embedding version."""
        return [VersionAnswer.model_validate(version) for version in await pool.in_thread(registry.versions)]

    @routes.get("/versions/{version}", tags=["versions"], responses=documented(404, 503))
    async def version(version: str) -> VersionAnswer:
        """One embedding version."""
        return VersionAnswer.model_validate(await pool.in_thread(lambda: registry.version(version)))

    return routes


def _consumer(state: ServingState, name: str) -> ConsumerAnswer:
    answer = ConsumerAnswer.model_validate(known_consumer(state, name))
    assignment = state.assignments.get(name)
    answer.assignment = AssignmentAnswer.model_validate(assignment) if assignment else None
    return answer
