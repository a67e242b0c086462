"""The gateway: a plain ASGI application over the reader, testable without Ray."""

from functools import cache

from fastapi import FastAPI

from portrait.serving.api import arrivals as arriving
from portrait.serving.api import (
    consumers,
    corrections,
    embeddings,
    forgetting,
    heads,
    health,
    keys,
    promotions,
    versions,
)
from portrait.serving.api.documentation import document
from portrait.serving.api.guard import Guard
from portrait.serving.arrivals.arrivals import Arrivals
from portrait.serving.bounded_threads import BoundedThreads
from portrait.serving.http import problems
from portrait.serving.http.access import Access
from portrait.serving.http.hot_requests import ShortcutApp
from portrait.serving.http.metrics import GatewayMetrics, RequestTimer
from portrait.serving.operations.operations import Operations
from portrait.serving.reads.async_reader import PooledReader
from portrait.serving.settings import ServingSettings

TITLE, VERSION = "Portrait", "1"
DESCRIPTION = "One learned portrait of every user, shared by every model."

THREADS, WAITING = 8, 64
"""Threads for requests to the registry, and how many may wait: a promotion loads a model, which takes seconds."""


def create_app(
    reader: PooledReader,
    operations: Operations,
    arrivals: Arrivals,
    settings: ServingSettings,
    shared_metrics: bool = False,
) -> FastAPI:
    """The HTTP API over these parts; it neither starts nor closes them."""
    metrics = GatewayMetrics(shared_metrics)
    assignments = reader.reader.assignments
    assignments.facts = metrics.facts
    registry = operations.registry
    guard = Guard(Access(assignments, settings), registry, metrics.registry)
    threads = BoundedThreads("the registry", THREADS, WAITING)
    reads = embeddings.EmbeddingReads(reader, guard, metrics, settings.max_batch)
    about = {"title": TITLE, "version": VERSION, "description": DESCRIPTION}
    app = ShortcutApp(reads.endpoint, metrics, settings.path_prefix, **about)
    # These come first: Serve tries the routes in order to find the name of a request.
    app.router.routes[:0] = [*reads.routes, *arriving.routes(arrivals, guard, metrics)]
    app.include_router(promotions.reading(guard, registry, threads))
    app.include_router(promotions.changing(guard, operations, threads))
    app.include_router(heads.reading(guard, registry, threads))
    app.include_router(heads.changing(guard, registry, threads))
    app.include_router(versions.reading(guard, operations, threads))
    app.include_router(versions.changing(guard, operations, threads))
    app.include_router(consumers.reading(guard, assignments))
    app.include_router(consumers.changing(guard, registry, threads))
    app.include_router(keys.router(guard, registry, threads))
    app.include_router(keys.audit_router(guard, registry, threads))
    app.include_router(forgetting.router(guard, operations, threads))
    app.include_router(corrections.router(guard, operations, threads))
    app.include_router(health.router(reader, guard, metrics, operations, threads))
    app.add_middleware(RequestTimer, metrics=metrics)
    problems.install(app)
    app.openapi = cache(  # type: ignore[method-assign]
        lambda: document(TITLE, VERSION, DESCRIPTION, app.routes, settings.max_batch)
    )
    return app
