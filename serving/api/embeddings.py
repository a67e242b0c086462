"""The hot endpoints: one look-up in the store, then bytes.

They are plain Starlette routes, which cost a third of FastAPI's; serving.api.documentation tells
OpenAPI about them.
"""

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from registry.errors import InvalidInput
from registry.grants import Scope
from serving import answers, problems
from serving.api.bodies import body_within
from serving.api.guard import Guard
from serving.api.schemas import EmbeddingsRequest
from serving.metrics import Metrics
from serving.pools import PooledReader

PATH = "/v1/consumers/{consumer}/embeddings"
BODY_BYTES_PER_USER = 1024
BODY_BYTES_FREE = 64 * 1024
SMALLER = "ask in smaller batches, or raise PORTRAIT_MAX_BATCH"
FLAGS = {"true": True, "1": True, "false": False, "0": False}


def routes(reader: PooledReader, guard: Guard, metrics: Metrics, max_batch: int) -> list[Route]:
    """Routes under /v1/consumers/{consumer}/embeddings."""
    body_limit = max_batch * BODY_BYTES_PER_USER + BODY_BYTES_FREE

    async def embedding(request: Request) -> Response:
        guard.admit(request, Scope.READ)
        consumer: str = request.path_params["consumer"]
        batch = await reader.read(consumer, [_user(request)], _strict(request))
        metrics.answered(consumer, batch)
        return answers.single(batch, _accept(request))

    async def embeddings(request: Request) -> Response:
        guard.admit(request, Scope.READ)
        consumer: str = request.path_params["consumer"]
        if request.method == "POST":
            asked = _parsed(await body_within(request, body_limit, SMALLER))
            users, strict = asked.users, asked.strict
        else:
            users, strict = _named(request), _strict(request)
        batch = await reader.read(consumer, _within(users, max_batch), strict)
        metrics.answered(consumer, batch)
        return answers.several(batch, _accept(request))

    return [
        Route(PATH + "/{user:path}", embedding, methods=["GET"]),
        Route(PATH, embeddings, methods=["GET", "POST"]),
    ]


def _user(request: Request) -> str:
    # From the path itself: the router's pattern ends in `$`, which drops a newline at the end of an id,
    # and "a\n" would get the vector of "a".
    path: str = request.scope["path"]
    user = path.partition("/embeddings/")[2]
    if not user:
        raise InvalidInput("the user id is empty")
    return user


def _named(request: Request) -> list[str]:
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


def _within(users: list[str], limit: int) -> list[str]:
    if len(users) > limit:
        raise problems.TooLarge(f"{len(users)} users", limit, "users", SMALLER)
    return users


def _parsed(body: bytes) -> EmbeddingsRequest:
    try:
        return EmbeddingsRequest.model_validate_json(body)
    except ValidationError as error:
        said = [f"{'.'.join(map(str, entry['loc'])) or 'body'}: {entry['msg']}" for entry in error.errors()[:3]]
        raise problems.MalformedBody(f'{"; ".join(said)}. Send {{"users": ["a", "b"], "strict": false}}') from error
