"""The refresher: however a stream arrives, it ends in the batch's result, the same histories and vectors."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from portrait.feature_repo.ingest.seal import seal
from portrait.feature_repo.log.inbox import ArrivingRecord
from portrait.feature_repo.log.manifest import SegmentKind
from portrait.feature_repo.log.partition import bucket_of
from portrait.feature_repo.store.feature_repo import FeatureRepo
from portrait.registry.errors import Unavailable
from tests.serving.refresh.followed_instance import BOTH, HOUR, ITEMS, LENGTH, START, Followed, event, names, profile

actions = st.sampled_from(["accept", "accept", "accept", "step", "step", "seal", "file", "restart", "kill", "again"])


@st.composite
def records(draw: st.DrawFn) -> list[ArrivingRecord]:
    """What comes of a few users: events around the backfill's time, of which many are tied, and profile changes."""
    users = [next(names) for _ in range(draw(st.integers(1, 3)))]
    count = draw(st.integers(4, 24))
    moments = st.integers(-20, 10)
    came: list[ArrivingRecord] = []
    for n in range(count):
        user = draw(st.sampled_from(users))
        if draw(st.integers(0, 4)):
            item, action = draw(st.sampled_from(ITEMS)), draw(st.sampled_from(["play", "skip"]))
            weight = draw(st.sampled_from([1.0, 0.2, 2.5]))
            came.append(event(user, item, draw(moments) * HOUR, f"{user}/{n}", action, weight))
        else:
            came.append(profile(user, birth_year=1900 + n, **draw(changes)))
    return came


changes = st.fixed_dictionaries(
    {},
    optional={
        "country": st.sampled_from(["SE", "FR", None]),
        "plan": st.sampled_from(["free", "family"]),
        "created_time": st.integers(-30, -1).map(lambda hours: START + hours * HOUR + 123_456),
        "onboarding_items": st.lists(st.sampled_from(ITEMS), min_size=1, max_size=3),
    },
)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_stream_ends_in_the_batch_result(shared: Followed, tmp_path: Path, data: st.DataObject) -> None:
    """Shuffled, with duplicates, in batches of any size, partly by file; sealed, begun anew and killed in between."""
    came = data.draw(records())
    events = [record for record in came if record.kind == SegmentKind.EVENTS]
    again = data.draw(st.lists(st.sampled_from(events), max_size=6)) if events else []
    stream = data.draw(st.permutations([*came, *again]))
    while stream:
        play(shared, data, stream, tmp_path)
    shared.drain()
    shared.require_the_batch_result(BOTH, sorted({record.user_id or "" for record in came}))


def play(followed: Followed, data: st.DataObject, stream: list[ArrivingRecord], folder: Path) -> None:
    """One thing that happens; `stream` loses what has come."""
    match data.draw(actions):
        case "accept":
            size = data.draw(st.integers(1, 8))
            followed.accept(stream[:size])
            del stream[:size]
        case "file":
            size = data.draw(st.integers(1, 8))
            followed.take_in(stream[:size], folder, publish=data.draw(st.booleans()))
            del stream[:size]
        case "step":
            followed.shard.once()
        case "seal":
            seal(followed.portrait.log)
        case "restart":
            followed.shard.held.note()
            followed.begin()
        case "again":
            followed.shard.held.rewind()
        case "kill":
            kill_in(followed, data.draw(st.integers(0, 5)))


def kill_in(followed: Followed, writes: int) -> None:
    """A round that ends after so many writes to the online store, as if killed, and another shard after it."""
    with killed_after(followed.shard.refresher.repo, writes):
        followed.shard.once()
    followed.begin()


@contextmanager
def killed_after(repo: FeatureRepo, writes: int) -> Iterator[None]:
    """The block ends after so many writes to the online store, unless it comes to its end before."""
    write, left = repo.online.write_rows, iter(range(writes))

    def fail(*arguments: Any) -> int:
        if next(left, None) is None:
            raise Unavailable("killed")
        done: int = write(*arguments)
        return done

    with patch.object(repo.online, "write_rows", fail), suppress(Unavailable):
        yield


@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_on_redis_too(on_redis: Followed, tmp_path: Path, data: st.DataObject) -> None:
    test_any_stream_ends_in_the_batch_result.hypothesis.inner_test(on_redis, tmp_path, data)  # type: ignore[attr-defined]


def test_one_event_after_the_other_or_all_at_once(shared: Followed) -> None:
    """A history that is pushed out twice over, in three shuffles: the same vectors as if it had come in order."""
    users = [next(names) for _ in range(3)]
    came = [(ITEMS[n % 12], n * HOUR, str(n)) for n in range(4 * 2 * LENGTH)]
    orders = [came, came[::-1], came[::2] + came[1::2]]
    for user, order in zip(users, orders, strict=True):
        for item, time, id in order[:10]:
            shared.accept([event(user, item, time, f"{user}/{id}")])
            shared.shard.once()
        shared.accept([event(user, item, time, f"{user}/{id}") for item, time, id in order])
        shared.drain()
    shared.require_the_batch_result(BOTH, users)
    for version in BOTH:
        stored = shared.vectors(version, users)
        assert np.abs(stored.vectors - stored.vectors[0]).max() < 1e-5 and len(set(stored.as_of)) == 1
        assert np.abs(stored.vectors - shared.encoders[version].prior).max() > 0.01
    histories = shared.portrait.repo.read_inputs(users)
    assert [len(ids) for ids in histories["event_ids"].to_pylist()] == [2 * LENGTH] * 3


def test_nothing_changes_when_the_log_is_taken_again_from_the_start(shared: Followed) -> None:
    user = next(names)
    shared.accept([profile(user, country="SE"), *(event(user, ITEMS[n], n, f"{user}/{n}") for n in range(6))])
    shared.accept([profile(user, country="FR")])
    shared.drain()
    before = shared.stored()
    seal(shared.portrait.log)
    held = shared.shard.held
    for lazily in (False, True):
        held.record_progress(dict.fromkeys(held.epochs, 0), held.epochs, lazily)
    shared.drain()
    assert shared.stored() == before


def test_a_change_whose_history_was_not_written_any_more_reaches_the_vectors(shared: Followed) -> None:
    user = next(names)
    shared.accept([event(user, ITEMS[0], 0, f"{user}/0"), profile(user, country="SE", birth_year=1970)])
    shared.drain()
    shared.accept([profile(user, country="FR", birth_year=1990)])
    kill_in(shared, 1)
    assert shared.portrait.repo.read_inputs([user])["country"].to_pylist() == ["FR"]
    shared.drain()
    shared.require_the_batch_result(BOTH, [user])


def test_a_file_whose_publishing_was_killed_halfway(shared: Followed, tmp_path: Path) -> None:
    user, repo = next(names), shared.portrait.repo
    shared.accept([event(user, ITEMS[0], 0, f"{user}/0"), profile(user, country="SE", birth_year=1970)])
    shared.drain()
    shared.take_in([profile(user, country="FR", birth_year=1990)], tmp_path, publish=False)
    with killed_after(repo, 1):
        repo.publish()
    shared.drain()
    shared.require_the_batch_result(BOTH, [user])


def test_an_earlier_change_does_not_come_back_with_a_later_as_of(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row by row from the start again, while a backfill that has just begun lets every vector be as of later."""
    user, registry = next(names), followed.portrait.registry
    followed.accept([profile(user, country="SE", birth_year=1950), profile(user, country="FR", birth_year=2000)])
    followed.drain()
    registry.backfills.begin("autoencoder-1", "later", datetime(2025, 1, 1, 12, tzinfo=UTC), 1)
    monkeypatch.setattr("portrait.serving.refresh.refresher.BATCH_ROWS", 1)
    followed.look_at_the_registry()
    held = followed.shard.held
    held.record_progress({bucket_of(user): 0}, held.epochs)
    followed.drain()
    assert followed.vectors("autoencoder-1", [user]).as_of == [START + 12 * HOUR]
    followed.require_the_batch_result(["autoencoder-1"], [user])


@pytest.fixture
def seldom(shared: Followed, monkeypatch: pytest.MonkeyPatch) -> Iterator[Followed]:
    """The instance with a shard that makes batches once an hour, and has just made one."""
    monkeypatch.setattr(shared.begin(), "_lazy_seconds", 3600.0)
    shared.drain()
    yield shared
    shared.begin()


def test_a_version_that_is_promoted_has_no_gap(seldom: Followed) -> None:
    """Refreshed in batches, then a canary, then stable: whatever came between two batches is made up for at once."""
    first, second, third, registry = next(names), next(names), next(names), seldom.portrait.registry
    seldom.accept([event(first, ITEMS[0], 0, f"{first}/0")])
    seldom.work()
    seldom.require_the_batch_result(["autoencoder-1"], [first])
    assert not seldom.vectors(BOTH[1], [first]).found.any()

    registry.promotions.promote("ranker", BOTH[1], "try it", canary_share=0.1)
    seldom.accept([event(second, ITEMS[0], 0, f"{second}/0")])
    seldom.look_at_the_registry()
    seldom.work()
    seldom.require_the_batch_result(BOTH, [first, second])
    seldom.accept([event(second, ITEMS[1], 1, f"{second}/1")])
    seldom.work()
    seldom.require_the_batch_result(BOTH, [first, second])

    registry.promotions.abort_canary("ranker", "no")
    seldom.look_at_the_registry()
    seldom.drain()
    seldom.work()
    seldom.accept([event(first, ITEMS[2], 2, f"{first}/2")])
    seldom.work()
    assert seldom.vectors(BOTH[1], [first]).position < seldom.vectors("autoencoder-1", [first]).position
    registry.promotions.promote("ranker", BOTH[1], "after all")
    seldom.look_at_the_registry()
    seldom.work()
    seldom.require_the_batch_result(BOTH, [first, second])

    seldom.accept([event(third, ITEMS[0], 0, f"{third}/0")])
    seldom.work()
    seldom.require_the_batch_result([BOTH[1]], [third])
    registry.promotions.promote("ranker", "autoencoder-1", "for the other tests")
    seldom.look_at_the_registry()
    seldom.work()
    seldom.require_the_batch_result(BOTH, [first, second, third])


def test_a_shard_that_dies_at_a_promotion_leaves_no_gap(seldom: Followed) -> None:
    user, registry = next(names), seldom.portrait.registry
    seldom.accept([event(user, ITEMS[0], 0, f"{user}/0")])
    seldom.work()
    seldom.shard.held.note()
    registry.promotions.promote("ranker", BOTH[1], "test")
    seldom.begin()
    seldom.work()
    seldom.require_the_batch_result(BOTH, [user])
    registry.promotions.promote("ranker", "autoencoder-1", "for the other tests")


def test_users_of_a_large_file_follow_beside_a_stream(
    shared: Followed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are folded anew; then some of them follow in every round, also while there is always something newer."""
    monkeypatch.setattr("portrait.feature_repo.log.tail.FEW_ROWS", 3)
    monkeypatch.setattr("portrait.serving.refresh.refresher.BATCH_ROWS", 4)
    bucket = bucket_of("somebody")
    users = [name for name in (next(names) for _ in range(600)) if bucket_of(name) == bucket]
    shared.drain()
    shared.take_in([event(user, ITEMS[0], 0, f"{user}/file") for user in users], tmp_path, publish=False)
    shared.accept([event(users[0], ITEMS[1], 1, f"{users[0]}/0")])
    rounds = 0
    while not shared.vectors("autoencoder-1", users).found.all():
        shared.accept([event(users[rounds % 3], ITEMS[rounds % 12], rounds, f"stream-{rounds}")])
        shared.shard.once()
        rounds += 1
        assert rounds < 4 * len(users)
    shared.drain()
    shared.require_the_batch_result(BOTH, users)


def test_users_of_a_large_file_follow_after_a_kill(
    shared: Followed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portrait.feature_repo.log.tail.FEW_ROWS", 3)
    monkeypatch.setattr("portrait.serving.refresh.refresher.BATCH_ROWS", 4)
    bucket = bucket_of("somebody")
    users = [name for name in (next(names) for _ in range(600)) if bucket_of(name) == bucket]
    shared.drain()
    shared.take_in([event(user, ITEMS[0], 0, f"{user}/file") for user in users], tmp_path, publish=False)
    shared.shard.once()
    shared.shard.held.note()
    assert 0 < shared.vectors("autoencoder-1", users).found.sum() < len(users)
    shared.begin()
    shared.drain()
    shared.require_the_batch_result(BOTH, users)


def test_a_file_that_brings_a_new_column_is_known_once_it_is_declared(followed: Followed, tmp_path: Path) -> None:
    """The shard sees the rows before Feast knows of the column, and other numbers in one; nothing of them is lost."""
    first, second, third = (next(names) for _ in range(3))
    followed.accept([profile(user, country="SE", birth_year=1970) for user in (first, second, third)])
    followed.drain()
    followed.take_in([profile(first, tier="gold")], tmp_path, publish=False)
    followed.take_in([profile(second, birth_year=1970.5)], tmp_path, publish=False)
    followed.accept([event(user, ITEMS[0], 0, f"{user}/0") for user in (first, second)])
    followed.drain()
    followed.portrait.repo.apply()
    followed.begin()
    followed.accept([profile(third, tier="new"), event(third, ITEMS[0], 0, f"{third}/0")])
    followed.drain()
    online = followed.portrait.repo.read_inputs([first, second, third])
    assert online["tier"].to_pylist() == ["gold", None, "new"]
    assert online["birth_year"].to_pylist() == [1970.0, 1970.5, 1970.0]
