"""An open-loop load of events and reads that keeps its pace whatever the answers do, in a process of its own.

Each request leaves when it is due, over a connection of its own if need be. Times count from when the request was due,
so waiting here because the machine is busy counts too. For some events the load asks for their user until the
answer's `as_of` is after the event.
"""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from multiprocessing import get_context
from urllib.parse import urlsplit

import numpy as np
import orjson
import uvloop

from benchmarks.load import request
from benchmarks.wire import Answer, Pool
from portrait.serving.reads.answers import ARROW

LOOK_AGAIN = 0.01  # seconds between two looks for an event, at first
LOOK_UNTIL = 30.0
LATE = 30.0  # how long answers are waited for after the last request

EVENT, EVENTS, READ, READS = "event", "batch of events", "read", "batch of reads"


@dataclass(frozen=True)
class Plan:
    """What is sent. Users have their turn in a random order, so that none has two events at once."""

    url: str
    consumers: Sequence[str]
    users: Sequence[str]
    items: Sequence[tuple[str, str]]  # (service, item_id)
    seconds: float
    rate: float = 0.0  # events a second
    batch: int = 10  # events in a request
    singles: float = 0.1  # share of the events that come in a request of their own
    looked_for: float = 50.0  # events a second that are looked for
    reads: float = 0.0  # single users a second
    batch_reads: float = 0.0  # requests a second for `batch_users` each
    batch_users: int = 100
    seed: int = 0


@dataclass(frozen=True)
class Requests:
    """All requests of one kind: when they were due, in seconds from the start, and how long the answers took."""

    due: np.ndarray  # float64 [n]
    taken: np.ndarray  # float64 [n], seconds

    def milliseconds(self, quantile: float) -> float:
        """A quantile of what they took; NaN without any."""
        return float(np.quantile(self.taken, quantile) * 1000) if len(self.taken) else float("nan")

    def between(self, start: float, end: float) -> "Requests":
        """Those that were due within a time."""
        inside = (self.due >= start) & (self.due < end)
        return Requests(self.due[inside], self.taken[inside])


@dataclass(frozen=True)
class Flow:
    """What came of a plan."""

    events: int  # accepted
    answers: dict[str, Requests]  # good ones, by kind
    readable: Requests  # from when an event was due until it could be read
    unseen: int  # looked for in vain
    errors: Counter[str]
    late_ms: float  # 99th percentile of how late requests left
    connections: int
    cpu_seconds: float  # of this generator


def run(plan: Plan) -> Flow:
    """Carry out a plan in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(generate, plan).result()


def generate(plan: Plan) -> Flow:
    """Carry out a plan in this process."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_Generator(plan).run())


def due_times(rate: float, seconds: float) -> np.ndarray:
    """Equal distances, beginning half of one after the start."""
    return (np.arange(int(rate * seconds)) + 0.5) / rate if rate > 0 else np.zeros(0)


@dataclass
class _Kept:
    due: list[float] = field(default_factory=list)
    taken: list[float] = field(default_factory=list)

    def add(self, due: float, taken: float) -> None:
        self.due.append(due)
        self.taken.append(taken)

    def done(self) -> Requests:
        return Requests(np.array(self.due), np.array(self.taken))


class _Generator:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        rng = np.random.default_rng(plan.seed)
        self._order = rng.permutation(len(plan.users)).tolist()
        self._turn, self._number = count(), count()
        self._name = uuid.uuid4().hex[:12]  # of this run: another one on the same instance sends other events
        self._rng = rng
        address = urlsplit(plan.url)
        assert address.hostname and address.port
        self._pool = Pool(address.hostname, address.port)
        self._answers = {kind: _Kept() for kind in (EVENT, EVENTS, READ, READS)}
        self._readable = _Kept()
        self._errors: Counter[str] = Counter()
        self._events = self._unseen = 0
        self._late: list[float] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> Flow:
        cpu, self._start = time.process_time(), time.perf_counter()
        for due, work in self._schedule():
            while (wait := due - self._now()) > 0:  # timers may be a millisecond early
                await asyncio.sleep(wait)
            self._late.append(max(self._now() - due, 0.0))
            self._begin(work(due))
        end = time.perf_counter() + LATE
        while self._tasks and time.perf_counter() < end:  # an answer may begin to look for its event
            await asyncio.wait(self._tasks, timeout=end - time.perf_counter())
        if self._tasks:
            self._errors["no answer"] += len(self._tasks)
        self._pool.close()
        return Flow(
            events=self._events,
            answers={kind: kept.done() for kind, kept in self._answers.items()},
            readable=self._readable.done(),
            unseen=self._unseen,
            errors=self._errors,
            late_ms=float(np.quantile(self._late, 0.99) * 1000) if self._late else 0.0,
            connections=self._pool.opened,
            cpu_seconds=time.process_time() - cpu,
        )

    def _schedule(self) -> list[tuple[float, Callable[[float], Awaitable[None]]]]:
        plan = self._plan
        kinds: list[tuple[float, Callable[[float], Awaitable[None]]]] = [
            (plan.rate * plan.singles, lambda due: self._send(due, 1)),
            (plan.rate * (1 - plan.singles) / plan.batch, lambda due: self._send(due, plan.batch)),
            (plan.reads, self._read),
            (plan.batch_reads, self._read_batch),
        ]
        whole = [(due, work) for rate, work in kinds for due in due_times(rate, plan.seconds).tolist()]
        return sorted(whole, key=lambda one: one[0])

    async def _send(self, due: float, size: int) -> None:
        now = datetime.now(UTC)
        users = [self._user() for _ in range(size)]
        events = [self._event(user, now) for user in users]
        kind = EVENT if size == 1 else EVENTS
        answer = await self._exchange(kind, due, request(f"{self._plan.url}/v1/events", orjson.dumps(events)), 202)
        if answer is None:
            return
        receipt = orjson.loads(answer.body)
        self._events += receipt["accepted"]
        if receipt["rejected"]:
            self._errors[f"rejected: {receipt['rejected'][0]['reason']}"] += len(receipt["rejected"])
        elif self._rng.random() < self._plan.looked_for * size / self._plan.rate:
            self._begin(self._look_for(due, users[0], now))

    async def _look_for(self, due: float, user: str, time: datetime) -> None:
        consumers = self._plan.consumers
        path = f"{self._plan.url}/v1/consumers/{consumers[next(self._number) % len(consumers)]}/embeddings/{user}"
        asked = request(path)
        while self._now() < due + LOOK_UNTIL:
            try:
                answer = await self._pool.exchange(asked)
            except OSError as error:
                self._errors[type(error).__name__] += 1
                return
            if answer.status == 200 and datetime.fromisoformat(orjson.loads(answer.body)["as_of"]) > time:
                self._readable.add(due, self._now() - due)
                return
            # What takes long is not looked at more often than it matters.
            await asyncio.sleep(max(LOOK_AGAIN, 0.05 * (self._now() - due)))
        self._unseen += 1

    async def _read(self, due: float) -> None:
        await self._exchange(READ, due, request(f"{self._path()}/{self._user()}"), 200)

    async def _read_batch(self, due: float) -> None:
        users = orjson.dumps({"users": [self._user() for _ in range(self._plan.batch_users)]})
        accept = ARROW if next(self._number) % 2 else "application/json"
        await self._exchange(READS, due, request(self._path(), users, accept), 200)

    async def _exchange(self, kind: str, due: float, sent: bytes, wanted: int) -> Answer | None:
        try:
            answer = await self._pool.exchange(sent)
        except OSError as error:
            self._errors[f"{kind}: {type(error).__name__}"] += 1
            return None
        if answer.status != wanted:
            self._errors[f"{kind}: {answer.status}"] += 1
            return None
        self._answers[kind].add(due, self._now() - due)
        return answer

    def _path(self) -> str:
        consumers = self._plan.consumers
        return f"{self._plan.url}/v1/consumers/{consumers[next(self._number) % len(consumers)]}/embeddings"

    def _event(self, user: str, now: datetime) -> dict[str, object]:
        number = next(self._number)
        service, item = self._plan.items[number % len(self._plan.items)]
        return {
            "event_id": f"{self._name}-{number}",
            "user_id": user,
            "item_id": item,
            "service": service,
            "event_time": now.isoformat(),
        }

    def _user(self) -> str:
        place: int = self._order[next(self._turn) % len(self._order)]
        return self._plan.users[place]

    def _begin(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _now(self) -> float:
        return time.perf_counter() - self._start
