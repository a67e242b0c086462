from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from serving.gateway import create_app
from tests.serving.twins import TwinRegistry, Twins, twins

MAX_BATCH = 20


@pytest.fixture
def parts() -> Iterator[Twins]:
    made = twins()
    yield made
    made.reader.assignments.stop()
    made.pool.close()


@pytest.fixture
def http(parts: Twins) -> Iterator[TestClient]:
    app = create_app(parts.pool, TwinRegistry(parts.source), MAX_BATCH)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client
