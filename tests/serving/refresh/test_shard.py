"""A shard among others, and while its stores are away: it writes nothing in a lost bucket, and loses nothing."""

import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from portrait.feature_repo.ingest.seal import seal
from portrait.feature_repo.log.leases import LEASE
from portrait.feature_repo.log.partition import BUCKETS, bucket_of
from portrait.feature_repo.log.tables import LeaseRow
from portrait.infra.portrait import Portrait
from portrait.registry.database.tables import VersionState
from portrait.registry.errors import LeaseLost
from portrait.serving.reads.encoders import EncoderCache
from portrait.serving.refresh.build import build_shard
from portrait.serving.refresh.chores import Chores
from portrait.training.backfill.backfill import backfill
from portrait.training.inspection.inspection import inspect_version
from tests.instances import copy_of, embedded
from tests.serving.instance import make as make_on
from tests.serving.proxy import Proxy
from tests.serving.refresh.conftest import AT_ONCE
from tests.serving.refresh.followed_instance import BOTH, HOUR, ITEMS, LENGTH, Followed, event, names, profile, running
from tests.serving.state.test_assignment_poller import wait_until
from tests.serving.twins import TwinEncoder

SLOWLY = 60.0
"""Seconds that a loaded machine may take."""


def expire(followed: Followed, owner: str) -> None:
    """As if the owner had not been heard of for longer than a lease."""
    with followed.portrait.database.transaction() as session:
        for row in session.scalars(select(LeaseRow).where(LeaseRow.owner == owner)):
            row.expires_at -= LEASE + timedelta(seconds=1)


@pytest.mark.parametrize("asleep", ["before it writes inputs", "before it writes vectors"])
def test_one_that_comes_back_from_the_dead_writes_nothing(
    shared: Followed, asleep: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has read, and sleeps until another shard has taken its buckets; then it goes on where it was."""
    user, dead, other = next(names), shared.begin(), Followed(shared.portrait, "other")
    shared.drain()
    shared.accept([event(user, ITEMS[0], 0, f"{user}/0"), profile(user, country="SE", birth_year=1980)])
    before: list[Any] = []

    def sleep(read: Callable[..., Any]) -> Callable[..., Any]:
        def slept(*arguments: Any) -> Any:
            done = read(*arguments)
            if not before:
                expire(shared, "shard")
                other.begin()
                before.append((shared.stored(), shared.told()))
            return done

        return slept

    if asleep == "before it writes inputs":
        monkeypatch.setattr(dead.refresher.repo, "read_inputs", sleep(dead.refresher.repo.read_inputs))
    else:
        monkeypatch.setattr(dead.refresher.encoders, "get", sleep(dead.refresher.encoders.get))
    with pytest.raises(LeaseLost):
        dead.once()
    dead.held.record_progress({bucket_of(user): 10_000}, dead.held.epochs)
    with pytest.raises(LeaseLost):
        dead.held.note()
    with pytest.raises(LeaseLost):
        Chores(dead.refresher, 1, 0.0).seal()
    assert (shared.stored(), shared.told()) == before[0]

    other.drain()
    shared.require_the_batch_result(BOTH, [user])
    dead.held.renew()
    assert dead.held.epochs == {}
    other.leave()
    shared.begin()
    assert len(shared.shard.held.epochs) == BUCKETS


def test_two_shards_share_the_buckets_and_the_work(shared: Followed) -> None:
    first, second = shared.begin(), Followed(shared.portrait, "second")
    users = [next(names) for _ in range(60)]
    first.once()  # is heard of
    second.begin().once()
    assert second.shard.held.epochs == {}
    first.held.renew()
    second.shard.held.renew()
    assert len(first.held.epochs) == len(second.shard.held.epochs) == BUCKETS // 2
    shared.accept([event(user, ITEMS[0], 0, f"{user}/0") for user in users])
    second.drain()
    done = [user for user, found in zip(users, shared.vectors(BOTH[0], users).found, strict=True) if found]
    assert {bucket_of(user) for user in done} <= second.shard.held.epochs.keys() and 0 < len(done) < len(users)
    shared.drain()
    shared.require_the_batch_result(BOTH, users)
    second.leave()
    first.held.renew()
    assert len(first.held.epochs) == BUCKETS


@pytest.mark.parametrize("broken", BOTH)
@pytest.mark.parametrize("how", ["gone", "garbage"])
def test_a_broken_artifact_keeps_nobody_else_from_following(
    shared: Followed, broken: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eager or lazy, the other version goes on; once repaired, this one makes up for all that it has missed."""
    monkeypatch.setattr("portrait.serving.refresh.shard.RETRY_SECONDS", 0.0)
    (sound,) = set(BOTH) - {broken}
    first, second, third = (next(names) for _ in range(3))
    shared.drain()
    folder = shared.portrait.settings.home / shared.portrait.registry.versions.get(broken).artifact
    kept = folder.rename(folder.with_name("kept"))
    if how == "garbage":
        shutil.copytree(kept, folder)
        for file in folder.rglob("*.*"):
            file.write_bytes(b"{]" + file.read_bytes()[: file.stat().st_size // 2])
    shared.begin(keep_models=False)
    shared.accept([event(first, ITEMS[0], 0, f"{first}/0")])
    shared.drain()
    assert set(shared.shard.refresher.failing) == {broken}
    shared.accept([event(second, ITEMS[0], 0, f"{second}/0")])
    seal(shared.portrait.log)
    shared.drain()
    if how == "garbage":  # and in between it is begun anew
        shared.begin(keep_models=False)
        shared.drain()
    shared.require_the_batch_result([sound], [first, second])
    assert not shared.vectors(broken, [first, second]).found.any()

    shutil.rmtree(folder, ignore_errors=True)
    kept.rename(folder)
    shared.accept([event(third, ITEMS[0], 0, f"{third}/0")])
    shared.drain()
    shared.drain()
    assert not shared.shard.refresher.failing and not shared.shard.refresher.missed
    shared.require_the_batch_result(BOTH, [first, second, third])


def test_a_version_that_fails_for_a_moment_misses_nothing(shared: Followed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two batches, and beside another that was just promoted and waits for its last one."""
    monkeypatch.setattr("portrait.serving.refresh.shard.RETRY_SECONDS", 0.0)
    users = [next(names) for _ in range(6)]
    shared.drain()
    get, failures = shared.shard.refresher.encoders.get, iter([True, False, True])

    def now_and_then(version: Any) -> Any:
        if version.id == "autoencoder-1" and next(failures, False):
            raise OSError("a file server is away")
        return get(version)

    monkeypatch.setattr(shared.shard.refresher.encoders, "get", now_and_then)
    for user in users:
        shared.accept([event(user, ITEMS[0], 0, f"{user}/0")])
        shared.work()
    shared.drain()
    shared.require_the_batch_result(BOTH, users)


@contextmanager
def streaming(followed: Followed, users: list[str], profiles: bool = True) -> Iterator[Callable[[], None]]:
    """A thread that accepts events of these users until the block ends; yields a call that waits for some more."""
    ended, came = threading.Event(), threading.Semaphore(0)
    failures: list[BaseException] = []

    def stream() -> None:
        try:
            for n in range(100_000):
                if ended.is_set():
                    return
                some = [users[(n + k) % len(users)] for k in range(5)]
                followed.accept([event(u, ITEMS[(n + k) % 12], n * HOUR // 60, f"{n}/{k}") for k, u in enumerate(some)])
                if profiles:
                    followed.accept([profile(some[0], country=["SE", "FR"][n % 2], birth_year=1900 + n % 99)])
                came.release()
                ended.wait(0.02)
        except BaseException as failure:
            failures.append(failure)

    def more() -> None:
        for _ in range(10):
            assert came.acquire(timeout=SLOWLY)

    thread = threading.Thread(target=stream)
    thread.start()
    try:
        yield more
    finally:
        ended.set()
        thread.join()
    assert not failures


def followed_up(followed: Followed, settled: bool = True) -> bool:
    """Whether all that was accepted is applied at the eager versions, or settled at all, as the leases say."""
    log = followed.portrait.log
    with log.database.reading() as session:
        leases = {row.bucket: row for row in session.scalars(select(LeaseRow))}
    done = {bucket: row.applied_lazily if settled else row.applied for bucket, row in leases.items()}
    ends = {bucket: end - 1 for bucket, end in log.manifest().next_positions.items() if bucket >= 0}
    return all(done.get(bucket, 0) >= end for bucket, end in ends.items())


def test_a_backfill_under_a_stream_leaves_nobody_behind(followed: Followed) -> None:
    """Of known users and new ones, before it begins, while it embeds and after it."""
    portrait = followed.portrait
    users = [*portrait.log.sample_users(20)[1], *(next(names) for _ in range(10))]
    with running(followed):
        with streaming(followed, users) as more:
            more()
            report = backfill(portrait.repo, BOTH[1], portrait.settings)
            more()
        assert portrait.registry.versions.get(BOTH[1]).state == VersionState.READY
        wait_until(lambda: followed_up(followed), SLOWLY)
    followed.require_the_batch_result(BOTH)
    for version in map(portrait.registry.versions.get, BOTH):
        _, facts = inspect_version(portrait.repo, version)
        assert (facts.users_behind, facts.users_embedded) == (0, facts.users_known)
    assert (followed.vectors(BOTH[1], users).as_of >= int(report.as_of.timestamp() * 1e6)).all()


def test_a_version_that_is_retired_under_a_stream(on_redis: Followed) -> None:
    """The stream goes on at the others, and nothing of the version is left, not even of what was on its way."""
    portrait, users = on_redis.portrait, [next(names) for _ in range(10)]
    version = portrait.registry.versions.get(BOTH[1])
    with running(on_redis):
        with streaming(on_redis, users) as more:
            more()
            portrait.operations.retire("ada", version.id)
            more()
        wait_until(lambda: followed_up(on_redis), SLOWLY)
    assert portrait.repo.count_vectors(version) == 0
    on_redis.require_the_batch_result(["autoencoder-1"], users)


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator["OwnRedis"]:
    folder = tmp_path / "redis"
    folder.mkdir()
    server = OwnRedis(folder)
    server.start()
    yield server
    server.kill()


class OwnRedis:
    """A server that keeps an append-only file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        import redis

        options = ["--port", str(self.port), "--dir", str(self.folder), "--appendonly", "yes", "--save", ""]
        self._process = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)
        client = redis.Redis(port=self.port)
        wait_until(lambda: answers(client), SLOWLY)
        client.close()

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()


def answers(client: Any) -> bool:
    import redis

    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def test_an_online_store_that_dies_and_has_lost_its_last_writes(
    template: Path, tmp_path: Path, own_redis: OwnRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in mid stream, and begun again from its file as it was some batches before: nothing is missing."""
    monkeypatch.setattr("portrait.serving.refresh.held_buckets.DOUBT_SECONDS", 30.0)
    settings = {"history_length": LENGTH, "lazy_seconds": AT_ONCE, "online_store_url": own_redis.url}
    users = [next(names) for _ in range(10)]
    with copy_of(template, tmp_path / "home", **settings) as portrait:
        followed = Followed(portrait)
        with running(followed) as shard, streaming(followed, users) as more:
            more()
            wait_until(lambda: followed.vectors(BOTH[0], users).found.all(), SLOWLY)
            shutil.copytree(own_redis.folder, tmp_path / "earlier")
            more()
            own_redis.kill()
            more()
            shutil.rmtree(own_redis.folder)
            shutil.copytree(tmp_path / "earlier", own_redis.folder)
            own_redis.start()
            more()
            assert shard.running
        monkeypatch.setattr("portrait.serving.refresh.held_buckets.DOUBT_SECONDS", 0.0)
        followed.drain()
        followed.require_the_batch_result([BOTH[0]], users)


def test_a_registry_that_goes_away_in_mid_stream(postgres_url: str, tmp_path: Path) -> None:
    settings = embedded(tmp_path / "home", registry_url=postgres_url, lazy_seconds=AT_ONCE)
    made, users = make_on(settings), [next(names) for _ in range(10)]
    with Portrait.open(settings) as portrait, Proxy(postgres_url) as proxy:
        followed = Followed(portrait)
        twins = ("autoencoder-1", "autoencoder-2")
        followed.encoders = {version: TwinEncoder(number) for number, version in enumerate(twins, start=1)}
        shard = build_shard(settings.model_copy(update={"registry_url": proxy.url}), "cut off")
        shard.refresher.encoders = EncoderCache(lambda version: TwinEncoder(version.number))
        shard.start()
        with streaming(followed, users, profiles=False) as more:
            more()
            wait_until(lambda: followed.vectors(twins[0], users).found.all(), SLOWLY)
            proxy.cut()
            more()
            before = followed.told()["leases"]
            more()
            assert followed.told()["leases"] == before and shard.running
            proxy.mend()
            more()
        wait_until(lambda: followed_up(followed), SLOWLY)
        shard.stop()
        followed.require_the_batch_result(twins, users)
        shard.refresher.repo.registry.close()
        portrait.repo.close()
    made.registry.close()
