"""The client's sending: receipts over several requests, and trying again where that is safe."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from portrait.serving.client import AsyncClient, BadRequest, Client, Forbidden, Receipt, Rejection, Unavailable
from portrait.serving.client.sending import LONGEST_PAUSE, TRIES
from portrait.serving.gateway.app import create_app
from tests.serving.api.api_table import EVENT
from tests.serving.conftest import SETTINGS
from tests.serving.twins import Twins

PROBLEM = {"content-type": "application/problem+json"}
TAKEN_IN = {"accepted": 1, "known": 0, "rejected": []}


@pytest.fixture
def app(parts: Twins) -> FastAPI:
    return create_app(parts.pool, parts.operations, parts.arrivals, SETTINGS)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What both clients would have waited."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr("portrait.serving.client.http.time.sleep", waited.append)
    monkeypatch.setattr("portrait.serving.client.http.asyncio.sleep", sleep)
    return waited


def events(count: int) -> list[dict[str, object]]:
    return [EVENT | {"event_id": f"e{number}"} for number in range(count)]


def send(app: FastAPI, work: Callable[[AsyncClient], Any]) -> Any:
    async def run() -> Any:
        async with AsyncClient("http://localhost", transport=httpx.ASGITransport(app)) as client:
            return await work(client)

    return asyncio.run(run())


def test_events_go_in_several_requests_and_come_back_as_one_receipt(app: FastAPI, parts: Twins) -> None:
    sent: list[dict[str, object]] = events(2300)
    sent[1200] = sent[1200] | {"event_time": "soon"}
    sent[2299] = sent[0]
    sent[5] = {}
    receipt = send(app, lambda client: client.send_events(sent))
    assert receipt == Receipt(
        2297, 1, (Rejection(5, "user_id is null or empty"), Rejection(1200, "event_time is not a time"))
    )
    assert [len(group) for group in parts.inbox.groups] == [999, 999, 300]


def test_a_request_without_a_good_record_is_a_receipt_too(app: FastAPI) -> None:
    receipt = send(app, lambda client: client.send_users([{"user_id": ""}]))
    assert receipt == Receipt(0, 0, (Rejection(0, "user_id is null or empty"),))
    assert send(app, lambda client: client.send_items([])) == Receipt(0, 0, ())


def test_what_python_has_is_written_as_json(app: FastAPI, parts: Twins) -> None:
    moment = datetime(2024, 1, 2, tzinfo=UTC)
    event = {"user_id": "ü", "item_id": np.int64(7), "event_time": moment, "weight": np.float32(0.5), "event_id": "1"}
    assert send(app, lambda client: client.send_events([event])).accepted == 1
    item = {"item_id": "song", "vector_image": np.array([1, 2], np.float32)}
    assert send(app, lambda client: client.send_items([item])).accepted == 1
    payloads = [json.loads(one.arriving.payload) for group in parts.inbox.groups for one in group]
    assert payloads[0] == ["ü", "7", 1704153600000000, "default", "view", 0.5, "1"]
    assert payloads[1]["vector_image"] == [1.0, 2.0]


@pytest.mark.parametrize(
    "records", ["ann", {"user_id": "ann"}, [EVENT, "ann"], [{"user_id": object()}], [{"w": 1e999}]]
)
def test_what_is_no_record_is_refused_before_anything_is_sent(app: FastAPI, parts: Twins, records: Any) -> None:
    with pytest.raises(BadRequest):
        send(app, lambda client: client.send_events(records))
    assert not parts.inbox.groups


def answering(*answers: Callable[[], httpx.Response]) -> tuple[httpx.MockTransport, list[httpx.Request]]:
    """A server that gives these answers in turn, the last one for ever."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return answers[min(len(seen), len(answers)) - 1]()

    return httpx.MockTransport(answer), seen


def busy(after: str | None = None) -> Callable[[], httpx.Response]:
    headers = PROBLEM | ({"retry-after": after} if after else {})
    return lambda: httpx.Response(503, json={"detail": "too much waits"}, headers=headers)


def done() -> httpx.Response:
    return httpx.Response(202, json=TAKEN_IN)


def refused() -> httpx.Response:
    raise httpx.ConnectError("refused")


def with_each(transport: httpx.MockTransport, work: str, records: list[dict[str, object]]) -> list[Any]:
    """What the sync and the async client return or raise."""

    async def run() -> Any:
        async with AsyncClient("http://x", key="secret", transport=transport) as client:
            return await getattr(client, work)(records)

    def sync() -> Any:
        with Client("http://x", key="secret", transport=transport) as client:
            return getattr(client, work)(records)

    outcomes = []
    for attempt in (sync, lambda: asyncio.run(run())):
        try:
            outcomes.append(attempt())
        except Exception as error:
            outcomes.append(error)
    return outcomes


@pytest.mark.parametrize("kind", ["events", "users", "items"])
def test_a_busy_server_is_tried_again_when_it_says(pauses: list[float], kind: str) -> None:
    transport, seen = answering(busy("3"), refused, busy(), done, busy("99999"), done)
    assert with_each(transport, f"send_{kind}", [EVENT]) == [Receipt(1, 0, ())] * 2
    assert pauses == [3.0, 0.4, 0.8, LONGEST_PAUSE]
    assert {request.url.path for request in seen} == {f"/v1/{kind}"}
    assert {request.headers["authorization"] for request in seen} == {"Bearer secret"}
    assert len({request.content for request in seen}) == 1


@pytest.mark.parametrize("status", [404, 500])
def test_a_proxy_without_a_gateway_behind_it_is_tried_again(pauses: list[float], status: int) -> None:
    """Ray Serve's proxies answer so, in plain text, until a replica is there; a gateway's own 404 is final."""
    away = httpx.Response(status, text="Path '/v1/events' not found. Ping http://.../-/routes for available routes.")
    transport, _ = answering(lambda: away, done)
    assert with_each(transport, "send_events", [EVENT]) == [Receipt(1, 0, ())] * 2
    assert pauses == [0.2]
    transport, seen = answering(lambda: httpx.Response(status, json={"detail": "no"}, headers=PROBLEM), done)
    assert not isinstance(with_each(transport, "send_events", [EVENT])[0], Receipt) and len(seen) == 2


def test_the_tries_are_bounded(pauses: list[float]) -> None:
    transport, seen = answering(busy())
    outcomes = with_each(transport, "send_events", [EVENT])
    assert [type(one) for one in outcomes] == [Unavailable] * 2 and "too much waits" in str(outcomes[0])
    assert len(seen) == 2 * TRIES and pauses == [0.2, 0.4, 0.8, 1.6, 3.2] * 2


@pytest.mark.parametrize(("status", "kind"), [(403, Forbidden), (413, BadRequest), (422, BadRequest)])
def test_other_refusals_are_not_tried_again(pauses: list[float], status: int, kind: type[Exception]) -> None:
    transport, seen = answering(lambda: httpx.Response(status, json={"detail": "no"}, headers=PROBLEM))
    assert [type(one) for one in with_each(transport, "send_events", [EVENT])] == [kind] * 2
    assert len(seen) == 2 and not pauses


def test_a_client_without_a_consumer_only_sends() -> None:
    with Client("http://x") as client, pytest.raises(BadRequest, match="consumer"):
        client.embedding("ada")
