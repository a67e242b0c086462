"""The generator keeps its pace, and tells what came of each request."""

import asyncio
import queue
import socket
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import numpy as np
import orjson
import pytest

from benchmarks.open_loop import EVENT, EVENTS, READ, READS, Plan, Requests, due_times, generate
from benchmarks.watching import Series, difference

Handler = Callable[[str, bytes], Awaitable[tuple[int, object]]]
USERS = [f"u{number}" for number in range(200)]


def test_requests_are_due_in_equal_distances() -> None:
    assert due_times(4, 1).tolist() == [0.125, 0.375, 0.625, 0.875]
    assert due_times(0, 10).tolist() == []


def test_quantiles_are_of_what_was_due_within_a_time() -> None:
    requests = Requests(np.array([0.0, 1.0, 2.0]), np.array([0.1, 0.2, 0.3]))
    assert requests.milliseconds(0.5) == pytest.approx(200)
    assert requests.between(1.0, 2.0).milliseconds(0.5) == pytest.approx(200)
    assert np.isnan(requests.between(5.0, 6.0).milliseconds(0.5))


def test_a_backlog_that_grows_has_a_slope() -> None:
    series = Series([0.0, 1.0, 2.0, 3.0], [50.0, 0.0, 10.0, 20.0])
    assert series.slope(1.0) == pytest.approx(10.0)
    assert series.mean(1.0, 3.0) == pytest.approx(5.0)
    assert difference({"a": 3.0, "new": 1.0}, {"a": 1.0, "old": 9.0}) == {"a": 2.0, "new": 1.0}


class Follower:
    """Answers as a gateway whose vectors know an event some answers after it was accepted."""

    def __init__(self) -> None:
        self.requests: list[int] = []
        self.looks: Counter[str] = Counter()

    async def __call__(self, target: str, body: bytes) -> tuple[int, object]:
        if target.endswith("/v1/events"):
            events = orjson.loads(body)
            self.requests.append(len(events))
            return 202, {"accepted": len(events), "known": 0, "rejected": []}
        if body:
            return 200, {"embeddings": len(orjson.loads(body)["users"])}
        self.looks[target] += 1
        known = self.looks[target] == 3
        return 200, {"as_of": (datetime.now(UTC) if known else datetime(2025, 1, 1, tzinfo=UTC)).isoformat()}


def test_events_are_sent_in_the_shape_that_was_asked_for_and_looked_for() -> None:
    follower = Follower()
    with served(follower) as url:
        flow = generate(plan(url, rate=200, singles=0.5, batch=10, looked_for=200, seconds=0.5))
    assert flow.events == sum(follower.requests) == 100 and not flow.errors
    assert follower.requests.count(1) == 50 and follower.requests.count(10) == 5
    assert {kind: len(requests.taken) for kind, requests in flow.answers.items()} == {
        EVENT: 50,
        EVENTS: 5,
        READ: 0,
        READS: 0,
    }
    assert len(flow.readable.taken) > 20 and follower.looks.total() == 3 * len(flow.readable.taken)
    # Two pauses of 10 ms, each of which a timer may end up to a millisecond early.
    assert (flow.readable.taken > 0.018).all() and flow.unseen == 0


def test_a_slow_answer_holds_up_no_other_request() -> None:
    async def slowly(target: str, _body: bytes) -> tuple[int, object]:
        await asyncio.sleep(0.3)
        return 200, {}

    with served(slowly) as url:
        flow = generate(plan(url, reads=100, seconds=0.2))
    taken = flow.answers[READ].taken
    assert len(taken) == 20 and flow.connections == 20
    assert (taken > 0.3).all()


def test_refusals_and_broken_connections_are_errors_by_kind() -> None:
    async def refusing(target: str, body: bytes) -> tuple[int, object]:
        return (503 if body else 404), {}

    with served(refusing) as url:
        flow = generate(plan(url, rate=20, singles=1.0, reads=20, batch_reads=10, seconds=0.5))
    assert flow.errors == {"event: 503": 10, "read: 404": 10, "batch of reads: 503": 5} and flow.events == 0
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert generate(plan(f"http://127.0.0.1:{port}", reads=10, seconds=0.5)).errors == {
        "read: ConnectionRefusedError": 5
    }


def plan(url: str, **changes: float) -> Plan:
    return Plan(url=url, consumers=("one", "two"), users=USERS, items=[("music", "m1")], **changes)  # type: ignore[arg-type]


@contextmanager
def served(handler: Handler) -> Iterator[str]:
    """A server of one event loop in a thread."""
    ports: queue.Queue[int] = queue.Queue()
    ended = threading.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
                body = await reader.readexactly(length)
                status, answer = await handler(head.split(b" ")[1].decode(), body)
                content = orjson.dumps(answer)
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(content), content))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def serve() -> None:
        async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
            ports.put(server.sockets[0].getsockname()[1])
            while not ended.is_set():
                await asyncio.sleep(0.01)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        yield f"http://127.0.0.1:{ports.get(timeout=10)}"
    finally:
        ended.set()
        thread.join()
