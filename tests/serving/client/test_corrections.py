"""The client's corrections: paths with any id in them, answers, and errors."""

import asyncio
from datetime import UTC, datetime

import httpx
import pytest
from fastapi.testclient import TestClient

from portrait.serving.client import AsyncClient, BadRequest, Client
from portrait.serving.gateway.app import create_app
from tests.serving.conftest import SETTINGS
from tests.serving.twins import Twins

ODD = "a/b ä?.."


def test_events_are_deleted_and_corrected(parts: Twins, http: TestClient) -> None:

    def answered(request: httpx.Request) -> httpx.Response:
        """The gateway's own answer; the transport of a TestClient is of another kind."""
        sent = http.request(request.method, str(request.url), headers=request.headers, content=request.content)
        return httpx.Response(sent.status_code, headers=sent.headers, content=sent.content)

    with Client("http://localhost", transport=httpx.MockTransport(answered)) as client:
        assert client.delete_event("ann", ODD).startswith("event ")
        at = datetime(2024, 5, 1, tzinfo=UTC)
        now = client.correct_event("ann", ODD, item_id="other", event_time=at)
        assert (now["event_id"], now["item_id"], now["event_time"]) == (ODD, "other", "2024-05-01T00:00:00Z")
        assert client.merge(ODD, "ann")["subject"].startswith("user ")
        with pytest.raises(BadRequest):
            client.correct_event("ann", ODD, user_id="bob")
        with pytest.raises(BadRequest):
            client.delete_event("ann", "")


def test_the_asynchronous_client_does_the_same(parts: Twins) -> None:
    app = create_app(parts.pool, parts.operations, parts.arrivals, SETTINGS)

    async def run() -> tuple[str, float]:
        async with AsyncClient("http://localhost", transport=httpx.ASGITransport(app)) as client:
            assert (await client.merge(ODD, "ann"))["found"]
            subject = await client.delete_event("ann", ODD)
            return subject, (await client.correct_event("ann", ODD, weight=2.5))["weight"]

    subject, weight = asyncio.run(run())
    assert subject.startswith("event ") and weight == 2.5
