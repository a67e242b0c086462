"""An HTTP load generator: keep-alive connections on one event loop, just enough HTTP/1.1 to cost little.

`benchmarks.echo` shows what it can send at most: reads far below that are limited by the server.
"""

import asyncio
import time
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

import numpy as np
import uvloop  # Feast depends on uvicorn[standard], which brings it


@dataclass(frozen=True)
class Load:
    """What one run measured."""

    connections: int
    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def per_second(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


def request(url: str, body: bytes | None = None, accept: str = "application/json") -> bytes:
    """The bytes of a GET, or of a POST of JSON."""
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    method = "GET" if body is None else "POST"
    head = f"{method} {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nAccept: {accept}\r\n"
    if body is not None:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + (body or b"")


def measure(url: str, requests: list[bytes], connections: int, seconds: float, warm_up: float = 1.0) -> Load:
    """Send the requests round and round over that many connections; raises on any answer but 200."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_measure(url, requests, connections, seconds, warm_up))


async def _measure(url: str, requests: list[bytes], connections: int, seconds: float, warm_up: float) -> Load:
    start = time.perf_counter() + warm_up
    end = start + seconds
    parts = urlsplit(url)
    assert parts.hostname and parts.port
    # Each connection begins elsewhere in the list.
    talks = [_Talk(parts.hostname, parts.port, requests, place * 7919, start, end) for place in range(connections)]
    await asyncio.gather(*(talk.run() for talk in talks))
    taken = np.array([sample for talk in talks for sample in talk.taken])
    if not len(taken):
        raise RuntimeError(f"{url} answered nothing within {seconds} s")
    p50, p99 = np.percentile(taken, [50, 99]) * 1000
    return Load(connections, len(taken), seconds, float(p50), float(p99))


@dataclass
class _Talk:
    """One client: sends, waits for the answer, sends again; opens a new connection when the server closes."""

    host: str
    port: int
    requests: list[bytes]
    turn: int
    start: float
    end: float
    taken: list[float] = field(default_factory=list)

    async def run(self) -> None:
        """Talk until the end."""
        while time.perf_counter() < self.end:
            loop = asyncio.get_running_loop()
            closed: asyncio.Future[None] = loop.create_future()
            await loop.create_connection(lambda closed=closed: _Connection(self, closed), self.host, self.port)  # type: ignore[misc]
            await closed


class _Connection(asyncio.Protocol):
    """Counts the bytes of answers and keeps none of them."""

    def __init__(self, talk: _Talk, closed: asyncio.Future[None]) -> None:
        self._talk, self._closed = talk, closed
        self._head, self._missing, self._keep, self._sent = b"", 0, True, 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        try:
            arrived = len(data) if self._missing else self._begin(data)
            self._missing -= arrived
            if not self._missing and not self._head:
                self._answered()
        except Exception as error:
            self._fail(error)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._closed.done():
            self._closed.set_exception(exc) if exc else self._closed.set_result(None)

    def _begin(self, data: bytes) -> int:
        """Read the head; `_missing` becomes the length of the body, returned is how much of that is there."""
        self._head += data
        head, end, body = self._head.partition(b"\r\n\r\n")
        if not end:
            return 0
        status, _, fields = head.lower().partition(b"\r\n")
        if b" 200" not in status:
            raise RuntimeError(f"the server answered {self._head[:300]!r}")
        self._missing = int(fields.partition(b"content-length:")[2].partition(b"\r\n")[0])
        self._keep = b"connection: close" not in fields
        self._head = b""
        return len(body)

    def _answered(self) -> None:
        done = time.perf_counter()
        if self._sent >= self._talk.start and done <= self._talk.end:
            self._talk.taken.append(done - self._sent)
        if self._keep and done < self._talk.end:
            self._send()
        else:
            self._transport.close()

    def _send(self) -> None:
        requests = self._talk.requests
        self._talk.turn += 1
        self._sent = time.perf_counter()
        self._transport.write(requests[self._talk.turn % len(requests)])

    def _fail(self, error: Exception) -> None:
        if not self._closed.done():
            self._closed.set_exception(error)
        self._transport.abort()
