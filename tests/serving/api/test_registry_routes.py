"""The API on a real registry, SQLite and Postgres: keys come into force, refusals are kept, odd names hurt nobody."""

import time
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient

from portrait.registry.registry import Registry
from portrait.registry.versions.versions import NewVersion
from portrait.serving.gateway.app import create_app
from portrait.serving.operations.operations import Operations
from portrait.serving.reads.async_reader import PooledReader
from portrait.serving.reads.encoders import EncoderCache
from portrait.serving.reads.reader import EmbeddingReader
from portrait.serving.state.assignment_poller import Assignments, RegistrySource
from tests.serving.api.api_table import TABLE
from tests.serving.conftest import SETTINGS
from tests.serving.twin_source import BACKFILLED
from tests.serving.twins import TwinEncoder, TwinInbox, TwinStore, twin_arrivals


@pytest.fixture
def registry(database_url: str) -> Iterator[Registry]:
    made = Registry.open(database_url)
    version = NewVersion(
        family="autoencoder",
        fingerprint="f" * 64,
        dimension=8,
        run="run-1",
        artifact="artifacts/run-1",
        snapshot="s1",
        data_from=None,
        data_to=BACKFILLED,
        feature_schema={},
        config={},
    )
    made.versions.register(version)
    yield made
    made.close()


@pytest.fixture
def assignments(registry: Registry) -> Assignments:
    made = Assignments(RegistrySource(registry))
    made.refresh()
    return made


@pytest.fixture
def client(registry: Registry, assignments: Assignments) -> Iterator[TestClient]:
    reader = EmbeddingReader(TwinStore(), assignments, EncoderCache(lambda version: TwinEncoder(version.number)))
    pool = PooledReader(reader, 1, 1, 8)
    # No feature repo: nothing here looks at vectors.
    operations = Operations(registry, None, apply=lambda: None)  # type: ignore[arg-type]
    app = create_app(pool, operations, twin_arrivals(TwinInbox()), SETTINGS)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client
    pool.close()


def made_key(client: TestClient, assignments: Assignments, *grants: str, headers: dict[str, str]) -> dict[str, str]:
    made = client.post("/v1/keys", json={"name": f"key for {grants[0]}", "grants": list(grants)}, headers=headers)
    assert made.status_code == 201, made.text
    assignments.refresh()
    return {"Authorization": f"Bearer {made.json()['key']}"}


def test_from_an_open_registry_to_one_with_keys(
    client: TestClient, registry: Registry, assignments: Assignments
) -> None:
    assert client.post("/v1/consumers", json={"name": "ads", "owner": "team"}).status_code == 201
    admin = made_key(client, assignments, "administer", headers={})
    reader = made_key(client, assignments, "embeddings:read=ads", headers=admin)
    assert client.get("/v1/consumers").status_code == 401
    assert [row["name"] for row in client.get("/v1/consumers", headers=reader).json()] == ["ads"]
    assert client.get("/v1/consumers/ads/embeddings/ada", headers=reader).status_code == 409  # no version yet
    assert client.get("/v1/consumers/other/embeddings/ada", headers=reader).status_code == 403
    assert client.patch("/v1/consumers/ads", json={"owner": "new"}, headers=admin).json()["owner"] == "new"
    head = {
        "version": "autoencoder-1",
        "fingerprint": "f" * 64,
        "task": "clicks",
        "data_stamp": "may",
        "as_of": "2024-05-01T02:00:00+02:00",
        "metrics": {"auc": 0.7},
        "location": "s3://heads/1",
    }
    assert client.post("/v1/consumers/ads/heads", json=head, headers=admin).json()["as_of"] == "2024-05-01T00:00:00Z"
    ids = {row["name"]: row["id"] for row in client.get("/v1/keys", headers=admin).json()}
    assert client.delete(f"/v1/keys/{ids['key for embeddings:read=ads']}", headers=admin).status_code == 200
    assignments.refresh()
    assert client.get("/v1/consumers", headers=reader).status_code == 401

    refused = [("anonymous", "GET /v1/consumers")] * 2 + [("key for embeddings:read=ads", "consumer other")]
    until = time.monotonic() + 60
    while len(found := _refused(registry)) < 3:
        assert time.monotonic() < until, found
        time.sleep(0.02)
    assert sorted(found) == sorted(refused)
    done = [(event["actor"], event["action"]) for event in client.get("/v1/audit", headers=admin).json()]
    for wanted in (
        ("anonymous", "consumer.add"),
        ("anonymous", "key.add"),
        ("key for administer", "key.add"),
        ("key for administer", "consumer.set"),
        ("key for administer", "head.register"),
        ("key for administer", "key.revoke"),
    ):
        assert wanted in done
    secret = admin["Authorization"].rpartition("_")[2]
    assert secret not in client.get("/v1/audit", headers=admin).text


def _refused(registry: Registry) -> list[tuple[str, str]]:
    return [(event.actor, event.subject) for event in registry.audit.list() if event.action == "access"]


@pytest.mark.parametrize("name", ["\x00", "\n", "ü🦄", "x" * 5000, "'; DROP TABLE consumers; --", "%", "\u202e"])
def test_odd_names_on_real_databases(client: TestClient, name: str) -> None:
    escaped = quote(name, safe="")
    for method, path, body, _ in TABLE:
        for known in ("ranker", "autoencoder-1", "autoencoder-2", "a0a0a0a0"):
            if f"/{known}" in path:
                answer = client.request(method, path.replace(f"/{known}", f"/{escaped}"), json=body)
                assert answer.status_code in (400, 404), (method, path, answer.text)
    assert client.get("/v1/versions").status_code == 200


def test_the_ends_of_numbers_and_times(client: TestClient) -> None:
    client.post("/v1/consumers", json={"name": "ads", "owner": "team"})
    assert client.get("/v1/audit", params={"after": 2**31 - 1, "since": "0001-01-01T00:00:00Z"}).json() == []
    assert client.get("/v1/audit", params={"since": "9999-12-31T23:59:59.999999Z"}).json() == []
    assert client.get("/v1/consumers/ads/history", params={"at": "9999-12-31T23:59:59Z"}).json() == []
    widest = {"version": "autoencoder-9", "expected_revision": 2**31 - 1, "dry_run": False}
    assert client.post("/v1/consumers/ads/rollback", json={"expected_revision": 2**31 - 1}).status_code == 409
    assert client.post("/v1/consumers/ads/promotions", json=widest).status_code == 404
