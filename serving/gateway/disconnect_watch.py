"""Middleware that keeps Ray Serve from watching hot requests for clients that hang up.

Serve starts a task for every request that watches its client, which makes a read a tenth slower. A read is done within
milliseconds and needs no watch; a request with a body is watched, because it waits for its client.
"""

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

UNWATCHED = (b"x-request-disconnect-disabled", b"?1")  # a header that Serve knows


class NoDisconnectWatch:
    """Asks Serve not to watch the client of a GET."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add the header to a GET, and pass the request on."""
        if scope["type"] == "http" and scope["method"] == "GET":
            scope["headers"] = [*scope["headers"], UNWATCHED]
        await self._app(scope, receive, send)


def middlewares() -> list[Middleware]:
    """The middleware for Serve's proxies; RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH names this function."""
    return [Middleware(NoDisconnectWatch)]
