"""Three short rounds, which between them kill everything there is; `make torture` runs long ones."""

import shutil
from pathlib import Path

import pytest

from tests.conftest import unavailable
from tests.torture.databases import Databases
from tests.torture.round import Round, run
from tests.torture.template import Place, make

EVENTS, KILLS = 1_500, 2


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2], ids=["gateway-shard", "shard-redis-on-postgres", "redis-everything-broker"])
def test_nothing_is_lost_and_nothing_doubled(seed: int, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    if shutil.which("redis-server") is None:
        unavailable("redis-server")
    one = Round.of(seed, EVENTS, KILLS, request.getfixturevalue("postgres_url") if seed % 2 else "")
    source = Place(tmp_path, Databases.new(one.postgres) if one.postgres else None)
    try:
        make(source)
        outcome = run(one, source)
    finally:
        if source.databases is not None:
            source.databases.drop()
    assert outcome.good, outcome
    found = outcome.findings
    assert outcome.kills.total() >= KILLS
    assert outcome.sent >= EVENTS and found.in_log == outcome.sent
    assert found.users > 300 and len(found.vectors_wrong) == 2
