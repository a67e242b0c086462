"""Request bodies, never more of them than an endpoint has use for."""

from starlette.requests import Request

from portrait.serving.http import problems

MAX_BODY = 64 * 1024
"""Bytes of a body that changes the registry; only batches of users may be larger."""


async def body_within(request: Request, limit: int, remedy: str) -> bytes:
    """The body; raises TooLarge as soon as more than `limit` bytes have come."""
    parts, size = [], 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > limit:
            raise problems.TooLarge("this body", limit, "bytes", remedy)
    return b"".join(parts)


def require_json(request: Request) -> None:
    """Raise MalformedBody for another media type.

    That also keeps web pages out: without a preflight, a browser sends only other types elsewhere.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise problems.MalformedBody("the body is not said to be JSON: send it with Content-Type: application/json")


class BoundedRequest(Request):
    """A request with a small JSON body, which FastAPI then parses."""

    async def receive_json(self) -> None:
        """Take the body in; raises TooLarge, or MalformedBody for another media type."""
        require_json(self)
        self._body = await body_within(self, MAX_BODY, "leave something out")
