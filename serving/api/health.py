"""Whether the gateway lives, whether it can answer, and its metrics."""

from fastapi import APIRouter, Response

from serving.api.schemas import Health, Readiness
from serving.metrics import CONTENT_TYPE, Metrics
from serving.pools import PROBE, PooledReader
from serving.problems import documented

ALIVE = b'{"status":"ok"}'


def router(reader: PooledReader, metrics: Metrics) -> APIRouter:
    """/healthz, /readyz and /metrics."""
    routes = APIRouter(tags=["operations"])
    assignments = reader.reader.assignments

    @routes.get("/healthz", response_class=Response, responses={200: {"model": Health}})
    async def healthz() -> Response:
        """200 as long as the process answers."""
        return Response(ALIVE, media_type="application/json")

    @routes.get("/readyz", responses=documented(503))
    async def readyz() -> Readiness:
        """200 when the assignments are known and the online store answers."""
        state = assignments.state
        served = next(iter(state.assignments.values()), None)
        if served is not None:
            await reader.lookup(state.versions[served.stable], [PROBE])
        return Readiness(status="ready", generation=state.generation, stale_seconds=assignments.stale_seconds)

    @routes.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def show_metrics() -> Response:
        """Prometheus metrics."""
        generation = assignments.known.generation if assignments.known else -1
        return Response(metrics.render(generation, assignments.stale_seconds), media_type=CONTENT_TYPE)

    return routes
