from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from portrait.serving.gateway.app import create_app
from portrait.serving.settings import ServingSettings
from tests.serving.api.api_table import KEYS
from tests.serving.instance import Instance, make
from tests.serving.twin_operations import TwinOperations
from tests.serving.twins import Twins, twins

MAX_BATCH = 20
SETTINGS = ServingSettings(max_batch=MAX_BATCH)


def problem(answer: Any, status: int, *said: str) -> dict[str, Any]:
    """The body of an answer that must be a problem of this status, saying these words."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["status"] == status and body["title"] and body["type"]
    assert all(words in body["detail"] for words in said), body
    return body


@pytest.fixture
def parts() -> Iterator[Twins]:
    made = twins()
    yield made
    made.close()


@pytest.fixture
def operations(parts: Twins) -> TwinOperations:
    return TwinOperations(parts.source)


@pytest.fixture
def http(parts: Twins, operations: TwinOperations) -> Iterator[TestClient]:
    app = create_app(parts.pool, operations, parts.arrivals, SETTINGS)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def keyed(parts: Twins, operations: TwinOperations) -> Iterator[TestClient]:
    """A gateway that knows the keys of the table."""
    parts.source.keys |= {key.id: key for key in KEYS}
    parts.source.number += 1
    parts.reader.assignments.refresh()
    app = create_app(parts.pool, operations, parts.arrivals, SETTINGS)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="session")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """A real instance on SQLite; tests promote `ranker` as they like and leave `search` on the first version."""
    made = make(ServingSettings(home=tmp_path_factory.mktemp("instance")))
    yield made
    made.registry.close()
