"""Fixtures of both brokers, for one behavioural suite."""

from collections.abc import Iterator

import pytest

from portrait.feature_repo.broker.broker import Broker
from portrait.feature_repo.broker.redis_streams import RedisStreams
from tests.feature_repo.broker.twin import TwinBroker


@pytest.fixture(params=["memory", "redis"])
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """An empty broker of each kind."""
    made: Broker = TwinBroker() if request.param == "memory" else RedisStreams(request.getfixturevalue("redis_url"))
    yield made
    made.close()
