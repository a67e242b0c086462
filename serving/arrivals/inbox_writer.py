"""Group commit: the records that wait are accepted in one transaction, then their requests are answered."""

import asyncio
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from portrait.feature_repo.broker.broker import Broker
from portrait.feature_repo.broker.records import stream_record
from portrait.feature_repo.log.inbox import ArrivingRecord, Inbox, InboxOutcome
from portrait.registry.errors import Conflict, Unavailable

GROUP = 4_000
"""The most records in one transaction, except for a larger single request."""

PACE = 0.01
"""Seconds from the beginning of one transaction to that of the next, unless a whole group waits.

A transaction costs as much as sixty records, and SQLite has other writers.
"""

CLOSE_SECONDS = 20.0
"""How long closing waits until the records that wait are committed, even while the registry is away."""


class ArrivedRecord(NamedTuple):
    """A valid record, and the JSON object that it was parsed from."""

    arriving: ArrivingRecord
    record: Mapping[str, object]


Accept = Callable[[Sequence[ArrivedRecord]], list[InboxOutcome]]
"""A function that makes records durable, all or none, and returns the outcome of each; raises Unavailable."""


def into_inbox(inbox: Inbox) -> Accept:
    """A function that accepts into the inbox: records are durable as soon as the transaction has committed."""
    return lambda arrived: inbox.accept([one.arriving for one in arrived])


def into_broker(broker: Broker) -> Accept:
    """A function that accepts into the broker's streams: records are as durable as the broker.

    Known ids, taken ids and forgotten users are found only when the streams are read.
    """

    def append(arrived: Sequence[ArrivedRecord]) -> list[InboxOutcome]:
        broker.append([stream_record(*one) for one in arrived])
        return [InboxOutcome.ACCEPTED] * len(arrived)

    return append


Answer = list[InboxOutcome] | Exception


@dataclass(frozen=True)
class _WriteRequest:
    records: Sequence[ArrivedRecord]
    loop: asyncio.AbstractEventLoop
    answer: "asyncio.Future[list[InboxOutcome]]"


class InboxWriter:
    """One thread that commits the records of all requests of a replica; at most `limit` records wait for it.

    While one transaction commits, records gather for the next one: under load the groups grow.
    """

    def __init__(self, accept: Accept, limit: int) -> None:
        self._accept = accept
        self._limit = limit
        self._queue: deque[_WriteRequest] = deque()
        self._waiting = 0  # records queued or being committed
        self._earliest = 0.0  # when the next transaction may begin
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="inbox", daemon=True)

    async def write(self, records: Sequence[ArrivedRecord]) -> list[InboxOutcome]:
        """The outcome of each record, once it is durable.

        Raises Unavailable, at once when too many records wait, or when the registry or the broker is away; then the
        records may be sent again.
        """
        loop = asyncio.get_running_loop()
        request = _WriteRequest(records, loop, loop.create_future())
        with self._changed:
            if self._closed:
                raise Unavailable("the gateway is stopping: send it again")
            # A request larger than the whole queue still goes through when nothing else waits.
            if self._waiting and self._waiting + len(records) > self._limit:
                raise Unavailable(f"{self._waiting:,} records wait to be committed already: send it again in a moment")
            self._waiting += len(records)
            self._queue.append(request)
            if len(self._queue) == 1 or self._waiting >= GROUP:
                self._changed.notify()
        return await request.answer

    def start(self) -> None:
        """Start the thread; records are accepted from now on."""
        self._thread.start()

    def close(self) -> None:
        """Commit the records that wait, then stop; later ones are refused."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        while group := self._next_group():
            answers = self._answers(group)
            with self._changed:
                self._waiting -= sum(len(request.records) for request in group)
            _resolve(group, answers)

    def _next_group(self) -> list[_WriteRequest]:
        """The requests of the next transaction; none once the writer is closed and nothing waits."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closed)
            early = self._earliest - time.monotonic()
            if early > 0:
                self._changed.wait_for(lambda: self._waiting >= GROUP or self._closed, early)
            self._earliest = time.monotonic() + PACE
            group: list[_WriteRequest] = []
            size = 0
            while self._queue and (not group or size + len(self._queue[0].records) <= GROUP):
                group.append(self._queue.popleft())
                size += len(group[-1].records)
            return group

    def _answers(self, group: Sequence[_WriteRequest]) -> list[Answer]:
        answer = self._outcomes([record for request in group for record in request.records])
        if isinstance(answer, list):
            outcomes = iter(answer)
            return [[next(outcomes) for _ in request.records] for request in group]
        if len(group) == 1 or isinstance(answer, Unavailable):
            return [answer] * len(group)
        # One of the requests fails: commit each by itself, so that the others succeed.
        return [self._outcomes(request.records) for request in group]

    def _outcomes(self, records: Sequence[ArrivedRecord]) -> Answer:
        try:
            return self._accept(records)
        except Conflict as error:  # two gateways got the same ids at once: sent again, they are known
            return Unavailable(str(error))
        except Exception as error:  # goes to the requests that wait; the thread goes on
            return error


def _resolve(group: Sequence[_WriteRequest], answers: Sequence[Answer]) -> None:
    """Hand out the answers of a group, waking each event loop once instead of once a request."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_WriteRequest, Answer]]] = defaultdict(list)
    for request, answer in zip(group, answers, strict=True):
        by_loop[request.loop].append((request, answer))
    for loop, done in by_loop.items():
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_hand_out, done)


def _hand_out(done: Sequence[tuple[_WriteRequest, Answer]]) -> None:
    for request, answer in done:
        if request.answer.done():  # whoever asked has hung up
            continue
        if isinstance(answer, list):
            request.answer.set_result(answer)
        else:
            request.answer.set_exception(answer)
