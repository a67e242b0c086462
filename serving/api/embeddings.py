"""The hot endpoints: one look-up in the store and bytes; no response model on the way."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import ValidationError

from registry.errors import InvalidInput
from serving import answers, problems
from serving.api.schemas import EmbeddingAnswer, EmbeddingsAnswer, EmbeddingsRequest
from serving.metrics import Metrics
from serving.pools import PooledReader

BODY_BYTES_PER_USER = 1024
BODY_BYTES_FREE = 64 * 1024


def router(reader: PooledReader, metrics: Metrics, max_batch: int) -> APIRouter:
    """Routes under /v1/consumers/{consumer}/embeddings."""
    routes = APIRouter(
        prefix="/v1/consumers/{consumer}/embeddings", tags=["embeddings"], default_response_class=Response
    )
    body_limit = max_batch * BODY_BYTES_PER_USER + BODY_BYTES_FREE

    async def read(consumer: str, users: list[str], strict: bool, accept: str) -> Response:
        batch = await reader.read(consumer, _usable(users, max_batch), strict)
        metrics.answered(consumer, batch)
        return answers.several(batch, accept)

    @routes.get("", responses=_documented(EmbeddingsAnswer))
    async def get_several(
        consumer: str, request: Request, user: Annotated[list[str], Query(min_length=1)], strict: bool = False
    ) -> Response:
        """Embeddings of a few users, named as `?user=a&user=b`."""
        return await read(consumer, user, strict, _accept(request))

    @routes.post("", responses=_documented(EmbeddingsAnswer, 413, 422), openapi_extra=_body(EmbeddingsRequest))
    async def post_several(consumer: str, request: Request) -> Response:
        """Embeddings of a batch of users, as JSON or as an Arrow stream."""
        asked = _parsed(await _body_within(request, body_limit))
        return await read(consumer, asked.users, asked.strict, _accept(request))

    @routes.get("/{user:path}", responses=_documented(EmbeddingAnswer))
    async def get_single(consumer: str, user: str, request: Request, strict: bool = False) -> Response:
        """One user's embedding; escape slashes in the id as %2F."""
        batch = await reader.read(consumer, _usable([_exact(request)], max_batch), strict)
        metrics.answered(consumer, batch)
        return answers.single(batch, _accept(request))

    return routes


def _exact(request: Request) -> str:
    # The router's pattern ends in `$`, which drops a newline at the end of an id: "a\n" would get the vector of "a".
    path: str = request.scope["path"]
    return path.partition("/embeddings/")[2]


def _accept(request: Request) -> str:
    return request.headers.get("accept", "")


def _usable(users: list[str], limit: int) -> list[str]:
    if len(users) > limit:
        raise problems.BatchTooLarge(f"{len(users)} users", f"{limit} users", limit)
    if not all(users):
        raise InvalidInput(f"user id number {users.index('') + 1} is empty")
    return users


def _parsed(body: bytes) -> EmbeddingsRequest:
    try:
        return EmbeddingsRequest.model_validate_json(body)
    except ValidationError as error:
        said = [f"{'.'.join(map(str, entry['loc'])) or 'body'}: {entry['msg']}" for entry in error.errors()[:3]]
        raise problems.MalformedBody(f'{"; ".join(said)}. Send {{"users": ["a", "b"], "strict": false}}') from error


async def _body_within(request: Request, limit: int) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > limit:
            raise problems.BatchTooLarge("this body", f"{limit} bytes", limit)
    return b"".join(parts)


def _documented(model: type, *further: int) -> dict[int | str, dict[str, Any]]:
    arrow = {"schema": {"type": "string", "format": "binary"}}
    success = {"model": model, "description": "JSON, or Arrow by Accept.", "content": {answers.ARROW: arrow}}
    return {200: success, **problems.documented(400, 404, 409, 503, *further)}


def _body(model: type[EmbeddingsRequest]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {answers.JSON: {"schema": model.model_json_schema()}}}}
