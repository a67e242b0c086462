"""Five short rounds, in which everything happens once; `make torture` runs long ones."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import unavailable
from tests.torture.chaos import Victim
from tests.torture.databases import Databases
from tests.torture.round import Round, run
from tests.torture.template import Place, make

EVENTS, KILLS = 1_500, 2


@pytest.fixture(scope="module")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The instance that rounds with everything but Redis in the home are copies of."""
    source = Place(tmp_path_factory.mktemp("torture"))
    make(source)
    return source


@pytest.fixture
def on_postgres(postgres_url: str, tmp_path: Path) -> Iterator[Place]:
    """The same with both registries on a server."""
    databases = Databases.new(postgres_url)
    try:
        make(source := Place(tmp_path, databases))
        yield source
    finally:
        databases.drop()


@pytest.fixture(autouse=True, scope="module")
def redis_server() -> None:
    """Rounds start servers of their own."""
    if shutil.which("redis-server") is None:
        unavailable("redis-server")


@pytest.mark.slow
def test_nothing_is_lost_when_gateway_and_shard_are_killed(on_sqlite: Place) -> None:
    assert_nothing_lost(on_sqlite, 0, Victim.GATEWAY, Victim.SHARD)


@pytest.mark.slow
def test_nothing_is_lost_when_shard_and_redis_are_killed_on_postgres(on_postgres: Place, postgres_url: str) -> None:
    assert_nothing_lost(on_postgres, 1, Victim.SHARD, Victim.REDIS, postgres=postgres_url)


@pytest.mark.slow
def test_nothing_is_lost_when_redis_the_broker_and_everything_are_killed(on_sqlite: Place) -> None:
    assert_nothing_lost(on_sqlite, 2, Victim.REDIS, Victim.EVERYTHING)


@pytest.mark.slow
def test_nothing_is_lost_when_a_shard_freezes_the_network_is_cut_and_the_disk_is_full(on_sqlite: Place) -> None:
    assert_nothing_lost(on_sqlite, 4, Victim.FROZEN, Victim.CUT, Victim.FULL)


@pytest.mark.slow
def test_nothing_is_lost_when_the_store_is_emptied_and_restored_on_postgres(
    on_postgres: Place, postgres_url: str
) -> None:
    assert_nothing_lost(on_postgres, 25, Victim.EMPTIED, Victim.RESTORED, postgres=postgres_url)


def assert_nothing_lost(source: Place, seed: int, *killed: Victim, postgres: str = "") -> None:
    outcome = run(Round.from_seed(seed, EVENTS, max(KILLS, len(killed)), postgres), source)
    assert outcome.good, outcome
    found = outcome.findings
    assert set(killed) <= outcome.kills.keys()
    assert outcome.sent >= EVENTS and found.in_log == outcome.sent
    assert found.users > 300 and len(found.vectors_wrong) == 2
