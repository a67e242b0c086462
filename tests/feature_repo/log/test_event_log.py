"""Samples of known users: everybody has the same chance, and a seed gives the same users every time."""

from collections import Counter

import pytest

from portrait.feature_repo.ingest.ingest import ingest
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.log.partition import bucket_of
from tests.feature_repo.conftest import NOW, Write


@pytest.fixture
def known(log: EventLog, write: Write) -> list[str]:
    """200 users with events, some of them with a profile too, 100 with a profile alone; in two files each."""
    for first in (0, 100):
        events = "user_id,item_id,event_time\n" + "".join(f"u{n},a,2024-01-0{n % 5 + 1}\n" for n in range(first, 200))
        users = "user_id\n" + "".join(f"u{n}\n" for n in range(first + 50, first + 200))
        ingest(log, events=write(f"e{first}.csv", events), users=write(f"u{first}.csv", users), now=NOW)
    return sorted(f"u{n}" for n in range(300))


def test_all_where_they_are_few(log: EventLog, known: list[str]) -> None:
    assert log.sample_users(300) == log.sample_users(10_000) == (300, known)
    assert log.users_count() == 300


def test_a_draw_is_repeatable_and_another_seed_another_draw(log: EventLog, known: list[str]) -> None:
    count, drawn = log.sample_users(60)
    assert (count, len(set(drawn))) == (300, 60)
    assert drawn == sorted(drawn) and set(drawn) < set(known)
    assert log.sample_users(60) == (count, drawn)
    assert set(log.sample_users(30)[1]) < set(drawn)  # a greater sample only adds users
    assert log.sample_users(60, seed=1)[1] != drawn
    assert len({bucket_of(user) for user in drawn}) > 25  # not a few buckets


def test_everybody_has_the_same_chance(log: EventLog, known: list[str]) -> None:
    times = Counter(user for seed in range(30) for user in log.sample_users(150, seed)[1])
    assert times.keys() == set(known)  # 15 of 30 draws each, give or take 3
    assert min(times.values()) >= 4 and max(times.values()) <= 26


def test_nobody_is_known_at_first(log: EventLog) -> None:
    assert log.sample_users(5) == (0, [])
