"""Problems: errors as RFC 9457 JSON, each with its HTTP status."""

from collections.abc import Sequence
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from portrait.registry.errors import (
    Conflict,
    Forbidden,
    GateRefused,
    InvalidInput,
    NotFound,
    PortraitError,
    Unauthenticated,
    Unavailable,
)

MEDIA_TYPE = "application/problem+json"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class MalformedBody(InvalidInput):
    """The request's body is not what the endpoint documents."""


class AllRejected(MalformedBody):
    """All records of a request were rejected; `rejected` has the place and the reason of each."""

    def __init__(self, message: str, rejected: Sequence[dict[str, Any]]) -> None:
        super().__init__(message)
        self.rejected = rejected


class TooLarge(InvalidInput):
    """A request is larger than the endpoint takes."""

    def __init__(self, what: str, limit: int, unit: str, remedy: str) -> None:
        super().__init__(f"{what} in one request, the limit is {limit} {unit}: {remedy}")
        self.limit = limit


class TooSlow(InvalidInput):
    """The body of a request did not come in time."""


STATUS: tuple[tuple[type[PortraitError], int, str], ...] = (
    (TooLarge, 413, "Too large"),
    (TooSlow, 408, "Too slow"),
    (MalformedBody, 422, "Malformed body"),
    (InvalidInput, 400, "Invalid input"),
    (Unauthenticated, 401, "Unauthenticated"),
    (Forbidden, 403, "Forbidden"),
    (NotFound, 404, "Not found"),
    (GateRefused, 409, "Refused by a gate"),
    (Conflict, 409, "Conflict"),
    (Unavailable, 503, "Unavailable"),
)
"""The first match counts, so a subclass comes before its parent."""

TITLES = {status: title for _, status, title in STATUS} | {500: "Internal error"}
HEADERS = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "1"}}


def problem(status: int, title: str, detail: str, **extensions: Any) -> Response:
    """A problem as a response; `type` is about:blank, so the title says what the status means here."""
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, **extensions}
    return Response(orjson.dumps(body), status, HEADERS.get(status), MEDIA_TYPE)


def from_error(error: PortraitError) -> Response:
    """The problem of one of our errors."""
    for kind, status, title in STATUS:
        if isinstance(error, kind):
            return problem(status, title, str(error), **_extensions(error))
    return problem(500, TITLES[500], str(error))


def unforeseen_problem() -> Response:
    """The problem of any other error: the log has the trace, the client learns no details."""
    return problem(500, TITLES[500], "the gateway failed on this request: its log says why")


def _extensions(error: PortraitError) -> dict[str, Any]:
    if isinstance(error, TooLarge):
        return {"limit": error.limit}
    if isinstance(error, AllRejected):
        return {"rejected": error.rejected}
    if isinstance(error, GateRefused):
        return {"gates": [verdict.to_json() for verdict in error.verdicts]}
    return {}


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI `responses` of the problems that an endpoint may answer."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {status: {"description": TITLES[status], "content": {MEDIA_TYPE: {"schema": schema}}} for status in statuses}


SCHEMA: dict[str, Any] = {
    "title": "Problem",
    "description": "RFC 9457 problem details.",
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "limit": {"type": "integer", "description": "What the request should have stayed within."},
        "rejected": {
            "type": "array",
            "items": {"$ref": "#/components/schemas/RejectionAnswer"},
            "description": "Why each of the records that came was rejected.",
        },
        "gates": {
            "type": "array",
            "items": {"$ref": "#/components/schemas/VerdictAnswer"},
            "description": "What every gate said to a promotion that was refused.",
        },
    },
}


def install(app: FastAPI) -> None:
    """Make every error of the app answer as problem JSON."""

    @app.exception_handler(PortraitError)
    async def _ours(_request: Request, error: PortraitError) -> Response:
        return from_error(error)

    @app.exception_handler(RequestValidationError)
    async def _validation(_request: Request, error: RequestValidationError) -> Response:
        in_body = any(entry["loc"][0] == "body" for entry in error.errors())
        status = 422 if in_body else 400
        return problem(status, TITLES[status], _error_text(error.errors()))

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        answer = problem(error.status_code, str(error.detail), f"{request.method} {request.url.path}: {error.detail}")
        answer.headers.update(error.headers or {})
        if error.status_code == 405:
            answer.headers["Allow"] = ", ".join(_allowed_methods(app, request))
        return answer

    @app.exception_handler(Exception)
    async def _unforeseen(_request: Request, _error: Exception) -> Response:
        return unforeseen_problem()


def _allowed_methods(app: FastAPI, request: Request) -> list[str]:
    """The methods that the path allows; a single route knows only its own."""
    asked = ({**request.scope, "method": method} for method in METHODS)
    return [scope["method"] for scope in asked if any(route.matches(scope)[0] is Match.FULL for route in app.routes)]


def _error_text(errors: Sequence[Any]) -> str:
    return "; ".join(f"{'.'.join(map(str, entry['loc']))}: {entry['msg']}" for entry in errors)
