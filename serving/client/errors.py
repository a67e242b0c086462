"""The client's error tree; `status` and `problem` hold what the server said (RFC 9457).

ClientError
├── BadRequest         400, 413, 422: the request is unusable; the message says why
├── Unauthenticated    401: no key was sent, or one that the server does not know
├── Forbidden          403: the key is known, but may not read this consumer's embeddings
├── NotFound           404: unknown consumer, or with strict=True an unknown user
├── Conflict           409: the consumer has no embedding version assigned
├── Unavailable        503, or no answer at all: trying again later may help
├── ServerError        any other 4xx or 5xx
├── UnexpectedAnswer   the answer is not Portrait's: it comes from another server, or from a proxy in between
└── MixedVersions      one matrix of vectors of several embedding versions was asked for
"""

from collections.abc import Mapping
from typing import Any


class ClientError(Exception):
    """Root of everything the client raises."""

    def __init__(self, message: str, status: int | None = None, problem: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.problem = dict(problem or {})


class BadRequest(ClientError):
    """The server refused the request as unusable."""


class Unauthenticated(ClientError):
    """The server wants a key that it knows."""


class Forbidden(ClientError):
    """The key may not do this: its scopes are for other consumers or other things."""


class NotFound(ClientError):
    """The consumer, or with strict=True a user, does not exist."""


class Conflict(ClientError):
    """The consumer exists, but no embedding version is assigned to it yet."""


class Unavailable(ClientError):
    """The server, or the store behind it, does not answer."""

    retry_after: float | None = None  # seconds, where the server has said when to come again


class ServerError(ClientError):
    """The server answered another error status."""


class UnexpectedAnswer(ClientError):
    """The answer does not follow Portrait's protocol."""


class MixedVersions(ClientError, ValueError):
    """Vectors of different embedding versions live in different spaces and cannot share a matrix."""


BY_STATUS: dict[int, type[ClientError]] = {
    400: BadRequest,
    413: BadRequest,
    422: BadRequest,
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    503: Unavailable,
}
