"""The gateway: a plain FastAPI application over the reader, testable without Ray."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from serving import problems
from serving.api import embeddings, health, registry
from serving.api.registry import RegistryReads
from serving.metrics import Measured, Metrics
from serving.pools import PooledReader

TITLE = "Portrait"


def create_app(reader: PooledReader, registry_reads: RegistryReads, max_batch: int) -> FastAPI:
    """The HTTP API; nothing is started and nothing is closed by it."""
    app = FastAPI(title=TITLE, version="1", description="One learned portrait of every user, shared by every model.")
    metrics = Metrics()
    app.include_router(embeddings.router(reader, metrics, max_batch))
    app.include_router(registry.router(reader.reader.assignments, registry_reads, reader))
    app.include_router(health.router(reader, metrics))
    app.add_middleware(Measured, metrics=metrics)
    problems.install(app)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        schemas = schema.setdefault("components", {}).setdefault("schemas", {})
        schemas["Problem"] = problems.SCHEMA
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        for path in schema["paths"].values():
            for operation in path.values():
                _document_bad_requests(operation["responses"])
        app.openapi_schema = schema
    return app.openapi_schema


def _document_bad_requests(responses: dict[str, Any]) -> None:
    """FastAPI promises a 422 of its own shape wherever there are parameters; ours is a 400 problem."""
    if "HTTPValidationError" in str(responses.get("422")):
        del responses["422"]
        responses.update({str(status): answer for status, answer in problems.documented(400).items()})
