import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from portrait.registry.registry import Registry
from portrait.serving.gateway.app import create_app
from portrait.serving.settings import ServingSettings
from tests.serving.api.api_table import KEYS
from tests.serving.instance import Instance, make
from tests.serving.twins import Twins, keep_keys, populate, twins

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


# A gateway without keys answers only what is sent to this machine by name; Starlette's client says "testserver".
TestClient.__init__.__defaults__ = ("http://127.0.0.1", *(TestClient.__init__.__defaults__ or ())[1:])


@pytest.fixture(scope="session")
def populated_file(migrated_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry of two versions with a consumer each, and one without any. Copy it, change nothing in it."""
    path = shutil.copyfile(migrated_file, tmp_path_factory.mktemp("populated") / "registry.db")
    made = Registry.open(f"sqlite:///{path}")
    populate(made)
    made.close()
    return path


@pytest.fixture
def registry_file(populated_file: Path, tmp_path: Path) -> Path:
    """Such a registry of one's own."""
    return shutil.copyfile(populated_file, tmp_path / "populated.db")


@pytest.fixture
def parts(registry_file: Path) -> Iterator[Twins]:
    made = twins(registry_file)
    yield made
    made.close()


@pytest.fixture
def http(parts: Twins) -> Iterator[TestClient]:
    app = create_app(parts.pool, parts.operations, parts.arrivals, SETTINGS)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def keyed(parts: Twins, http: TestClient) -> TestClient:
    """A gateway that knows the keys of the table."""
    keep_keys(parts.registry, *KEYS)
    parts.reader.assignments.refresh()
    return http


@pytest.fixture(scope="session")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """A real instance on SQLite; tests promote `ranker` as they like and leave `search` on the first version."""
    made = make(ServingSettings(home=tmp_path_factory.mktemp("instance")))
    yield made
    made.registry.close()
