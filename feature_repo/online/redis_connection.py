"""A Redis connection that all tasks of an event loop share, at a third of the cost of redis-py's pipelines.

Every command goes out at once, even while other replies are waited for; Redis answers in the order asked. redis-py
reads the URL (hosts, sockets, TLS, passwords), hiredis writes commands and parses replies.
"""

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, cast

import hiredis
import redis
import redis.asyncio

PATIENCE = 3.0
"""Seconds for connecting, and for a reply, unless the URL says `socket_connect_timeout` or `socket_timeout`."""

SPIN_SECONDS = 200e-6
"""How long a lone request polls for its reply: Redis answers in less time than the loop would take to wake up."""

SHARED_FOR, PROBE_EVERY = 256, 32
"""After two requests were under way at once, so many requests do not poll: while one polls, others cannot even begin.
And one of so many lone requests does not poll either, or requests beside it would never be noticed."""

READ_BYTES = 256 * 1024
INCOMPLETE = object()
_pack: Callable[[tuple[Any, ...]], bytes] = hiredis.pack_command  # its own type has one word
Loop = asyncio.AbstractEventLoop


class PipelinedRedis:
    """Commands to one server, from any number of tasks and event loops; each loop has a connection of its own.

    A connection that breaks, or is silent for too long, fails the requests that wait for it, and the next command opens
    a new one. Commands that a broken connection has not answered are sent once more: use it only for commands that may
    run twice.
    """

    def __init__(self, url: str) -> None:
        # Never connected: it is redis-py's reading of the URL.
        self._address = redis.asyncio.ConnectionPool.from_url(url).make_connection()
        self._patience: float = self._address.socket_timeout or PATIENCE
        self._connections: dict[Loop, _Connection] = {}
        self._connecting: dict[Loop, asyncio.Task[_Connection]] = {}

    async def ask(self, commands: Sequence[tuple[bytes, ...]]) -> list[Any]:
        """The reply to each command; raises redis.RedisError."""
        loop = asyncio.get_running_loop()
        packed = b"".join(map(_pack, commands))
        connection = self._connections.get(loop)
        if connection is not None and connection.alive:
            try:
                return await connection.ask(packed, len(commands))
            except redis.ConnectionError:
                pass  # it was idle for too long, or the server has restarted
        return await (await self._connected(loop)).ask(packed, len(commands))

    def close(self) -> None:
        connection = self._connections.pop(asyncio.get_running_loop(), None)
        if connection is not None:
            connection.close()

    async def _connected(self, loop: Loop) -> "_Connection":
        """A new connection, shared by all tasks that want one at this moment."""
        connection = self._connections.get(loop)
        if connection is not None and connection.alive:
            return connection
        task = self._connecting.get(loop)
        if task is None:
            task = self._connecting[loop] = loop.create_task(self._connect(loop))
            task.add_done_callback(lambda _: self._connecting.pop(loop))
        return await asyncio.shield(task)  # a cancelled task leaves it to the others

    async def _connect(self, loop: Loop) -> "_Connection":
        address = self._address
        try:
            async with asyncio.timeout(address.socket_connect_timeout or PATIENCE):
                connection = await _open(address, loop, self._patience)
                try:
                    await connection.ask(*_greeting(address))
                except BaseException:
                    connection.close()
                    raise
        except TimeoutError as error:
            raise redis.TimeoutError("no connection in time") from error
        except OSError as error:
            raise redis.ConnectionError(str(error)) from error
        self._connections = {other: kept for other, kept in self._connections.items() if not other.is_closed()}
        self._connections[loop] = connection
        return connection


async def _open(address: Any, loop: Loop, patience: float) -> "_Connection":
    def protocol() -> _Connection:
        return _Connection(loop, patience)

    if isinstance(address, redis.asyncio.UnixDomainSocketConnection):
        return (await loop.create_unix_connection(protocol, address.path))[1]
    tls = address.ssl_context.get() if isinstance(address, redis.asyncio.SSLConnection) else None
    return (await loop.create_connection(protocol, address.host, address.port, ssl=tls))[1]


def _greeting(address: Any) -> tuple[bytes, int]:
    """The packed commands that begin a connection, and their number."""
    commands: list[tuple[Any, ...]] = [("SELECT", int(address.db or 0))]
    if address.password:
        commands.insert(0, ("AUTH", *([address.username] if address.username else []), address.password))
    return b"".join(map(_pack, commands)), len(commands)


class _PendingRequest:
    """A request whose replies are waited for."""

    __slots__ = ("expected", "replies", "reply", "since")

    def __init__(self, reply: "asyncio.Future[list[Any]]", expected: int, since: float) -> None:
        self.reply, self.expected, self.since = reply, expected, since
        self.replies: list[Any] = []


class _Connection(asyncio.Protocol):
    """A connection that sends bytes and hands out replies; nothing else may use its transport."""

    def __init__(self, loop: Loop, patience: float) -> None:
        self.alive = False
        self._loop = loop
        self._patience = patience
        self._reader = hiredis.Reader(
            protocolError=redis.InvalidResponse, replyError=redis.ResponseError, notEnoughData=INCOMPLETE
        )
        self._waiting: deque[_PendingRequest] = deque()
        self._held: list[bytes] = []
        self._watch: asyncio.TimerHandle | None = None
        self._shared = 0
        self._socket: int | None = None

    def ask(self, packed: bytes, commands: int) -> "asyncio.Future[list[Any]]":
        """Send commands; the future gets their replies, or a redis.RedisError."""
        loop = self._loop
        request = _PendingRequest(loop.create_future(), commands, loop.time())
        if not commands:
            request.reply.set_result([])
        elif not self.alive:
            request.reply.set_exception(redis.ConnectionError("the connection is closed"))
        else:
            alone = self._alone()
            self._send(packed)
            self._waiting.append(request)
            if alone and self._socket is not None and not self._transport.get_write_buffer_size():
                self._spin(self._socket, request)
            if self._watch is None:
                self._watch = loop.call_later(self._patience, self._look)
        return request.reply

    def close(self) -> None:
        """Close the connection; requests that wait fail."""
        self._fail(redis.ConnectionError("the connection was closed"))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if transport.get_extra_info("ssl_object") is None:
            self._socket = transport.get_extra_info("socket").fileno()
        self.alive = True

    def data_received(self, data: bytes) -> None:
        """Hand out the replies that are complete."""
        reader, waiting = self._reader, self._waiting
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not INCOMPLETE:
                request = waiting[0]
                request.replies.append(reply)
                if len(request.replies) == request.expected:
                    _hand_over(waiting.popleft())
        except (redis.InvalidResponse, IndexError) as error:  # no Redis, or a reply without a request
            self._fail(redis.ConnectionError(f"what answers is no Redis: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the requests that wait."""
        self._fail(redis.ConnectionError(str(exc or "the server closed the connection")))

    def _alone(self) -> bool:
        """Whether a new request is the only one under way, and usually is."""
        if self._waiting:
            self._shared = SHARED_FOR
            return False
        self._shared -= 1
        return self._shared < 0 and self._shared % PROBE_EVERY != 0

    def _spin(self, socket: int, request: _PendingRequest) -> None:
        """Read the reply without the loop, unless it takes long; the transport reads later replies."""
        end = time.perf_counter() + SPIN_SECONDS
        while not request.reply.done() and time.perf_counter() < end:
            try:
                data = os.read(socket, READ_BYTES)
            except BlockingIOError:
                continue
            except OSError:  # the transport is about to find out
                return
            if not data:
                return
            self.data_received(data)

    def _send(self, packed: bytes) -> None:
        """Send at once when no request waits; else in one packet with all that comes in this turn of the loop."""
        if not self._waiting:
            self._transport.write(packed)
            return
        self._held.append(packed)
        if len(self._held) == 1:
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        if self.alive:
            self._transport.write(b"".join(self._held))
        self._held.clear()

    def _look(self) -> None:
        """Give up on a server that is silent for too long; one timer serves all requests."""
        self._watch = None
        if not self._waiting:
            return
        due = self._waiting[0].since + self._patience
        if self._loop.time() >= due:
            self._fail(redis.TimeoutError(f"no answer for {self._patience:g} s"))
        else:
            self._watch = self._loop.call_at(due, self._look)

    def _fail(self, error: redis.RedisError) -> None:
        if self.alive:
            self.alive = False
            self._transport.abort()
        if self._watch is not None:
            self._watch.cancel()
        while self._waiting:
            request = self._waiting.popleft()
            if not request.reply.done():
                request.reply.set_exception(error)


def _hand_over(request: _PendingRequest) -> None:
    if request.reply.done():  # the caller has gone
        return
    for reply in request.replies:
        if isinstance(reply, redis.ResponseError):
            request.reply.set_exception(reply)
            return
    request.reply.set_result(request.replies)
