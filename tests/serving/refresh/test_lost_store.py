"""Mishaps of online store and registry: what is lost is noticed and put back, and no vector is ever wrong.

After each mishap the history, profile and vectors of every user are compared with those of the batch.
"""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
import redis
from sqlalchemy import text

from portrait.feature_repo.log import refresh_requests
from portrait.feature_repo.log.partition import bucket_of
from portrait.feature_repo.online.store_mark import StoreMark
from portrait.infra.jobs.publish import publish
from portrait.infra.portrait import Portrait
from portrait.registry.errors import NotFound, StoreForeign, Unavailable
from portrait.serving.state.store_watch import StoreWatch
from tests.databases import read_rows, write_rows
from tests.feature_repo.broker.redis_process import RedisProcess
from tests.instances import copy_of
from tests.serving.refresh.conftest import AT_ONCE, both_ready
from tests.serving.refresh.followed_instance import BOTH, HOUR, ITEMS, LENGTH, Followed, event, profile, running
from tests.serving.state.test_assignment_poller import wait_until

SLOWLY = 40.0


class Store(Protocol):
    """The online store of a test, with the mishaps that befall it, and where the registry lies."""

    url: str
    registry: str  # URL

    def empty(self) -> None: ...

    def back_up(self) -> Callable[[], None]:
        """A backup of now; the call restores it."""
        ...


class SqliteStore:
    url = ""

    def __init__(self, home: Path) -> None:
        self.path = home / "online.db"
        self.registry = f"sqlite:///{home / 'registry.db'}"

    def empty(self) -> None:
        for path in self.path.parent.glob("online.db*"):
            path.unlink()

    def back_up(self) -> Callable[[], None]:
        copy = self.path.with_name("backup")
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute("VACUUM INTO ?", (str(copy),))

        def restore() -> None:
            self.empty()
            shutil.copyfile(copy, self.path)

        return restore


class RedisStore:
    def __init__(self, folder: Path, registry: str = "") -> None:
        self.folder = folder
        self.registry = registry
        self.folder.mkdir()
        self.process = RedisProcess(folder)
        self.process.start()
        self.url = self.process.url

    def empty(self) -> None:
        with redis.Redis.from_url(self.url) as client:
            client.flushall()

    def back_up(self) -> Callable[[], None]:
        with redis.Redis.from_url(self.url) as client:
            rows = {key: client.hgetall(key) for key in client.scan_iter()}

        def restore() -> None:
            with redis.Redis.from_url(self.url) as client:
                client.flushall()
                for key, fields in rows.items():
                    client.hset(key, mapping=fields)

        return restore


on_both_stores = pytest.mark.parametrize("store", ["embedded", "servers"], indirect=True)


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """SQLite for store and registry, or Redis and Postgres."""
    if getattr(request, "param", "embedded") == "embedded":
        yield SqliteStore(tmp_path / "home")
        return
    made = RedisStore(tmp_path / "redis", request.getfixturevalue("postgres_url"))
    yield made
    made.process.kill()


@pytest.fixture(scope="module")
def busy_home(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with both versions ready, whose vectors have followed a few events. Copy it, change nothing in it."""
    home = tmp_path_factory.mktemp("busy") / "home"
    with copy_of(template, home, history_length=LENGTH, lazy_seconds=AT_ONCE) as portrait:
        followed = both_ready(portrait)
        followed.accept([profile("ann", country="SE"), *(event("ann", ITEMS[n], n * HOUR, f"a{n}") for n in range(6))])
        followed.drain()
        followed.leave()
    return home


@pytest.fixture
def followed(busy_home: Path, tmp_path: Path, store: Store) -> Iterator[Followed]:
    """A copy of it on that store."""
    settings = {"history_length": LENGTH, "lazy_seconds": AT_ONCE, "online_store_url": store.url}
    if store.url:
        write_rows(store.registry, read_rows(f"sqlite:///{busy_home / 'registry.db'}"))
        settings |= {"registry_url": store.registry, "feast_registry_url": store.registry}
    with copy_of(busy_home, tmp_path / "home", **settings) as portrait:
        publish(portrait)  # on Redis the rows of the copied home are lost at first
        made = Followed(portrait)
        yield made
        made.close()


def settled(followed: Followed) -> bool:
    """Whether nothing is lost any more, and every row has reached all versions."""
    with followed.portrait.database.reading() as session:
        late = session.scalar(
            text("SELECT count(*) FROM buckets JOIN leases USING (bucket) WHERE next_position - 1 > applied_lazily")
        )
    return not late and not followed.portrait.repo.identity.lost()


def lost_marks(followed: Followed) -> int:
    return len(followed.portrait.repo.identity.lost())


@on_both_stores
def test_one_event_after_the_store_was_emptied(followed: Followed, store: Store) -> None:
    """The shard has read nothing of the mishap; the vector must be that of all events, never of the one."""
    with running(followed):
        wait_until(lambda: settled(followed), SLOWLY)
        store.empty()
        if not store.url:
            publish(followed.portrait)  # the tables are gone with the file: one command makes them
        followed.accept([event("ann", ITEMS[7], 9 * HOUR, "a9"), event("new", ITEMS[3], 9 * HOUR, "n1")])
        wait_until(lambda: settled(followed), SLOWLY)
    followed.require_the_batch_result(BOTH)
    assert len(followed.portrait.repo.read_inputs(["ann"])["event_ids"][0]) > 2


def test_one_command_puts_everything_back(followed: Followed, store: Store) -> None:
    watch = StoreWatch(followed.portrait.repo.identity)
    watch.look()
    assert watch.sound and watch.doubtful(["ann"]) is None
    store.empty()
    watch.look()
    assert watch.trouble is not None and "was emptied, exchanged or restored from a backup: run `portrait publish`" in (
        watch.trouble
    )
    assert watch.doubtful(["ann", "nobody"]).tolist() == [True, True]  # type: ignore[union-attr]
    assert publish(followed.portrait) == (0, len(followed.portrait.log.manifest().next_positions) - 1)
    watch.look()
    assert watch.sound and watch.trouble is None
    followed.require_the_batch_result(BOTH)


@pytest.mark.parametrize(("store", "by"), [("embedded", "command"), ("servers", "shard")], indirect=["store"])
def test_a_store_restored_from_yesterdays_backup(
    followed: Followed, store: Store, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    restore = store.back_up()
    followed.accept(
        [event("ann", ITEMS[7], 9 * HOUR, "a9"), profile("ann", country="FR"), profile("bob", country="NO")]
    )
    followed.begin()
    followed.drain()
    followed.leave()
    age_backup(followed)
    restore()
    assert followed.portrait.repo.identity.problem() is not None
    followed.accept([event("ann", ITEMS[8], 10 * HOUR, "a10")])
    if by == "command":
        publish(followed.portrait)
    else:
        with running(followed):
            wait_until(lambda: settled(followed), SLOWLY)
    followed.require_the_batch_result(BOTH)
    assert followed.portrait.repo.identity.problem() is None


def age_backup(followed: Followed) -> None:
    """As if a minute had passed between the backup and the last beat."""
    with followed.portrait.database.transaction() as session:
        session.execute(text("UPDATE online_store SET beat = beat + 60000000"))
    followed.portrait.repo.identity.attest() if followed.portrait.repo.identity.problem() is None else None


@on_both_stores
def test_who_was_forgotten_since_the_backup_does_not_come_back(followed: Followed, store: Store) -> None:
    restore = store.back_up()
    followed.portrait.operations.forget("test", "ann")
    age_backup(followed)
    restore()
    repo = followed.portrait.repo
    assert repo.online.views_of(repo.config, "ann")
    publish(followed.portrait)
    assert repo.online.views_of(repo.config, "ann") == []
    followed.require_the_batch_result(BOTH)


@on_both_stores
def test_a_registry_restored_from_yesterdays_backup(followed: Followed, store: Store) -> None:
    """Positions are given a second time: rows of the store would win against newer ones for ever."""
    backup = read_rows(store.registry)
    followed.accept([event("ann", ITEMS[n], (20 + n) * HOUR, f"later{n}") for n in range(5)])
    followed.begin()
    followed.drain()
    followed.leave()
    followed.portrait.database.close()
    write_rows(store.registry, backup)

    with Portrait.open(followed.portrait.settings) as portrait:
        back = Followed(portrait)
        problem = portrait.repo.identity.problem()
        assert problem is not None and "the registry was restored from a backup, or is a copy" in problem
        with pytest.raises(Unavailable, match="run `portrait publish --take-over`"):
            publish(portrait)
        back.accept([event("ann", ITEMS[9], 30 * HOUR, "after")])
        with running(back) as shard:  # it writes nothing, and goes on once it may
            wait_until(lambda: shard._away, SLOWLY)
            assert portrait.repo.read_history_ends(["ann"])[1][0] > 0
            publish(portrait, take_over=True)
            wait_until(lambda: settled(back), SLOWLY)
        back.require_the_batch_result(BOTH)
        assert portrait.repo.read_inputs(["ann"])["event_ids"][0].as_py()[-1] == "after"


@on_both_stores
def test_a_store_of_another_registry_is_neither_read_nor_written(followed: Followed, store: Store) -> None:
    repo = followed.portrait.repo
    before = followed.stored()
    mark = repo.online.read_mark(repo.config)
    assert mark is not None
    repo.online.write_mark(repo.config, StoreMark("somebody else", "theirs", mark.beat))
    watch = StoreWatch(repo.identity)
    watch.look()
    assert not watch.sound
    with pytest.raises(StoreForeign, match=r"is filled by another registry \(instance somebody else\)"):
        watch.doubtful(["ann"])
    with pytest.raises(StoreForeign, match="portrait publish --take-over"):
        publish(followed.portrait)
    assert followed.stored() == before
    publish(followed.portrait, take_over=True)
    followed.require_the_batch_result(BOTH)
    watch.look()
    assert watch.sound


@on_both_stores
def test_a_home_from_before_there_were_marks_is_whole(followed: Followed) -> None:
    """Nothing is published anew where a sample of users is there; else everything is."""
    forget_marks(followed)
    followed.portrait.repo.identity.attest()
    assert lost_marks(followed) == 0
    forget_marks(followed)
    repo = followed.portrait.repo
    repo.online.delete_users(repo.config, ["ann"])
    repo.identity.attest()
    assert lost_marks(followed) > 0
    publish(followed.portrait)
    followed.require_the_batch_result(BOTH)


@on_both_stores
def test_a_new_registry_does_not_take_over_unmarked_histories(followed: Followed) -> None:
    """The home was deleted, the Redis was not: its vectors of autoencoder-1 are not those of the next autoencoder-1."""
    forget_marks(followed)
    with followed.portrait.database.transaction() as session:
        session.execute(text("UPDATE buckets SET published = 0"))
    with pytest.raises(StoreForeign, match="users whom this registry has never put there"):
        publish(followed.portrait)
    publish(followed.portrait, take_over=True)
    users = followed.portrait.log.user_ids()
    assert not any(followed.vectors(version, users).found.any() for version in BOTH)
    assert (followed.portrait.repo.read_history_ends(users)[0] > 0).all()


def forget_marks(followed: Followed) -> None:
    repo = followed.portrait.repo
    with followed.portrait.database.transaction() as session:
        session.execute(text("DELETE FROM online_store"))
    if repo.online.has_tables:
        repo.online._get_conn(repo.config).execute("DROP TABLE store_mark")  # type: ignore[attr-defined]
    else:
        client = repo.online._get_client(repo.config.online_store)  # type: ignore[attr-defined]
        client.delete(f"portrait:{repo.config.project}:fences")


def test_a_server_that_restarted_takes_no_write_before_it_was_compared(busy_home: Path, tmp_path: Path) -> None:
    """Redis comes back within a moment, emptied: redis-py connects again on its own, and the write must not pass."""
    store = RedisStore(tmp_path / "redis")
    settings = {"history_length": LENGTH, "online_store_url": store.url}
    with copy_of(busy_home, tmp_path / "home", **settings) as portrait:
        publish(portrait)
        repo = portrait.repo
        repo.identity.attest()
        users = [f"u{n:06d}" for n in range(3)]
        version = portrait.registry.versions.get("autoencoder-1")
        stored = repo.read_vectors(version, users)
        store.process.kill()
        for path in store.folder.rglob("*"):
            path.unlink() if path.is_file() else None
        store.process.start()
        now = stored.computed_at[0] + 1
        with pytest.raises(Unavailable, match="it has restarted or another server has taken its place"):
            repo.write_vectors(version, users, stored.vectors, stored.position, stored.as_of, now)
        assert repo.identity.attest() is True
        assert repo.write_vectors(version, users, stored.vectors, stored.position, stored.as_of, now) == 3
        assert lost_marks(Followed(portrait)) > 0
    store.process.kill()


@on_both_stores
def test_reads_say_what_they_are_until_all_is_back(followed: Followed, store: Store) -> None:
    """Users of lost buckets are flagged whatever their source; the others are not."""
    portrait = followed.portrait
    portrait.repo.publish()
    with portrait.database.transaction() as session:
        session.execute(text("UPDATE buckets SET lost = true WHERE bucket = :b"), {"b": bucket_of("ann")})
    reader = portrait.reader
    users = ["ann", *(f"u{n:06d}" for n in range(5))]
    answer = reader.read("ranker", users)
    assert answer.stale.tolist() == [bucket_of(user) == bucket_of("ann") for user in users]  # type: ignore[union-attr]
    portrait.repo.identity.restored([bucket_of("ann")])
    assert reader.watch is not None
    reader.watch.look()
    assert not np.any(reader.read("ranker", users).stale)  # type: ignore[union-attr]


@on_both_stores
def test_a_user_who_was_evicted_is_put_back_from_the_log(followed: Followed, store: Store) -> None:
    """The mark stays, and one row is gone: an event, and a vector that a gateway asks for, find all of the log."""
    repo = followed.portrait.repo
    followed.begin()
    followed.accept([event("zoe", ITEMS[2], 11 * HOUR, "z1")])  # seen by this shard, after the log was read
    followed.drain()
    repo.online.delete_users(repo.config, ["ann", "zoe", "u000001"])
    followed.accept([event("ann", ITEMS[7], 19 * HOUR, "a9"), event("zoe", ITEMS[3], 12 * HOUR, "z2")])
    followed.accept([event("new", ITEMS[3], 9 * HOUR, "n1")])
    refresh_requests.ask(followed.portrait.log, ["u000001"])
    followed.shard._next.pop("requests", None)
    followed.drain()
    followed.require_the_batch_result(BOTH, ["ann", "zoe", "new"])
    followed.require_the_batch_result(BOTH[:1], ["u000001"])
    assert len(repo.read_inputs(["zoe"])["event_ids"][0]) == 2


@pytest.mark.parametrize("store", ["servers"], indirect=True)
def test_who_was_evicted_and_of_whom_nothing_comes_is_put_back_when_read(followed: Followed, store: Store) -> None:
    """Strangers have no row either: the log tells them apart, behind the reads, and only where the server evicts."""
    repo, reader = followed.portrait.repo, followed.portrait.reader
    assert reader.watch is not None and reader.evicted is not None

    def read(*users: str) -> list[tuple[str, bool]]:
        answer = reader.read("ranker", users)
        return list(zip(answer.parts[0].source, answer.parts[0].stale.tolist(), strict=True))

    repo.online.delete_users(repo.config, ["ann"])
    assert read("ann", "nobody", "u000001") == [("prior", False), ("prior", False), ("stored", False)]
    with redis.Redis.from_url(store.url) as client:
        client.config_set("maxmemory", "1gb")
        reader.watch.look()
        assert not reader.watch.evicts  # it refuses writes instead
        client.config_set("maxmemory-policy", "allkeys-lru")
    reader.watch.look()
    assert read("ann", "nobody", "u000001") == [("prior", True), ("prior", True), ("stored", False)]
    with pytest.raises(Unavailable, match="may have evicted 'ann', the log is being asked"):
        reader.read("ranker", ["ann"], strict=True)
    reader.evicted.look(["ann", "nobody"])
    assert read("ann", "nobody") == [("prior", True), ("prior", False)]
    with pytest.raises(NotFound, match="nothing is known about 'nobody'"):
        reader.read("ranker", ["nobody"], strict=True)
    followed.begin()
    followed.shard._next.pop("requests", None)
    followed.drain()
    assert read("ann", "nobody") == [("stored", False), ("prior", False)]
    followed.require_the_batch_result(BOTH[:1], ["ann"])


@on_both_stores
def test_a_shard_goes_on_whose_fences_the_store_has_lost(followed: Followed, store: Store) -> None:
    """They were raised in the last second before the server stopped: the mark is there, and the leases are held."""
    followed.begin()
    lower_fences(followed)
    followed.accept([event("ann", ITEMS[7], 9 * HOUR, "a9")])
    for _ in range(4):
        followed.shard.attempt()
    followed.drain()
    followed.require_the_batch_result(BOTH, ["ann"])


def lower_fences(followed: Followed) -> None:
    repo = followed.portrait.repo
    if repo.online.has_tables:
        repo.online._get_conn(repo.config).execute("DELETE FROM refresh_fences")  # type: ignore[attr-defined]
    else:
        client = repo.online._get_client(repo.config.online_store)  # type: ignore[attr-defined]
        key = f"portrait:{repo.config.project}:fences"
        client.hdel(key, *(field for field in client.hkeys(key) if field.isdigit()))


def test_a_gateway_that_forgot_a_user_reads_on_after_the_server_has_restarted(busy_home: Path, tmp_path: Path) -> None:
    """A forgetting compares the marks, and a gateway never does so again."""
    store = RedisStore(tmp_path / "redis")
    with copy_of(busy_home, tmp_path / "home", history_length=LENGTH, online_store_url=store.url) as portrait:
        publish(portrait)
        portrait.operations.forget("test", "ann")
        store.process.kill()
        store.process.start()
        assert len(portrait.repo.read_inputs(["u000001"])) == 1
    store.process.kill()
