"""Routes of liveness, readiness and metrics."""

import asyncio
from collections.abc import Sequence

from fastapi import APIRouter, Depends, Response

from portrait.registry.errors import Unavailable
from portrait.registry.records.records import EmbeddingVersion
from portrait.serving.api.guard import Guard
from portrait.serving.api.schemas import Health, Readiness
from portrait.serving.bounded_threads import BoundedThreads
from portrait.serving.http.metrics import CONTENT_TYPE, GatewayMetrics
from portrait.serving.http.problems import problem_responses
from portrait.serving.operations.operations import Operations
from portrait.serving.reads.async_reader import PooledReader, probe
from portrait.serving.reads.lookups import Lookup
from portrait.serving.state.routing import served_versions

ALIVE = b'{"status":"ok"}'


def router(
    reader: PooledReader, guard: Guard, metrics: GatewayMetrics, operations: Operations, threads: BoundedThreads
) -> APIRouter:
    """The routes /healthz, /readyz and /metrics; they need no key."""
    routes = APIRouter(tags=["operations"])
    own_site = [Depends(guard.require_own_site)]
    assignments = reader.reader.assignments

    @routes.get("/healthz", response_class=Response, responses={200: {"model": Health}})
    async def healthz() -> Response:
        """200 as long as the process answers."""
        return Response(ALIVE, media_type="application/json")

    @routes.get("/readyz", responses=problem_responses(403, 503), dependencies=own_site)
    async def readyz() -> Readiness:
        """200 when the assignments are known and the online store answers, even while the registry is away.

        503 when another registry fills the store.
        """
        state = assignments.state
        watch = reader.reader.watch
        if watch is not None:
            watch.require_own()
        unreadable = await _unreadable(reader, served_versions(state))
        answers, trouble = assignments.registry_answers, watch.trouble if watch is not None else None
        return Readiness(
            status="ready" if answers and not unreadable and trouble is None else "degraded",
            registry="answers" if answers else "away",
            generation=state.generation,
            stale_seconds=assignments.stale_seconds,
            source=assignments.origin,
            unreadable=unreadable,
            online_store=trouble,
        )

    shown = {200: {"content": {"text/plain": {}}}, **problem_responses(403, 503)}

    @routes.get("/metrics", response_class=Response, responses=shown, dependencies=own_site)
    async def show_metrics() -> Response:
        """Prometheus metrics of this gateway, and of the refresh wherever its shards run."""
        try:
            metrics.freshness.freshness = await threads.run(operations.freshness)
        except Unavailable:  # portrait_registry_up shows it; earlier values would be taken for the present ones
            metrics.freshness.freshness = None
        return Response(metrics.render(assignments, reader.reader.sound), media_type=CONTENT_TYPE)

    return routes


async def _unreadable(reader: PooledReader, versions: Sequence[EmbeddingVersion]) -> list[str]:
    """Ids of the versions that the store cannot look up; raises the store's error when it can look up none.

    One version, a canary for instance, must not take the whole gateway out of service.
    """
    probes = [reader.lookup(probe(version)) for version in versions]
    said = await asyncio.gather(*probes, return_exceptions=True)
    failures = {
        version.id: answer for version, answer in zip(versions, said, strict=True) if not isinstance(answer, Lookup)
    }
    if failures and len(failures) == len(versions):
        raise next(iter(failures.values()))
    return list(failures)
