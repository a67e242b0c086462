"""The gateway: a plain ASGI application over the reader, testable without Ray."""

from functools import cache

from fastapi import FastAPI

from serving import problems
from serving.access import Access
from serving.api import audit, consumers, embeddings, forgetting, heads, health, keys, promotions, versions
from serving.api.documentation import document
from serving.api.guard import Guard
from serving.api.operations import Operations
from serving.metrics import Measured, Metrics
from serving.pools import PooledReader
from serving.settings import ServingSettings
from serving.threads import BoundedThreads

TITLE, VERSION = "Portrait", "1"
DESCRIPTION = "One learned portrait of every user, shared by every model."

THREADS, WAITING = 8, 64
"""Of what asks the registry: a promotion loads a model, so a few seconds each at worst."""


def create_app(
    reader: PooledReader, operations: Operations, settings: ServingSettings, shared_metrics: bool = False
) -> FastAPI:
    """The HTTP API; nothing is started and nothing is closed by it."""
    metrics = Metrics(shared_metrics)
    assignments = reader.reader.assignments
    guard = Guard(Access(assignments, settings), operations, metrics.registry)
    threads = BoundedThreads("the registry", THREADS, WAITING)
    app = FastAPI(title=TITLE, version=VERSION, description=DESCRIPTION)
    # First, as routes are tried in order.
    app.router.routes[:0] = embeddings.routes(reader, guard, metrics, settings.max_batch)
    for part in (promotions, heads, versions):
        app.include_router(part.reading(guard, operations, threads))
        app.include_router(part.changing(guard, operations, threads))
    app.include_router(consumers.reading(guard, assignments))
    app.include_router(consumers.changing(guard, operations, threads))
    app.include_router(keys.router(guard, operations, threads))
    app.include_router(audit.router(guard, operations, threads))
    app.include_router(forgetting.router(guard, operations, threads))
    app.include_router(health.router(reader, metrics))
    app.add_middleware(Measured, metrics=metrics)
    problems.install(app)
    app.openapi = cache(  # type: ignore[method-assign]
        lambda: document(TITLE, VERSION, DESCRIPTION, app.routes, settings.max_batch)
    )
    return app
