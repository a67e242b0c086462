"""Routes of embedding reads, the hot endpoints: one look-up in the store, then bytes.

They are plain Starlette routes, which cost a third of FastAPI's; portrait.serving.api.documentation describes them in
the OpenAPI document.
"""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Scope

from portrait.registry.errors import InvalidInput
from portrait.registry.records import grants
from portrait.serving.api.asked_users import AskedUsers, asked_users
from portrait.serving.api.guard import Guard
from portrait.serving.api.requests import body_within
from portrait.serving.http import problems
from portrait.serving.http.hot_requests import Endpoint
from portrait.serving.http.metrics import GatewayMetrics
from portrait.serving.reads import answers
from portrait.serving.reads.async_reader import PooledReader
from portrait.serving.reads.embedding_batch import STORED

BEFORE, AFTER = "/v1/consumers/", "embeddings"
PATH = f"{BEFORE}{{consumer}}/{AFTER}"
READ = grants.Scope.READ
BODY_BYTES_PER_USER = 1024
BODY_BYTES_FREE = 64 * 1024
SMALLER = "ask in smaller batches, or raise PORTRAIT_MAX_BATCH"
FLAGS = {"true": True, "1": True, "false": False, "0": False}


class EmbeddingReads:
    """The endpoints under /v1/consumers/{consumer}/embeddings."""

    def __init__(self, reader: PooledReader, guard: Guard, metrics: GatewayMetrics, max_batch: int) -> None:
        self._reader = reader
        self._guard = guard
        self._metrics = metrics
        self._max_batch = max_batch
        self._body_limit = max_batch * BODY_BYTES_PER_USER + BODY_BYTES_FREE

    @property
    def routes(self) -> list[Route]:
        """The endpoints as Starlette routes."""
        return [
            Route(PATH + "/{user:path}", self.embedding, methods=["GET"]),
            Route(PATH, self.embeddings, methods=["GET", "POST"]),
        ]

    def endpoint(self, scope: Scope) -> Endpoint | None:
        """The endpoint of a request by its path, which becomes the scope's parameters; None leaves it to the routes."""
        path = _path(scope)
        if not path.startswith(BEFORE):
            return None
        consumer, _, rest = path[len(BEFORE) :].partition("/")
        method = scope["method"]
        if not consumer or not rest.startswith(AFTER):
            return None
        if rest == AFTER and method in ("GET", "POST"):
            scope["path_params"] = {"consumer": consumer}
            return self.embeddings
        if rest[len(AFTER) :].startswith("/") and method == "GET":
            scope["path_params"] = {"consumer": consumer}
            return self.embedding
        return None

    async def embedding(self, request: Request) -> Response:
        """One user's embedding."""
        self._guard.admit(request, READ)
        consumer: str = request.path_params["consumer"]
        user, strict, accept = _user(request.scope, consumer), _strict(request), _accept(request)
        if answers.ARROW not in accept:
            stored = await self._reader.stored(consumer, user)
            if stored is not None:
                self._metrics.answered_with(consumer, stored.version, STORED, 1)
                return answers.stored_response(stored)
        answer = await self._reader.read(consumer, [user], strict)
        self._metrics.answered(consumer, answer)
        return answers.single_response(answer, accept)

    async def embeddings(self, request: Request) -> Response:
        """Embeddings of a batch of users."""
        self._guard.admit(request, READ)
        consumer: str = request.path_params["consumer"]
        if request.method == "POST":
            asked = await asked_users(await body_within(request, self._body_limit, SMALLER))
        else:
            asked = AskedUsers(_query_users(request), _strict(request))
        if len(asked) > self._max_batch:
            raise problems.TooLarge(f"{len(asked)} users", self._max_batch, "users", SMALLER)
        if asked.rejected and not asked.users:
            raise _all_rejected(answers.rejected_rows(asked.rejected))
        answer = await self._reader.read(consumer, asked.users, asked.strict)
        self._metrics.answered(consumer, answer)
        return answers.batch_response(answer, _accept(request), asked.rejected)


def _path(scope: Scope) -> str:
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))  # where the application is mounted


def _user(scope: Scope, consumer: str) -> str:
    # Read from the path itself: the router's pattern ends in `$`, which drops a newline at the end of an id,
    # so that "a\n" would get the vector of "a".
    user = _path(scope)[len(BEFORE) + len(consumer) + len(AFTER) + 2 :]
    if not user:
        raise InvalidInput("the user id is empty")
    return user


def _query_users(request: Request) -> list[str]:
    users = request.query_params.getlist("user")
    if not users:
        raise InvalidInput("no user is named: add ?user=a&user=b, or POST a list")
    if "" in users:
        raise InvalidInput(f"user id number {users.index('') + 1} is empty")
    return users


def _strict(request: Request) -> bool:
    if not request.scope["query_string"]:
        return False
    text = request.query_params.get("strict", "false")
    strict = FLAGS.get(text.lower())
    if strict is None:
        raise InvalidInput(f"strict={text[:80]!r} is neither true nor false")
    return strict


def _accept(request: Request) -> str:
    return request.headers.get("accept", "")


def _all_rejected(rejected: list[dict[str, Any]]) -> problems.AllRejected:
    what = "the user id is" if len(rejected) == 1 else f"all {len(rejected):,} user ids are"
    return problems.AllRejected(f"{what} rejected: {rejected[0]['reason']}", rejected)
