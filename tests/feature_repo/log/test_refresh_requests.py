"""Refresh requests: one a user, the longest waiting first, bucket by bucket."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from portrait.feature_repo.log import refresh_requests
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.log.partition import bucket_of
from portrait.feature_repo.settings import FeatureSettings
from portrait.registry.database.database import Database


@pytest.fixture
def log(database_url: str, tmp_path: Path) -> Iterator[EventLog]:
    opened = Database(database_url)
    yield EventLog(opened, FeatureSettings(home=tmp_path))
    opened.close()


def taken(log: EventLog, bucket: int, limit: int = 100) -> list[str]:
    with log.database.reading() as session:
        return refresh_requests.take(session, bucket, limit)


def test_users_wait_in_their_buckets_until_they_are_dropped(log: EventLog) -> None:
    users = [f"user-{number}" for number in range(2_500)]
    refresh_requests.ask(log, users)
    refresh_requests.ask(log, ["user-7", "newcomer"])
    waiting = {bucket: taken(log, bucket, 10_000) for bucket in range(64)}
    assert sorted(user for each in waiting.values() for user in each) == sorted([*users, "newcomer"])
    assert all(bucket_of(user) == bucket for bucket, each in waiting.items() for user in each)
    with log.database.transaction() as session:
        refresh_requests.drop(session, users)
    assert [user for bucket in range(64) for user in taken(log, bucket)] == ["newcomer"]


def test_who_waits_longest_comes_first(log: EventLog) -> None:
    bucket = bucket_of("z")
    others = [user for user in map(str, range(1000)) if bucket_of(user) == bucket][:3]
    refresh_requests.ask(log, ["z"])
    refresh_requests.ask(log, [*others, "z"])
    assert taken(log, bucket) == ["z", *sorted(others)]
    assert taken(log, bucket, limit=2) == ["z", min(others)]


def test_gateways_that_ask_for_the_same_users_at_once_do_not_meet(log: EventLog) -> None:
    users, failed = [str(number) for number in range(300)], list[Exception]()

    def ask(some: list[str]) -> None:
        try:
            for _ in range(5):
                refresh_requests.ask(log, some)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=ask, args=(some,)) for some in (users, users[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert sum(len(taken(log, bucket, 1000)) for bucket in range(64)) == 300


def test_an_id_that_the_table_cannot_hold_costs_no_other(log: EventLog) -> None:
    refresh_requests.ask(log, ["ann", "a\0b", "x" * 1025, "\ud83d", "bob"])
    with log.database.reading() as session:
        users = {user for b in refresh_requests.buckets(session) for user in refresh_requests.take(session, b, 9)}
    assert users == {"ann", "bob"}
