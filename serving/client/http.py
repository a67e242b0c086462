"""`Client` and `AsyncClient`: the same names, the same answers, the same errors."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import httpx

from portrait.serving.client import sending, wire
from portrait.serving.client.answers import Embedding, Embeddings
from portrait.serving.client.errors import Unavailable
from portrait.serving.client.sending import Receipt

# The server's own default limit; a server with a smaller one answers 413 and names it.
BATCH = 1000
TIMEOUT = 10.0
CHANGE_TIMEOUT = 120.0
"""Seconds that a merge, or the correction of an event, may take: files are written anew."""


class Client:
    """Reads embeddings for one consumer, and sends events, users and items.

    Keeps connections open between calls and may be shared by threads; close it or use it as a context manager. When
    the server is away or refuses, every call raises a `ClientError` of portrait.serving.client.errors and nothing else.
    """

    def __init__(
        self,
        url: str,
        consumer: str | None = None,
        key: str | None = None,
        *,
        batch_size: int = BATCH,
        timeout: float = TIMEOUT,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self.consumer = consumer
        self.batch_size = batch_size
        self._http = httpx.Client(base_url=self.url, headers=_headers(key), timeout=timeout, transport=transport)

    def embedding(self, user: str, *, strict: bool = False) -> Embedding:
        """One user's embedding; an unknown user gets the prior, or with `strict` raises NotFound."""
        path = wire.single_path(self.consumer, user)
        return wire.single_answer(self._send("GET", path, params=_strict(strict)))

    def embeddings(self, users: Sequence[str], *, strict: bool = False) -> Embeddings:
        """The users' embeddings in their order, in as many requests as the batch size needs."""
        path, headers = wire.batch_path(self.consumer), wire.batch_headers()
        return wire.join_parts(
            [
                wire.batch_answer(self._send("POST", path, json={"users": part, "strict": strict}, headers=headers))
                for part in wire.chunks(users, self.batch_size)
            ]
        )

    def send_events(self, events: Sequence[Mapping[str, Any]]) -> Receipt:
        """Send events; returns when they are durable, with the rejected ones in the receipt.

        Tries a few times while the server is away or busy. An event with an id is accepted once, however often it is
        sent; an event without one too, as long as the same list is sent again unchanged.
        """
        return self._deliver("events", events)

    def send_users(self, users: Sequence[Mapping[str, Any]]) -> Receipt:
        """Send sign-ups and profile changes, as `send_events` does."""
        return self._deliver("users", users)

    def send_items(self, items: Sequence[Mapping[str, Any]]) -> Receipt:
        """Send new items and changes, as `send_events` does."""
        return self._deliver("items", items)

    def merge(self, anonymous: str, known: str) -> dict[str, Any]:
        """Make all that is known of one user part of another, who stays; returns what was found, by place, and more.

        The key must be an administrator's.
        """
        body = sending.json_body({"anonymous": anonymous, "known": known})
        request = {"content": body, "headers": sending.JSON, "timeout": CHANGE_TIMEOUT}
        return wire.answer_of(self._send("POST", "/v1/merges", **request))

    def delete_event(self, user: str, event: str) -> str:
        """Delete a user's event for good; returns the event's name in the audit. The key must be an administrator's."""
        path = wire.event_path(event)
        answer = self._send("DELETE", path, params={"user": user}, timeout=CHANGE_TIMEOUT)
        return str(wire.answer_of(answer)["subject"])

    def correct_event(self, user: str, event: str, **changes: Any) -> dict[str, Any]:
        """Change fields of a user's event; returns it as it is now. The key must be an administrator's."""
        path, body = wire.event_path(event), sending.json_body(changes)
        request = {"params": {"user": user}, "content": body, "headers": sending.JSON, "timeout": CHANGE_TIMEOUT}
        return wire.answer_of(self._send("PATCH", path, **request))

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _deliver(self, kind: str, records: Sequence[Mapping[str, Any]]) -> Receipt:
        parts = []
        for start, body in sending.bodies(records):
            planned = sending.pauses()
            while True:
                try:
                    response = self._send("POST", f"/v1/{kind}", content=body, headers=sending.JSON)
                    parts.append((start, sending.receipt(response)))
                    break
                except Unavailable as error:
                    time.sleep(sending.pause(error, next(planned, None)))
        return sending.join_receipts(parts)

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            try:
                return self._http.request(method, path, **request)
            except httpx.RemoteProtocolError:
                # The server closed a kept connection at this moment; sending the request twice does no harm.
                return self._http.request(method, path, **request)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise wire.no_answer(self.url, error) from error


class AsyncClient:
    """`Client` for asyncio."""

    def __init__(
        self,
        url: str,
        consumer: str | None = None,
        key: str | None = None,
        *,
        batch_size: int = BATCH,
        timeout: float = TIMEOUT,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self.consumer = consumer
        self.batch_size = batch_size
        self._http = httpx.AsyncClient(base_url=self.url, headers=_headers(key), timeout=timeout, transport=transport)

    async def embedding(self, user: str, *, strict: bool = False) -> Embedding:
        """One user's embedding; an unknown user gets the prior, or with `strict` raises NotFound."""
        path = wire.single_path(self.consumer, user)
        return wire.single_answer(await self._send("GET", path, params=_strict(strict)))

    async def embeddings(self, users: Sequence[str], *, strict: bool = False) -> Embeddings:
        """The users' embeddings in their order, in as many requests as the batch size needs."""
        path, headers = wire.batch_path(self.consumer), wire.batch_headers()
        parts = []
        for part in wire.chunks(users, self.batch_size):
            response = await self._send("POST", path, json={"users": part, "strict": strict}, headers=headers)
            parts.append(wire.batch_answer(response))
        return wire.join_parts(parts)

    async def send_events(self, events: Sequence[Mapping[str, Any]]) -> Receipt:
        """Send events; returns when they are durable, with the rejected ones in the receipt.

        Tries a few times while the server is away or busy. An event with an id is accepted once, however often it is
        sent; an event without one too, as long as the same list is sent again unchanged.
        """
        return await self._deliver("events", events)

    async def send_users(self, users: Sequence[Mapping[str, Any]]) -> Receipt:
        """Send sign-ups and profile changes, as `send_events` does."""
        return await self._deliver("users", users)

    async def send_items(self, items: Sequence[Mapping[str, Any]]) -> Receipt:
        """Send new items and changes, as `send_events` does."""
        return await self._deliver("items", items)

    async def merge(self, anonymous: str, known: str) -> dict[str, Any]:
        """Make all that is known of one user part of another, who stays; returns what was found, by place, and more.

        The key must be an administrator's.
        """
        body = sending.json_body({"anonymous": anonymous, "known": known})
        request = {"content": body, "headers": sending.JSON, "timeout": CHANGE_TIMEOUT}
        return wire.answer_of(await self._send("POST", "/v1/merges", **request))

    async def delete_event(self, user: str, event: str) -> str:
        """Delete a user's event for good; returns the event's name in the audit. The key must be an administrator's."""
        path = wire.event_path(event)
        answer = await self._send("DELETE", path, params={"user": user}, timeout=CHANGE_TIMEOUT)
        return str(wire.answer_of(answer)["subject"])

    async def correct_event(self, user: str, event: str, **changes: Any) -> dict[str, Any]:
        """Change fields of a user's event; returns it as it is now. The key must be an administrator's."""
        path, body = wire.event_path(event), sending.json_body(changes)
        request = {"params": {"user": user}, "content": body, "headers": sending.JSON, "timeout": CHANGE_TIMEOUT}
        return wire.answer_of(await self._send("PATCH", path, **request))

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _deliver(self, kind: str, records: Sequence[Mapping[str, Any]]) -> Receipt:
        parts = []
        for start, body in sending.bodies(records):
            planned = sending.pauses()
            while True:
                try:
                    response = await self._send("POST", f"/v1/{kind}", content=body, headers=sending.JSON)
                    parts.append((start, sending.receipt(response)))
                    break
                except Unavailable as error:
                    await asyncio.sleep(sending.pause(error, next(planned, None)))
        return sending.join_receipts(parts)

    async def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            try:
                return await self._http.request(method, path, **request)
            except httpx.RemoteProtocolError:
                return await self._http.request(method, path, **request)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise wire.no_answer(self.url, error) from error


def _headers(key: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key is not None else {}


def _strict(strict: bool) -> dict[str, str]:
    return {"strict": "true"} if strict else {}
