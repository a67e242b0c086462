"""A FastAPI application with a shortcut for hot requests: middleware and router cost more than the read itself."""

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from portrait.registry.errors import PortraitError
from portrait.serving.http import problems
from portrait.serving.http.metrics import GatewayMetrics

log = logging.getLogger(__name__)

Endpoint = Callable[[Request], Awaitable[Response]]
Find = Callable[[Scope], Endpoint | None]


class ShortcutApp(FastAPI):
    """An application whose hot requests go straight to their endpoints, are measured, and have errors as problems.

    `find` returns the endpoint of a hot request, and None for all others, which FastAPI handles. Hot endpoints are
    routes of the application too: for its documentation, and for the methods that they do not have. With a `prefix`,
    such as /portrait, paths may begin with it: a proxy may cut it off or not.
    """

    def __init__(self, find: Find, metrics: GatewayMetrics, prefix: str = "", **options: Any) -> None:
        super().__init__(**options)
        self._prefix = prefix
        self._find = find
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request: a hot one by its endpoint, any other by FastAPI."""
        if self._prefix:
            scope = {**scope, "root_path": self._prefix}
        endpoint = self._find(scope) if scope["type"] == "http" else None
        if endpoint is None:
            await super().__call__(scope, receive, send)
            return
        started, status = time.perf_counter(), 500
        try:
            response = await _answer(endpoint, Request(scope, receive))
            status = response.status_code
            await response(scope, receive, send)
        finally:
            self._metrics.request(endpoint.__name__, status, time.perf_counter() - started)


async def _answer(endpoint: Endpoint, request: Request) -> Response:
    try:
        return await endpoint(request)
    except PortraitError as error:
        return problems.from_error(error)
    except Exception:
        log.exception("a request failed")
        return problems.unforeseen_problem()
