"""The HTTP protocol of the client: paths, answers and errors, shared by the sync and the async client."""

import importlib.util
from collections.abc import Iterator, Sequence
from datetime import datetime
from json import JSONDecodeError
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
from numpy.typing import NDArray

from portrait.serving.client.answers import Embedding, Embeddings
from portrait.serving.client.errors import (
    BY_STATUS,
    BadRequest,
    ClientError,
    ServerError,
    Unavailable,
    UnexpectedAnswer,
)

ARROW = "application/vnd.apache.arrow.stream"
PROBLEM = "application/problem+json"
FROM_A_PROXY = (404, 500, 502, 503, 504)
"""Statuses of Ray Serve's proxies, in plain text, while no gateway is behind them; a gateway answers problems."""


def single_path(consumer: str | None, user: str) -> str:
    """The path of one user's embedding, with the user id escaped; raises BadRequest for an unusable id."""
    return f"{batch_path(consumer)}/{_escape(user)}"


def event_path(event: str) -> str:
    """The path of one event, with its id escaped; raises BadRequest for an unusable id."""
    return f"/v1/events/{_escape(event)}"


def _escape(id: str) -> str:
    _require_usable([id])
    # "." and ".." would be resolved as folders on the way if they were not escaped.
    return quote(id, safe="") if id.strip(".") else id.replace(".", "%2E")


def batch_path(consumer: str | None) -> str:
    """The path of a consumer's embeddings; raises BadRequest for a client without a consumer."""
    if consumer is None:
        raise BadRequest("this client was made for no consumer: Client(url, consumer=...) reads embeddings")
    return f"/v1/consumers/{quote(consumer, safe='')}/embeddings"


def batch_headers() -> dict[str, str]:
    """The headers of a batch read: they ask for Arrow if pyarrow is installed."""
    accepted = f"{ARROW}, application/json;q=0.5" if importlib.util.find_spec("pyarrow") else "application/json"
    return {"Accept": accepted}


def chunks(users: Sequence[str], size: int) -> Iterator[list[str]]:
    """The users in batches of at most `size`; raises BadRequest for unusable ids, and for a lone string."""
    if isinstance(users, str):
        raise BadRequest(f"users is the string {users!r}: give a list of user ids, or call embedding()")
    everyone = list(users)
    _require_usable(everyone)
    for start in range(0, len(everyone), size):
        yield everyone[start : start + size]


def single_answer(response: httpx.Response) -> Embedding:
    """The embedding in an answer; raises the error of a problem."""
    raise_for_problem(response)
    return _row(object_of(response))


def batch_answer(response: httpx.Response) -> list[Embedding]:
    """The embeddings in an answer; raises the error of a problem."""
    raise_for_problem(response)
    if response.headers.get("content-type", "").startswith(ARROW):
        return _arrow_rows(response.content)
    return [_row(row) for row in object_of(response).get("embeddings", ())]


def answer_of(response: httpx.Response) -> dict[str, Any]:
    """The object in an answer; raises the error of a problem."""
    raise_for_problem(response)
    return object_of(response)


def no_answer(url: str, error: httpx.HTTPError | httpx.InvalidURL) -> ClientError:
    """The error for a request that could not be sent or was not answered."""
    if isinstance(error, httpx.InvalidURL):
        return BadRequest(f"{url} with this consumer and user makes no usable address: {error}")
    reason = str(error) or type(error).__name__
    return Unavailable(f"{url} does not answer ({reason}): is `portrait serve` running there?")


def _require_usable(users: Sequence[object]) -> None:
    for user in users:
        if not isinstance(user, str) or not user:
            raise BadRequest(f"user id {user!r} is not a non-empty string")
        try:
            user.encode()
        except UnicodeEncodeError as error:
            raise BadRequest(f"user id {user!r} is not valid Unicode: {error.reason}") from error


def problem_of(response: httpx.Response) -> dict[str, Any]:
    """The problem in an answer; empty if there is none."""
    return object_of(response) if response.headers.get("content-type", "").startswith(PROBLEM) else {}


def raise_for_problem(response: httpx.Response) -> None:
    """Raise the error of an answer with a status of 400 or more."""
    if response.status_code < 400:
        return
    problem = problem_of(response)
    message = problem.get("detail") or problem.get("title") or f"{response.url} answered {response.status_code}"
    kind: type[ClientError] = BY_STATUS.get(response.status_code, ServerError)
    if not problem and response.status_code in FROM_A_PROXY:
        kind = Unavailable
        message += " without a problem, as the proxy before a gateway does that is starting, or is away"
    error = kind(message, status=response.status_code, problem=problem)
    after = response.headers.get("retry-after", "")
    if isinstance(error, Unavailable) and after.isdecimal():
        error.retry_after = float(after)
    raise error


def object_of(response: httpx.Response) -> dict[str, Any]:
    """The JSON object of an answer; raises UnexpectedAnswer if it is none."""
    try:
        answer = response.json()
    except (JSONDecodeError, UnicodeDecodeError) as error:
        raise UnexpectedAnswer(f"{response.url} did not answer JSON: is it a Portrait server?") from error
    if not isinstance(answer, dict):
        raise UnexpectedAnswer(f"{response.url} did not answer an object: is it a Portrait server?")
    return answer


def _row(row: dict[str, Any]) -> Embedding:
    try:
        return Embedding(
            user_id=row["user_id"],
            vector=np.array(row["vector"], np.float32),
            version=row["version"],
            fingerprint=row["fingerprint"],
            lane=row["lane"],
            source=row["source"],
            as_of=datetime.fromisoformat(row["as_of"]),
            age_seconds=row["age_seconds"],
            stale=row.get("stale", False),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UnexpectedAnswer(f"an embedding in the answer is unusable: {error!r}") from error


def _arrow_rows(content: bytes) -> list[Embedding]:
    import pyarrow as pa

    with pa.ipc.open_stream(content) as stream:
        table = stream.read_all().combine_chunks()
    columns = table.drop_columns(["vector"]).to_pydict()
    rows = zip(*columns.values(), strict=True)
    return [
        Embedding(vector=vector, **dict(zip(columns, row, strict=True)))
        for vector, row in zip(_vectors(table.column("vector").combine_chunks()), rows, strict=True)
    ]


def _vectors(column: Any) -> Sequence[NDArray[np.float32]]:
    """The rows of an Arrow list column: of a fixed size, or of several where the dimensions of versions differ."""
    numbers = column.flatten().to_numpy()
    if hasattr(column.type, "list_size"):
        return list(numbers.reshape(len(column), column.type.list_size))
    ends = column.value_lengths().to_numpy(zero_copy_only=False).cumsum()
    return np.split(numbers, ends[:-1]) if len(ends) else []


def join_parts(parts: Sequence[Sequence[Embedding]]) -> Embeddings:
    """The embeddings of all requests of one call."""
    return Embeddings([row for part in parts for row in part])
