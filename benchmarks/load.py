"""A load generator: keep-alive connections on one event loop, just enough HTTP/1.1 to cost little.

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
    requests: int  # answered within the seconds
    seconds: float
    p50_ms: float
    p99_ms: float
    answered: int  # with those of the warm-up

    @property
    def per_second(self) -> float:
        """Answered requests a second."""
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


def measure(url: str, requests: list[bytes], connections: int, seconds: float, warm_up: float) -> Load:
    """Send the requests round and round over that many connections; raises on any answer but 200.

    What is answered after `warm_up` counts. A server so slow that there are fewer answers than connections in
    `seconds` gets the time for them.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_measure(url, requests, connections, seconds, warm_up))


async def _measure(url: str, requests: list[bytes], connections: int, seconds: float, warm_up: float) -> Load:
    start = time.perf_counter() + warm_up
    window = _Window(start, start + seconds, connections)
    parts = urlsplit(url)
    assert parts.hostname and parts.port
    # Each connection begins elsewhere in the list.
    address, kind = (parts.hostname, parts.port), CONNECTIONS[parts.scheme]
    talks = [_Talk(*address, requests, place * 7919, window, kind) for place in range(connections)]
    await asyncio.gather(*(talk.run() for talk in talks))
    p50, p99 = np.percentile(window.taken, [50, 99]) * 1000
    taken, lasted = len(window.taken), window.end - start
    return Load(connections, taken, lasted, float(p50), float(p99), window.answered)


@dataclass
class _Window:
    """The time of which the answers count, however long ago they were asked for."""

    start: float
    end: float  # moves on while there are fewer than `least` answers
    least: int
    taken: list[float] = field(default_factory=list)
    answered: int = 0

    def open(self, now: float) -> bool:
        """Whether more is to be asked."""
        return now < self.end or len(self.taken) < self.least

    def add(self, sent: float, done: float) -> None:
        """Count an answer."""
        self.answered += 1
        if done >= self.start and self.open(done):
            self.taken.append(done - sent)
            self.end = max(self.end, done)


@dataclass
class _Talk:
    """One client: sends, waits for the answer, sends again; opens a new connection when the server closes."""

    host: str
    port: int
    requests: list[bytes]
    turn: int
    window: _Window
    kind: "type[Connection]"

    async def run(self) -> None:
        while self.window.open(time.perf_counter()):
            loop = asyncio.get_running_loop()
            closed: asyncio.Future[None] = loop.create_future()
            await loop.create_connection(lambda closed=closed: self.kind(self, closed), self.host, self.port)  # type: ignore[misc]
            await closed


class Connection(asyncio.Protocol):
    """Asks, and asks again as soon as the answer is there; what an answer is, subclasses know."""

    def __init__(self, talk: _Talk, closed: asyncio.Future[None]) -> None:
        self._talk, self._closed = talk, closed
        self._keep, self._sent = True, 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        """Parse the received bytes, and hand out a complete answer."""
        try:
            if self._complete(data):
                self._answered()
        except Exception as error:
            self._fail(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the request that waits."""
        if not self._closed.done():
            self._closed.set_exception(exc) if exc else self._closed.set_result(None)

    def _complete(self, data: bytes) -> bool:
        """Whether the answer is complete with these bytes."""
        raise NotImplementedError

    def _answered(self) -> None:
        done, window = time.perf_counter(), self._talk.window
        window.add(self._sent, done)
        if self._keep and window.open(done):
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


class Http(Connection):
    """Counts the bytes of answers and keeps none of them."""

    _head, _missing = b"", 0

    def _complete(self, data: bytes) -> bool:
        arrived = len(data) if self._missing else self._begin(data)
        self._missing -= arrived
        return not self._missing and not self._head

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


CONNECTIONS: dict[str, type[Connection]] = {"http": Http}
"""By the scheme of the URL."""
