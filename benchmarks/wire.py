"""An HTTP client whose requests do not wait for each other: keep-alive connections and just enough HTTP/1.1."""

import asyncio
from typing import NamedTuple, cast


class Answer(NamedTuple):
    """What came back."""

    status: int
    body: bytes


class Pool:
    """Connections to one server. A request takes an idle one, or opens another."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._idle: list[_Connection] = []
        self.opened = 0

    async def exchange(self, request: bytes) -> Answer:
        """Send a request (see benchmarks.load.request), and wait for its answer; raises OSError when there is none."""
        connection = await self._connection()
        answer = await connection.exchange(request)
        if connection.usable:
            self._idle.append(connection)
        return answer

    def close(self) -> None:
        """Close the idle connections."""
        for connection in self._idle:
            connection.close()

    async def _connection(self) -> "_Connection":
        while self._idle:
            connection = self._idle.pop()  # the one used last: the others may close for want of work
            if connection.usable:
                return connection
        self.opened += 1
        loop = asyncio.get_running_loop()
        _, opened = await loop.create_connection(_Connection, self._host, self._port)
        return opened


class _Connection(asyncio.Protocol):
    """One request at a time; answers have to say how long they are."""

    def __init__(self) -> None:
        self.usable = True
        self._received = b""
        self._whole = -1  # length of head and body, once the head is there
        self._waiter: asyncio.Future[Answer] | None = None

    async def exchange(self, request: bytes) -> Answer:
        self._received, self._whole = b"", -1
        self._waiter = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._waiter

    def close(self) -> None:
        self.usable = False
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._whole < 0:
            head, end, _ = self._received.partition(b"\r\n\r\n")
            if not end:
                return
            fields = head.lower()
            length = fields.partition(b"content-length:")[2].partition(b"\r\n")[0]
            self._whole = len(head) + len(end) + int(length or 0)
            self.usable = self.usable and b"connection: close" not in fields
        if len(self._received) >= self._whole and self._waiter is not None and not self._waiter.done():
            head, _, body = self._received.partition(b"\r\n\r\n")
            self._waiter.set_result(Answer(int(head.split(b" ", 2)[1]), body))

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(exc or ConnectionResetError("the server closed the connection"))
