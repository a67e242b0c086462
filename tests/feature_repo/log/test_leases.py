"""Leases on both databases: a bucket has one holder, and an earlier holder can note nothing any more."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from sqlalchemy import select

from portrait.feature_repo.log.leases import LEASE, Leases, require_held
from portrait.feature_repo.log.manifest import lock_buckets, mark_published, read_manifest
from portrait.feature_repo.log.partition import BUCKETS
from portrait.feature_repo.log.tables import LeaseRow
from portrait.registry.database.database import Database
from portrait.registry.errors import LeaseLost

ALL = set(range(BUCKETS))


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    made = Database(database_url)
    yield made
    made.close()


class Holder:
    """A shard as far as leases go: it remembers what it works on."""

    def __init__(self, database: Database, owner: str) -> None:
        self.leases = Leases(database, owner)
        self.epochs: dict[int, int] = {}

    def hold(self, share: int) -> set[int]:
        self.epochs = {bucket: lease.epoch for bucket, lease in self.leases.hold(share, self.epochs).items()}
        return set(self.epochs)


def rows(database: Database) -> dict[int, LeaseRow]:
    with database.reading() as session:
        return {row.bucket: row for row in session.scalars(select(LeaseRow))}


def expire(database: Database, owner: str) -> None:
    """As if the holder had not been heard of for longer than a lease."""
    with database.transaction() as session:
        for row in session.scalars(select(LeaseRow).where(LeaseRow.owner == owner)):
            row.expires_at -= LEASE + timedelta(seconds=1)


def test_the_first_holds_all_until_others_come_for_their_share(database: Database) -> None:
    first, second, third = (Holder(database, name) for name in "abc")
    assert first.hold(64) == ALL
    assert second.hold(32) == set()  # nothing is free
    assert len(first.hold(32)) == 32
    assert second.hold(32) == ALL - first.epochs.keys()
    assert second.hold(32) | first.hold(32) == ALL  # nothing moves any more
    assert (len(first.hold(22)), len(second.hold(22)), len(third.hold(22))) == (22, 22, 20)
    assert first.epochs.keys() | second.epochs.keys() | third.epochs.keys() == ALL


def test_a_lease_lasts_as_long_as_its_holder_is_heard_of(database: Database) -> None:
    first, second = Holder(database, "a"), Holder(database, "b")
    first.hold(64)
    before = {bucket: row.expires_at for bucket, row in rows(database).items()}
    first.hold(64)
    assert all(row.expires_at > before[bucket] for bucket, row in rows(database).items())
    assert {row.epoch for row in rows(database).values()} == {1}
    assert second.hold(64) == set()
    expire(database, "a")
    assert first.hold(64) == ALL  # late, but nobody else was there: no reason to begin anew
    assert {row.epoch for row in rows(database).values()} == {1}


def test_taking_over_raises_the_epoch_and_goes_on_where_the_other_was(database: Database) -> None:
    first, second = Holder(database, "a"), Holder(database, "b")
    first.hold(64)
    first.leases.advance(first.epochs, {3: 10, 5: 7})
    first.leases.advance(first.epochs, {3: 4}, lazily=True)
    expire(database, "a")
    taken = second.leases.hold(64, {})
    assert {lease.epoch for lease in taken.values()} == {2}
    assert [(taken[b].applied, taken[b].applied_lazily) for b in (3, 5, 6)] == [(10, 4), (7, 0), (0, 0)]
    assert first.hold(64) == set()


def test_an_earlier_life_under_the_same_name_is_taken_over_at_once(database: Database) -> None:
    first, again = Holder(database, "a"), Holder(database, "a")
    first.hold(64)
    assert again.hold(64) == ALL  # without waiting for the lease to end
    assert set(again.epochs.values()) == {2}
    with pytest.raises(LeaseLost):
        first.leases.advance(first.epochs, {3: 10})


def test_what_is_given_back_is_free_at_once(database: Database) -> None:
    first, second = Holder(database, "a"), Holder(database, "b")
    first.hold(64)
    first.leases.give_back(dict.fromkeys(range(40), 1))
    assert second.hold(64) == set(range(40))
    first.leases.give_back(first.epochs)  # nothing of what is another's by now
    assert {row.owner for bucket, row in rows(database).items() if bucket < 40} == {"b"}
    assert second.hold(64) == ALL


def test_progress_is_noted_and_never_goes_back(database: Database) -> None:
    first = Holder(database, "a")
    first.hold(64)
    with database.transaction() as session:
        lock_buckets(session, [3, 5])
    first.leases.advance(first.epochs, {3: 10, 5: 7})
    first.leases.advance(first.epochs, {3: 8}, lazily=True)
    first.leases.advance(first.epochs, {3: 6, 5: 9})
    found = rows(database)
    assert [(found[b].applied, found[b].applied_lazily) for b in (3, 5, 6)] == [(10, 8), (9, 0), (0, 0)]
    assert read_manifest(database).published == {3: 10, 5: 9}  # what a shard has applied, nobody need publish


def test_who_has_lost_one_bucket_notes_nothing_at_all(database: Database) -> None:
    first, second = Holder(database, "a"), Holder(database, "b")
    first.hold(64)
    with database.transaction() as session:
        lock_buckets(session, [3, 5])
    old = dict(first.epochs)
    first.leases.give_back({5: 1})
    assert second.hold(1) == {5}
    before = told(database)
    for lazily in (False, True):
        with pytest.raises(LeaseLost, match="buckets 5 are in other hands"):
            first.leases.advance(old, {3: 10, 5: 7}, lazily)
    assert told(database) == before
    assert read_manifest(database).published == {3: 0, 5: 0}
    first.leases.advance(old, {3: 10})
    assert rows(database)[3].applied == 10


def test_requiring_leases(database: Database) -> None:
    first = Holder(database, "a")
    first.hold(64)
    with database.reading() as session:
        require_held(session, {})
        require_held(session, {3: 1, 5: 1})
        with pytest.raises(LeaseLost, match="buckets 5, 7 are"):
            require_held(session, {3: 1, 5: 2, 7: 0})


def test_where_no_shard_has_worked_what_was_published_counts_as_done(database: Database) -> None:
    with database.transaction() as session:
        lock_buckets(session, [3])
    mark_published(database, {3: 12})
    first = Holder(database, "a")
    held = first.leases.hold(64, {})
    assert (held[3].applied, held[3].applied_lazily, held[4].applied) == (12, 12, 0)
    mark_published(database, {3: 20})
    assert Leases(database, "a").hold(64, {})[3].applied == 12  # from then on only a shard's own word counts


def test_two_at_once_never_hold_a_bucket_both(database: Database) -> None:
    """Four shards in threads of their own come at once and change their shares; each bucket has one holder."""
    barrier = Barrier(4, timeout=60)

    def live(name: str) -> list[Mapping[int, int]]:
        holder, lived = Holder(database, name), list[Mapping[int, int]]()
        for share in (64, 16, 16, 20, 16):
            barrier.wait()
            holder.hold(share)
            lived.append(dict(holder.epochs))
        return lived

    with ThreadPoolExecutor(4) as pool:
        lives = list(pool.map(live, "abcd"))
    for moment in zip(*lives, strict=True):
        held = [(bucket, epoch) for epochs in moment for bucket, epoch in epochs.items()]
        assert len(held) == len(set(held))  # never the same bucket at the same epoch
    final = [bucket for life in lives for bucket in life[-1]]
    assert sorted(final) == sorted(set(final))
    assert len(rows(database)) == BUCKETS


def told(database: Database) -> dict[int, tuple[object, ...]]:
    return {b: (row.owner, row.epoch, row.applied, row.applied_lazily) for b, row in rows(database).items()}
