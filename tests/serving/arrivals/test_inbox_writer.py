"""Group commit: waiting records are committed together, answered afterwards, and one bad request harms no other."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

import pytest

from portrait.feature_repo.log.inbox import ArrivingRecord, InboxOutcome
from portrait.feature_repo.log.manifest import SegmentKind
from portrait.registry.errors import Conflict, InvalidInput, Unavailable
from portrait.serving.arrivals import inbox_writer
from portrait.serving.arrivals.inbox_writer import ArrivedRecord, InboxWriter


def records(*names: str) -> list[ArrivedRecord]:
    return [ArrivedRecord(ArrivingRecord(SegmentKind.USERS, 0, name, name), {}) for name in names]


class Log:
    """Accepts in groups, each when it is let; a record named `poison` cannot be stored."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.entered = threading.Semaphore(0)
        self.let = threading.Semaphore(0)
        self.error: Exception | None = None

    def accept(self, arrived: Sequence[ArrivedRecord]) -> list[InboxOutcome]:
        self.entered.release()
        assert self.let.acquire(timeout=30)
        if self.error:
            raise self.error
        names = [one.arriving.payload for one in arrived]
        if "poison" in names:
            raise InvalidInput("cannot store this value")
        self.groups.append(names)
        return [InboxOutcome.KNOWN if name == "known" else InboxOutcome.ACCEPTED for name in names]

    def let_all(self) -> None:
        for _ in range(1000):
            self.let.release()


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def writer(log: Log) -> Iterator[InboxWriter]:
    made = InboxWriter(log.accept, limit=10)
    made.start()
    yield made
    log.let_all()
    made.close()


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def within() -> None:
        await asyncio.wait_for(work(), 30)

    asyncio.run(within())


async def entered(log: Log) -> None:
    assert await asyncio.to_thread(log.entered.acquire, timeout=30)


def test_what_waits_goes_together_and_is_answered_after_the_commit(writer: InboxWriter, log: Log) -> None:
    async def work() -> None:
        first = asyncio.create_task(writer.write(records("a")))
        await entered(log)
        others = [asyncio.create_task(writer.write(records(*names))) for names in (("b", "known"), ("c",), ("d",))]
        await asyncio.sleep(0.05)
        assert not first.done() and not any(one.done() for one in others) and log.groups == []
        log.let_all()
        assert await first == [InboxOutcome.ACCEPTED]
        assert await asyncio.gather(*others) == [
            [InboxOutcome.ACCEPTED, InboxOutcome.KNOWN],
            [InboxOutcome.ACCEPTED],
            [InboxOutcome.ACCEPTED],
        ]
        assert log.groups == [["a"], ["b", "known", "c", "d"]]

    run(work)


def test_a_group_is_bounded(writer: InboxWriter, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_writer, "GROUP", 3)

    async def work() -> None:
        first = asyncio.create_task(writer.write(records("a")))
        await entered(log)
        others = [asyncio.create_task(writer.write(records(*names))) for names in ("bc", "d", "ef", "ghi")]
        await asyncio.sleep(0.05)
        log.let_all()
        await asyncio.gather(first, *others)
        assert log.groups == [["a"], ["b", "c", "d"], ["e", "f"], ["g", "h", "i"]]

    run(work)


def test_transactions_keep_a_pace_until_a_group_is_full(
    writer: InboxWriter, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox_writer, "PACE", 3600.0)
    monkeypatch.setattr(inbox_writer, "GROUP", 3)
    log.let_all()

    async def work() -> None:
        assert await writer.write(records("a")) == [InboxOutcome.ACCEPTED]  # nothing came before: at once
        waiting = [asyncio.create_task(writer.write(records(name))) for name in "bc"]
        await asyncio.sleep(0.05)
        assert log.groups == [["a"]]
        await asyncio.gather(writer.write(records("d")), *waiting)
        assert log.groups == [["a"], ["b", "c", "d"]]
        last = asyncio.create_task(writer.write(records("e")))
        await asyncio.sleep(0)
        await asyncio.to_thread(writer.close)  # which waits for no pace
        assert await last == [InboxOutcome.ACCEPTED]

    run(work)


def test_more_than_the_limit_is_refused_at_once(writer: InboxWriter, log: Log) -> None:
    async def work() -> None:
        first = asyncio.create_task(writer.write(records(*"abcdef")))
        await entered(log)
        second = asyncio.create_task(writer.write(records(*"ghij")))
        await asyncio.sleep(0.05)
        with pytest.raises(Unavailable, match="10 records wait"):
            await writer.write(records("k"))
        log.let_all()
        await asyncio.gather(first, second)
        assert await writer.write(records(*map(str, range(11)))) == [InboxOutcome.ACCEPTED] * 11

    run(work)


def test_a_registry_that_is_away_is_told_to_everybody_in_the_group(writer: InboxWriter, log: Log) -> None:
    async def work() -> None:
        log.error = Unavailable("away")
        first = asyncio.create_task(writer.write(records("a")))
        await entered(log)
        others = [asyncio.create_task(writer.write(records(name))) for name in "bc"]
        await asyncio.sleep(0.05)
        log.let.release(2)
        for one in (first, *others):
            with pytest.raises(Unavailable, match="away"):
                await one
        log.error = None
        log.let_all()
        assert await writer.write(records("d")) == [InboxOutcome.ACCEPTED]

    run(work)


@pytest.mark.parametrize(("error", "seen"), [(Conflict("two at once"), Unavailable), (ValueError("bug"), ValueError)])
def test_other_errors_and_the_writer_lives_on(writer: InboxWriter, log: Log, error: Exception, seen: type) -> None:
    async def work() -> None:
        log.let_all()
        log.error = error
        with pytest.raises(seen, match=str(error)):
            await writer.write(records("a"))
        log.error = None
        assert await writer.write(records("b")) == [InboxOutcome.ACCEPTED]

    run(work)


def test_a_record_that_cannot_be_stored_fails_its_own_request_only(writer: InboxWriter, log: Log) -> None:
    async def work() -> None:
        first = asyncio.create_task(writer.write(records("a")))
        await entered(log)
        good, bad, last = (asyncio.create_task(writer.write(records(*names))) for names in ("b", ("poison", "x"), "c"))
        await asyncio.sleep(0.05)
        log.let_all()
        assert await first == await good == await last == [InboxOutcome.ACCEPTED]
        with pytest.raises(InvalidInput, match="cannot store"):
            await bad
        assert log.groups == [["a"], ["b"], ["c"]]

    run(work)


def test_who_hangs_up_disturbs_nobody(writer: InboxWriter, log: Log) -> None:
    async def work() -> None:
        first, second = (asyncio.create_task(writer.write(records(name))) for name in "ab")
        await entered(log)
        first.cancel()
        log.let_all()
        assert await second == [InboxOutcome.ACCEPTED]

    run(work)


def test_closing_accepts_what_waits_and_refuses_the_rest(writer: InboxWriter, log: Log) -> None:
    async def work() -> None:
        first = asyncio.create_task(writer.write(records("a")))
        await entered(log)
        second = asyncio.create_task(writer.write(records("b")))
        await asyncio.sleep(0.05)
        closing = asyncio.create_task(asyncio.to_thread(writer.close))
        log.let_all()
        assert await first == await second == [InboxOutcome.ACCEPTED]
        await closing
        with pytest.raises(Unavailable, match="stopping"):
            await writer.write(records("c"))
        assert log.groups == [["a"], ["b"]]

    run(work)
