"""Requests to the refresh: made in the background, and no failure of theirs reaches an answer."""

import asyncio
import logging
import time
from collections.abc import Sequence

import pytest
from sqlalchemy import select

from portrait.feature_repo.log.tables import RefreshRequestRow
from portrait.registry.errors import Unavailable
from portrait.serving.reads.async_reader import PooledReader
from portrait.serving.reads.refresh_requests import RefreshRequests
from tests.serving.instance import Instance, build


def test_a_flood_is_bounded_and_nobody_is_written_twice() -> None:
    written: list[Sequence[str]] = []
    requests = RefreshRequests(written.append, most=3)
    requests.write()
    requests.add(["a", "b", "a"])
    requests.add(["c", "d", "e"])
    requests.write()
    requests.write()
    assert [sorted(users) for users in written] == [["a", "b", "c"]]
    requests.add(["d"])
    requests.write()
    assert written[1] == ["d"]


def test_a_failure_is_logged_once_an_outage_and_offered_again(caplog: pytest.LogCaptureFixture) -> None:
    written: list[str] = []
    away = True

    def write(users: Sequence[str]) -> None:
        if away:
            raise Unavailable("the registry does not answer")
        written.extend(users)

    requests = RefreshRequests(write)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            requests.add(["a"])
            requests.write()
        assert len(caplog.records) == 1 and "does not answer" in caplog.text
        away = False
        requests.write()
        assert written == ["a"]
        away = True
        requests.add(["b"])
        requests.write()
        assert len(caplog.records) == 2


def test_what_is_left_is_written_when_it_stops() -> None:
    written: list[str] = []
    requests = RefreshRequests(written.extend, seconds=60)
    requests.start()
    requests.add(["a"])
    requests.stop()
    assert written == ["a"]


def test_a_user_computed_by_the_real_gateway_is_in_the_table(instance: Instance) -> None:
    parts = build(instance.settings)
    assert parts.requests is not None
    parts.reader.assignments.refresh()
    pool = PooledReader(parts.reader, 1, 1, 4, wanted=parts.requests.add)
    parts.requests.start()
    answer = asyncio.run(pool.read("search", ["late", "user-1", "nobody"]))
    assert list(answer.parts[0].source) == ["computed", "stored", "prior"]
    parts.requests.stop()
    until = time.monotonic() + 10
    while not (asked := _asked(instance)) and time.monotonic() < until:
        time.sleep(0.05)
    assert asked == ["late"]
    pool.close()


def _asked(instance: Instance) -> list[str]:
    with instance.registry.database.reading() as session:
        return list(session.scalars(select(RefreshRequestRow.user_id)))
