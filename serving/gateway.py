"""The gateway: a plain ASGI application over the reader, testable without Ray."""

from functools import cache

from fastapi import FastAPI

from serving import problems
from serving.api import embeddings, health, registry
from serving.api.documentation import document
from serving.api.registry import RegistryReads
from serving.metrics import Measured, Metrics
from serving.pools import PooledReader

TITLE, VERSION = "Portrait", "1"
DESCRIPTION = "One learned portrait of every user, shared by every model."


def create_app(
    reader: PooledReader, registry_reads: RegistryReads, max_batch: int, shared_metrics: bool = False
) -> FastAPI:
    """The HTTP API; nothing is started and nothing is closed by it."""
    metrics = Metrics(shared_metrics)
    app = FastAPI(title=TITLE, version=VERSION, description=DESCRIPTION)
    app.router.routes[:0] = embeddings.routes(reader, metrics, max_batch)  # first, as routes are tried in order
    app.include_router(registry.router(reader.reader.assignments, registry_reads, reader))
    app.include_router(health.router(reader, metrics))
    app.add_middleware(Measured, metrics=metrics)
    problems.install(app)
    app.openapi = cache(lambda: document(TITLE, VERSION, DESCRIPTION, app.routes, max_batch))  # type: ignore[method-assign]
    return app
