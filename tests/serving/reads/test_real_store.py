"""The gateway over the real registry and the real online stores."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from portrait.serving.gateway.app import create_app
from portrait.serving.reads.async_reader import PooledReader
from portrait.serving.settings import ServingSettings
from tests.serving.instance import AS_OF, DIMENSION, USERS, Instance, build, make


@contextmanager
def gateway(settings: ServingSettings) -> Iterator[TestClient]:
    parts = build(settings)
    assignments = parts.reader.assignments
    assignments.begin()
    assignments.start()
    parts.arrivals.start()
    pool = PooledReader(parts.reader, 2, 2, 8, parts.asynchronous)
    try:
        with TestClient(create_app(pool, parts.operations, parts.arrivals, settings)) as client:
            yield client
    finally:
        assignments.stop()
        parts.arrivals.close()
        pool.close()


def bits(row: dict[str, list[float]]) -> bytes:
    return np.array(row["vector"], np.float32).tobytes()


def answers_are_right(http: TestClient, instance: Instance) -> None:
    path, vectors = "/v1/consumers/search/embeddings", instance.vectors["autoencoder-1"]
    row = http.get(f"{path}/user-7").json()
    assert bits(row) == vectors[7].tobytes()
    assert (row["version"], row["fingerprint"], row["source"]) == ("autoencoder-1", f"{1:064x}", "stored")
    assert datetime.fromisoformat(row["as_of"]) == AS_OF
    users = ["late", *(f"user-{number}" for number in range(USERS)), "nobody", "a/b\n", "user-3"]
    rows = http.post(path, json={"users": users}).json()["embeddings"]
    assert [row["user_id"] for row in rows] == users
    assert b"".join(map(bits, rows[1 : USERS + 1])) == vectors.tobytes()
    assert bits(rows[-1]) == vectors[3].tobytes()
    assert {row["source"] for row in rows[1 : USERS + 1]} == {"stored"}
    # late: two events, the newest after the backfill; nobody: the prior, as of the backfill.
    assert (rows[0]["source"], rows[0]["vector"][:2]) == ("computed", [1.0, 2.0])
    assert datetime.fromisoformat(rows[0]["as_of"]) == datetime(2024, 5, 3, 0, 0, 0, 1, tzinfo=UTC)
    assert (rows[-2]["source"], rows[-2]["vector"]) == ("prior", [-1.0] * DIMENSION)
    assert http.get(f"{path}/late?strict=true").status_code == 200
    assert http.get(f"{path}/nobody?strict=true").status_code == 404
    assert http.get("/v1/consumers/fresh/embeddings/user-1").status_code == 409
    assert http.get("/readyz").status_code == 200


def test_sqlite(instance: Instance) -> None:
    with gateway(instance.settings) as http:
        answers_are_right(http, instance)


@pytest.mark.slow
def test_redis(tmp_path: Path, redis_url: str) -> None:
    instance = make(ServingSettings(home=tmp_path, online_store_url=redis_url))
    with gateway(instance.settings) as http:
        answers_are_right(http, instance)
    instance.registry.close()


def test_a_promotion_is_seen_and_a_rollback_gives_the_same_bits(instance: Instance) -> None:
    with gateway(instance.settings) as http:

        def asked(consumer: str) -> tuple[str, bytes]:
            row = http.get(f"/v1/consumers/{consumer}/embeddings/user-5").json()
            return row["version"], bits(row)

        def wait_for(version: str) -> None:
            started = time.monotonic()
            while asked("ranker")[0] != version:
                assert time.monotonic() - started < 60

        before, other = asked("ranker"), asked("search")
        instance.promote("ranker", "autoencoder-2")
        wait_for("autoencoder-2")
        assert asked("ranker")[1] == instance.vectors["autoencoder-2"][5].tobytes()
        instance.registry.promotions.rollback("ranker", "back")
        wait_for("autoencoder-1")
        assert (asked("ranker"), asked("search")) == (before, other)
        kinds = [row["kind"] for row in http.get("/v1/consumers/ranker/history").json()]
    assert kinds[-2:] == ["promote", "rollback"]  # other tests promote in this instance too
