"""Sending of events, users and items: bodies, receipts and pauses, shared by both clients."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
import numpy as np

from portrait.serving.client import wire
from portrait.serving.client.errors import BadRequest, Unavailable

BATCH = 1000
"""Records in one request; the server takes no more."""

TRIES = 6
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0
"""Seconds before the second try, doubled for each further one, unless the server names a time itself."""

JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Rejection:
    """A record that the server did not accept."""

    index: int  # in the records sent
    reason: str


@dataclass(frozen=True)
class Receipt:
    """The outcome of the records; the accepted and the known ones are durable."""

    accepted: int
    known: int
    rejected: tuple[Rejection, ...]
    clamped: int = 0  # accepted ones whose times lay too far in the future: they have the time of their receipt


def bodies(records: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, bytes]]:
    """The requests' bodies, each with the place of its first record; raises BadRequest before anything is sent."""
    if isinstance(records, Mapping | str) or not all(isinstance(record, Mapping) for record in records):
        raise BadRequest("records are no list of dicts: give [{'user_id': ..., ...}]")
    parts = [(start, json_body(list(records[start : start + BATCH]))) for start in range(0, len(records), BATCH)]
    yield from parts


def receipt(response: httpx.Response) -> Receipt:
    """The receipt in an answer, also in a 422 that rejects all records; raises the error of any other problem."""
    content = wire.problem_of(response)
    if response.status_code != 422 or "rejected" not in content:
        wire.raise_for_problem(response)
        content = wire.object_of(response)
    rejected = tuple(Rejection(one["index"], one["reason"]) for one in content["rejected"])
    return Receipt(content.get("accepted", 0), content.get("known", 0), rejected, content.get("clamped", 0))


def join_receipts(parts: Sequence[tuple[int, Receipt]]) -> Receipt:
    """One receipt for all requests; its indexes are those in all records."""
    return Receipt(
        sum(part.accepted for _, part in parts),
        sum(part.known for _, part in parts),
        tuple(Rejection(start + one.index, one.reason) for start, part in parts for one in part.rejected),
        sum(part.clamped for _, part in parts),
    )


def pauses() -> Iterator[float]:
    """Seconds to wait before each further try, if the server names no time."""
    for number in range(TRIES - 1):
        yield min(FIRST_PAUSE * 2**number, LONGEST_PAUSE)


def pause(error: Unavailable, planned: float | None) -> float:
    """Seconds to wait before the next try; raises the error after the last one."""
    if planned is None:
        raise error
    return planned if error.retry_after is None else min(error.retry_after, LONGEST_PAUSE)


def json_body(content: Any) -> bytes:
    """Records, or what else is sent, as JSON; raises BadRequest."""
    try:
        return json.dumps(content, default=_plain, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:
        raise BadRequest(f"the records cannot be written as JSON: {error}") from error


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{value!r} of type {type(value).__name__} has no place in JSON")
