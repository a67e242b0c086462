"""Both brokers, for one behavioural suite."""

from collections.abc import Iterator

import pytest

from feature_repo.broker.redis_streams import RedisStreams
from feature_repo.broker.seam import Broker
from tests.feature_repo.broker.twin import TwinBroker
from tests.feature_repo.log.conftest import log as log  # the fixture


@pytest.fixture(params=["memory", "redis"])
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """An empty broker of each kind."""
    made: Broker = TwinBroker() if request.param == "memory" else RedisStreams(request.getfixturevalue("redis_url"))
    yield made
    made.close()
