"""An HTTP load generator: keep-alive connections on one event loop, just enough HTTP/1.1 to cost little."""

import asyncio
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray


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
    return asyncio.run(_measure(url, requests, connections, seconds, warm_up))


async def _measure(url: str, requests: list[bytes], connections: int, seconds: float, warm_up: float) -> Load:
    start = time.perf_counter() + warm_up
    end = start + seconds
    parts = urlsplit(url)
    assert parts.hostname and parts.port
    talks = (_talk(parts.hostname, parts.port, requests, offset, start, end) for offset in range(connections))
    taken = np.concatenate(await asyncio.gather(*talks))
    p50, p99 = np.percentile(taken, [50, 99]) * 1000
    return Load(connections, len(taken), seconds, float(p50), float(p99))


async def _talk(
    host: str, port: int, requests: list[bytes], offset: int, start: float, end: float
) -> NDArray[np.float64]:
    reader, writer = await asyncio.open_connection(host, port)
    taken: list[float] = []
    turn = offset * 7919  # each connection begins elsewhere in the list
    while (sent := time.perf_counter()) < end:
        writer.write(requests[turn % len(requests)])
        open_still = await _answer(reader)
        done = time.perf_counter()
        if sent >= start and done <= end:
            taken.append(done - sent)
        if not open_still:
            writer.close()
            reader, writer = await asyncio.open_connection(host, port)
        turn += 1
    writer.close()
    return np.array(taken)


async def _answer(reader: asyncio.StreamReader) -> bool:
    """Read one answer; whether the connection may be used again."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    status, _, fields = head.partition(b"\r\n")
    if b" 200 " not in status:
        raise RuntimeError(f"the server answered {status!r}")
    length = fields.partition(b"content-length:")[2].partition(b"\r\n")[0]
    await reader.readexactly(int(length))
    return b"connection: close" not in fields
